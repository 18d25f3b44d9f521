//! The load of the store's measurements, here and side by side with a peer: spans of some 446 bytes with 10 messaging
//! attributes, many traces at once, and a batch span in each request. The same in every run.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Link;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

/// Beside these, each request has the span of a batch.
pub const SPANS_A_REQUEST: u64 = 512;
/// Spans of a trace.
pub const SPANS_A_TRACE: u64 = 8;
/// Traces that a batch's span links to.
const TRACES_A_BATCH: u64 = 5;
/// When the first span starts.
pub const STARTED: u64 = 1_700_000_000_000_000_000;

/// The spans of many traces side by side, as a collector sees them.
pub fn request(number: u64) -> Vec<u8> {
    let service = pick(&["api", "payment-worker", "email-worker", "batcher"], number);
    let spans =
        (0..SPANS_A_REQUEST).map(|n| span(number * SPANS_A_REQUEST + n)).chain([batch(number)]).collect();
    let scope = InstrumentationScope { name: "throughline".to_owned(), ..Default::default() };
    let resource = Resource {
        attributes: vec![
            text("service.name", service.to_owned()),
            text("service.version", "1.4.2".to_owned()),
            text("host.name", format!("node-{}", number % 16)),
            text("telemetry.sdk.language", "rust".to_owned()),
        ],
        ..Default::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..Default::default() }],
            ..Default::default()
        }],
    }
    .encode_to_vec()
}

fn span(number: u64) -> Span {
    let trace = number / SPANS_A_TRACE;
    let start = STARTED + number * 1_000;
    Span {
        trace_id: trace_id(trace).to_vec(),
        span_id: scramble(number).to_be_bytes().to_vec(),
        parent_span_id: if number.is_multiple_of(SPANS_A_TRACE) {
            vec![]
        } else {
            scramble(number - 1).to_be_bytes().to_vec()
        },
        name: pick(&["send orders", "process orders", "send payments", "process payments"], number)
            .to_owned(),
        kind: 4 + (number % 2) as i32,
        start_time_unix_nano: start,
        end_time_unix_nano: start + scramble(number) % 50_000_000,
        attributes: vec![
            text("messaging.system", "kafka".to_owned()),
            text("messaging.operation.name", "process".to_owned()),
            text("messaging.operation.type", "process".to_owned()),
            text("messaging.destination.name", "orders".to_owned()),
            text("messaging.destination.partition.id", (number % 12).to_string()),
            int("messaging.kafka.offset", number as i64),
            text("messaging.consumer.group.name", "payments".to_owned()),
            text("messaging.client.id", format!("client-{}", number % 8)),
            text("correlation_id", format!("order-{trace}")),
            int("messaging.message.body.size", (number % 900) as i64),
        ],
        ..Default::default()
    }
}

/// The batch of the first traces of request `number`.
fn batch(number: u64) -> Span {
    let first = number * (SPANS_A_REQUEST / SPANS_A_TRACE);
    let link = |trace| Link {
        trace_id: trace_id(trace).to_vec(),
        span_id: scramble(trace * SPANS_A_TRACE).to_be_bytes().to_vec(),
        attributes: vec![text("correlation_id", format!("batched-{trace}"))],
        ..Default::default()
    };
    let start = STARTED + (number + 1) * SPANS_A_REQUEST * 1_000;
    Span {
        trace_id: trace_id(u64::MAX - number).to_vec(),
        span_id: scramble(u64::MAX - number).to_be_bytes().to_vec(),
        name: "process notifications".to_owned(),
        kind: 5,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1_000_000,
        attributes: vec![
            int("linked_trace_id_count", TRACES_A_BATCH as i64),
            text("linked_trace_id_hash", lineage(number)),
        ],
        links: (first..first + TRACES_A_BATCH).map(link).collect(),
        ..Default::default()
    }
}

/// The lineage hash of request `number`'s batch.
pub fn lineage(number: u64) -> String {
    format!("{:016x}", scramble(number ^ 0x5555_5555))
}

fn pick<'a>(names: &[&'a str], number: u64) -> &'a str {
    names.iter().cycle().nth(number as usize % names.len()).copied().unwrap_or_default()
}

/// The id of trace `trace`.
pub fn trace_id(trace: u64) -> [u8; 16] {
    (u128::from(scramble(trace)) << 64 | u128::from(scramble(!trace))).to_be_bytes()
}

/// SplitMix64: ids that look random and are the same in every run.
fn scramble(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn text(key: &str, value: String) -> KeyValue {
    attribute(key, Value::StringValue(value))
}

fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}
