//! The source's first scenario, its printed tree: one checkout through three services and a batcher, profile `legacy`.
//!
//! ```text
//! Trace: 4bf92f3577b34da6a3ce929d0e0e4736
//! ├─ api: POST /checkout (INTERNAL)
//! │  └─ orders publish (PRODUCER)
//! ├─ orders process (CONSUMER) - payment-worker
//! │  └─ payments publish (PRODUCER)
//! ├─ payments process (CONSUMER) - email-worker
//! │  └─ notifications publish (PRODUCER)
//! └─ v1.settlements.batched process (CONSUMER) - batcher
//!    └─ linked_trace_id_count: 5
//!    └─ linked_trace_id_hash: a3f2c1...
//! ```
//!
//! The batch is a trace of its own, linked (it is drawn below the trace because of its links); the hash is of five traces
//! the source does not print, so it is checked against the rule instead of against `a3f2c1`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use opentelemetry::Value;
use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_sdk::trace::SpanData;
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use support::{Headers, Pipeline, attribute, text};
use throughline::{
    ContextMode, Meta, ProcessingSpan, Profile, extract_batch_lineage, inject_trace_headers, internal,
    with_consumer_span, with_processing_span, with_producer_span,
};

const CHECKOUT: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHERS: [&str; 4] = [
    "0af7651916cd43dd8448eb211c80319c",
    "11111111111111111111111111111111",
    "fedcba98765432100123456789abcdef",
    "a0000000000000000000000000000001",
];

async fn publish(topic: &str, key: &str) -> Result<Headers, Infallible> {
    with_producer_span(topic, Meta::key(key), async || Ok(inject_trace_headers(Headers::new()))).await
}

/// One checkout up to the message on `notifications`.
async fn checkout() -> Result<Headers, Infallible> {
    let order =
        internal("POST /checkout").run(async |span| publish("orders", &span.correlation_id()).await).await?;
    let payment = with_consumer_span("orders", "payment-worker", &order, Meta::position(0, 7), async || {
        publish("payments", "k").await
    })
    .await?;
    with_consumer_span("payments", "email-worker", &payment, Meta::position(1, 3), async || {
        publish("notifications", "k").await
    })
    .await
}

async fn flush(batch: Vec<Headers>) {
    let lineage = extract_batch_lineage(&batch, 50);
    let (count, hash) = (lineage.linked_trace_id_count, lineage.linked_trace_id_hash);
    let span = ProcessingSpan {
        name: "v1.settlements.batched process".into(),
        context_mode: Some(ContextMode::None),
        links: lineage.links,
        topic: "notifications".into(),
        consumer_group: Some("batcher".into()),
        ..ProcessingSpan::default()
    };
    with_processing_span(span, async |span| {
        span.set("linked_trace_id_count", i64::try_from(count).unwrap());
        span.set("linked_trace_id_hash", hash.unwrap());
    })
    .await;
}

#[test]
fn the_printed_tree() {
    throughline::set_profile(Profile::Legacy);
    let pipeline = Pipeline::with_trace_ids(&[CHECKOUT, OTHERS[0], OTHERS[1], OTHERS[2], OTHERS[3]]);
    pipeline.block_on(async || {
        let mut batch = Vec::new();
        for _ in 0..5 {
            batch.push(checkout().await.unwrap());
        }
        flush(batch).await;
    });

    let checkout = TraceId::from_hex(CHECKOUT).unwrap();
    let spans: Vec<SpanData> = pipeline.spans();
    assert_eq!(spans.len(), 5 * 6 + 1);
    let of = |name: &str| {
        let mut found = spans
            .iter()
            .filter(|span| span.name == name && span.span_context.trace_id() == checkout)
            .cloned();
        let span = found.next().unwrap_or_else(|| panic!("no {name:?} in the checkout's trace"));
        assert!(found.next().is_none(), "two of {name:?}");
        span
    };

    let mut parent = None;
    for (name, kind, group) in [
        ("POST /checkout", SpanKind::Internal, None),
        ("orders publish", SpanKind::Producer, None),
        ("orders process", SpanKind::Consumer, Some("payment-worker")),
        ("payments publish", SpanKind::Producer, None),
        ("payments process", SpanKind::Consumer, Some("email-worker")),
        ("notifications publish", SpanKind::Producer, None),
    ] {
        let span = of(name);
        assert_eq!(span.span_kind, kind, "{name}");
        assert_eq!(text(&span, "messaging.kafka.consumer.group").as_deref(), group, "{name}");
        assert_eq!(text(&span, "correlation_id").as_deref(), Some(&CHECKOUT[..16]), "{name}");
        match parent {
            None => assert_eq!(span.parent_span_id, opentelemetry::trace::SpanId::INVALID),
            Some(parent) => assert_eq!(span.parent_span_id, parent, "{name} hangs under the span before it"),
        }
        parent = Some(span.span_context.span_id());
    }

    let batch = pipeline.span("v1.settlements.batched process");
    assert_eq!(batch.span_kind, SpanKind::Consumer);
    assert_ne!(batch.span_context.trace_id(), checkout);
    assert_eq!(batch.parent_span_id, opentelemetry::trace::SpanId::INVALID);
    assert_eq!(text(&batch, "messaging.kafka.consumer.group").as_deref(), Some("batcher"));
    assert_eq!(text(&batch, "messaging.destination.name").as_deref(), Some("notifications"));
    assert_eq!(attribute(&batch, "linked_trace_id_count"), Some(Value::I64(5)));
    assert_eq!(batch.links.len(), 5);
    assert_eq!(batch.links[0].span_context.span_id(), of("notifications publish").span_context.span_id());

    let mut ids = [CHECKOUT, OTHERS[0], OTHERS[1], OTHERS[2], OTHERS[3]];
    ids.sort_unstable();
    let digest: String =
        Sha256::digest(ids.join("|")).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text(&batch, "linked_trace_id_hash"), Some(digest));
}
