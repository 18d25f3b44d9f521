//! One node: a checkout trace that was dropped is brought back, whole and once, when a settlement batch that links to it is
//! kept: at once, when memory has long forgotten it, and when batch or late span come after a kill -9.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use throughline_e2e::load::{Random, Span, request};
use throughline_e2e::serve::Serve;
use throughline_e2e::sink::{Arrived, Sink};
use throughline_e2e::wait::{PATIENCE, until};
use throughline_otlp::TraceId;

/// Checkouts that the settlement batch links to.
const CHECKOUTS: usize = 5;
/// Traces that push them out of memory, which holds eight.
const OTHERS: usize = 200;

/// Where a test's collector lives, and what arrived from it.
struct Node {
    sink: Sink,
    folder: tempfile::TempDir,
    serve: Option<Serve>,
    random: Random,
}

impl Node {
    /// `sampling`: further keys of the processor.
    async fn start(sampling: &str) -> Self {
        let sink = Sink::start((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a sink");
        let folder = tempfile::tempdir().expect("a folder");
        let yaml = format!(
            "
receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:0'}}}}}}}}
processors:
  tail_sampling:
    decision_wait: 500ms
    {sampling}
    policies:
      - {{name: errors, type: status_code, status_code: {{status_codes: [ERROR]}}}}
      - {{name: what-a-batch-came-from, type: linked_traces, linked_traces: {{direction: contributors}}}}
  batch: {{timeout: 50ms}}
exporters:
  otlp: {{endpoint: '{}', tls: {{insecure: true}}, retry_on_failure: {{initial_interval: 50ms}}}}
extensions:
  throughline: {{restart_grace: 300ms, ui: {{endpoint: '127.0.0.1:0'}}, tempo: {{endpoint: '127.0.0.1:0'}}}}
service:
  extensions: [throughline]
  pipelines: {{traces: {{receivers: [otlp], processors: [tail_sampling, batch], exporters: [otlp]}}}}
",
            sink.address()
        );
        fs::write(folder.path().join("collector.yaml"), yaml).expect("written");
        let mut node = Self { sink, folder, serve: None, random: Random::new(4) };
        node.begin();
        node
    }

    fn begin(&mut self) {
        let (file, data) = (self.folder.path().join("collector.yaml"), self.folder.path().join("data"));
        let arguments = [Path::new("--config"), &file, Path::new("--data-dir"), &data];
        self.serve = Some(tokio::task::block_in_place(|| Serve::with(arguments)));
    }

    fn kill_and_begin(&mut self) {
        self.serve.take().expect("it runs").kill();
        self.begin();
    }

    fn serve(&self) -> &Serve {
        self.serve.as_ref().expect("it runs")
    }

    /// Acknowledged, or the test fails.
    fn send(&self, spans: &[Span]) {
        tokio::task::block_in_place(|| {
            let answer = client()
                .post(format!("{}/v1/traces", self.serve().otlp_http))
                .header("content-type", "application/x-protobuf")
                .send(&request(spans));
            assert_eq!(answer.expect("an answer").status(), 200);
        });
    }

    /// Spans of a trace that went well.
    fn trace(&mut self, spans: usize) -> Vec<Span> {
        let trace = self.random.trace();
        (0..spans).map(|_| Span::new(trace, &mut self.random)).collect()
    }

    /// A settlement batch that failed, with a link to each checkout.
    fn settlement(&mut self, checkouts: &[Vec<Span>]) -> Span {
        let trace = self.random.trace();
        let mut span = Span::new(trace, &mut self.random);
        span.failed = true;
        span.links = checkouts.iter().filter_map(|spans| spans.first()).map(|span| span.trace).collect();
        span
    }

    /// Sends such a batch. Returns it, and everything that is kept for its sake.
    fn settle(&mut self, checkouts: &[Vec<Span>]) -> (Span, Vec<Span>) {
        let settlement = self.settlement(checkouts);
        self.send(std::slice::from_ref(&settlement));
        let kept = [&checkouts.concat()[..], std::slice::from_ref(&settlement)].concat();
        (settlement, kept)
    }

    /// Sends a late span of each checkout, and waits until they have arrived with what was `kept`.
    async fn late_spans(&mut self, checkouts: &[Vec<Span>], kept: &mut Vec<Span>) {
        let late: Vec<_> =
            checkouts.iter().map(|spans| Span::new(trace_of(spans), &mut self.random)).collect();
        self.send(&late);
        kept.extend(late);
        self.arrived(kept).await;
    }

    /// What arrived, and how much of it more than once.
    fn arrivals(&self) -> String {
        let stats = self.sink.arrived().stats();
        format!("{} spans arrived, {} twice", stats.distinct, stats.spans - stats.distinct)
    }

    fn decision(&self, trace: TraceId) -> Value {
        tokio::task::block_in_place(|| {
            let url = format!("{}/tl/v1/trace/{trace}/decision", self.serve().ui);
            let text =
                client().get(url).call().expect("an answer").body_mut().read_to_string().expect("text");
            let answer: Value = serde_json::from_str(&text).expect("JSON");
            answer.pointer("/decisions/0").cloned().unwrap_or_default()
        })
    }

    /// Until the last decision on each of them is that.
    async fn until_decided(&self, traces: impl Iterator<Item = TraceId>, verdict: &str) {
        for trace in traces {
            until(&format!("{trace} is {verdict}"), || {
                self.decision(trace).get("verdict").is_some_and(|is| is == verdict)
            })
            .await;
        }
    }

    /// Sends checkouts, and waits until they are dropped.
    async fn dropped_checkouts(&mut self) -> Vec<Vec<Span>> {
        let checkouts: Vec<_> = (0..CHECKOUTS).map(|_| self.trace(3)).collect();
        // A span of each in turn, so that no record holds a whole trace.
        for at in 0..3 {
            let spans: Vec<_> = checkouts.iter().filter_map(|spans| spans.get(at).cloned()).collect();
            self.send(&spans);
        }
        self.until_decided(checkouts.iter().map(|spans| trace_of(spans)), "not_sampled").await;
        assert_eq!(self.sink.arrived().stats().spans, 0, "nothing is kept yet");
        checkouts
    }

    /// Waits until exactly these have arrived.
    async fn arrived(&self, expected: &[Span]) {
        let arrived = self.sink.arrived();
        let all = expected.len() as u64;
        until("everything that is kept arrives", || arrived.stats().distinct >= all).await;
        assert_eq!(spans_of(&arrived), by_trace(expected), "what is kept, and nothing else");
    }

    /// What brought a checkout back is said.
    fn says_why(&self, checkouts: &[Vec<Span>], settlement: &Span) {
        for spans in checkouts {
            let decision = self.decision(trace_of(spans));
            let pieces = ["verdict", "reason", "linkedFrom"]
                .map(|key| decision.get(key).and_then(Value::as_str).unwrap_or_default());
            assert_eq!(pieces, ["sampled", "linked", &settlement.trace.to_string()], "{decision}");
        }
    }
}

/// Whose spans these are.
fn trace_of(spans: &[Span]) -> TraceId {
    spans.first().expect("a span").trace
}

fn client() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    config.timeout_global(Some(PATIENCE)).build().into()
}

type Spans = BTreeMap<TraceId, Vec<String>>;

fn by_trace(spans: &[Span]) -> Spans {
    let mut traces = Spans::new();
    spans.iter().for_each(|span| traces.entry(span.trace).or_default().push(span.id.to_string()));
    traces.values_mut().for_each(|ids| ids.sort_unstable());
    traces
}

/// Each span once, however often it came.
fn spans_of(arrived: &Arc<Arrived>) -> Spans {
    let mut traces = Spans::new();
    for (trace, _, spans) in arrived.traces() {
        let ids = traces.entry(trace).or_default();
        ids.extend(spans.iter().map(ToString::to_string));
        ids.dedup();
    }
    traces
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_batch_brings_back_what_it_came_from() {
    let mut node = Node::start(LARGE).await;
    let checkouts = node.dropped_checkouts().await;
    let (settlement, mut kept) = node.settle(&checkouts);
    node.arrived(&kept).await;
    node.says_why(&checkouts, &settlement);
    // Its late spans follow it now.
    node.late_spans(&checkouts, &mut kept).await;
    let stats = node.sink.arrived().stats();
    assert_eq!(stats.spans, stats.distinct, "once each");
    println!("dropped checkouts and their batch: {}", node.arrivals());
}

/// The journal answers: memory holds eight undecided traces and one decision of each kind.
const SMALL: &str = "num_traces: 8\n    decision_cache: {sampled_cache_size: 1, non_sampled_cache_size: 1}";
const LARGE: &str = "num_traces: 50000";

/// Traces of other business, until those before are out of memory.
async fn others(node: &mut Node) {
    let others: Vec<_> = (0..OTHERS).map(|_| node.trace(1)).collect();
    others.chunks(20).for_each(|some| node.send(&some.concat()));
    node.until_decided(others.iter().map(|spans| trace_of(spans)), "not_sampled").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_memory_has_forgotten_is_brought_back_from_the_journal() {
    let mut node = Node::start(SMALL).await;
    let checkouts = node.dropped_checkouts().await;
    others(&mut node).await;
    let (settlement, mut kept) = node.settle(&checkouts);
    node.arrived(&kept).await;
    node.says_why(&checkouts, &settlement);
    // Forgotten again, and still known to be kept.
    others(&mut node).await;
    node.late_spans(&checkouts, &mut kept).await;
    println!("forgotten checkouts and their batch: {}", node.arrivals());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_and_late_span_may_come_after_a_kill() {
    for (sampling, what) in [(LARGE, "in memory"), (SMALL, "older than memory")] {
        let mut node = Node::start(sampling).await;
        let checkouts = node.dropped_checkouts().await;
        if what == "older than memory" {
            others(&mut node).await;
        }
        node.kill_and_begin();
        let (settlement, mut kept) = node.settle(&checkouts);
        // Not even decided: the next process does it.
        node.kill_and_begin();
        node.arrived(&kept).await;
        node.says_why(&checkouts, &settlement);
        node.kill_and_begin();
        node.late_spans(&checkouts, &mut kept).await;
        println!("{what}: {}", node.arrivals());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_span_after_a_kill_brings_back_batch_and_checkouts() {
    for (sampling, what) in [(LARGE, "in memory"), (SMALL, "older than memory")] {
        let mut node = Node::start(sampling).await;
        let checkouts = node.dropped_checkouts().await;
        // This batch went well: nobody is kept for its sake.
        let mut settlement = node.settlement(&checkouts);
        settlement.failed = false;
        node.send(std::slice::from_ref(&settlement));
        node.until_decided(std::iter::once(settlement.trace), "not_sampled").await;
        if what == "older than memory" {
            others(&mut node).await;
        }
        node.kill_and_begin();
        let mut late = Span::new(settlement.trace, &mut node.random);
        late.failed = true;
        node.send(std::slice::from_ref(&late));
        let mut kept = checkouts.concat();
        kept.extend([settlement.clone(), late]);
        node.arrived(&kept).await;
        node.says_why(&checkouts, &settlement);
        println!("{what}: {}", node.arrivals());
    }
}
