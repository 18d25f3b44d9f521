//! `throughline serve` as a process, killed with -9 under load, again and again, in the same data folder: every span that
//! was acknowledged must be found afterwards, through the query API, exactly once.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use throughline_e2e::serve::Serve;

const ROUNDS: u64 = 4;
const SENDERS: u64 = 8;
const TRACES_PER_REQUEST: u64 = 8;
const SPANS_PER_TRACE: u64 = 4;
/// Acknowledged requests after which the process is killed: each round at another point.
const KILL_AFTER: [u64; ROUNDS as usize] = [1, 60, 333, 900];

/// Longer than any answer takes: a hang fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

fn start(folder: &Path, durability: &str) -> Serve {
    Serve::start([
        OsStr::new("--durability"),
        OsStr::new(durability),
        OsStr::new("--data-dir"),
        folder.as_os_str(),
    ])
}

/// Span ids of a trace, one for each time it is listed.
fn spans(serve: &Serve, client: &ureq::Agent, trace: &str) -> Vec<String> {
    let mut response = client.get(format!("{}/api/traces/{trace}", serve.ui)).call().expect("an answer");
    if response.status() == 404 {
        return Vec::new();
    }
    let body = response.body_mut().read_to_string().expect("a whole answer");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let spans = body.pointer("/data/0/spans").and_then(Value::as_array).cloned().unwrap_or_default();
    spans
        .iter()
        .map(|span| span.get("spanID").and_then(Value::as_str).expect("a span id").to_owned())
        .collect()
}

fn client() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(PATIENCE))
        .build()
        .into()
}

/// Id of the `number`-th trace; unlike any other in its first digits too.
fn trace_id(number: u64) -> String {
    format!("{:016x}{number:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
}

fn span_id(span: u64) -> String {
    format!("{:016x}", span + 1)
}

/// Eight traces, interleaved as a batch processor would send them.
fn request(first_trace: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
    let spans: Vec<Value> = (0..SPANS_PER_TRACE)
        .flat_map(|span| (0..TRACES_PER_REQUEST).map(move |trace| (first_trace + trace, span)))
        .map(|(trace, span)| {
            json!({
                "traceId": trace_id(trace),
                "spanId": span_id(span),
                "name": "process orders",
                "kind": 5,
                "startTimeUnixNano": now.to_string(),
                "endTimeUnixNano": (now + 1_000_000).to_string(),
                "attributes": [{ "key": "messaging.destination.name", "value": { "stringValue": "orders" } }],
            })
        })
        .collect();
    let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "load" } }] });
    json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": spans }] }] }).to_string()
}

/// One request's first trace, once it was answered with 200.
type Acknowledged = u64;

/// Sends until told to stop or the server is gone.
fn send(url: &str, next: &AtomicU64, stop: &AtomicBool, acknowledged: &Sender<Acknowledged>) {
    let client = client();
    while !stop.load(Ordering::Relaxed) {
        let first = next.fetch_add(TRACES_PER_REQUEST, Ordering::Relaxed);
        let answered = client.post(url).header("content-type", "application/json").send(request(first));
        match answered {
            Ok(response) if response.status() == 200 => acknowledged.send(first).expect("somebody counts"),
            Ok(response) => panic!("refused with {}", response.status()),
            // Killed: this request was not acknowledged, and may or may not be there.
            Err(_) => return,
        }
    }
}

/// Loads a server, kills it after `kill_after` acknowledgements, and gives all that came until the connections broke.
fn load_and_kill(serve: Serve, next: &Arc<AtomicU64>, kill_after: u64) -> Vec<Acknowledged> {
    let (sender, receiver) = channel();
    let stop = Arc::new(AtomicBool::new(false));
    let url = format!("{}/v1/traces", serve.otlp_http);
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (url, next, stop, sender) =
                (url.clone(), Arc::clone(next), Arc::clone(&stop), sender.clone());
            thread::spawn(move || send(&url, &next, &stop, &sender))
        })
        .collect();
    drop(sender);
    let mut acknowledged = Vec::new();
    while (acknowledged.len() as u64) < kill_after {
        acknowledged.push(receiver.recv_timeout(PATIENCE).expect("acknowledgements keep coming"));
    }
    // The senders go on while the process dies.
    serve.kill();
    acknowledged.extend(receiver.iter());
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.join().expect("no request was refused");
    }
    acknowledged
}

/// Acknowledged spans that are missing, and spans that are listed more than once.
fn count(serve: &Serve, acknowledged: &[Acknowledged]) -> (u64, u64) {
    let client = client();
    let expected: BTreeSet<String> = (0..SPANS_PER_TRACE).map(span_id).collect();
    let (mut lost, mut twice) = (0, 0);
    for trace in acknowledged.iter().flat_map(|first| *first..*first + TRACES_PER_REQUEST) {
        let found = spans(serve, &client, &trace_id(trace));
        let distinct: BTreeSet<String> = found.iter().cloned().collect();
        lost += expected.difference(&distinct).count() as u64;
        twice += (found.len() - distinct.len()) as u64;
    }
    (lost, twice)
}

#[test]
fn kill_9_under_load_loses_no_acknowledged_span() {
    // A killed process loses nothing with any durability: what differs is the power loss, which the journal simulates.
    for durability in ["sync", "none"] {
        let folder = tempfile::tempdir().expect("a folder");
        let next = Arc::new(AtomicU64::new(0));
        let mut acknowledged = Vec::new();
        for kill_after in KILL_AFTER {
            let serve = start(folder.path(), durability);
            acknowledged.extend(load_and_kill(serve, &next, kill_after));
        }
        let begun = Instant::now();
        let serve = start(folder.path(), durability);
        let ready = begun.elapsed();
        let (lost, twice) = count(&serve, &acknowledged);
        let spans = acknowledged.len() as u64 * TRACES_PER_REQUEST * SPANS_PER_TRACE;
        println!(
            "kill -9, durability {durability}: {ROUNDS} kills, {spans} spans acknowledged in {} requests, {lost} lost, {twice} twice; ready {ready:.1?} after the last",
            acknowledged.len()
        );
        assert!(acknowledged.len() as u64 >= KILL_AFTER.iter().sum::<u64>());
        assert_eq!((lost, twice), (0, 0));
        serve.kill();
    }
}
