//! `telemetry::init` as a service uses it: one process, one global set-up, a collector that is a listener.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../src/telemetry/tests/sink.rs"]
#[expect(dead_code, reason = "the unit tests of the pipeline use the rest")]
mod sink;

use opentelemetry::trace::TraceContextExt as _;
use sink::{Answer, Sink};
use throughline::{Span, process, telemetry, with_correlation_id};

const SENT: [(&str, &str); 2] = [
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("x-correlation-id", "order-42"),
];

#[tracing::instrument(fields(step = 1))]
fn inside_tracing_span() -> String {
    tracing::info!("in a tracing span");
    Span::current().context().span().span_context().span_id().to_string()
}

/// One test: there is one global set-up per process.
#[tokio::test]
async fn spans_and_logs_of_a_handler_reach_the_backend_with_their_ids() {
    let sink = Sink::start(Answer::Ok);
    let telemetry = telemetry::builder("worker")
        .endpoint(sink.url())
        .console(telemetry::Console::Silent)
        .filter("info,quiet=off")
        .install()
        .unwrap();
    assert!(telemetry.warnings().is_empty(), "{:?}", telemetry.warnings());
    let again = telemetry::init("again").unwrap_err();
    assert!(matches!(again, telemetry::TelemetryError::SubscriberInstalled), "{again}");

    tracing::info!("outside");
    let worker_loop = tracing::info_span!("worker_loop");
    let (process_span, inner_span) = tracing::Instrument::instrument(
        process("orders").headers(&SENT[..]).run(async |span| {
            tracing::info!("in the handler");
            tracing::debug!("below the filter");
            tracing::info!(target: "quiet", "filtered by target");
            log::warn!("through the log crate");
            let inner = inside_tracing_span();
            let renamed = with_correlation_id(span.context(), "order-43").unwrap();
            let guard = renamed.attach();
            tracing::info!("renamed");
            drop(guard);
            Ok::<_, std::io::Error>((span.context().span().span_context().span_id().to_string(), inner))
        }),
        worker_loop,
    )
    .await
    .unwrap();

    telemetry.flush().unwrap();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let mut logs: Vec<_> = sink.logs().iter().map(sink::summary).collect();
    logs.sort(); // they are grouped by target on the wire
    assert_eq!(
        logs,
        [
            format!("in a tracing span | {trace} {inner_span} | order-42"),
            format!("in the handler | {trace} {process_span} | order-42"),
            "outside |  | ".to_owned(),
            format!("renamed | {trace} {process_span} | order-43"),
            format!("through the log crate | {trace} {process_span} | order-42"),
        ]
    );

    let parent_of = |name: &str| {
        let span = sink.spans().into_iter().find(|span| span.name == name).unwrap();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("{} < {}", hex(&span.trace_id), hex(&span.parent_span_id))
    };
    assert_eq!(parent_of("process orders"), format!("{trace} < b7ad6b7169203331"));
    assert_eq!(parent_of("inside_tracing_span"), format!("{trace} < {process_span}"));

    let counts = telemetry.shutdown().unwrap();
    assert_eq!((counts.exported, counts.dropped()), (3, 0), "{counts:?}");
}
