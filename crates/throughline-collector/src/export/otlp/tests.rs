//! OTLP out over real sockets: to the sink that fails on request, behind TLS, and to our own receiver.
//!
//! The keys beside this file are of these tests and worth nothing; their certificates are valid for a hundred years.

mod receiver;
mod tls;

use bytes::Bytes;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

use super::*;
use crate::export::bearer::Token;
use crate::export::sink::{Arrived, Fault, Sink, Stats};
use crate::export::{Rejected, Trouble};

/// Longer than anything here takes; a hang fails instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// One span for each pair of trace and span.
pub(crate) fn traces(ids: impl IntoIterator<Item = (u8, u8)>) -> Bytes {
    let span = |(trace, span): (u8, u8)| {
        let mut trace_id = vec![trace.wrapping_mul(37); 16];
        trace_id[0] = trace;
        trace_id[15] = 1;
        Span { trace_id, span_id: vec![span; 8], name: "x".repeat(400), ..Span::default() }
    };
    let scope = ScopeSpans { spans: ids.into_iter().map(span).collect(), ..ScopeSpans::default() };
    let group = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec().into()
}

fn logs(count: usize) -> Bytes {
    let scope = ScopeLogs { log_records: vec![LogRecord::default(); count], ..ScopeLogs::default() };
    let group = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![group] }.encode_to_vec().into()
}

/// Every way in which a request can travel in clear.
fn ways(address: SocketAddr) -> Vec<OtlpSettings> {
    let mut ways = Vec::new();
    for protocol in [Protocol::Grpc, Protocol::Http(Encoding::Proto), Protocol::Http(Encoding::Json)] {
        for compression in [Compression::None, Compression::Gzip] {
            ways.push(OtlpSettings { compression, ..plain(protocol, address) });
        }
    }
    ways
}

pub(crate) fn plain(protocol: Protocol, address: SocketAddr) -> OtlpSettings {
    OtlpSettings { timeout: Some(PATIENCE), ..OtlpSettings::new(protocol, format!("http://{address}")) }
}

async fn send(exporter: &OtlpExporter, signal: Signal, request: Bytes) -> Outcome {
    tokio::time::timeout(PATIENCE, exporter.send(signal, request.into())).await.expect("an outcome")
}

#[tokio::test]
async fn every_way_delivers_both_signals() {
    let sink = Sink::start(any_port()).await.unwrap();
    let arrived = sink.arrived();
    for mut settings in ways(sink.address()) {
        settings.headers = vec![("X-Tenant".to_owned(), "acme".to_owned())];
        let exporter = OtlpExporter::new(settings.clone()).unwrap();
        // The second is large enough to be prepared on another thread.
        for count in [2, 250] {
            arrived.reset();
            let request = traces((0..count).map(|number| (number, 1)));
            assert_eq!(send(&exporter, Signal::Traces, request).await, Outcome::ACCEPTED, "{settings:?}");
            let Stats { spans, distinct, traces, .. } = arrived.stats();
            assert_eq!(
                (spans, distinct, traces),
                (u64::from(count), u64::from(count), u64::from(count)),
                "{settings:?}"
            );
            assert_eq!(arrived.header("x-tenant"), "acme");
            assert!(arrived.header("user-agent").starts_with("throughline/"));
        }
        assert_eq!(send(&exporter, Signal::Logs, logs(3)).await, Outcome::ACCEPTED, "{settings:?}");
        assert_eq!(arrived.stats().logs, 3);
        let metrics = send(&exporter, Signal::Metrics, Bytes::new()).await;
        assert_eq!(metrics, Outcome::Refused { why: "metrics are not exported".to_owned() });
        if settings.compression == Compression::Gzip {
            assert!(arrived.stats().bytes < 20_000, "compressed");
        }
    }
}

/// The token of a file is shown as it is by then, and never in a log.
#[tokio::test]
async fn a_token_is_shown_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let sink = Sink::start(any_port()).await.unwrap();
    let arrived = sink.arrived();
    let bearer = |header: &str, scheme: &str, token: Token| {
        let (header, scheme) = (header.to_owned(), scheme.to_owned());
        Some(BearerSettings { header, scheme, token, every: Duration::ZERO })
    };
    let exporter = |settings: OtlpSettings, bearer| OtlpExporter::new(OtlpSettings { bearer, ..settings });
    for settings in ways(sink.address()) {
        std::fs::write(&file, "\n first \nsecond\n").unwrap();
        let fixed = bearer("x-key", "", Token::Text("bare".to_owned()));
        let fixed = exporter(settings.clone(), fixed).unwrap();
        assert_eq!(send(&fixed, Signal::Traces, traces([(1, 1)])).await, Outcome::ACCEPTED);
        assert_eq!(arrived.header("x-key"), "bare");
        let from_file = bearer("authorization", "Bearer", Token::File(file.clone()));
        assert!(!format!("{from_file:?}").contains("first"));
        let from_file = exporter(settings, from_file).unwrap();
        for (content, expected) in
            [(None, "Bearer first"), (Some("third\n"), "Bearer third"), (Some(""), "Bearer third")]
        {
            if let Some(content) = content {
                std::fs::write(&file, content).unwrap();
            }
            assert_eq!(send(&from_file, Signal::Traces, traces([(1, 1)])).await, Outcome::ACCEPTED);
            assert_eq!(arrived.header("authorization"), expected);
        }
    }
    for (header, token, expected) in [
        ("a b", Token::Text("t".to_owned()), "`auth.authenticator`: `a b` is no name of a header"),
        ("x", Token::Text("a\nb".to_owned()), "`auth.authenticator`: the token has characters"),
        ("x", Token::File(file), "`auth.authenticator`: "),
        ("x", Token::File(folder.path().join("none")), "`auth.authenticator`: cannot read "),
    ] {
        let error = exporter(plain(Protocol::Grpc, sink.address()), bearer(header, "Bearer", token));
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error} is not {expected}");
    }
}

#[tokio::test]
async fn the_answer_decides() {
    let sink = Sink::start(any_port()).await.unwrap();
    let arrived = sink.arrived();
    for settings in ways(sink.address()) {
        let exporter = OtlpExporter::new(settings.clone()).unwrap();
        for (fault, expected, kept) in [
            ("status=503&retry_after=7", "Destination Some(7s)", 0),
            ("status=429&retry_after=1", "Destination Some(1s)", 0),
            ("status=503", "Destination None", 0),
            ("status=400", "refused", 0),
            ("cut=1", "Connection None", 0),
            ("cut=after", "Connection None", 1),
            ("partly=2", "accepted but 2: rejected on purpose", 1),
            ("delay_ms=1", "accepted", 1),
        ] {
            arrived.reset();
            // Twice: a connection that was kept and turns out to be cut is replaced once.
            arrived.fault(Fault::from_query(&format!("{fault}&count=2")).unwrap());
            let said = match send(&exporter, Signal::Traces, traces([(1, 1)])).await {
                Outcome::Accepted { rejected: None } => "accepted".to_owned(),
                Outcome::Accepted { rejected: Some(Rejected { items, why }) } => {
                    format!("accepted but {items}: {why}")
                }
                Outcome::Retry { after, trouble, rest: None, .. } => format!("{trouble:?} {after:?}"),
                Outcome::Refused { why } if why.contains("refused on purpose") => "refused".to_owned(),
                other => format!("{other:?}"),
            };
            assert_eq!(said, expected, "{fault}, {settings:?}");
            assert_eq!(arrived.stats().distinct, kept, "{fault}");
        }
        arrived.reset();
        assert_eq!(send(&exporter, Signal::Traces, traces([(1, 1)])).await, Outcome::ACCEPTED, "it recovers");
    }
}

/// Tries again at once until the destination has it.
async fn send_until_accepted(exporter: &OtlpExporter, request: &Bytes) {
    let trying = async {
        while send(exporter, Signal::Traces, request.clone()).await != Outcome::ACCEPTED {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, trying).await.expect("accepted at last");
}

#[tokio::test]
async fn a_destination_may_come_late_and_restart() {
    let sink = Sink::start(any_port()).await.unwrap();
    let address = sink.address();
    let mut arrived = sink.stop().await;
    for settings in ways(address) {
        let exporter = OtlpExporter::new(settings).unwrap();
        let said = send(&exporter, Signal::Traces, traces([(1, 1)])).await;
        let Outcome::Retry { trouble: Trouble::Connection, why, .. } = said else { panic!("{said:?}") };
        assert!(why.contains("cannot connect") && why.contains(&address.to_string()), "{why}");
        let sink = Sink::start_over(address, arrived).await.unwrap();
        send_until_accepted(&exporter, &traces([(1, 1)])).await;
        arrived = sink.stop().await;
        let sink = Sink::start_over(address, Arc::clone(&arrived)).await.unwrap();
        // The connection that was kept is gone; nobody is to notice.
        assert_eq!(send(&exporter, Signal::Traces, traces([(2, 1)])).await, Outcome::ACCEPTED);
        arrived = sink.stop().await;
        assert_eq!(arrived.stats().distinct, 2);
        arrived.reset();
    }
}

#[tokio::test]
async fn silence_is_waited_for_only_so_long() {
    let sink = Sink::start(any_port()).await.unwrap();
    for mut settings in ways(sink.address()) {
        settings.timeout = Some(Duration::from_millis(50));
        let exporter = OtlpExporter::new(settings).unwrap();
        sink.arrived().fault(Fault::from_query("delay_ms=600000&count=1").unwrap());
        let said = send(&exporter, Signal::Traces, traces([(1, 1)])).await;
        let Outcome::Retry { trouble: Trouble::Connection, why, .. } = said else { panic!("{said:?}") };
        assert!(why.ends_with("no answer within 50ms"), "{why}");
        send_until_accepted(&exporter, &traces([(1, 1)])).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_share_connections_and_all_arrive() {
    let sink = Sink::start(any_port()).await.unwrap();
    for settings in ways(sink.address()) {
        sink.arrived().reset();
        let exporter = Arc::new(OtlpExporter::new(settings).unwrap());
        let mut sending = tokio::task::JoinSet::new();
        for number in 0..100 {
            let exporter = Arc::clone(&exporter);
            sending.spawn(async move {
                send(&exporter, Signal::Traces, traces([(number, 1), (number, 2)])).await
            });
        }
        while let Some(outcome) = sending.join_next().await {
            assert_eq!(outcome.unwrap(), Outcome::ACCEPTED);
        }
        let Stats { spans, distinct, requests, .. } = sink.arrived().stats();
        assert_eq!((spans, distinct, requests), (200, 200, 100));
    }
}

#[test]
fn settings_that_cannot_work_are_said_at_once() {
    let check = |change: &dyn Fn(&mut OtlpSettings), expected: &str| {
        let mut settings = OtlpSettings::new(Protocol::Grpc, "localhost:4317");
        settings.security = Security::Plain;
        change(&mut settings);
        assert_eq!(OtlpExporter::new(settings).unwrap_err().to_string(), expected);
    };
    check(&|s| s.headers = vec![("a b".to_owned(), String::new())], "`headers`: \"a b\": not a header name");
    check(
        &|s| s.headers = vec![("a".to_owned(), "x\ny".to_owned())],
        "`headers`: \"a\": its value has characters no header can have",
    );
    check(
        &|s| s.endpoint = "localhost".to_owned(),
        "`endpoint`: \"localhost\" has no port; 4317 is the usual one",
    );
    for name in ["zstd", "snappy", "GZIP"] {
        let expected = format!("compression {name:?} is not supported here; use gzip or none");
        assert_eq!(name.parse::<Compression>(), Err(expected));
    }
    assert_eq!(("gzip".parse(), "".parse()), (Ok(Compression::Gzip), Ok(Compression::None)));
}

/// A sink's counters, for tests of other modules.
pub(crate) fn distinct(arrived: &Arrived) -> u64 {
    arrived.stats().distinct
}
