//! For users of `tracing`: their spans and ours are one trace, and a span that a level filter removes never cuts it.

mod support;

use opentelemetry::trace::TracerProvider;
use support::{Headers, PARENT, Pipeline, headers, values};
use throughline::{inject_trace_headers, process, send};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

#[test]
fn a_filtered_span_does_not_cut_the_trace() {
    let pipeline = Pipeline::new();
    let layer = tracing_opentelemetry::layer().with_tracer(pipeline.provider.tracer("app"));
    let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO).with(layer);
    let _context = pipeline.context().attach();
    tracing::subscriber::with_default(subscriber, || {
        // A consumer loop that has a span of its own: the message still wins (trap 4).
        tracing::info_span!("worker_loop").in_scope(|| {
            process("orders").headers(&headers(&[("traceparent", PARENT)])).run_sync(|_| {
                tracing::info_span!("kept").in_scope(|| {
                    tracing::debug_span!("filtered").in_scope(|| {
                        send("payments").run_sync(|_| {
                            let out = inject_trace_headers(Headers::new());
                            assert_eq!(values(&out, "traceparent").len(), 1);
                        });
                    });
                });
            });
        });
    });
    let (process, kept, send) =
        (pipeline.span("process orders"), pipeline.span("kept"), pipeline.span("send payments"));
    assert_eq!(process.span_context.trace_id().to_string(), support::TRACE);
    assert_eq!(kept.parent_span_id, process.span_context.span_id());
    assert_eq!(send.parent_span_id, kept.span_context.span_id());
    assert_ne!(pipeline.span("worker_loop").span_context.trace_id(), process.span_context.trace_id());
}
