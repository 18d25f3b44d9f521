//! Arbitrary OTLP requests, built with prost's types.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use proptest::collection::vec;
use proptest::prelude::*;

pub(crate) fn wrap(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = ScopeSpans { spans, ..Default::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans: vec![scope], ..Default::default() }],
    }
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        ".{0,8}".prop_map(|s| Some(any_value::Value::StringValue(s))),
        // Around the lengths where one byte says it no more.
        "[a-zé]{60,140}".prop_map(|s| Some(any_value::Value::StringValue(s))),
        any::<bool>().prop_map(|b| Some(any_value::Value::BoolValue(b))),
        any::<i64>().prop_map(|i| Some(any_value::Value::IntValue(i))),
        any::<f64>().prop_map(|d| Some(any_value::Value::DoubleValue(d))),
        vec(any::<u8>(), 0..8).prop_map(|b| Some(any_value::Value::BytesValue(b))),
    ]
    .prop_map(|value| AnyValue { value });
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(|values| any_value::Value::ArrayValue(ArrayValue { values })),
            vec(("[a-z.]{0,6}", inner), 0..3).prop_map(|pairs| any_value::Value::KvlistValue(KeyValueList {
                values: pairs
                    .into_iter()
                    .map(|(key, value)| KeyValue { key, value: Some(value), ..Default::default() })
                    .collect()
            })),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec(
        ("[a-z.]{0,8}", prop::option::of(any_value())).prop_map(|(key, value)| KeyValue {
            key,
            value,
            ..Default::default()
        }),
        0..4,
    )
}

/// Mostly valid ids; now and then empty, zero or of the wrong length.
fn id(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(any::<u8>(), length), 1 => Just(vec![0; length]), 1 => vec(any::<u8>(), 0..20)]
}

fn event() -> impl Strategy<Value = span::Event> {
    (any::<u64>(), ".{0,8}", attributes(), any::<u32>()).prop_map(|(time, name, attributes, dropped)| {
        span::Event { time_unix_nano: time, name, attributes, dropped_attributes_count: dropped }
    })
}

fn link() -> impl Strategy<Value = span::Link> {
    (id(16), id(8), "[a-z=,]{0,8}", attributes(), any::<u32>()).prop_map(
        |(trace_id, span_id, trace_state, attributes, flags)| span::Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count: 0,
            flags,
        },
    )
}

pub(crate) fn span() -> impl Strategy<Value = Span> {
    let ids = (id(16), id(8), id(8));
    let head = ("[a-z=,]{0,8}", any::<u32>(), ".{0,12}", -1..8i32, any::<u64>(), any::<u64>());
    let rest = (attributes(), vec(event(), 0..3), vec(link(), 0..3), any::<[u32; 3]>());
    let status = prop::option::of((".{0,6}", -1..4i32).prop_map(|(message, code)| Status { message, code }));
    (ids, head, rest, status).prop_map(|(ids, head, rest, status)| Span {
        trace_id: ids.0,
        span_id: ids.1,
        parent_span_id: ids.2,
        trace_state: head.0,
        flags: head.1,
        name: head.2,
        kind: head.3,
        start_time_unix_nano: head.4,
        end_time_unix_nano: head.5,
        attributes: rest.0,
        events: rest.1,
        links: rest.2,
        dropped_attributes_count: rest.3[0],
        dropped_events_count: rest.3[1],
        dropped_links_count: rest.3[2],
        status,
    })
}

pub(crate) fn traces() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scope = prop::option::of(("[a-z]{0,6}", "[0-9.]{0,4}", attributes()).prop_map(
        |(name, version, attributes)| InstrumentationScope {
            name,
            version,
            attributes,
            ..Default::default()
        },
    ));
    let scope_spans = (scope, vec(span(), 0..4), "[a-z/:]{0,8}")
        .prop_map(|(scope, spans, schema_url)| ScopeSpans { scope, spans, schema_url });
    let resource =
        prop::option::of(attributes().prop_map(|attributes| Resource { attributes, ..Default::default() }));
    let group = (resource, vec(scope_spans, 0..3), "[a-z/:]{0,8}")
        .prop_map(|(resource, scope_spans, schema_url)| ResourceSpans { resource, scope_spans, schema_url });
    vec(group, 0..3).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}
