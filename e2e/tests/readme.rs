//! The README's commands do what it says. Its Rust code is compiled as a doctest of the library.

#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use throughline_e2e::kafka::skip;
use throughline_e2e::serve::{Serve, binary};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn throughline(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().expect("the binary runs")
}

/// The contents of the fenced blocks in this language.
fn blocks(language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let mut parts = text.split("```");
    let mut blocks = Vec::new();
    while let (Some(_), Some(block)) = (parts.next(), parts.next()) {
        blocks.extend(block.strip_prefix(&format!("{language}\n")).map(str::to_owned));
    }
    blocks
}

#[test]
fn the_first_command_is_the_demo_and_it_prints_what_is_shown() {
    let commands = blocks("sh");
    let demo = commands[0]
        .trim()
        .strip_prefix("cargo run --release -- ")
        .expect("the first command runs the binary");
    let ports = ["--otlp-grpc-port", "--otlp-http-port", "--ui-port", "--tempo-port", "--api-port"];
    let ports = ports.iter().flat_map(|flag| [*flag, "0"]);
    // As printed, but once and on free ports.
    let arguments: Vec<&str> = demo.split_whitespace().chain(["--once"]).chain(ports).collect();
    let output = throughline(&arguments);
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    // The same rows as in the README: names and kinds, not times and ids.
    let names = |text: &str| -> Vec<String> {
        let rows = text.lines().filter(|line| line.contains(['├', '│', '└']) && line.contains('('));
        rows.map(|row| row.split("  ").filter(|part| part.contains('(')).collect()).collect()
    };
    let shown = blocks("text");
    assert!(!names(&shown[0]).is_empty());
    assert_eq!(names(&said), names(&shown[0]));
}

/// The demo's services are what the README shows: the code is theirs, word for word, and so is the call.
#[test]
fn the_handler_is_the_examples() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    assert!(readme.contains("(examples/checkout)"), "a link to the example");
    let worker =
        std::fs::read_to_string(root().join("examples/checkout/src/payment.rs")).expect("the worker");
    let shown = blocks("rust,ignore");
    assert_eq!(shown.len(), 1, "{shown:?}");
    for part in [&*shown[0], "message.process(charge(&key, payload, &outbox))"] {
        assert!(worker.contains(part) && readme.contains(part), "not in both: {part}");
    }
}

#[test]
fn the_test_command_exists() {
    assert_eq!(blocks("sh")[2].trim(), "cargo xtask test");
    let config = std::fs::read_to_string(root().join(".cargo/config.toml")).expect(".cargo/config.toml");
    assert!(config.contains("xtask ="), "{config}");
}

/// The demo, up; killed when dropped.
struct Demo {
    child: Child,
    /// Its events `ready` and `run`.
    ready: Value,
    run: Value,
    _temporary: TempDir,
}

impl Demo {
    fn start() -> Self {
        let temporary = tempfile::tempdir().expect("a folder");
        let ports = ["--otlp-grpc-port", "--otlp-http-port", "--ui-port", "--tempo-port", "--api-port"];
        let mut child = Command::new(binary())
            .env("TMPDIR", temporary.path())
            .args(["demo", "--json"])
            .args(ports.iter().flat_map(|flag| [*flag, "0"]))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut event = || -> Value {
            let line = lines.next().expect("another event").expect("text");
            serde_json::from_str(&line).expect("JSON")
        };
        let (ready, run) = (event(), event());
        assert_eq!(run["ok"], true, "{run}");
        Self { child, ready, run, _temporary: temporary }
    }

    fn url(&self, name: &str) -> &str {
        self.ready[name].as_str().expect("an address")
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // A test that is over.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of the block of commands, each as its words.
fn commands() -> Vec<Vec<String>> {
    let block = &blocks("text")[1];
    let lines = block.lines().filter_map(|line| line.strip_prefix("throughline "));
    let command = |line: &str| line.split("  ").next().unwrap_or_default().to_owned();
    let words = |command: String| match command.split_once('\'') {
        Some((before, quoted)) => {
            let before = before.split_whitespace().map(str::to_owned);
            before.chain([quoted.trim_end_matches('\'').to_owned()]).collect()
        }
        None => command.split_whitespace().map(str::to_owned).collect(),
    };
    lines.map(command).map(words).collect()
}

#[test]
fn the_curl_and_what_asks_for_it_run_as_printed() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip("the README's curl needs curl: apt-get install curl");
    }
    let demo = Demo::start();
    let curl = &blocks("sh")[1];
    let (there, here) = ("http://localhost:3000/", format!("{}/", demo.url("api")));
    assert!(curl.contains(there), "{curl}");
    let answer = Command::new("sh").arg("-c").arg(curl.replace(there, &here)).output().expect("curl");
    let answer: Value = serde_json::from_slice(&answer.stdout).expect("JSON");
    let id = answer["traceId"].as_str().expect("a trace id");
    let hash = demo.run["batch"]["linked_trace_id_hash"].as_str().expect("a hash");
    let mut asked = 0;
    for words in commands() {
        let expected = match words[0].as_str() {
            "trace" => id,
            "search" => "payment-worker  process orders",
            "lineage" => hash,
            _ => continue,
        };
        asked += 1;
        // Waits until the trace is quiet, so first of both.
        for optional in [true, false] {
            let words = words.iter().filter(|word| optional || !word.starts_with('['));
            let words = words.map(|word| match word.as_str() {
                "ID" => id,
                "HASH" => hash,
                other => other.trim_matches(['[', ']']),
            });
            let arguments: Vec<&str> = words.chain(["--url", demo.url("ui")]).collect();
            let ended = throughline(&arguments);
            let said = String::from_utf8_lossy(&ended.stdout);
            assert!(
                ended.status.success(),
                "{arguments:?}: {said}{}",
                String::from_utf8_lossy(&ended.stderr)
            );
            let expected = if arguments.contains(&"--follow") { "send orders (PRODUCER)" } else { expected };
            assert!(said.contains(expected), "{arguments:?}: no {expected} in {said}");
        }
    }
    assert_eq!(asked, 3);
}

#[test]
fn serve_and_validate_run_as_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("collector.yaml");
    let configuration = "receivers: {otlp: {protocols: {http: {endpoint: 127.0.0.1:0}}}}\nexporters: {throughline: {}}\n\
                         service: {pipelines: {traces: {receivers: [otlp], exporters: [throughline]}}}\n";
    std::fs::write(&file, configuration).expect("written");
    let (mut served, mut validated) = (0, 0);
    for words in commands() {
        let configured = words.iter().any(|word| word == "--config");
        let words = words.iter().map(|word| if word == "FILE" { file.to_str().expect("text") } else { word });
        match words.clone().next() {
            Some("serve") if configured => {
                let ports = ["--ui-port", "0", "--tempo-port", "0", "--ephemeral"];
                let serve = Serve::with(words.skip(1).chain(ports));
                assert_eq!(serve.ready["receivers"][0]["name"], "otlp", "{}", serve.ready);
                served += 1;
            }
            Some("serve") => {
                let serve = Serve::start(words.skip(1).chain(["--ephemeral"]));
                for address in ["otlp_grpc", "otlp_http", "ui", "tempo"] {
                    assert!(serve.ready[address].is_string(), "{}", serve.ready);
                }
                served += 1;
            }
            Some("validate") => {
                let ended = throughline(&words.collect::<Vec<_>>());
                assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
                validated += 1;
            }
            _ => {}
        }
    }
    assert_eq!((served, validated), (2, 1));
}

/// Neither more nor fewer than the tests above run.
#[test]
fn each_command_is_one_that_these_tests_run() {
    let named: Vec<String> = commands().into_iter().map(|words| words[0].clone()).collect();
    assert_eq!(named, ["demo", "serve", "serve", "validate", "trace", "search", "lineage"]);
}
