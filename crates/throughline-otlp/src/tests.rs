//! The wire against prost: whatever prost decodes we read the same, whatever it refuses we refuse.

pub(crate) mod generate;
mod json;
mod seeds;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{self as common, any_value};
use opentelemetry_proto::tonic::trace::v1 as trace;
use proptest::prelude::*;
use prost::Message as _;

use crate::model::{Event, KeyValue, Link, Value};
use crate::{Signal, Span, SpanId, SpanKind, Splice, Status, TraceId, UnixNanos, check, decode_traces, view};

/// The naive model: a full prost decode, span by span, in our types.
fn expected(request: &ExportTraceServiceRequest) -> Vec<Span> {
    let mut out = Vec::new();
    for group in &request.resource_spans {
        let resource = std::sync::Arc::new(crate::model::Resource {
            attributes: group.resource.as_ref().map_or_else(Vec::new, |r| key_values(&r.attributes)),
            schema_url: group.schema_url.clone(),
        });
        for scope_spans in &group.scope_spans {
            let scope = scope_spans.scope.clone().unwrap_or_default();
            let scope = std::sync::Arc::new(crate::model::Scope {
                name: scope.name.clone(),
                version: scope.version.clone(),
                attributes: key_values(&scope.attributes),
                schema_url: scope_spans.schema_url.clone(),
            });
            out.extend(scope_spans.spans.iter().filter_map(|s| expected_span(s, &resource, &scope)));
        }
    }
    out
}

fn expected_span(
    s: &trace::Span,
    resource: &std::sync::Arc<crate::model::Resource>,
    scope: &std::sync::Arc<crate::model::Scope>,
) -> Option<Span> {
    let status = s.status.clone().unwrap_or_default();
    Some(Span {
        trace_id: TraceId::from_slice(&s.trace_id)?,
        span_id: SpanId::from_slice(&s.span_id)?,
        parent: SpanId::from_slice(&s.parent_span_id),
        trace_state: s.trace_state.clone(),
        flags: s.flags,
        name: s.name.clone(),
        kind: SpanKind::from_otlp(s.kind),
        start: UnixNanos(s.start_time_unix_nano),
        end: UnixNanos(s.end_time_unix_nano),
        status: match status.code {
            1 => Status::Ok,
            2 => Status::Error(status.message),
            _ => Status::Unset,
        },
        attributes: key_values(&s.attributes),
        events: s
            .events
            .iter()
            .map(|e| Event {
                time: UnixNanos(e.time_unix_nano),
                name: e.name.clone(),
                attributes: key_values(&e.attributes),
            })
            .collect(),
        links: s
            .links
            .iter()
            .filter_map(|l| {
                Some(Link {
                    trace_id: TraceId::from_slice(&l.trace_id)?,
                    span_id: SpanId::from_slice(&l.span_id)?,
                    trace_state: l.trace_state.clone(),
                    flags: l.flags,
                    attributes: key_values(&l.attributes),
                })
            })
            .collect(),
        dropped: crate::model::Dropped {
            attributes: s.dropped_attributes_count,
            events: s.dropped_events_count,
            links: s.dropped_links_count,
        },
        resource: resource.clone(),
        scope: scope.clone(),
    })
}

fn key_values(entries: &[common::KeyValue]) -> Vec<KeyValue> {
    entries.iter().map(|kv| KeyValue { key: kv.key.clone(), value: value(kv.value.as_ref()) }).collect()
}

fn value(v: Option<&common::AnyValue>) -> Value {
    match v.and_then(|v| v.value.as_ref()) {
        None | Some(any_value::Value::StringValueStrindex(_)) => Value::Empty,
        Some(any_value::Value::StringValue(s)) => Value::Str(s.clone()),
        Some(any_value::Value::BoolValue(b)) => Value::Bool(*b),
        Some(any_value::Value::IntValue(i)) => Value::Int(*i),
        Some(any_value::Value::DoubleValue(d)) => Value::Double(*d),
        Some(any_value::Value::BytesValue(b)) => Value::Bytes(b.clone()),
        Some(any_value::Value::ArrayValue(a)) => {
            Value::Array(a.values.iter().map(|v| value(Some(v))).collect())
        }
        Some(any_value::Value::KvlistValue(m)) => Value::Map(key_values(&m.values)),
    }
}

/// NaN is not equal to itself, so spans are compared by what they print.
fn same(bytes: &[u8]) -> Result<(), TestCaseError> {
    match ExportTraceServiceRequest::decode(bytes) {
        Ok(request) => {
            let ours = decode_traces(bytes);
            prop_assert!(ours.is_ok(), "prost reads it, we say {:?}", ours);
            prop_assert_eq!(format!("{:?}", ours.unwrap()), format!("{:?}", expected(&request)));
            let counts = check(Signal::Traces, bytes).unwrap();
            let all = request
                .resource_spans
                .iter()
                .flat_map(|r| &r.scope_spans)
                .map(|s| s.spans.len())
                .sum::<usize>();
            prop_assert_eq!(counts.items, all as u64);
            prop_assert_eq!(counts.rejected, (all - expected(&request).len()) as u64);
        }
        Err(error) => prop_assert!(check(Signal::Traces, bytes).is_err(), "prost refuses it: {error}"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_full_scan_equals_a_full_decode(request in generate::traces()) {
        same(&request.encode_to_vec())?;
    }

    #[test]
    fn also_when_the_input_is_mutated(
        request in generate::traces(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
    ) {
        let mut bytes = request.encode_to_vec();
        for (at, byte, kind) in edits {
            if bytes.is_empty() { break }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        same(&bytes)?;
    }

    #[test]
    fn arbitrary_bytes_are_judged_as_prost_judges_them(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        same(&bytes)?;
        prop_assert_eq!(
            check(Signal::Logs, &bytes).is_ok(),
            ExportLogsServiceRequest::decode(&bytes[..]).is_ok()
        );
        prop_assert_eq!(
            check(Signal::Metrics, &bytes).is_ok(),
            ExportMetricsServiceRequest::decode(&bytes[..]).is_ok()
        );
    }

    #[test]
    fn two_requests_in_a_row_merge_as_prost_merges_them(a in generate::traces(), b in generate::traces()) {
        let mut bytes = a.encode_to_vec();
        bytes.extend(b.encode_to_vec());
        same(&bytes)?;
        // The same one level down: a resource group, then the other's fields in the same group.
        if let (Some(a), Some(b)) = (a.resource_spans.first(), b.resource_spans.first()) {
            let mut group = a.encode_to_vec();
            group.extend(b.encode_to_vec());
            let mut bytes = Vec::new();
            crate::wire::put_bytes(&mut bytes, 1, &group);
            same(&bytes)?;
        }
    }

    #[test]
    fn splitting_loses_nothing_and_the_parts_concatenate(request in generate::traces(), unknown in any::<u64>()) {
        let mut bytes = request.encode_to_vec();
        // A field of a later OTLP version in each group: it must survive the splice.
        for group in &request.resource_spans {
            let mut raw = group.encode_to_vec();
            crate::wire::put_tag(&mut raw, 999, 0);
            crate::wire::put_varint(&mut raw, unknown);
            crate::wire::put_bytes(&mut bytes, 1, &raw);
        }
        let whole = decode_traces(&bytes).unwrap();
        let parts = parts(&bytes);
        prop_assert_eq!(parts.len(), whole.len());
        let mut joined = Vec::new();
        for (part, span) in parts.iter().zip(&whole) {
            prop_assert_eq!(format!("{:?}", decode_traces(part).unwrap()), format!("{:?}", [span]));
            joined.extend_from_slice(part);
        }
        prop_assert_eq!(format!("{:?}", decode_traces(&joined).unwrap()), format!("{:?}", whole));
        let survived = parts.len() / 2..parts.len();
        let mut tag = Vec::new();
        crate::wire::put_tag(&mut tag, 999, 0);
        crate::wire::put_varint(&mut tag, unknown);
        for part in &parts[survived] {
            prop_assert!(part.windows(tag.len()).any(|w| w == tag), "the unknown field is gone");
        }
    }
}

/// Every span with valid ids as a request of its own.
fn parts(request: &[u8]) -> Vec<Vec<u8>> {
    let (mut splice, mut parts) = (Splice::default(), Vec::new());
    let mut cut = |resource, scope, span: view::SpanView<'_>| {
        let mut part = Vec::new();
        if span.ids().is_some() {
            splice.append(resource, scope, span.raw(), &mut part)?;
            parts.push(part);
        }
        Ok(())
    };
    view::TracesView::new(request).for_each(&mut cut).unwrap();
    parts
}

#[test]
fn nesting_is_refused_exactly_where_prost_refuses_it() {
    for depth in 1..60 {
        let mut nested = common::AnyValue { value: Some(any_value::Value::BoolValue(true)) };
        for _ in 0..depth {
            nested = common::AnyValue {
                value: Some(any_value::Value::ArrayValue(common::ArrayValue { values: vec![nested] })),
            };
        }
        let span = trace::Span {
            trace_id: vec![1; 16],
            span_id: vec![1; 8],
            attributes: vec![common::KeyValue {
                key: "deep".into(),
                value: Some(nested),
                ..Default::default()
            }],
            ..Default::default()
        };
        let bytes = generate::wrap(vec![span]).encode_to_vec();
        same(&bytes).unwrap();
    }
}
