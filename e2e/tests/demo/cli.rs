//! Exit codes, errors and forms of the commands, against a server that holds two spans.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::{FREE_PORTS, binary, run, signal};

/// `serve --json`, killed when dropped.
pub struct Serve {
    child: Child,
    pub otlp: String,
    pub ui: String,
    data: PathBuf,
    /// What it leaves behind when it is killed goes with this.
    _temporary: TempDir,
}

impl Serve {
    /// Starts it on free ports; without a folder in `arguments`, say `--ephemeral`.
    pub fn start(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = Command::new(binary())
            .env("TMPDIR", temporary.path())
            .args(["serve", "--json"])
            // All but the demo's own port.
            .args(&FREE_PORTS[..8])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no ready line: {line:?}"));
        let address = |name: &str| ready[name].as_str().unwrap().to_owned();
        let data = address("data_dir").into();
        Self { otlp: address("otlp_http"), ui: address("ui"), data, child, _temporary: temporary }
    }

    /// Sends two spans of one trace; the second one fails.
    fn send(&self) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let span = |id: &str, parent: &str, name: &str, kind: u8, status: Value| {
            json!({ "traceId": TRACE, "spanId": id, "parentSpanId": parent, "name": name, "kind": kind, "status": status,
                "startTimeUnixNano": (now - 3_000_000).to_string(), "endTimeUnixNano": now.to_string(),
                "attributes": [{ "key": "correlation_id", "value": { "stringValue": "order-7" } }] })
        };
        let spans = [
            span("00f067aa0ba902b7", "", "checkout/start", 1, json!({})),
            span(
                "00f067aa0ba902b8",
                "00f067aa0ba902b7",
                "domain-events publish",
                4,
                json!({ "code": 2, "message": "gone" }),
            ),
        ];
        let resource =
            json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "api" } }] });
        let body = json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": spans }] }] });
        let answer = ureq::post(format!("{}/v1/traces", self.otlp))
            .header("content-type", "application/json")
            .send(body.to_string())
            .unwrap();
        assert_eq!(answer.status(), 200);
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // A test that failed, or is over.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[test]
fn answers_and_exit_codes_are_as_documented() {
    let serve = Serve::start(&["--ephemeral"]);
    serve.send();
    let check = |arguments: &[&str], code: i32, stdout: &[&str], stderr: &[&str]| {
        let ended = run(&[arguments, &["--url", &serve.ui]].concat());
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        for said in stdout {
            assert!(ended.stdout.contains(said), "{arguments:?}: no {said:?} in {}", ended.stdout);
        }
        assert_eq!(stdout.is_empty(), ended.stdout.is_empty(), "{arguments:?}: {}", ended.stdout);
        for said in stderr {
            assert!(ended.stderr.contains(said), "{arguments:?}: no {said:?} in {}", ended.stderr);
        }
    };
    let tree = [
        "Trace: 4bf92f3577b34da6a3ce929d0e0e4736",
        "└─ api: checkout/start (INTERNAL)",
        "domain-events publish (PRODUCER) ✗",
        "✗ gone",
    ];
    check(&["trace", TRACE], 0, &tree, &[]);
    check(&["trace", TRACE, "--form", "hops"], 0, &tree, &[]);
    check(
        &["trace", TRACE, "--json"],
        0,
        &["\"traceID\"", "\"spanCount\": 2", "\"services\"", "\"kind\": \"producer\""],
        &[],
    );
    check(
        &["trace", TRACE, "--follow"],
        0,
        &["api  checkout/start (INTERNAL)", "✗"],
        &["quiet after 2 spans"],
    );
    check(&["trace", "abc"], 1, &[], &["abc"]);
    check(&["trace", "not-an-id"], 2, &[], &["32 hex digits"]);
    check(&["search", "correlation_id=order-7"], 0, &[TRACE, "checkout/start"], &[]);
    check(
        &["search", "service=api", "error", "--json"],
        0,
        &["domain-events publish", "\"matched\": 1"],
        &[],
    );
    check(&["search", TRACE], 0, &tree, &[]);
    check(&["search", TRACE, "--json"], 0, &["\"spanCount\": 2"], &[]);
    check(&["search", "service=nobody"], 1, &[], &["nothing matches service=nobody"]);
    check(&["search", "service=nobody", "--json"], 1, &[], &["nothing matches service=nobody"]);
    check(&["trace", "abc", "--json"], 1, &[], &["abc"]);
    check(&["search", "duration=3"], 2, &[], &["column 1", "duration>"]);
    check(&["lineage", "2b011da7875bd41d"], 1, &[], &["2b011da7875bd41d"]);
    check(&["lineage", "?"], 2, &[], &[]);
}

#[test]
fn following_says_what_it_waits_for_and_a_full_disk_is_said() {
    let serve = Serve::start(&["--ephemeral"]);
    serve.send();
    let mut follow = Command::new(binary())
        .args(["trace", "f", "--follow", "--url", &serve.ui])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(follow.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "nothing of trace f has arrived yet; waiting for it, 30 s at most\n");
    follow.kill().unwrap();
    follow.wait().unwrap();
    for command in [&["trace", TRACE][..], &["trace", TRACE, "--json"], &["search", "service=api"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended =
            Command::new(binary()).args(command).args(["--url", &serve.ui]).stdout(full).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(5), "{command:?}: {said}");
        assert!(
            said.starts_with("error: cannot write to standard output: No space left"),
            "{command:?}: {said}"
        );
    }
}

#[test]
fn a_journal_that_is_too_small_is_told_with_its_flag() {
    for (sources, least) in [(&[][..], "96MiB"), (&["--config", TO_A_FILE][..], "96MiB")] {
        let arguments = [&["serve", "--ephemeral", "--journal-size", "63MiB"], sources].concat();
        let ended = run(&arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
        let said = format!("--journal-size 63MiB is too small: give it at least {least}");
        assert!(ended.stderr.contains(&said), "{ended:?}");
        assert!(run(&["serve", "--help"]).stdout.contains(least));
    }
    let _smallest = Serve::start(&["--ephemeral", "--journal-size", "96MiB"]);
}

/// Receives spans and writes them to a file.
const TO_A_FILE: &str = "yaml:{receivers: {otlp: {protocols: {http: {endpoint: 127.0.0.1:0}}}}, exporters: {file: {path: /dev/null}}, \
                         service: {pipelines: {traces: {receivers: [otlp], exporters: [file]}}}}";

#[test]
fn a_server_that_is_not_there_is_told_with_what_to_start() {
    // Bound and never accepting, then gone: nobody listens on this port.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    for command in
        [&["trace", TRACE][..], &["trace", TRACE, "--follow"], &["search", "a=b"], &["lineage", TRACE]]
    {
        let ended = run(&[command, &["--url", &url]].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{ended:?}");
        for said in [&url, "throughline serve", "--url"] {
            assert!(ended.stderr.contains(said), "no {said:?} in {}", ended.stderr);
        }
    }
    for (url, said) in [("no url", "no URL"), ("https://localhost", "https is not supported, use http://")] {
        let ended = run(&["trace", TRACE, "--url", url]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.stderr.contains(said), "{ended:?}");
    }
}

#[test]
fn another_server_is_told_from_one_that_found_nothing() {
    let serve = Serve::start(&["--ephemeral"]);
    for command in
        [&["trace", TRACE][..], &["trace", TRACE, "--json"], &["search", "a=b"], &["lineage", TRACE]]
    {
        let ended = run(&[command, &["--url", &serve.otlp]].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{ended:?}");
        assert!(
            ended.stderr.contains("is not throughline") || ended.stderr.contains("answered 4"),
            "{ended:?}"
        );
    }
}

#[test]
fn what_it_logs_has_no_colours_outside_a_terminal() {
    let mut child = Command::new(binary())
        .env("RUST_LOG", "info")
        .args(["serve", "--json", "--ephemeral"])
        .args(&FREE_PORTS[..8])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    signal(&child, "TERM");
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("receiving OTLP") && !said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn one_port_for_two_listeners_is_told_with_both_flags() {
    for command in ["serve", "demo"] {
        let ended = run(&[command, "--ui-port", "7", "--tempo-port", "7"]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains("port 7 is given twice: --ui-port and --tempo-port"), "{ended:?}");
    }
}

#[test]
fn a_signal_drains_it_and_what_was_acknowledged_is_there_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let persistent = ["--data-dir", data.to_str().unwrap()];
    for (arguments, name, stays) in [(&persistent[..], "TERM", true), (&["--ephemeral"], "INT", false)] {
        let mut serve = Serve::start(arguments);
        serve.send();
        // A stream that is open does not keep it from ending.
        let follow = Command::new(binary())
            .args(["trace", "f", "--follow", "--url", &serve.ui])
            .stderr(Stdio::null())
            .spawn();
        signal(&serve.child, name);
        assert_eq!(serve.child.wait().unwrap().code(), Some(0), "SIG{name}");
        assert_eq!(serve.data.exists(), stays, "a temporary folder goes, a named one stays");
        assert!(!follow.unwrap().wait().unwrap().success(), "it followed a trace of which nothing came");
    }
    let again = Serve::start(&persistent);
    let found = run(&["trace", TRACE, "--json", "--url", &again.ui]).json();
    assert_eq!(found["spanCount"], 2);
}

#[test]
fn a_folder_in_use_and_a_foreign_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let _serve = Serve::start(&["--data-dir", data]);
    let again = run(&[&["serve", "--data-dir", data], &FREE_PORTS[..8]].concat());
    assert_eq!(again.code, Some(4), "{again:?}");
    assert!(again.stderr.contains(data) && again.stderr.contains("--data-dir"), "{again:?}");
    let foreign =
        run(&[&["serve", "--data-dir", folder.path().to_str().unwrap()], &FREE_PORTS[..8]].concat());
    assert_eq!(foreign.code, Some(4), "{foreign:?}");
}

#[test]
fn help_has_examples_exit_codes_defaults_and_limits() {
    for (command, said) in [
        (&["--help"][..], &["Exit codes:", "demo", "serve", "trace", "search", "lineage"][..]),
        (
            &["serve", "--help"],
            &["Examples:", "~/.local/share/throughline", "7d", "10GiB", "16 MiB", "Exit codes:"],
        ),
        (&["demo", "--help"], &["Examples:", "--once", "--bootstrap", "--legacy", "Exit codes:"]),
    ] {
        let ended = run(command);
        assert_eq!(ended.code, Some(0));
        for one in said {
            assert!(ended.stdout.contains(one), "{command:?}: no {one:?} in {}", ended.stdout);
        }
        assert!(!ended.stdout.contains("break-injection"), "what only a test wants is hidden");
    }
}
