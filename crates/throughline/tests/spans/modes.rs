//! Context modes: who is the parent, who is linked, and why.

use crate::support::*;
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{SpanId, TraceContextExt, Tracer, TracerProvider};
use std::convert::Infallible;
use throughline::{
    ContextMode, Incoming, SpanSpec, inject_trace_headers, process, send, send_keeping_context,
};

/// What a process span looks like: parent, links with reasons, and whether it is in the message's trace.
#[derive(Debug, PartialEq)]
struct Seen {
    parent: Parent,
    links: Vec<&'static str>,
    trace: Trace,
}

#[derive(Debug, PartialEq)]
enum Parent {
    Message,
    Ambient,
    Nobody,
}

#[derive(Debug, PartialEq)]
enum Trace {
    OfMessage,
    OfAmbient,
    New,
}

enum Ambient {
    Valid,
    Absent,
}

fn look(spec: SpanSpec, ambient: &Ambient) -> Seen {
    let pipeline = Pipeline::new();
    let mut base = pipeline.context();
    if matches!(ambient, Ambient::Valid) {
        base = base.with_span(pipeline.provider.tracer("app").start("loop"));
    }
    let ambient_span = base.span().span_context().clone();
    spec.name("it").parent(base).run_sync(|_| ());
    let span = pipeline.span("it");
    let message = SpanId::from_hex(SPAN).unwrap();
    let trace = span.span_context.trace_id();
    Seen {
        parent: match span.parent_span_id {
            parent if parent == message => Parent::Message,
            SpanId::INVALID => Parent::Nobody,
            parent => {
                assert_eq!(parent, ambient_span.span_id());
                Parent::Ambient
            }
        },
        links: links(&span)
            .into_iter()
            .map(|(id, reason)| {
                let (expected, reason) = match reason.as_str() {
                    "parent" => (message, "parent"),
                    "creation" => (message, "creation"),
                    "ambient" => (ambient_span.span_id(), "ambient"),
                    other => panic!("unexpected reason {other:?}"),
                };
                assert_eq!(id, expected, "{reason}");
                reason
            })
            .collect(),
        trace: match trace {
            _ if trace.to_string() == TRACE => Trace::OfMessage,
            _ if trace == ambient_span.trace_id() => Trace::OfAmbient,
            _ => Trace::New,
        },
    }
}

fn of_message() -> SpanSpec {
    process("orders").headers(&headers(&[("traceparent", PARENT)]))
}

#[test]
fn parents_and_links_of_each_mode() {
    use Ambient::{Absent, Valid};
    let without_trace = || process("orders").headers(&headers(&[("x-correlation-id", "order-42")]));
    let forward = || send_keeping_context("orders.retry", &headers(&[("traceparent", PARENT)]));
    let seen = |parent, links, trace| Seen { parent, links, trace };
    for (case, spec, ambient, expected) in [
        ("inherit", of_message(), Absent, seen(Parent::Message, vec!["parent"], Trace::OfMessage)),
        (
            "inherit in a loop that has a span: the message wins",
            of_message(),
            Valid,
            seen(Parent::Message, vec!["parent", "ambient"], Trace::OfMessage),
        ),
        (
            "ambient",
            of_message().mode(ContextMode::Ambient),
            Valid,
            seen(Parent::Ambient, vec!["creation"], Trace::OfAmbient),
        ),
        (
            "link",
            of_message().mode(ContextMode::Link),
            Valid,
            seen(Parent::Nobody, vec!["creation"], Trace::New),
        ),
        ("none", of_message().mode(ContextMode::None), Valid, seen(Parent::Nobody, vec![], Trace::New)),
        (
            "a message without a trace begins one, loop or not",
            without_trace(),
            Valid,
            seen(Parent::Nobody, vec!["ambient"], Trace::New),
        ),
        ("no message at all", process("orders"), Valid, seen(Parent::Ambient, vec![], Trace::OfAmbient)),
        ("send", send("orders"), Valid, seen(Parent::Ambient, vec![], Trace::OfAmbient)),
        (
            "send into a new trace",
            send("orders").mode(ContextMode::Link),
            Valid,
            seen(Parent::Nobody, vec!["ambient"], Trace::New),
        ),
        ("forward", forward(), Valid, seen(Parent::Ambient, vec!["creation"], Trace::OfAmbient)),
        ("forward by a relay", forward(), Absent, seen(Parent::Message, vec!["parent"], Trace::OfMessage)),
    ] {
        assert_eq!(look(spec, &ambient), expected, "{case}");
    }
}

#[test]
fn the_loser_of_two_traceparents_is_linked_and_the_conflict_shown() {
    let other = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let pipeline = Pipeline::new();
    let two = headers(&[("traceparent", other), ("traceparent", PARENT)]);
    process("orders").headers(&two).parent(pipeline.context()).run_sync(|_| ());
    let span = pipeline.span("process orders");
    assert_eq!(span.parent_span_id.to_string(), SPAN);
    let reasons: Vec<_> = links(&span).into_iter().map(|(id, reason)| (id.to_string(), reason)).collect();
    let expected = [(SPAN, "parent"), ("00f067aa0ba902b7", "conflict")];
    assert_eq!(reasons, expected.map(|(id, reason)| (id.to_owned(), reason.to_owned())));
    assert_eq!(text(&span, "throughline.headers.conflict").as_deref(), Some("true"));
}

#[test]
fn the_message_brings_its_ids_and_baggage_whatever_the_mode() {
    let incoming = throughline::extract(&headers(&[
        ("traceparent", PARENT),
        ("baggage", "region=eu,tenant.id=acme"),
        ("x-correlation-id", "order-42"),
    ]));
    for mode in [ContextMode::Inherit, ContextMode::Ambient, ContextMode::Link, ContextMode::None] {
        let pipeline = Pipeline::new();
        let base = pipeline.context().with_baggage([opentelemetry::KeyValue::new("mine", "kept")]);
        let out = process("orders")
            .incoming(incoming.clone())
            .mode(mode)
            .parent(base)
            .run_sync(|span| Ok::<_, Infallible>(span.inject(Headers::new())));
        let out = out.unwrap();
        assert_eq!(values(&out, "x-correlation-id"), ["order-42"], "{mode:?}");
        assert_eq!(values(&out, "x-tenant-id"), ["acme"], "{mode:?}");
        let expected = match mode {
            ContextMode::Ambient => "mine=kept,region=eu,tenant.id=acme",
            // One message's handler does not see what surrounds the loop.
            _ => "region=eu,tenant.id=acme",
        };
        assert_eq!(values(&out, "baggage"), [expected], "{mode:?}");
        let span = pipeline.span("process orders");
        for key in ["correlation_id", "messaging.message.conversation_id"] {
            assert_eq!(text(&span, key).as_deref(), Some("order-42"), "{mode:?}");
        }
        assert_eq!(text(&span, "tenant.id").as_deref(), Some("acme"), "{mode:?}");
    }
}

/// Without a message the surroundings travel along, be the trace theirs or a new one.
#[test]
fn a_plain_send_takes_ids_and_baggage_of_its_surroundings_along_whatever_the_mode() {
    for (id_of_request, id) in [(Some("order-7"), "order-7"), (None, &TRACE[..16])] {
        for mode in [ContextMode::Inherit, ContextMode::Ambient, ContextMode::Link, ContextMode::None] {
            let pipeline = Pipeline::new();
            let mut request = headers(&[
                ("traceparent", PARENT),
                ("tracestate", "vendor=x"),
                ("baggage", "region=eu"),
                ("x-tenant-id", "acme"),
            ]);
            request.extend(id_of_request.map(|id| ("x-correlation-id".to_owned(), id.as_bytes().to_vec())));
            let out = process("requests").headers(&request).parent(pipeline.context()).run_sync(|_| {
                send("orders").mode(mode).run_sync(|span| Ok::<_, Infallible>(span.inject(Headers::new())))
            });
            let out = out.unwrap();
            let span = pipeline.span("send orders");
            assert_eq!(text(&span, "correlation_id").as_deref(), Some(id), "{mode:?}");
            assert_eq!(values(&out, "x-correlation-id"), [id], "{mode:?}");
            assert_eq!(values(&out, "x-tenant-id"), ["acme"], "{mode:?}");
            assert_eq!(values(&out, "baggage"), ["region=eu"], "{mode:?}");
            let same_trace = matches!(mode, ContextMode::Inherit | ContextMode::Ambient);
            assert_eq!(values(&out, "traceparent")[0].contains(TRACE), same_trace, "{mode:?}");
            // A tracestate belongs to its trace.
            assert_eq!(values(&out, "tracestate").len(), usize::from(same_trace), "{mode:?}");
        }
    }
    let pipeline = Pipeline::new();
    process("requests").headers(&headers(&[("traceparent", PARENT)])).parent(pipeline.context()).run_sync(
        |_| {
            let nothing = pipeline.context();
            send("audit").parent(nothing).run_sync(|span| assert_ne!(&*span.correlation_id(), &TRACE[..16]));
        },
    );
}

/// The ambient trace is the one that goes on: its state and its flags, not the message's.
#[test]
fn an_ambient_trace_keeps_its_own_state_and_its_id_where_the_message_has_none() {
    let pipeline = Pipeline::new();
    let request = headers(&[
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03"),
        ("tracestate", "ot=th:8,vendor==x"),
        ("x-correlation-id", "order-7"),
    ]);
    process("requests").headers(&request).parent(pipeline.context()).run_sync(|_| {
        let message = headers(&[("traceparent", PARENT), ("tracestate", "other=1"), ("x-tenant-id", "acme")]);
        process("orders").headers(&message).mode(ContextMode::Ambient).run_sync(|_| {
            let out = inject_trace_headers(Headers::new());
            assert_eq!(values(&out, "tracestate"), ["ot=th:8,vendor==x"]);
            assert_eq!(values(&out, "x-correlation-id"), ["order-7"]);
            assert_eq!(values(&out, "x-tenant-id"), ["acme"]);
            let parent = values(&out, "traceparent").remove(0);
            assert!(
                parent.contains("4bf92f3577b34da6a3ce929d0e0e4736") && parent.ends_with("-03"),
                "{parent}"
            );
        });
    });
}

#[test]
fn a_new_trace_keeps_the_correlation_id_that_the_messages_trace_gave() {
    let pipeline = Pipeline::new();
    of_message().mode(ContextMode::Link).parent(pipeline.context()).run_sync(|_| ());
    assert_eq!(text(&pipeline.span("process orders"), "correlation_id").as_deref(), Some(&TRACE[..16]));
}

#[test]
fn a_forward_leaves_the_creation_context_and_a_send_below_it_does_not() {
    let pipeline = Pipeline::new();
    let record = headers(&[("traceparent", PARENT), ("tracestate", "a=1"), ("schema", "7")]);
    let _context = pipeline.context().attach();
    send_keeping_context("orders.retry", &record).run_sync(|_| {
        assert_eq!(inject_trace_headers(record.clone()), record);
        send("audit").run_sync(|span| {
            let copied = inject_trace_headers(record.clone());
            let parent = values(&copied, "traceparent");
            assert!(
                parent.len() == 1
                    && parent[0].contains(&span.context().span().span_context().span_id().to_string())
            );
        });
    });
    assert_eq!(pipeline.span("send orders.retry").span_kind, opentelemetry::trace::SpanKind::Client);
    // Nothing to keep: sent like any other message.
    send_keeping_context("plain", &Headers::new()).run_sync(|_| {
        assert_eq!(values(&inject_trace_headers(Headers::new()), "traceparent").len(), 1);
    });
    assert_eq!(pipeline.span("send plain").span_kind, opentelemetry::trace::SpanKind::Producer);
}

#[test]
fn suppressed_telemetry_stays_suppressed_whoever_the_parent_is() {
    let pipeline = Pipeline::new();
    let base = pipeline.context().with_telemetry_suppressed();
    of_message()
        .parent(base)
        .run_sync(|span| assert!(Context::current().is_telemetry_suppressed() && !span.is_recording()));
    assert!(pipeline.spans().is_empty());
}

#[test]
fn the_current_context_is_enough_for_incoming_without_anything() {
    assert_eq!(Incoming::none().correlation_id(), None);
    assert_eq!(throughline::extract(&Headers::new()).found().to_string(), "none");
}
