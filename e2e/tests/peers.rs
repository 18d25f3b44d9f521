//! Two nodes behind a front: what one of them keeps brings back what the other dropped, also if the other is away just then,
//! or is killed when it has just said yes. And who may call.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::{Value, json};
use throughline_e2e::serve::Serve;
use throughline_e2e::sink::{Fault, Sink, Then};
use throughline_e2e::tier::{TOKEN, Tier, ask, metric, post, start, until};
use throughline_otlp::TraceId;

const NODES: [usize; 2] = [0, 1];

/// Settlements are kept, and what they were made of.
fn policies() -> Value {
    json!([
        { "name": "settlements", "type": "string_attribute",
          "string_attribute": { "key": "work", "values": ["settlement"] } },
        { "name": "what-it-came-from", "type": "linked_traces", "linked_traces": { "direction": "contributors" } },
    ])
}

fn span(trace: TraceId, number: u64, work: &str, links: &[TraceId]) -> Value {
    let links: Vec<Value> =
        links.iter().map(|to| json!({ "traceId": to.to_string(), "spanId": "00000000000000aa" })).collect();
    json!({
        "traceId": trace.to_string(), "spanId": format!("{number:016x}"), "name": format!("process {work}"),
        "kind": 5, "startTimeUnixNano": "1768485802000000000", "endTimeUnixNano": "1768485802001000000",
        "attributes": [{ "key": "work", "value": { "stringValue": work } }], "links": links,
    })
}

fn send(front: &Serve, spans: Vec<Value>) {
    let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "shop" } }] });
    let request = json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": spans }] }] });
    let url = format!("{}/v1/traces", front.otlp_http);
    let (status, said) = post(&url, &[("content-type", "application/json")], request.to_string().as_bytes());
    assert_eq!(status, 200, "{said}");
}

/// A front, a sink, and two nodes that can be started again.
struct Shop {
    tier: Tier,
    folder: tempfile::TempDir,
    sink: Sink,
    front: Serve,
    /// Of node 0, whose traces are dropped, and of node 1, which settles.
    checkout: TraceId,
    settlement: TraceId,
}

impl Shop {
    async fn open() -> Self {
        let tier = Tier::new(2);
        let folder = tempfile::tempdir().expect("a folder");
        let sink = Sink::start((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a sink");
        let front = start(&tier.front(&NODES, &folder.path().join("front")));
        let (checkout, settlement) = (tier.trace_of(0, &NODES, 0), tier.trace_of(1, &NODES, 0));
        Self { tier, folder, sink, front, checkout, settlement }
    }

    fn node(&self, node: usize, token: &str) -> Serve {
        let folder: &Path = self.folder.path();
        let extension = self.tier.extension(node, &NODES, &folder.join(format!("node-{node}")), token);
        start(&self.tier.back(node, &extension, &policies(), self.sink.address()))
    }

    fn arrived(&self, trace: TraceId) -> usize {
        let traces = self.sink.arrived().traces();
        traces.into_iter().find(|(id, ..)| *id == trace).map_or(0, |(_, _, mut spans)| {
            spans.dedup();
            spans.len()
        })
    }

    /// A checkout that node 0 drops.
    async fn check_out(&self, node: &Serve) {
        send(
            &self.front,
            vec![span(self.checkout, 1, "checkout", &[]), span(self.checkout, 2, "payment", &[])],
        );
        until("the checkout is dropped", || {
            metric(node, "throughline_sampling_decisions_total", &["not_sampled"]) == 1
        })
        .await;
        assert_eq!(self.arrived(self.checkout), 0);
    }

    /// A settlement that node 1 keeps.
    fn settle(&self) {
        send(&self.front, vec![span(self.settlement, 1, "settlement", &[self.checkout])]);
    }

    /// Both are kept, and node 0 says because of which.
    async fn check(&self, node: &Serve) {
        until("the checkout is brought back", || self.arrived(self.checkout) == 2).await;
        assert_eq!(self.arrived(self.settlement), 1);
        let why = ask(&format!("{}/tl/v1/trace/{}/decision", node.ui, self.checkout));
        assert!(why.contains(&self.settlement.to_string()), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_on_one_node_brings_back_the_checkout_that_another_dropped() {
    let shop = Shop::open().await;
    let (first, second) = (shop.node(0, TOKEN), shop.node(1, TOKEN));
    shop.check_out(&first).await;
    shop.settle();
    shop.check(&first).await;
    assert_eq!(metric(&first, "throughline_peers_taken_wishes_total", &[]), 1);
    until("it is counted", || metric(&second, "throughline_peers_wishes_total", &["delivered"]) == 1).await;
    assert_eq!(metric(&second, "throughline_peers_nodes", &[]), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_away_is_told_when_it_is_back_and_does_not_forget_what_it_took() {
    let shop = Shop::open().await;
    let (first, second) = (shop.node(0, TOKEN), shop.node(1, TOKEN));
    shop.check_out(&first).await;
    first.kill();
    shop.settle();
    until("the wish waits", || {
        metric(&second, "throughline_peers_waiting_wishes", &[]) == 1
            && metric(&second, "throughline_peers_failed_calls_total", &["unreachable"]) > 0
    })
    .await;
    until("the settlement has arrived", || shop.arrived(shop.settlement) == 1).await;
    // Node 0 takes the wish, cannot send, and is killed: what it acknowledged it has written down.
    let cut = Fault { count: u64::MAX, delay: std::time::Duration::ZERO, then: Then::Cut };
    shop.sink.arrived().fault(cut.clone());
    let first = shop.node(0, TOKEN);
    until("the wish is taken", || metric(&first, "throughline_peers_taken_wishes_total", &[]) == 1).await;
    first.kill();
    assert_eq!(shop.arrived(shop.checkout), 0);
    shop.sink.arrived().fault(Fault { count: 0, ..cut });
    let first = shop.node(0, TOKEN);
    shop.check(&first).await;
    assert_eq!(
        metric(&first, "throughline_peers_taken_wishes_total", &[]),
        0,
        "it was told in its former life"
    );
    assert_eq!(metric(&second, "throughline_peers_waiting_wishes", &[]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_before_it_could_tell_tells_when_it_is_back() {
    let shop = Shop::open().await;
    let (first, second) = (shop.node(0, TOKEN), shop.node(1, TOKEN));
    shop.check_out(&first).await;
    first.kill();
    shop.settle();
    until("the settlement has arrived", || shop.arrived(shop.settlement) == 1).await;
    second.kill();
    let first = shop.node(0, TOKEN);
    let _second = shop.node(1, TOKEN);
    shop.check(&first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_shows_another_token_or_no_call_is_refused_counted_and_told() {
    let shop = Shop::open().await;
    let (first, second) = (shop.node(0, TOKEN), shop.node(1, "another"));
    shop.check_out(&first).await;
    shop.settle();
    until("the wish is refused", || {
        metric(&second, "throughline_peers_failed_calls_total", &["unauthenticated"]) > 0
            && metric(&first, "throughline_peers_refused_calls_total", &["unauthenticated"]) > 0
    })
    .await;
    assert_eq!(metric(&second, "throughline_peers_waiting_wishes", &[]), 1, "it waits for the right token");
    assert_eq!(metric(&first, "throughline_peers_taken_wishes_total", &[]), 0);

    let bearer = format!("Bearer {TOKEN}");
    let keep = format!("http://{}/tl/v1/peer/keep", shop.tier.peer(0));
    let large = vec![0; 1 << 20];
    // A call for a pipeline that is not there: version, length of the name, name, no wishes.
    let other = b"\x01\x05other\x00".as_slice();
    let cases: [(&str, &str, &[u8], u16, &str); 7] = [
        (keep.as_str(), "", other, 401, "peers::token"),
        (keep.as_str(), "Bearer ", other, 401, "peers::token"),
        (keep.as_str(), "Bearer the tier's own secre", other, 401, "peers::token"),
        (keep.as_str(), &bearer, b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 400, "ends early"),
        (keep.as_str(), &bearer, b"\x09", 400, "version 9"),
        (keep.as_str(), &bearer, &large, 413, "length limit"),
        (keep.as_str(), &bearer, other, 404, "no pipeline \"other\" samples here"),
    ];
    for (url, token, body, status, piece) in cases {
        let headers = [("authorization", token)];
        let headers = if token.is_empty() { &[][..] } else { &headers[..] };
        let (code, said) = post(url, headers, body);
        assert!(code == status && said.contains(piece), "{code}: {said}, expected {status}: {piece}");
    }
}
