//! Two nodes behind a front: what one of them keeps brings back what the other dropped, also if the other is away just then,
//! or is killed when it has just said yes. A third that joins, or leaves: a trace of which two nodes hold a part is kept whole
//! or not at all. And who may call.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, ToSocketAddrs as _};
use std::path::Path;

use serde_json::{Value, json};
use throughline_collector::export::ring::Ring;
use throughline_e2e::serve::Serve;
use throughline_e2e::sink::{Fault, Sink, Then};
use throughline_e2e::tier::{TOKEN, Tier, ask, metric, post, start, until};
use throughline_otlp::TraceId;

const NODES: [usize; 2] = [0, 1];

/// With the one that joins.
const LATER: [usize; 3] = [0, 1, 2];

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
    // And, as the nodes have just started, that the settlement is kept: its former owner might hold a part.
    assert!(metric(&first, "throughline_peers_taken_wishes_total", &[]) >= 1);
    until("it is counted", || metric(&second, "throughline_peers_wishes_total", &["delivered"]) == 2).await;
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
        metric(&second, "throughline_peers_waiting_wishes", &[]) == 2
            && metric(&second, "throughline_peers_failed_calls_total", &["unreachable"]) > 0
    })
    .await;
    until("the settlement has arrived", || shop.arrived(shop.settlement) == 1).await;
    // Node 0 takes the wish, cannot send, and is killed: what it acknowledged it has written down.
    let cut = Fault { count: u64::MAX, delay: std::time::Duration::ZERO, then: Then::Cut };
    shop.sink.arrived().fault(cut.clone());
    let first = shop.node(0, TOKEN);
    until("both are taken", || metric(&first, "throughline_peers_taken_wishes_total", &[]) == 2).await;
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
    until("they wait for the right token", || metric(&second, "throughline_peers_waiting_wishes", &[]) == 2)
        .await;
    assert_eq!(metric(&first, "throughline_peers_taken_wishes_total", &[]), 0);

    let bearer = format!("Bearer {TOKEN}");
    let keep = format!("http://{}/tl/v1/peer/keep", shop.tier.peer(0));
    let large = vec![0; 1 << 20];
    // A call for a pipeline that is not there: version, length of the name, name, no wishes.
    let other = b"\x01\x05other\x00".as_slice();
    let holds = format!("http://{}/tl/v1/peer/holds", shop.tier.peer(0));
    // Whoever asks without a name, about one trace of which nothing is here: a plan, one answer, no flag in it.
    let question = [&b"\x01\x06traces\x00\x01"[..], &[7; 16]].concat();
    let cases: [(&str, &str, &[u8], u16, &str); 12] = [
        (holds.as_str(), "", &question, 401, "peers::token"),
        (holds.as_str(), &bearer, &question[..12], 400, "ends early"),
        (holds.as_str(), &bearer, b"\x02", 400, "version 2"),
        (holds.as_str(), &bearer, b"\x01\x05other\x00\x00", 404, "no pipeline \"other\" samples here"),
        (holds.as_str(), &bearer, &question, 200, "\x01\x00"),
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

/// Traces of three spans and more are kept, by three nodes of which the last one joins later.
struct Growing {
    tier: Tier,
    folder: tempfile::TempDir,
    sink: Sink,
}

impl Growing {
    async fn open() -> Self {
        let sink = Sink::start((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a sink");
        Self { tier: Tier::new(3), folder: tempfile::tempdir().expect("a folder"), sink }
    }

    fn node(&self, node: usize, among: &[usize]) -> Serve {
        self.patient(node, among, "1s")
    }

    /// A node that decides after `wait`.
    fn patient(&self, node: usize, among: &[usize], wait: &str) -> Serve {
        self.start(node, &self.extension(node, among), wait)
    }

    fn extension(&self, node: usize, among: &[usize]) -> Value {
        let folder = self.folder.path().join(format!("node-{node}"));
        self.tier.extension(node, among, &folder, TOKEN)
    }

    fn start(&self, node: usize, extension: &Value, wait: &str) -> Serve {
        let policies = json!([{ "name": "three", "type": "span_count", "span_count": { "min_spans": 3 } }]);
        let mut node = self.tier.back(node, extension, &policies, self.sink.address());
        if let Some(value) = node.pointer_mut("/processors/tail_sampling/decision_wait") {
            *value = json!(wait);
        }
        start(&node)
    }

    fn front(&self, among: &[usize]) -> Serve {
        // A folder of its own: what one before had not noted as delivered would be sent to other nodes.
        let folder = self.folder.path().join(format!("front-{}", among.len()));
        start(&self.tier.front(among, &folder))
    }

    /// A trace that belongs to this node, and to the last one once that has joined.
    fn moves_from(&self, node: usize, number: u64) -> TraceId {
        self.tier.trace_that_moves(&[(node, &NODES), (2, &LATER)], number)
    }

    fn arrived(&self, trace: TraceId) -> usize {
        let traces = self.sink.arrived().traces();
        traces.into_iter().find(|(id, ..)| *id == trace).map_or(0, |(_, _, mut spans)| {
            spans.dedup();
            spans.len()
        })
    }
}

fn spans(trace: TraceId, numbers: std::ops::RangeInclusive<u64>) -> Vec<Value> {
    numbers.map(|number| span(trace, number, "checkout", &[])).collect()
}

fn decided(node: &Serve, verdict: &str) -> u64 {
    metric(node, "throughline_sampling_decisions_total", &[verdict])
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_that_straddle_a_scale_up_are_kept_whole_or_not_at_all() {
    let shop = Growing::open().await;
    let (kept, other, small) = (shop.moves_from(0, 0), shop.moves_from(1, 0), shop.moves_from(0, 1));
    let stays = shop.tier.trace_that_moves(&[(0, &NODES), (0, &LATER)], 0);
    let nodes = [shop.node(0, &NODES), shop.node(1, &NODES)];
    let front = shop.front(&NODES);
    let before = [spans(kept, 1..=2), spans(other, 1..=1), spans(small, 1..=1), spans(stays, 1..=3)].concat();
    send(&front, before);
    until("what stays is kept", || shop.arrived(stays) == 3).await;
    until("the rest has arrived", || {
        metric(&nodes[1], "otelcol_processor_tail_sampling_sampling_traces_on_memory", &[]) == 1
    })
    .await;
    // A static list changes by restarts, which come at any time: undecided traces are in the journals.
    drop(front);
    nodes.into_iter().for_each(Serve::kill);
    let nodes = LATER.map(|node| shop.node(node, &LATER));
    let front = shop.front(&LATER);
    send(&front, [spans(kept, 3..=3), spans(other, 2..=3), spans(small, 2..=2)].concat());
    until("both are kept whole", || shop.arrived(kept) == 3 && shop.arrived(other) == 3).await;
    until("the small one is decided", || decided(&nodes[2], "\"not_sampled\"") > 0).await;
    assert_eq!(shop.arrived(small), 0, "two spans, whoever has them");
    until("all have asked", || metric(&nodes[2], "throughline_sampling_asked_elsewhere_total", &[]) == 3)
        .await;
    // The others may have decided before the last one was there.
    assert_eq!(metric(&nodes[2], "throughline_sampling_unanswered_total", &[]), 0);
    for node in &nodes {
        // Each about its parts of four traces, and not for ever: twice if spans came, or a node restarted, between.
        let asked = metric(node, "throughline_sampling_asked_elsewhere_total", &[]);
        assert!(asked <= 8, "{asked} questions");
    }
    let why = ask(&format!("{}/tl/v1/trace/{kept}/decision", nodes[0].ui));
    assert!(why.contains("three"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_owner_that_is_away_is_done_without_and_asks_when_it_is_back() {
    let shop = Growing::open().await;
    let (split, whole) = (shop.moves_from(0, 0), shop.moves_from(0, 1));
    let first = shop.patient(0, &NODES, "1h");
    let front = shop.front(&NODES);
    send(&front, spans(split, 1..=2));
    until("it has arrived", || metric(&first, "throughline_sampling_undecided_traces", &[]) == 1).await;
    drop(front);
    first.kill();
    let (_second, third) = (shop.node(1, &LATER), shop.node(2, &LATER));
    let front = shop.front(&LATER);
    send(&front, [spans(split, 3..=3), spans(whole, 1..=3)].concat());
    until("what is whole is kept", || shop.arrived(whole) == 3).await;
    until("the rest is decided alone", || decided(&third, "\"not_sampled\"") == 1).await;
    assert!(metric(&third, "throughline_sampling_unanswered_total", &[]) >= 2);
    assert!(metric(&third, "throughline_peers_questions_total", &["unreachable"]) >= 2);
    assert_eq!(shop.arrived(split), 0);
    // What it had taken is undecided in its journal, and it asks whose that is by now.
    let first = shop.node(0, &LATER);
    until("both parts are kept", || shop.arrived(split) == 3).await;
    assert!(metric(&first, "throughline_peers_questions_total", &["answered"]) >= 1);
    assert_eq!(decided(&third, "\"sampled\""), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_taken_off_the_list_is_asked_by_those_who_knew_it() {
    let shop = Growing::open().await;
    let moved = shop.tier.trace_that_moves(&[(2, &LATER), (0, &NODES)], 0);
    let nodes = [shop.node(0, &LATER), shop.node(1, &LATER)];
    let leaving = shop.patient(2, &LATER, "1h");
    let front = shop.front(&LATER);
    send(&front, spans(moved, 1..=2));
    until("it has arrived", || metric(&leaving, "throughline_sampling_undecided_traces", &[]) == 1).await;
    // It goes on, to hand over what it has.
    drop(front);
    nodes.into_iter().for_each(Serve::kill);
    let nodes = NODES.map(|node| shop.node(node, &NODES));
    let front = shop.front(&NODES);
    send(&front, spans(moved, 3..=3));
    until("both parts are kept", || shop.arrived(moved) == 3).await;
    let name = shop.tier.name(2);
    let peer = |figures: &Value| {
        let mut peers =
            figures.pointer("/tier/peers").and_then(Value::as_array).into_iter().flatten().cloned();
        peers.find(|peer| peer.get("name") == Some(&json!(name)))
    };
    let figures: Value = serde_json::from_str(&ask(&format!("{}/tl/v1/sampler", nodes[0].ui))).expect("JSON");
    assert_eq!(figures.pointer("/tier/nodes"), Some(&json!(2)), "{figures}");
    let answered = peer(&figures).and_then(|peer| peer.get("answeredTraces").cloned());
    assert_eq!(answered, Some(json!(1)), "{figures}");
    assert_eq!(figures.pointer("/samplers/0/askedElsewhere"), Some(&json!(1)), "{figures}");
    let page = ask(&format!("{}/sampler", nodes[0].ui));
    assert!(page.contains(&format!("data-peer=\"{name}\"")), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_know_its_own_name_counts_nothing_twice() {
    let shop = Growing::open().await;
    let mut extension = shop.extension(0, &NODES);
    let peers = extension.pointer_mut("/peers").and_then(Value::as_object_mut).expect("peers");
    // Both nodes are on this machine: it cannot find out which of them it is, and asks both.
    assert!(peers.remove("advertise").is_some());
    let node = shop.start(0, &extension, "1s");
    let front = shop.front(&NODES);
    let trace = shop.tier.trace_of(0, &NODES, 0);
    send(&front, spans(trace, 1..=2));
    until("it is decided", || decided(&node, "") == 1).await;
    assert_eq!(decided(&node, "\"not_sampled\""), 1, "two spans are not three");
    assert!(metric(&node, "throughline_peers_questions_total", &["answered", &shop.tier.name(0)]) >= 1);
    assert_eq!(metric(&node, "throughline_peers_answered_questions_total", &[]), 0, "not a peer's");
}

/// A tier of one name, which DNS, or what stands for it on this machine, knows.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_fronts_find_each_other_by_a_name() {
    let shop = Growing::open().await;
    let [otlp, peer] = [(); 2].map(|()| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.local_addr().expect("bound").port()
    });
    let resolver =
        json!({ "dns": { "hostname": "localhost", "port": otlp.to_string(), "interval": "200ms" } });
    let name = format!("127.0.0.1:{otlp}");
    let set = |configuration: &mut Value, at: &str, value: &Value| {
        *configuration.pointer_mut(at).unwrap_or_else(|| panic!("{at}")) = value.clone();
    };
    let mut extension = shop.extension(0, &NODES);
    set(&mut extension, "/peers/endpoint", &json!(format!("127.0.0.1:{peer}")));
    set(&mut extension, "/peers/advertise", &json!(name));
    set(&mut extension, "/peers/resolver", &resolver);
    let policies = json!([{ "name": "three", "type": "span_count", "span_count": { "min_spans": 3 } }]);
    let mut node = shop.tier.back(0, &extension, &policies, shop.sink.address());
    set(&mut node, "/receivers/otlp/protocols/grpc/endpoint", &json!(name));
    let node = start(&node);
    let mut front = shop.tier.front(&NODES, &shop.folder.path().join("front"));
    set(&mut front, "/exporters/loadbalancing/resolver", &resolver);
    let front = start(&front);
    // On some machines the name has an address of the other kind as well.
    let addresses = ("localhost", otlp).to_socket_addrs().expect("a name of this machine");
    let names: std::collections::BTreeSet<String> = addresses.map(|address| address.to_string()).collect();
    let ring = Ring::new(names.iter().map(String::as_str));
    let owned = |trace: &TraceId| ring.owner(&trace.bytes()).is_some_and(|owner| ring.name(owner) == name);
    let traces = (1..1_000_u128).filter_map(|number| TraceId::new((number << 64 | number).to_be_bytes()));
    let traces: Vec<TraceId> = traces.filter(owned).take(2).collect();
    let [whole, part] = traces[..] else { panic!("a node owns more than two of a thousand traces") };
    send(&front, [spans(whole, 1..=3), spans(part, 1..=2)].concat());
    until("what is whole is kept", || shop.arrived(whole) == 3).await;
    until("the rest is decided", || decided(&node, "\"not_sampled\"") == 1).await;
    let figures: Value = serde_json::from_str(&ask(&format!("{}/tl/v1/sampler", node.ui))).expect("JSON");
    assert_eq!(figures.pointer("/tier/us"), Some(&json!(name)), "{figures}");
    assert_eq!(figures.pointer("/tier/nodes"), Some(&json!(names.len())), "{figures}");
}

/// Answers every call as a node of before does that knows nothing of it.
fn node_of_before(listener: TcpListener) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        std::thread::spawn(move || {
            let mut call = [0; 4096];
            while stream.read(&mut call).is_ok_and(|read| read > 0) {
                let said = "/tl/v1/peer/holds is no call of peers";
                let head = format!("HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n", said.len());
                if stream.write_all(format!("{head}{said}").as_bytes()).is_err() {
                    return;
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_before_that_does_not_know_the_question_is_done_without() {
    let shop = Growing::open().await;
    let listener = TcpListener::bind(shop.tier.peer(0)).expect("the address of the node");
    // Ends with the process.
    std::thread::spawn(move || node_of_before(listener));
    let third = shop.node(2, &LATER);
    let front = shop.front(&LATER);
    let moved = shop.moves_from(0, 0);
    send(&front, spans(moved, 1..=2));
    until("it is decided alone", || decided(&third, "\"not_sampled\"") == 1).await;
    assert_eq!(metric(&third, "throughline_peers_questions_total", &["refused"]), 1);
    assert_eq!(metric(&third, "throughline_sampling_unanswered_total", &[]), 1);
}
