//! One of two backends is killed behind the front, under load: no span that the front has acknowledged is lost. A request that
//! fails is sent to the other backend, what the front has not delivered waits in its journal, and what the killed backend had
//! acknowledged to the front is in its own.
//!
//! The OpenTelemetry Collector's figures for the same: 200,192 spans acknowledged, none refused, 149,320 arrived.

#![expect(clippy::print_stdout, reason = "how many spans arrived is said, beside the peer's figure")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde_json::{Value, json};
use throughline_e2e::serve::Serve;
use throughline_e2e::sink::Sink;
use throughline_e2e::tier::{TOKEN, Tier, metric, post, start, until};

/// As many as the peer was sent: 391 requests of 512 spans, a span of a trace in each of eight.
const REQUESTS: u64 = 391;
const SPANS: u64 = 512;
const SENDERS: u64 = 4;
/// The backend is killed once so many are acknowledged.
const KILLED_AT: u64 = 100_000;
/// Of each trace, in as many requests.
const OF_A_TRACE: u64 = 8;

/// The `number`th request: one span each of 512 traces, whose other spans are in the neighbouring requests.
fn request(number: u64) -> Vec<u8> {
    let span = |at: u64| {
        let trace = (number / OF_A_TRACE) * SPANS + at + 1;
        let id = number * SPANS + at + 1;
        json!({
            "traceId": format!("{:016x}{trace:016x}", trace.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            "spanId": format!("{id:016x}"), "name": "process orders", "kind": 5,
            "startTimeUnixNano": "1768485802000000000", "endTimeUnixNano": "1768485802001000000",
        })
    };
    let spans: Vec<Value> = (0..SPANS).map(span).collect();
    let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "load" } }] });
    let request = json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": spans }] }] });
    request.to_string().into_bytes()
}

/// What clients know.
#[derive(Default)]
struct Sent {
    acknowledged: AtomicU64,
    refused: AtomicU64,
}

/// Sends everything, several at a time, whatever happens.
fn load(url: &str, sent: &Arc<Sent>) -> Vec<thread::JoinHandle<()>> {
    let sender = |of: u64| {
        let (url, sent) = (url.to_owned(), Arc::clone(sent));
        thread::spawn(move || {
            for number in (of..REQUESTS).step_by(usize::try_from(SENDERS).expect("few")) {
                let (status, _) = post(&url, &[("content-type", "application/json")], &request(number));
                let count = if status == 200 { &sent.acknowledged } else { &sent.refused };
                count.fetch_add(SPANS, Ordering::SeqCst);
            }
        })
    };
    (0..SENDERS).map(sender).collect()
}

struct Fleet {
    tier: Tier,
    folder: tempfile::TempDir,
    sink: Sink,
}

impl Fleet {
    async fn new() -> Self {
        let sink = Sink::start((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a sink");
        Self { tier: Tier::new(2), folder: tempfile::tempdir().expect("a folder"), sink }
    }

    fn back(&self, node: usize) -> Serve {
        let folder = self.folder.path().join(format!("node-{node}"));
        let extension = self.tier.extension(node, &[0, 1], &folder, TOKEN);
        let all = json!([{ "name": "all", "type": "always_sample" }]);
        start(&self.tier.back(node, &extension, &all, self.sink.address()))
    }

    fn arrived(&self) -> u64 {
        self.sink.arrived().stats().distinct
    }
}

/// Kills one backend while requests come, and starts it again when the load has ended, or at once. Nothing is lost.
async fn check(back_at_once: bool) {
    let fleet = Fleet::new().await;
    let (killed, other) = (fleet.back(0), fleet.back(1));
    let front = start(&fleet.tier.front(&[0, 1], &fleet.folder.path().join("front")));
    let sent = Arc::new(Sent::default());
    let senders = load(&format!("{}/v1/traces", front.otlp_http), &sent);
    until("half of it is acknowledged", || sent.acknowledged.load(Ordering::SeqCst) >= KILLED_AT).await;
    killed.kill();
    let mut again = back_at_once.then(|| fleet.back(0));
    let ended = AtomicBool::new(false);
    let senders = std::sync::Mutex::new(Some(senders));
    until("all is sent", || {
        let taken = senders.lock().expect("not poisoned").take();
        taken.into_iter().flatten().for_each(|sender| sender.join().expect("a sender"));
        ended.store(true, Ordering::SeqCst);
        true
    })
    .await;
    let acknowledged = sent.acknowledged.load(Ordering::SeqCst);
    let refused = sent.refused.load(Ordering::SeqCst);
    until("the front has nothing left", || metric(&front, "throughline_exporter_queue_items", &[]) == 0)
        .await;
    until("the other backend has nothing left", || {
        metric(&other, "throughline_sampling_undecided_traces", &[]) == 0
            && metric(&other, "throughline_exporter_queue_items", &[]) == 0
    })
    .await;
    let without = fleet.arrived();
    if again.is_none() {
        // Every span that the killed backend had not acknowledged went to the other one: the rest lies on its disk.
        again = Some(fleet.back(0));
    }
    until("every acknowledged span arrives", || fleet.arrived() >= acknowledged).await;
    let stats = fleet.sink.arrived().stats();
    println!(
        "{acknowledged} spans acknowledged, {refused} refused, {} arrived ({} of them more than once); {}",
        stats.distinct,
        stats.spans - stats.distinct,
        match back_at_once {
            true => "the killed backend came back at once".to_owned(),
            false => format!("{without} had before the killed backend's disk was there again"),
        }
    );
    assert_eq!((acknowledged, refused, stats.distinct), (REQUESTS * SPANS, 0, REQUESTS * SPANS));
    drop(again);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_backends_is_killed_and_stays_away_until_the_end() {
    check(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_backends_is_killed_and_comes_back() {
    check(true).await;
}
