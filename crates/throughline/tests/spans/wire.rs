//! Between two services: what the next hop gets, across shapes of headers and across other people's clients.

use crate::support::*;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::collections::BTreeMap;
use throughline::{
    HeaderSink, HeaderSource, extract, inject_context, inject_trace_headers, is_owned, process, send,
};

/// Hands a message through a consumer and its producer.
fn hop(pipeline: &Pipeline, message: &Headers) -> Headers {
    let spec = process("in").headers(message).parent(pipeline.context());
    let work = spec.run_sync(|_| {
        Ok::<_, std::convert::Infallible>(
            send("out")
                .run_sync(|_| Ok::<_, std::convert::Infallible>(inject_trace_headers(message.clone()))),
        )
    });
    work.unwrap().unwrap()
}

#[test]
fn a_forwarded_record_has_one_of_each_and_nothing_stale() {
    let stale = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut message = headers(&[
        ("TraceParent", stale),
        ("tracestate", "old=1"),
        ("schema", "7"),
        ("Traceparent", PARENT),
        ("traceparent", PARENT),
        ("Baggage", "stale=1"),
        ("baggage", "token=eyJpZCI6MX0="),
        ("x-correlation-id", "order-42"),
    ]);
    message.push(("binary".to_owned(), vec![0xff, 0xfe, 0x00]));
    let pipeline = Pipeline::new();
    let out = hop(&pipeline, &message);
    let sent = pipeline.span("send out");
    assert_eq!(values(&out, "traceparent"), [format!("00-{TRACE}-{}-01", sent.span_context.span_id())]);
    assert_eq!(values(&out, "baggage"), ["token=eyJpZCI6MX0="], "untouched bytes go on");
    assert_eq!(values(&out, "x-correlation-id"), ["order-42"], "the business id is kept");
    assert!(
        out.contains(&("binary".to_owned(), vec![0xff, 0xfe, 0x00])),
        "a foreign header survives byte for byte"
    );
    assert!(out.contains(&("schema".to_owned(), b"7".to_vec())));
}

#[test]
fn tracestate_goes_on_byte_for_byte_in_its_own_trace_and_no_further() {
    let raw = "ot=th:8;rv:abcdef01234567,vendor==x=y ,other=1";
    let message = headers(&[("traceparent", PARENT), ("tracestate", raw)]);
    let pipeline = Pipeline::new();
    assert_eq!(values(&hop(&pipeline, &message), "tracestate"), [raw]);
    let new_trace =
        process("in").headers(&message).mode(throughline::ContextMode::Link).parent(pipeline.context());
    new_trace.run_sync(|_| assert!(values(&inject_trace_headers(message.clone()), "tracestate").is_empty()));
    // Never written empty.
    let empty = headers(&[("traceparent", PARENT), ("tracestate", " ,, ")]);
    assert!(values(&hop(&pipeline, &empty), "tracestate").is_empty());
}

#[test]
fn flags_survive_sampled_or_not() {
    for (sampler, came, goes) in [
        (Sampler::AlwaysOn, "03", "03"),
        (Sampler::AlwaysOff, "03", "02"),
        (Sampler::ParentBased(Box::new(Sampler::AlwaysOn)), "02", "02"),
        (Sampler::AlwaysOn, "ff", "03"),
        (Sampler::AlwaysOn, "00", "01"),
    ] {
        let pipeline = Pipeline::sampled_by(sampler, &[]);
        let out = hop(&pipeline, &headers(&[("traceparent", &format!("00-{TRACE}-{SPAN}-{came}"))]));
        let parent = values(&out, "traceparent").remove(0);
        assert_eq!((&parent[3..35], &parent[53..]), (TRACE, goes), "{came}");
    }
}

#[test]
fn baggage_and_tenant_set_by_the_application_leave_with_its_messages() {
    let pipeline = Pipeline::new();
    let cx = pipeline.context().with_baggage([
        opentelemetry::KeyValue::new("tenant.id", "acme"),
        opentelemetry::KeyValue::new("note", "a=b, c"),
    ]);
    let cx = throughline::with_correlation_id(&cx, "order-7").unwrap();
    send("orders").parent(cx).run_sync(|span| {
        let out = span.inject(Headers::new());
        assert_eq!(values(&out, "x-tenant-id"), ["acme"]);
        assert_eq!(values(&out, "x-correlation-id"), ["order-7"]);
        let next = extract(&out);
        assert_eq!(next.baggage("note"), Some("a=b, c"));
        assert_eq!(next.tenant().as_deref(), Some("acme"));
    });
    assert_eq!(text(&pipeline.span("send orders"), "correlation_id").as_deref(), Some("order-7"));
}

#[test]
fn an_id_in_the_outgoing_message_is_the_spans_as_well() {
    let pipeline = Pipeline::new();
    let message = headers(&[("X-Correlation-Id", "order-42"), ("x-tenant-id", "acme")]);
    send("orders").outgoing(&message).parent(pipeline.context()).run_sync(|span| {
        let out = span.inject(message.clone());
        assert_eq!(values(&out, "x-correlation-id"), ["order-42"]);
        assert_eq!(values(&out, "x-tenant-id"), ["acme"]);
    });
    let span = pipeline.span("send orders");
    assert_eq!(text(&span, "correlation_id").as_deref(), Some("order-42"));
    assert_eq!(text(&span, "tenant.id").as_deref(), Some("acme"));
    // One that cannot be adopted is not ours to overwrite either.
    let odd = "ä".repeat(100);
    let message = headers(&[("x-correlation-id", &odd)]);
    send("odd").outgoing(&message).parent(pipeline.context()).run_sync(|span| {
        assert_eq!(values(&span.inject(message.clone()), "x-correlation-id"), [odd.as_str()]);
    });
    let own = pipeline.span("send odd").span_context.trace_id().to_string();
    assert_eq!(text(&pipeline.span("send odd"), "correlation_id").as_deref(), Some(&own[..16]));
}

/// One rule for the span, for the next message, and for whoever reads that.
#[test]
fn of_two_ids_the_one_that_was_read_is_the_one_that_goes_on() {
    let (exact, other) = ("x-correlation-id", "X-Correlation-Id");
    for (entries, id) in [
        ([(exact, "A"), (other, "B")], "A"),
        ([(other, "B"), (exact, "A")], "A"),
        ([(other, "B"), (other, "C")], "C"),
        ([(exact, "A"), (exact, "C")], "C"),
        ([(exact, "A"), (other, "no id")], "A"),
        ([(exact, "no id"), (other, "B")], "B"),
    ] {
        let tenants =
            entries.map(|(name, id)| (if name == exact { "x-tenant-id" } else { "X-Tenant-Id" }, id));
        let message = headers(&[entries, tenants].concat());
        let read = extract(&message);
        assert_eq!((read.correlation_id().as_deref(), read.tenant().as_deref()), (Some(id), Some(id)));

        let pipeline = Pipeline::new();
        send("out").outgoing(&message).parent(pipeline.context()).run_sync(|span| {
            let out = span.inject(message.clone());
            assert_eq!(values(&out, exact), [id], "{entries:?}");
            assert_eq!(values(&out, "x-tenant-id"), [id], "{entries:?}");
        });
        let span = pipeline.span("send out");
        assert_eq!(text(&span, "correlation_id").as_deref(), Some(id), "{entries:?}");
        assert_eq!(text(&span, "tenant.id").as_deref(), Some(id), "{entries:?}");
    }
}

#[test]
fn without_a_trace_of_our_own_nothing_is_taken_away() {
    let message = headers(&[("traceparent", PARENT), ("tracestate", "a=1"), ("baggage", "b=2")]);
    assert_eq!(inject_context(&opentelemetry::Context::new(), message.clone()), message);
}

#[test]
fn a_provider_that_was_shut_down_still_passes_the_trace_on() {
    let provider = SdkTracerProvider::builder().build();
    let base = throughline::with_tracer_provider(&opentelemetry::Context::new(), &provider);
    provider.shutdown().unwrap();
    let message = headers(&[("traceparent", PARENT), ("baggage", "b=2")]);
    process("orders").headers(&message).parent(base).run_sync(|span| {
        assert_eq!(values(&span.inject(Headers::new()), "traceparent"), [PARENT]);
    });
}

/// Where no spans are made, a forward and what is sent below it share one id: the message's.
#[test]
fn a_send_below_a_forward_is_a_send_even_where_no_spans_are_made() {
    let provider = SdkTracerProvider::builder().build();
    let base = throughline::with_tracer_provider(&opentelemetry::Context::new(), &provider);
    provider.shutdown().unwrap();
    let _context = base.attach();
    let record = headers(&[("traceparent", PARENT)]);
    let stale = headers(&[("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]);
    throughline::send_keeping_context("orders.retry", &record).run_sync(|_| {
        assert_eq!(inject_trace_headers(stale.clone()), stale, "kept: it is the forward's to keep");
        send("audit").run_sync(|_| {
            assert_eq!(values(&inject_trace_headers(stale.clone()), "traceparent"), [PARENT]);
        });
    });
}

/// An AMQP-like field table: typed values, keys without order.
#[derive(Clone, Debug, PartialEq)]
enum Field {
    LongString(Vec<u8>),
    Int(i32),
    Void,
    Table(Vec<(String, Field)>),
}

#[derive(Clone, Debug, Default, PartialEq)]
struct FieldTable(BTreeMap<String, Field>);

impl HeaderSource for FieldTable {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        for (name, field) in &self.0 {
            match field {
                Field::LongString(bytes) => each(name.as_bytes(), Some(bytes)),
                Field::Int(_) | Field::Void | Field::Table(_) => each(name.as_bytes(), None),
            }
        }
    }
}

impl HeaderSink for FieldTable {
    fn replace(mut self, owned: &[&'static str], entries: &[(&'static str, &[u8])]) -> Self {
        self.0.retain(|name, _| !is_owned(name.as_bytes(), owned));
        self.0.extend(
            entries.iter().map(|(name, value)| ((*name).to_owned(), Field::LongString(value.to_vec()))),
        );
        self
    }
}

/// A Kafka-like list: byte keys, duplicates, nulls.
type ByteList = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn check_shape<H: HeaderSink + Clone>(stale: H, foreign: impl Fn(&H)) {
    let pipeline = Pipeline::new();
    let spec = process("in").headers(&stale).parent(pipeline.context());
    spec.run_sync(|span| {
        let out = span.inject(stale.clone());
        foreign(&out);
        let mut parents = 0;
        out.visit(&mut |name, _| parents += usize::from(name.eq_ignore_ascii_case(b"traceparent")));
        assert_eq!(parents, 1);
        let next = extract(&out);
        assert_eq!(next.span_context().span_id(), span.context().span().span_context().span_id());
        assert_eq!(next.trace_id().unwrap().to_string(), TRACE);
        assert_eq!(next.baggage("a"), Some("1"));
        assert_eq!(next.correlation_id().as_deref(), Some("order-42"));
    });
}

#[test]
fn three_shapes_of_headers() {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let list: ByteList = vec![
        (vec![0xff, 0x01], Some(bytes("poison key"))),
        (bytes("TRACEPARENT"), Some(bytes("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))),
        (bytes("null"), None),
        (bytes("traceparent"), Some(bytes(PARENT))),
        (bytes("traceparent"), None),
        (bytes("baggage"), Some(bytes("a=1"))),
        (bytes("x-correlation-id"), Some(bytes("order-42"))),
        (bytes("empty"), Some(vec![])),
    ];
    check_shape(list, |out| {
        assert_eq!(
            out[..3],
            [
                (vec![0xff, 0x01], Some(bytes("poison key"))),
                (bytes("null"), None),
                (bytes("empty"), Some(vec![]))
            ]
        );
    });

    let fields = [
        ("x-death", Field::Table(vec![("count".to_owned(), Field::Int(2))])),
        ("priority", Field::Int(7)),
        ("void", Field::Void),
        ("Traceparent", Field::LongString(bytes(PARENT))),
        ("baggage", Field::LongString(bytes("a=1"))),
        ("x-correlation-id", Field::LongString(bytes("order-42"))),
    ];
    let table = FieldTable(fields.map(|(name, field)| (name.to_owned(), field)).into());
    check_shape(table.clone(), |out| {
        for foreign in ["x-death", "priority", "void"] {
            assert_eq!(out.0.get(foreign), table.0.get(foreign));
        }
    });

    let map: BTreeMap<String, String> =
        [("traceparent", PARENT), ("baggage", "a=1"), ("x-correlation-id", "order-42"), ("schema", "7")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    check_shape(map, |out| assert_eq!(out["schema"], "7"));
}

#[test]
fn into_borrowed_and_missing_headers() {
    let pipeline = Pipeline::new();
    send("t").parent(pipeline.context()).run_sync(|_| {
        let mut mine = headers(&[("schema", "7")]);
        let _ = inject_trace_headers(&mut mine);
        assert_eq!(values(&mine, "traceparent").len(), 1);
        let made: Option<Headers> = inject_trace_headers(None);
        assert_eq!(values(&made.unwrap(), "traceparent").len(), 1);
    });
    let _ = pipeline.provider.tracer("unused");
}
