//! `throughline serve --config` and `validate` as processes: the two blocks of the source run as they are (ports and host name
//! replaced), flags count more than the configuration, and a configuration that cannot run is refused with every place.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use throughline_e2e::serve::{Serve, binary};
use throughline_e2e::sink::Sink;

/// Longer than anything here takes: a hang fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);
/// Sent by the test of tail sampling.
const FAST: u64 = 400;
const FAILED: u64 = 5;
const SLOW: u64 = 5;

fn client() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    config.timeout_global(Some(PATIENCE)).build().into()
}

fn ask(url: &str) -> (u16, String) {
    let mut response = client().get(url).call().expect("an answer");
    (response.status().as_u16(), response.body_mut().read_to_string().expect("text"))
}

fn post(serve: &Serve, request: &Value) {
    let url = format!("{}/v1/traces", serve.otlp_http);
    let sent = client().post(url).header("content-type", "application/json").send(request.to_string());
    assert_eq!(sent.expect("an answer").status(), 200);
}

/// A fixture of the source, with these texts replaced.
fn fixture(name: &str, replaced: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    let mut yaml = fs::read_to_string(path).expect("the fixture");
    for (from, to) in replaced {
        assert!(yaml.contains(from), "{name} has no {from}");
        yaml = yaml.replace(from, to);
    }
    yaml
}

fn tail_sampling(sink: SocketAddr) -> String {
    let sink = sink.to_string();
    let ports = [("127.0.0.1:4317", "127.0.0.1:0"), ("127.0.0.1:4318", "127.0.0.1:0")];
    fixture("tail-sampling.yaml", &[ports[0], ports[1], ("127.0.0.1:14318", &sink)])
}

/// A file in a folder that goes with the test.
fn written(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).expect("written");
    path
}

fn trace_id(number: u64) -> String {
    format!("{:016x}{number:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
}

/// A root and a child, `millis` long, perhaps failed.
fn trace(number: u64, millis: u64, failed: bool) -> Vec<Value> {
    let start = 1_768_485_802_000_000_000_u64;
    let span = |id: u64, parent: Option<u64>| {
        json!({
            "traceId": trace_id(number), "spanId": format!("{id:016x}"),
            "parentSpanId": parent.map(|id| format!("{id:016x}")).unwrap_or_default(),
            "name": "process orders", "kind": 5,
            "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + millis * 1_000_000).to_string(),
            "status": if failed && parent.is_some() { json!({ "code": 2 }) } else { json!({}) },
        })
    };
    vec![span(1, None), span(2, Some(1))]
}

fn request(spans: Vec<Value>) -> Value {
    let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "load" } }] });
    json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": spans }] }] })
}

/// Looks each time the sampler's live page tells of itself, until it is as expected.
fn until(serve: &Serve, done: impl Fn(&Value) -> bool) -> Value {
    let mut response = client().get(format!("{}/sampler/follow", serve.ui)).call().expect("a stream");
    for line in BufReader::new(response.body_mut().as_reader()).lines() {
        if line.expect("a line") == "event: sampler" {
            let figures = ask(&format!("{}/tl/v1/sampler", serve.ui)).1;
            let figures: Value = serde_json::from_str(&figures).expect("JSON");
            if done(&figures) {
                return figures;
            }
        }
    }
    panic!("the stream ended");
}

fn decided(figures: &Value, verdict: &str) -> u64 {
    let decisions = figures.pointer("/samplers/0/decisions").and_then(Value::as_array).expect("decisions");
    let of = |count: &&Value| count["verdict"] == verdict;
    decisions.iter().filter(of).filter_map(|count| count["traces"].as_u64()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sources_tail_sampling_keeps_errors_slow_traces_and_a_share_of_the_rest() {
    let sink = Sink::start((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a sink");
    let folder = tempfile::tempdir().expect("a folder");
    let file = written(&folder, "tail.yaml", &tail_sampling(sink.address()));
    let sooner = "yaml:processors::tail_sampling::decision_wait: 1s";
    let serve = Serve::with(["--ephemeral", "--config", &file.display().to_string(), "--config", sooner]);
    let receivers = &serve.ready["receivers"];
    assert_eq!((&receivers[0]["name"], receivers.as_array().map(Vec::len)), (&json!("otlp"), Some(1)));

    let mut spans: Vec<Value> = (0..FAST).flat_map(|number| trace(number, 10, false)).collect();
    spans.extend((FAST..FAST + FAILED).flat_map(|number| trace(number, 10, true)));
    spans.extend((FAST + FAILED..FAST + FAILED + SLOW).flat_map(|number| trace(number, 2_500, false)));
    tokio::task::block_in_place(|| post(&serve, &request(spans)));
    let all = FAST + FAILED + SLOW;
    let done = |figures: &Value| {
        decided(figures, "sampled") + decided(figures, "not_sampled") == all
            && figures["exporters"][0]["waiting"] == 0
    };
    let figures = tokio::task::block_in_place(|| until(&serve, done));

    let arrived: BTreeSet<String> = sink.arrived().traces().iter().map(|(id, _, _)| id.to_string()).collect();
    assert_eq!(arrived.len() as u64, decided(&figures, "sampled"), "{figures:#}");
    let stats = sink.arrived().stats();
    assert_eq!((stats.spans, stats.distinct), (2 * arrived.len() as u64, 2 * arrived.len() as u64));
    assert!((FAST..all).all(|number| arrived.contains(&trace_id(number))), "errors and slow traces");
    let share = (0..FAST).filter(|number| arrived.contains(&trace_id(*number))).count();
    assert!((5..60).contains(&share), "5 % of {FAST} are not {share}");

    tokio::task::block_in_place(|| says_why(&serve, &arrived));
}

/// Of a trace that was kept and of one that was not: page, text and command line.
fn says_why(serve: &Serve, arrived: &BTreeSet<String>) {
    let failed = trace_id(FAST);
    let dropped = (0..FAST).map(trace_id).find(|id| !arrived.contains(id)).expect("one was dropped");
    let decision = |id: &str| {
        let (status, text) = ask(&format!("{}/tl/v1/trace/{id}/decision", serve.ui));
        assert_eq!(status, 200, "{text}");
        let all: Value = serde_json::from_str(&text).expect("JSON");
        all.pointer("/decisions/0").cloned().expect("a decision")
    };
    let kept = decision(&failed);
    assert_eq!(
        (kept.get("verdict"), kept.get("policy"), kept.get("trigger")),
        (Some(&json!("sampled")), Some(&json!("errors-policy")), Some(&json!("wait")))
    );
    let not = decision(&dropped);
    assert_eq!(
        (not.get("verdict"), not.get("reason"), not.get("broughtBackBy")),
        (Some(&json!("not_sampled")), Some(&json!("no policy")), Some(&json!("late span")))
    );
    let (status, page) = ask(&format!("{}/trace/{dropped}", serve.ui));
    assert_eq!(status, 404);
    assert!(page.contains("This trace was not kept") && page.contains("no policy said yes"), "{page}");
    let printed = throughline(&["trace", &dropped, "--url", &serve.ui]);
    let (code, said) = (printed.status.code(), String::from_utf8_lossy(&printed.stderr).into_owned());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not sampled: no policy said yes") && said.contains("a late span"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sources_load_balancing_sends_every_span_on() {
    let sink = Sink::start((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a sink");
    let port = format!("port: {}", sink.address().port());
    let yaml = fixture(
        "front-tier.yaml",
        &[("127.0.0.1:4317", "127.0.0.1:0"), ("otelcol-backend", "127.0.0.1"), ("port: 4317", &port)],
    );
    let folder = tempfile::tempdir().expect("a folder");
    let file = written(&folder, "front.yaml", &yaml).display().to_string();
    let http = "yaml:receivers::otlp::protocols::http::endpoint: 127.0.0.1:0";
    let serve = Serve::with(["--ephemeral", "--config", &file, "--config", http]);
    assert!(!serve.otlp_grpc.is_empty());
    tokio::task::block_in_place(|| {
        post(&serve, &request((0..100).flat_map(|number| trace(number, 10, false)).collect()))
    });
    let arrived = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while sink.arrived().stats().distinct < 200 {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, arrived).await.expect("every span arrives");
    assert_eq!(sink.arrived().stats().traces, 100);
    // Nothing samples here: there is no picture of it.
    assert_eq!(tokio::task::block_in_place(|| ask(&format!("{}/sampler", serve.ui))).0, 404);
}

const STORES: &str = "
receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:0'}}}}
exporters: {throughline: {}}
service:
  pipelines: {traces: {receivers: [otlp], exporters: [throughline]}}
";

#[test]
fn flags_count_more_than_the_configuration_and_addresses_do_not_collide() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = written(&folder, "store.yaml", STORES).display().to_string();
    let data = folder.path().join("data").display().to_string();
    let durable =
        format!("yaml:extensions::throughline::data_dir: {}", folder.path().join("other").display());
    // Neither says where the page is: both start all the same, with a page each.
    let first = Serve::with(["--config", &file, "--config", &durable, "--data-dir", &data]);
    let second = Serve::with(["--config", &file, "--ephemeral"]);
    assert_ne!(first.ui, second.ui);
    assert_eq!(first.ready["data_dir"], json!(data));
    post(&first, &request(trace(1, 10, false)));
    for serve in [&first, &second] {
        assert_eq!(ask(&format!("{}/readyz", serve.ui)).0, 200);
        assert!(ask(&format!("{}/metrics", serve.ui)).1.contains("otelcol_receiver_accepted_spans"));
    }
    let addresses =
        "yaml:extensions::throughline: {ui: {endpoint: '127.0.0.1:0'}, tempo: {endpoint: '127.0.0.1:0'}}";
    let metrics = "yaml:service::telemetry::metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: 0}}}}]}";
    let apart = Serve::with(["--config", &file, "--config", addresses, "--config", metrics, "--ephemeral"]);
    let url = apart.ready["metrics"].as_str().expect("an address of its own").to_owned();
    assert!(ask(&url).1.contains("otelcol_receiver_accepted_spans"));
    assert_eq!(ask(&url.replace("/metrics", "/tl/v1/search")).0, 404);
    let off = Serve::with([
        "--config",
        &file,
        "--config",
        "yaml:service::telemetry::metrics::level: none",
        "--ephemeral",
    ]);
    let (status, text) = ask(&format!("{}/metrics", off.ui));
    assert_eq!((status, text.contains("switched off")), (404, true), "{text}");
    assert_eq!(off.ready["metrics"], json!(null));
}

/// Runs the binary to its end.
fn throughline(arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .env("TAIL_WAIT", "250ms")
        .env("WHOLE", STORES)
        .output()
        .expect("it runs")
}

/// What a command says, with its exit code: standard output, then standard error.
fn said(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = throughline(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn validate_says_ok_with_notes_or_every_error_at_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| written(&folder, name, text).display().to_string();
    let tail = file("tail.yaml", &tail_sampling(SocketAddr::from((Ipv4Addr::LOCALHOST, 4319))));
    let front = file("front.yaml", &fixture("front-tier.yaml", &[]));
    let wait = file("wait.yaml", "processors: {tail_sampling: {decision_wait: \"${env:TAIL_WAIT}\"}}");
    let bad = file(
        "bad.yaml",
        &tail_sampling(SocketAddr::from((Ipv4Addr::LOCALHOST, 4319)))
            .replace("[ERROR]", "[BROKEN]")
            .replace("threshold_ms", "treshold_ms"),
    );
    let missing = file(
        "missing.yaml",
        &format!(
            "{STORES}\nexporters::otlp: {{endpoint: 'x:1', tls: {{ca_file: /nowhere/ca.pem}}}}\nservice::pipelines::traces::exporters: [otlp]\n"
        ),
    );
    // Arguments, exit code, standard output, pieces of standard error in order.
    let cases: Vec<(Vec<&str>, i32, &str, Vec<String>)> = vec![
        (
            vec!["--config", &tail],
            0,
            "ok\n",
            vec![format!("accepted without effect: {tail}:"), "expected_new_traces_per_sec".to_owned()],
        ),
        (vec!["--config", &front], 0, "ok\n", vec![]),
        (vec!["--config", &tail, "--config", &wait], 0, "ok\n", vec![]),
        (vec!["--config", "env:WHOLE"], 0, "ok\n", vec![]),
        (
            vec!["--config", &bad],
            2,
            "",
            vec![format!("{bad}:16:"), "BROKEN".to_owned(), format!("{bad}:20:"), "treshold_ms".to_owned()],
        ),
        (vec!["--config", &missing], 2, "", vec![format!("{missing}:"), "/nowhere/ca.pem".to_owned()]),
        (
            vec!["--config", "/nowhere.yaml"],
            2,
            "",
            vec!["cannot read the configuration /nowhere.yaml".to_owned()],
        ),
        (vec!["--config", "env:NOT_THERE"], 2, "", vec!["NOT_THERE is not set".to_owned()]),
        (vec![], 2, "", vec!["--config".to_owned()]),
    ];
    for (arguments, code, out, pieces) in cases {
        let (ended, stdout, stderr) = said(&[&["validate"], arguments.as_slice()].concat());
        assert_eq!((ended, stdout.as_str()), (Some(code), out), "{arguments:?}: {stderr}");
        let mut rest = stderr.as_str();
        for piece in pieces {
            let at = rest.find(&piece).unwrap_or_else(|| panic!("{piece} does not follow in {stderr}"));
            rest = rest.split_at(at + piece.len()).1;
        }
    }
    let (code, stdout, _) = said(&["validate", "--json", "--config", &bad]);
    let told: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, &told["ok"], &told["errors"][0]["line"]), (Some(2), &json!(false), &json!(16)));
    let (code, stdout, _) = said(&["validate", "--json", "--config", &tail]);
    let told: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(
        (code, &told["ok"], told["errors"].as_array().map(Vec::len)),
        (Some(0), &json!(true), Some(0))
    );
    assert!(told["notes"].as_array().is_some_and(|notes| !notes.is_empty()), "{told}");
}

#[test]
fn serve_refuses_what_validate_refuses_and_flags_that_do_not_fit() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = written(&folder, "store.yaml", STORES).display().to_string();
    let bad =
        written(&folder, "bad.yaml", &STORES.replace("[throughline]", "[nobody]")).display().to_string();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let occupied = format!("yaml:receivers::otlp::protocols::http::endpoint: 127.0.0.1:{port}");
    let page = format!("yaml:extensions::throughline::ui::endpoint: 127.0.0.1:{port}");
    let cases: Vec<(Vec<&str>, i32, &str)> = vec![
        (vec!["--config", &bad], 2, "nobody"),
        (vec!["--config", &store, "--otlp-http-port", "1"], 2, "--otlp-http-port does not go with --config"),
        (
            vec!["--config", &store, "--otlp-grpc-port", "4317"],
            2,
            "receivers::otlp::protocols::grpc::endpoint",
        ),
        (vec!["--config", &store, "--cors-origin", "http://x"], 2, "--cors-origin does not go with --config"),
        (vec!["--config", &store, "--ui-port", "9", "--tempo-port", "9"], 2, "port 9 is given twice"),
        (vec!["--config", &store, "--config", &occupied], 4, "in the configuration"),
        (vec!["--config", &store, "--config", &page], 4, "for the page is in use"),
        (vec!["--config", &store, "--ui-port", &port], 4, "choose another with --ui-port"),
    ];
    for (arguments, code, piece) in cases {
        let (ended, stdout, stderr) = said(&[&["serve", "--ephemeral"], arguments.as_slice()].concat());
        assert_eq!((ended, stdout.as_str()), (Some(code), ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(piece), "{arguments:?}: {stderr}");
    }
    let mut whole = String::new();
    // The port was never let go of.
    drop(taken);
    fs::File::open(&store).and_then(|mut file| file.read_to_string(&mut whole)).expect("still there");
    assert_eq!(whole, STORES);
}
