//! Settings of the whole process, in a binary of their own; its tests wait for each other.

mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};
use support::{PARENT, Pipeline, attribute, headers, text, values};
use throughline::{counters, process, send, settings};

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn over_the_budget_headers_are_left_out_in_order_and_counted() {
    let _turn = turn();
    settings::set_baggage_allow_list(["region"]);
    let bulk = "x".repeat(2_000);
    let message = headers(&[
        ("traceparent", PARENT),
        ("tracestate", &format!("v={}", "s".repeat(200))),
        ("baggage", &format!("region=eu,bulk={bulk}")),
        ("x-correlation-id", "order-42"),
        ("x-tenant-id", "acme"),
        ("foreign", &bulk),
    ]);
    for (budget, baggage, tracestate, dropped) in [
        (12 * 1024, Some(2_015), Some(202), None),
        (600, Some(9), Some(202), Some("baggage")),
        (320, None, Some(202), Some("baggage")),
        (0, None, None, Some("baggage,tracestate")),
    ] {
        settings::set_header_budget(budget);
        let pipeline = Pipeline::new();
        let before = counters();
        let out = process("t")
            .headers(&message)
            .parent(pipeline.context())
            .run_sync(|span| Ok::<_, std::convert::Infallible>(span.inject(message.clone())));
        let out = out.unwrap();
        let length = |name| values(&out, name).first().map(String::len);
        assert_eq!((length("baggage"), length("tracestate")), (baggage, tracestate), "budget {budget}");
        assert_eq!(length("traceparent"), Some(55), "never dropped");
        assert_eq!(values(&out, "x-correlation-id"), ["order-42"]);
        assert_eq!(length("foreign"), Some(2_000), "not ours to count or drop");
        let span = pipeline.span("process t");
        assert_eq!(said(&span), dropped.into_iter().collect::<Vec<_>>());
        assert_eq!(attribute(&span, "throughline.headers.dropped"), None);
        let after = counters();
        assert_eq!(
            after.baggage_members_dropped - before.baggage_members_dropped,
            u64::from(dropped.is_some())
        );
        assert_eq!(after.baggage_dropped - before.baggage_dropped, u64::from(baggage.is_none()));
        assert_eq!(after.tracestate_dropped - before.tracestate_dropped, u64::from(tracestate.is_none()));
    }
    settings::set_header_budget(settings::DEFAULT_HEADER_BUDGET);
}

/// What the events of a span say was left out of its messages, message by message.
fn said(span: &opentelemetry_sdk::trace::SpanData) -> Vec<String> {
    let of_events = span.events.iter().filter(|event| event.name == "throughline.headers.dropped");
    of_events.flat_map(|event| &event.attributes).map(|kv| kv.value.as_str().into_owned()).collect()
}

#[test]
fn a_span_that_writes_two_messages_says_of_each_what_was_left_out() {
    let _turn = turn();
    settings::set_header_budget(0);
    let pipeline = Pipeline::new();
    let with_baggage = headers(&[("traceparent", PARENT), ("baggage", "a=1")]);
    process("t").headers(&with_baggage).parent(pipeline.context()).run_sync(|span| {
        for _ in 0..2 {
            assert!(values(&span.inject(support::Headers::new()), "baggage").is_empty());
        }
    });
    settings::set_header_budget(settings::DEFAULT_HEADER_BUDGET);
    let span = pipeline.span("process t");
    assert_eq!(said(&span), ["baggage", "baggage"]);
    let mut keys: Vec<_> = span.attributes.iter().map(|kv| kv.key.as_str()).collect();
    keys.sort_unstable();
    assert!(keys.windows(2).all(|two| two[0] != two[1]), "the SDK exports a key twice that is set twice");
}

#[test]
fn message_keys_can_be_hashed_or_hidden() {
    let _turn = turn();
    for (keys, expected) in [
        (settings::MessageKeys::Shown, Some("usr_123")),
        // printf usr_123 | sha256sum
        (settings::MessageKeys::Hashed, Some("ca010ec7feb32be7")),
        (settings::MessageKeys::Hidden, None),
    ] {
        settings::set_message_keys(keys);
        let pipeline = Pipeline::new();
        send("t").key("usr_123").parent(pipeline.context()).run_sync(|_| ());
        assert_eq!(text(&pipeline.span("send t"), "messaging.kafka.message.key").as_deref(), expected);
    }
    settings::set_message_keys(settings::MessageKeys::Shown);
}

#[test]
fn conflicts_and_refusals_are_counted() {
    let _turn = turn();
    let before = counters();
    let other = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let read = |entries: &[(&str, &str)]| throughline::extract(&headers(entries));
    let _ = read(&[("traceparent", other), ("traceparent", PARENT)]);
    let _ = read(&[("traceparent", "nonsense")]);
    let _ = read(&[("x-correlation-id", "a"), ("x-correlation-id", "b")]);
    let _ = read(&[("x-tenant-id", "a"), ("baggage", "tenant.id=b")]);
    let _ = read(&[("x-correlation-id", &"x".repeat(129))]);
    let _ = read(&[
        ("traceparent", PARENT),
        ("traceparent", PARENT),
        ("x-tenant-id", "a"),
        ("baggage", "tenant.id=a"),
    ]);
    let after = counters();
    assert_eq!(after.traceparent_conflicts - before.traceparent_conflicts, 1);
    assert_eq!(after.traceparents_invalid - before.traceparents_invalid, 1);
    assert_eq!(after.value_conflicts - before.value_conflicts, 2);
    assert_eq!(after.ids_refused - before.ids_refused, 1);
}

#[test]
fn a_tenant_conflict_is_on_the_span_and_the_header_wins() {
    let _turn = turn();
    let pipeline = Pipeline::new();
    let message = headers(&[("x-tenant-id", "acme"), ("baggage", "tenant.id=other")]);
    process("t").headers(&message).parent(pipeline.context()).run_sync(|_| ());
    let span = pipeline.span("process t");
    assert_eq!(text(&span, "tenant.id").as_deref(), Some("acme"));
    assert_eq!(text(&span, "throughline.tenant.conflict").as_deref(), Some("true"));
}
