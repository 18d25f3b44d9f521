//! The source's second scenario, its "actual output from a demo run": three spans, two services, profile `legacy`. Every
//! printed attribute has its printed value and type.

mod support;

use opentelemetry::Value;
use opentelemetry::trace::{SpanId, SpanKind};
use std::convert::Infallible;
use support::{Headers, Pipeline, attribute};
use throughline::{Meta, Profile, inject_trace_headers, internal, with_consumer_span, with_producer_span};

const TRACE: &str = "429a7e3408f6408f259348df534db2fc";

#[test]
fn the_live_run() {
    throughline::set_profile(Profile::Legacy);
    let api = Pipeline::with_trace_ids(&[TRACE]);
    let message = api.block_on(async || {
        internal("checkout/start")
            .run(async |span| {
                // The source keys the message by its correlation id.
                let correlation_id = span.correlation_id();
                with_producer_span("domain-events", Meta::key(&correlation_id), async || {
                    Ok::<_, Infallible>(inject_trace_headers(Headers::new()))
                })
                .await
            })
            .await
            .unwrap()
    });
    let worker = Pipeline::new();
    worker.block_on(async || {
        let meta = Meta::position(2, 0);
        with_consumer_span("domain-events", "demo-v1", &message, meta, async || ()).await;
    });

    let start = api.span("checkout/start");
    let publish = api.span("domain-events publish");
    let process = worker.span("domain-events process");
    assert_eq!(api.spans().len() + worker.spans().len(), 3);

    check(&start, SpanKind::Internal, SpanId::INVALID, &[]);
    check(
        &publish,
        SpanKind::Producer,
        start.span_context.span_id(),
        &[
            ("messaging.system", "kafka".into()),
            ("messaging.destination.name", "domain-events".into()),
            ("messaging.operation", "publish".into()),
            ("messaging.kafka.message.key", "429a7e3408f6408f".into()),
        ],
    );
    check(
        &process,
        SpanKind::Consumer,
        publish.span_context.span_id(),
        &[
            ("messaging.system", "kafka".into()),
            ("messaging.destination.name", "domain-events".into()),
            ("messaging.kafka.consumer.group", "demo-v1".into()),
            ("messaging.kafka.partition", Value::I64(2)),
            ("messaging.kafka.offset", "0".into()),
        ],
    );
}

fn check(
    span: &opentelemetry_sdk::trace::SpanData,
    kind: SpanKind,
    parent: SpanId,
    printed: &[(&str, Value)],
) {
    assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    assert_eq!(span.span_kind, kind);
    assert_eq!(span.parent_span_id, parent);
    assert_eq!(attribute(span, "correlation_id"), Some("429a7e3408f6408f".into()));
    for (key, value) in printed {
        assert_eq!(attribute(span, key).as_ref(), Some(value), "{key} of {:?}", span.name);
    }
}
