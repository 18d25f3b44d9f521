//! A pipeline with tail sampling, ending in the store: what is kept and what is not, late spans, a restart in between.

use std::path::Path;
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::{Status, span::Link};
use prost::Message;
use throughline_otlp::Signal;
use throughline_sampling::Plan;
use throughline_sampling::decision::{Reason, Verdict};
use throughline_sampling::settings::{
    DecisionCache, Direction, FirstMatch, LinkedTraces, Overflow, Policy, Rule, Settings, Shutdown,
    StatusCode, Strategy,
};

use super::client::{Grpc, TRACES};
use super::requests::{trace, traces};
use super::*;
use crate::topology::{Batch, End, Pipeline, Receiver, Server, Topology, Web};

pub(super) const WAIT: Duration = Duration::from_millis(300);

fn settings(wait: Duration) -> Settings {
    let policy = |name: &str, rule| Policy { name: name.to_owned(), rule };
    let links = LinkedTraces {
        direction: Direction::Contributors,
        from_policies: None,
        max_hops: 1,
        max_traces: 100.try_into().unwrap(),
        look_back: Duration::from_secs(3600),
    };
    Settings {
        decision_wait: wait,
        decision_wait_after_root: None,
        num_traces: 1000.try_into().unwrap(),
        overflow: Overflow::DecideOldest,
        decision_cache: DecisionCache { sampled: None, non_sampled: None },
        strategy: Strategy::TraceComplete,
        first_match: FirstMatch::AskAll,
        maximum_trace_size_bytes: None,
        shutdown: Shutdown::Resume,
        policies: vec![
            policy("errors", Rule::StatusCode { codes: vec![StatusCode::Error] }),
            policy("links", Rule::LinkedTraces(links)),
        ],
    }
}

pub(super) fn sampling(data: DataFolder, wait: Duration) -> Config {
    let any = Server::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let receiver =
        Receiver { name: "otlp".to_owned(), grpc: Some(any), http: None, web: Web::default(), kafka: None };
    let pipeline = Pipeline {
        name: "traces".to_owned(),
        signal: Signal::Traces,
        receivers: vec![0],
        division: Default::default(),
        sampling: Some(Arc::new(Plan::compile(settings(wait)).unwrap())),
        memory: None,
        batch: Batch::default(),
        ends: vec![End::Store],
    };
    let topology = Topology { receivers: vec![receiver], pipelines: vec![pipeline] };
    Config { data, topology: Some(topology), shards: 2, ..Config::default() }
}

/// One span, perhaps failed, perhaps with links.
fn span(in_trace: u64, number: u64, name: &str, code: i32, links: &[u64]) -> Vec<u8> {
    let mut request = traces(&[(in_trace, number, name)]);
    let span = &mut request.resource_spans[0].scope_spans[0].spans[0];
    span.status = Some(Status { code, ..Status::default() });
    let link =
        |to: &u64| Link { trace_id: trace(*to).bytes().to_vec(), span_id: vec![1; 8], ..Link::default() };
    span.links = links.iter().map(link).collect();
    request.encode_to_vec()
}

const OK: i32 = 1;
const ERROR: i32 = 2;

async fn send(backend: &Backend, requests: &[Vec<u8>]) {
    let mut client = Grpc::connect(backend.addresses().grpc.unwrap()).await;
    for request in requests {
        assert_eq!(client.export(TRACES, request).await.status, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_kept_with_late_spans_and_what_they_link_to_and_nothing_else() {
    let backend = start(sampling(DataFolder::Ephemeral, WAIT)).await;
    let (mut arrivals, store) = (backend.arrivals(), backend.store());
    send(
        &backend,
        &[
            span(1, 1, "fine", OK, &[]),
            span(2, 1, "failed", ERROR, &[]),
            span(2, 2, "its cause", OK, &[]),
            span(3, 1, "first fine", OK, &[]),
            span(4, 1, "contributor", OK, &[]),
        ],
    )
    .await;
    arrived(&mut arrivals, &[trace(2)]).await;
    assert_eq!(spans(&store, trace(2)), ["failed", "its cause"]);
    // All five were decided at the same time, so these are not merely late.
    for number in [1, 3, 4] {
        assert_eq!(spans(&store, trace(number)), [""; 0], "{number}");
    }
    send(
        &backend,
        &[
            span(2, 3, "late", OK, &[]),
            span(3, 2, "late failure", ERROR, &[]),
            span(5, 1, "failed batch", ERROR, &[4, 5]),
        ],
    )
    .await;
    let late: Vec<TraceId> = [2, 3, 4, 5].map(trace).to_vec();
    arrived(&mut arrivals, &late).await;
    assert_eq!(spans(&store, trace(2)), ["failed", "its cause", "late"]);
    assert_eq!(spans(&store, trace(3)), ["first fine", "late failure"]);
    assert_eq!(spans(&store, trace(4)), ["contributor"]);
    assert_eq!(spans(&store, trace(5)), ["failed batch"]);
    assert_eq!(spans(&store, trace(1)), [""; 0]);
    let kept = store.trace(trace(4)).unwrap().spans;
    let reason = kept[0].attributes.iter().find(|attribute| attribute.key == "throughline.sampling.reason");
    assert_eq!(reason.unwrap().value.to_text(), format!("linked from {}", trace(5)));
    let decision = |number| backend.decision(trace(number)).map(|it| (it.verdict, it.reason));
    assert_eq!(decision(1), Some((Verdict::NotSampled, Reason::NoPolicy)));
    assert_eq!(decision(3), Some((Verdict::Sampled, Reason::Policy(Arc::from("errors")))));
    assert_eq!(decision(4), Some((Verdict::Sampled, Reason::LinkedFrom(trace(5)))));
    assert_eq!(decision(9), None);
    drop(store);
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_resumes_undecided_traces_and_remembers_decisions() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &Path, wait| sampling(DataFolder::Persistent(path.to_path_buf()), wait);
    let first = start(at(dir.path(), WAIT)).await;
    let mut arrivals = first.arrivals();
    send(&first, &[span(1, 1, "failed", ERROR, &[]), span(2, 1, "fine", OK, &[])]).await;
    arrived(&mut arrivals, &[trace(1)]).await;
    first.shutdown().await;

    // Nothing is decided in this life.
    let second = start(at(dir.path(), Duration::from_secs(3600))).await;
    send(&second, &[span(3, 1, "undecided", OK, &[]), span(4, 1, "undecided failure", ERROR, &[])]).await;
    send(&second, &[span(1, 2, "late", OK, &[])]).await;
    drop(second);

    let third = start(at(dir.path(), WAIT)).await;
    let (mut arrivals, store) = (third.arrivals(), third.store());
    send(&third, &[span(2, 2, "late failure", ERROR, &[]), span(4, 2, "its rest", OK, &[])]).await;
    let mut missing = vec![trace(2), trace(4)];
    while !missing.is_empty() {
        let arrival = timeout(PATIENCE, arrivals.recv()).await.unwrap().unwrap();
        missing.retain(|trace| !arrival.contains(trace));
    }
    assert_eq!(spans(&store, trace(1)), ["failed", "late"]);
    assert_eq!(spans(&store, trace(2)), ["fine", "late failure"]);
    assert_eq!(spans(&store, trace(3)), [""; 0]);
    assert_eq!(spans(&store, trace(4)), ["its rest", "undecided failure"]);
    drop(store);
    third.shutdown().await;
}
