//! Batches: links, count and hash on the span; fan-in; one message's failure put down to that message.

use crate::support::*;
use opentelemetry::Value;
use opentelemetry::trace::{SpanId, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry_sdk::trace::SpanData;
use std::convert::Infallible;
use throughline::{
    ContextMode, Contribution, Lineage, ProcessingSpan, extract, extract_batch_lineage, poll, process,
    with_processing_span,
};

struct Message {
    trace: u8,
    topic: &'static str,
    extra: Vec<(&'static str, &'static str)>,
}

fn message(trace: u8, extra: &[(&'static str, &'static str)]) -> Message {
    Message { trace, topic: "notifications", extra: extra.to_vec() }
}

impl Message {
    fn contribution(&self, offset: i64) -> Contribution {
        let parent = format!("00-{:032x}-{:016x}-01", u128::from(self.trace) << 96, u64::from(self.trace));
        let mut all = headers(&self.extra);
        all.extend(headers(&[("traceparent", &parent)]));
        Contribution {
            incoming: extract(&all),
            destination: Some(self.topic.into()),
            partition: Some(offset as i32 % 2),
            offset: Some(offset),
            key: Some(format!("key-{offset}").into_bytes()),
            record_timestamp: Some(1_000 - offset),
        }
    }
}

fn lineage(messages: &[Message], max_links: usize) -> Lineage {
    extract_batch_lineage(
        messages.iter().zip(0..).map(|(message, offset)| message.contribution(offset)),
        max_links,
    )
}

fn processed(lineage: Lineage) -> (SpanData, Headers) {
    let pipeline = Pipeline::new();
    let base = pipeline.context().with_span(pipeline.provider.tracer("app").start("flush loop"));
    let spec = process("notifications").group("batcher").lineage(lineage).parent(base);
    let sent = spec.run_sync(|span| Ok::<_, Infallible>(span.inject(Headers::new()))).unwrap();
    (pipeline.span("process notifications"), sent)
}

#[test]
fn a_batch_is_a_new_trace_with_a_link_per_message() {
    let (span, _) = processed(lineage(&[message(1, &[]), message(2, &[]), message(1, &[])], 50));
    assert_eq!(span.parent_span_id, SpanId::INVALID);
    assert_eq!(attribute(&span, "messaging.batch.message_count"), Some(Value::I64(3)));
    assert_eq!(attribute(&span, "linked_trace_id_count"), Some(Value::I64(2)));
    assert_eq!(text(&span, "linked_trace_id_hash").unwrap().len(), 16);
    assert_eq!(attribute(&span, "throughline.batch.oldest_origin"), Some(Value::I64(998)));
    assert_eq!(attribute(&span, "throughline.batch.newest_origin"), Some(Value::I64(1_000)));
    assert_eq!(attribute(&span, "throughline.links.total"), None);
    let seen: Vec<_> = span
        .links
        .iter()
        .map(|link| {
            let of = |key| link_text(link, key);
            [
                link.span_context.span_id().to_string(),
                of("throughline.link.reason"),
                of("messaging.destination.partition.id"),
                of("messaging.kafka.offset"),
                of("messaging.kafka.message.key"),
            ]
        })
        .collect();
    assert_eq!(seen[0], ["0000000000000001", "contributor", "0", "0", "key-0"]);
    assert_eq!(seen[1], ["0000000000000002", "contributor", "1", "1", "key-1"]);
    assert_eq!(seen.len(), 3);
}

/// Partition and offset name a message only together with its topic: it is on the link unless it is the span's own.
#[test]
fn a_link_names_the_topic_where_the_span_does_not() {
    let from = |topics: &[&'static str]| {
        let messages = topics.iter().map(|topic| Message { topic, ..message(1, &[]) });
        lineage(&messages.collect::<Vec<_>>(), 50)
    };
    let (mixed, same) = (["orders", "refunds"], ["orders", "orders"]);
    let key = "messaging.destination.name";
    for (spec, topics, on_links) in [
        (process("orders,refunds"), mixed, mixed),
        (poll("orders,refunds"), mixed, mixed),
        (process("orders"), mixed, ["", "refunds"]),
        (process("orders"), same, ["", ""]),
        (process("orders").set(key, "mine"), same, same),
        (throughline::internal("flush"), same, same),
    ] {
        let pipeline = Pipeline::new();
        spec.name("batch").lineage(from(&topics)).parent(pipeline.context()).run_sync(|span| {
            span.fail_message(1, &"refused");
        });
        let span = pipeline.span("batch");
        let seen: Vec<_> = span.links.iter().map(|link| link_text(link, key)).collect();
        assert_eq!(seen, on_links, "{:?} of {topics:?}", text(&span, key));
        let failed = span.events[0].attributes.iter().find(|kv| kv.key.as_str() == key).unwrap();
        assert_eq!(failed.value.as_str(), topics[1], "what failed is named by itself");
    }
}

#[test]
fn links_past_the_cap_are_the_oldest_and_the_total_is_said() {
    let messages: Vec<_> = (1..=200).map(|trace| message(trace, &[])).collect();
    for (asked, kept) in [(50, 50), (1_000, 128)] {
        let (span, _) = processed(lineage(&messages, asked));
        assert_eq!(span.links.len(), kept, "asked for {asked}");
        assert_eq!(span.links.dropped_count, 0, "the SDK has nothing to drop");
        assert_eq!(link_text(&span.links[kept - 1], "messaging.kafka.offset"), "199", "the newest stays");
        assert_eq!(attribute(&span, "throughline.links.total"), Some(Value::I64(200)));
        assert_eq!(
            attribute(&span, "linked_trace_id_count"),
            Some(Value::I64(200)),
            "count and hash are never capped"
        );
    }
}

#[test]
fn a_batch_carries_what_all_agree_on_and_nothing_else() {
    let acme = ("x-tenant-id", "acme");
    let agreeing = [("x-correlation-id", "run-1"), acme, ("baggage", "region=eu,day=fri")];
    let (span, sent) = processed(lineage(&[message(1, &agreeing), message(2, &agreeing)], 50));
    assert_eq!(text(&span, "correlation_id").as_deref(), Some("run-1"));
    assert_eq!(text(&span, "tenant.id").as_deref(), Some("acme"));
    assert_eq!(values(&sent, "baggage"), ["region=eu,day=fri"]);
    assert_eq!(link_text(&span.links[0], "correlation_id"), "", "what is equal stands on the span alone");

    let other = [("x-correlation-id", "run-2"), acme, ("baggage", "region=us,day=fri")];
    let (span, sent) = processed(lineage(&[message(1, &agreeing), message(2, &other)], 50));
    let own = span.span_context.trace_id().to_string();
    assert_eq!(
        text(&span, "correlation_id").as_deref(),
        Some(&own[..16]),
        "derived from the batch's own trace"
    );
    assert_eq!(values(&sent, "x-correlation-id"), [&own[..16]]);
    assert_eq!(text(&span, "tenant.id").as_deref(), Some("acme"));
    assert_eq!(values(&sent, "baggage"), ["day=fri"]);
    let ids: Vec<_> = span.links.iter().map(|link| link_text(link, "correlation_id")).collect();
    assert_eq!(ids, ["run-1", "run-2"]);

    let (span, sent) = processed(lineage(&[message(1, &agreeing), message(2, &[])], 50));
    assert_eq!(attribute(&span, "tenant.id"), None, "silence is not agreement");
    assert_eq!(link_text(&span.links[0], "tenant.id"), "acme");
    assert_eq!(values(&sent, "baggage"), Vec::<String>::new());
}

#[test]
fn a_failure_is_put_down_to_its_message() {
    let pipeline = Pipeline::new();
    let messages =
        [message(1, &[("x-correlation-id", "order-1")]), message(2, &[("x-correlation-id", "order-2")])];
    let spec = process("orders").lineage(lineage(&messages, 50)).parent(pipeline.context());
    spec.run_sync(|span| {
        span.fail_message(1, &"card declined");
        Ok::<_, Infallible>(())
    })
    .unwrap();
    let span = pipeline.span("process orders");
    assert_eq!(attribute(&span, "throughline.batch.failed_count"), Some(Value::I64(1)));
    assert_eq!(text(&span, "error.type").as_deref(), Some("partial_failure"));
    assert_eq!(span.status, Status::error("1 of 2 messages of the batch failed"));
    assert_eq!(span.events.len(), 1);
    let event = &span.events[0];
    let said: Vec<_> =
        event.attributes.iter().map(|kv| (kv.key.as_str(), kv.value.as_str().into_owned())).collect();
    for expected in [
        ("exception.message", "card declined"),
        ("throughline.message.index", "1"),
        ("messaging.kafka.offset", "1"),
        ("messaging.kafka.message.key", "key-1"),
        ("correlation_id", "order-2"),
        ("throughline.message.trace_id", "00000002000000000000000000000000"),
        ("throughline.message.span_id", "0000000000000002"),
    ] {
        assert!(said.contains(&(expected.0, expected.1.to_owned())), "{expected:?} not in {said:?}");
    }
}

#[test]
fn a_poll_span_links_its_messages_and_stays_where_it_is() {
    let pipeline = Pipeline::new();
    let base = pipeline.context().with_span(pipeline.provider.tracer("app").start("loop"));
    let ambient = base.span().span_context().span_id();
    let message = message(1, &[("x-correlation-id", "run-1")]);
    poll("orders").lineage(lineage(&[message], 50)).parent(base).run_sync(|_| ());
    let span = pipeline.span("poll orders");
    assert_eq!(
        text(&span, "correlation_id").as_deref(),
        Some("run-1"),
        "what all agree on is not on the links"
    );
    assert_eq!((span.parent_span_id, span.links.len()), (ambient, 1));
    assert_eq!(attribute(&span, "messaging.batch.message_count"), Some(Value::I64(1)), "even when it is 1");
    assert_eq!(attribute(&span, "linked_trace_id_hash"), None, "the hash is the batch's, not the poll's");
}

#[test]
fn a_batch_without_contributors_has_no_hash() {
    let (span, _) = processed(extract_batch_lineage([Headers::new()], 50));
    assert_eq!(attribute(&span, "linked_trace_id_count"), Some(Value::I64(0)));
    assert_eq!(attribute(&span, "linked_trace_id_hash"), None);
}

#[test]
fn a_failed_message_fails_the_batch_and_no_span_below_it() {
    let pipeline = Pipeline::new();
    let spec = process("orders").lineage(lineage(&[message(1, &[])], 50)).parent(pipeline.context());
    spec.run_sync(|_| {
        throughline::internal("settle").run_sync(|span| {
            span.fail_message(0, &"card declined");
        });
        throughline::send("settlements").run_sync(|_| ());
    });
    for below in ["settle", "send settlements"] {
        let span = pipeline.span(below);
        assert_eq!((attribute(&span, "error.type"), &span.status), (None, &Status::Unset), "{below}");
        assert_eq!(attribute(&span, "throughline.batch.failed_count"), None, "{below}");
    }
    let batch = pipeline.span("process orders");
    assert_eq!(text(&batch, "error.type").as_deref(), Some("partial_failure"));
    assert_eq!(attribute(&batch, "throughline.batch.failed_count"), Some(Value::I64(1)));
}

#[test]
fn what_all_agree_on_is_carried_in_every_mode() {
    let agreeing = [("x-correlation-id", "run-1"), ("x-tenant-id", "acme"), ("baggage", "region=eu")];
    for mode in [ContextMode::Inherit, ContextMode::Ambient, ContextMode::Link, ContextMode::None] {
        let pipeline = Pipeline::new();
        let lineage = lineage(&[message(1, &agreeing), message(2, &agreeing)], 50);
        let spec = process("orders").lineage(lineage).mode(mode).parent(pipeline.context());
        let sent = spec.run_sync(|span| Ok::<_, Infallible>(span.inject(Headers::new()))).unwrap();
        let span = pipeline.span("process orders");
        assert_eq!(text(&span, "correlation_id").as_deref(), Some("run-1"), "{mode:?}");
        assert_eq!(text(&span, "tenant.id").as_deref(), Some("acme"), "{mode:?}");
        assert_eq!(values(&sent, "baggage"), ["region=eu"], "{mode:?}");
    }
}

/// The source's style: the links alone are taken out of the lineage. Search reads links, so a checkout's id has to be there.
#[test]
fn links_without_their_lineage_still_say_whose_they_are() {
    let ids = |run| [("x-correlation-id", run), ("x-tenant-id", "acme")];
    for runs in [vec!["order-42"], vec!["order-42", "order-42"], vec!["order-42", "order-7"]] {
        let messages: Vec<_> = runs.iter().zip(1..).map(|(run, trace)| message(trace, &ids(run))).collect();
        let pipeline = Pipeline::new();
        let span = ProcessingSpan {
            name: "batched".into(),
            context_mode: Some(ContextMode::None),
            links: lineage(&messages, 50).links,
            topic: "notifications".into(),
            ..ProcessingSpan::default()
        };
        pipeline.block_on(async || with_processing_span(span, async |_| ()).await);
        let span = pipeline.span("batched");
        let seen: Vec<_> = span.links.iter().map(|link| link_text(link, "correlation_id")).collect();
        assert_eq!(seen, runs);
        assert!(span.links.iter().all(|link| link_text(link, "tenant.id") == "acme"));
    }
}

/// Nobody told this span whose messages it has, so their failure is an event of its own and no more.
#[test]
fn a_failed_message_of_a_span_that_has_only_links_is_an_event() {
    let pipeline = Pipeline::new();
    let links = lineage(&[message(1, &[]), message(2, &[])], 50).links;
    let span = ProcessingSpan { name: "batched".into(), links, topic: "orders".into(), ..Default::default() };
    pipeline.block_on(async || {
        with_processing_span(span, async |span| {
            span.fail_message(1, &"card declined");
        })
        .await;
    });
    let span = pipeline.span("batched");
    assert_eq!((span.events.len(), span.events[0].name.as_ref()), (1, "exception"));
    let said: Vec<_> =
        span.events[0].attributes.iter().map(|kv| format!("{}={}", kv.key, kv.value.as_str())).collect();
    assert_eq!(said[1..], ["exception.message=card declined", "throughline.message.index=1"]);
    assert_eq!((&span.status, attribute(&span, "throughline.batch.failed_count")), (&Status::Unset, None));
}

/// What all agree on is on the span; where the span says something else, on the links.
#[test]
fn an_agreed_id_is_never_on_neither() {
    let messages = || lineage(&[message(1, &[("x-correlation-id", "run-1")])], 50);
    let other = extract(&headers(&[("traceparent", PARENT), ("x-correlation-id", "other")]));
    for (spec, span_says, link_says) in [
        (process("orders"), "run-1", ""),
        (process("orders").incoming(other), "other", "run-1"),
        (process("orders").set("correlation_id", "mine"), "mine", "run-1"),
    ] {
        let pipeline = Pipeline::new();
        spec.lineage(messages()).parent(pipeline.context()).run_sync(|_| ());
        let span = pipeline.span("process orders");
        assert_eq!(text(&span, "correlation_id").as_deref(), Some(span_says));
        assert_eq!(link_text(&span.links[0], "correlation_id"), link_says, "{span_says}");
    }
}

#[test]
fn a_link_that_the_application_adds_to_a_lineage_is_one_more() {
    let mut lineage = lineage(&[message(1, &[])], 50);
    lineage.links.extend(lineage.links.clone());
    let (span, _) = processed(lineage);
    assert_eq!((span.links.len(), attribute(&span, "throughline.links.total")), (2, None));
}
