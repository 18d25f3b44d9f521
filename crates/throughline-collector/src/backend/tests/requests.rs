//! Requests as an SDK would send them, encoded by prost.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use throughline_otlp::TraceId;

use crate::intake::wall_clock;

/// A trace id that tests tell apart by number.
pub(super) fn trace(number: u64) -> TraceId {
    TraceId::from_hex(&format!("{:032x}", u128::from(number) | 1 << 100)).unwrap()
}

/// A span id likewise.
fn span_id(number: u64) -> Vec<u8> {
    (number + 1).to_be_bytes().to_vec()
}

/// `spans` is trace number, span number and name.
pub(super) fn traces(spans: &[(u64, u64, &str)]) -> ExportTraceServiceRequest {
    let now = wall_clock().0;
    let spans = spans.iter().map(|(in_trace, number, name)| Span {
        trace_id: trace(*in_trace).bytes().to_vec(),
        span_id: span_id(*number),
        name: (*name).to_owned(),
        kind: 2,
        start_time_unix_nano: now,
        end_time_unix_nano: now + 1_000_000,
        ..Span::default()
    });
    spans_request(spans.collect())
}

/// The same with one more span whose id is not one.
pub(super) fn partly_invalid(in_trace: u64) -> ExportTraceServiceRequest {
    let mut request = traces(&[(in_trace, 1, "good"), (in_trace, 2, "bad")]);
    request.resource_spans[0].scope_spans[0].spans[1].span_id.truncate(7);
    request
}

fn spans_request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource = Some(resource());
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }],
    }
}

pub(super) fn logs(in_trace: u64, body: &str) -> ExportLogsServiceRequest {
    let record = LogRecord {
        time_unix_nano: wall_clock().0,
        trace_id: trace(in_trace).bytes().to_vec(),
        span_id: span_id(1),
        body: Some(text(body)),
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    let resource = Some(resource());
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }],
    }
}

/// A gauge with one point per value, each its own series.
pub(super) fn metrics(name: &str, values: &[i64]) -> ExportMetricsServiceRequest {
    let point = |(number, value): (usize, &i64)| NumberDataPoint {
        attributes: vec![KeyValue {
            key: "series".to_owned(),
            value: Some(text(&number.to_string())),
            ..KeyValue::default()
        }],
        time_unix_nano: wall_clock().0,
        value: Some(number_data_point::Value::AsInt(*value)),
        ..NumberDataPoint::default()
    };
    let gauge = Gauge { data_points: values.iter().enumerate().map(point).collect() };
    let metric =
        Metric { name: name.to_owned(), data: Some(metric::Data::Gauge(gauge)), ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource = Some(resource());
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }],
    }
}

/// Requests in OTLP's JSON, written by hand: `leaves` is what stands under the innermost key.
fn json(outer: &str, inner: &str, items: &str, leaves: &str) -> String {
    let resource = r#"{"attributes":[{"key":"service.name","value":{"stringValue":"api"}}]}"#;
    format!(r#"{{"{outer}":[{{"resource":{resource},"{inner}":[{{"{items}":[{leaves}]}}]}}]}}"#)
}

fn span_json(in_trace: u64, span_id: &str, name: &str) -> String {
    let now = wall_clock().0;
    let trace = trace(in_trace);
    format!(
        r#"{{"traceId":"{trace}","spanId":"{span_id}","name":"{name}","kind":2,"startTimeUnixNano":"{now}","endTimeUnixNano":"{now}"}}"#
    )
}

pub(super) fn traces_json(in_trace: u64, number: u64, name: &str) -> String {
    let span = span_json(in_trace, &format!("{:016x}", number + 1), name);
    json("resourceSpans", "scopeSpans", "spans", &span)
}

/// As [`partly_invalid`].
pub(super) fn partly_invalid_json(in_trace: u64) -> String {
    let good = span_json(in_trace, "0000000000000002", "good");
    let bad = span_json(in_trace, "00000000000000", "bad");
    json("resourceSpans", "scopeSpans", "spans", &format!("{good},{bad}"))
}

pub(super) fn logs_json(in_trace: u64, body: &str) -> String {
    let (now, trace) = (wall_clock().0, trace(in_trace));
    let record =
        format!(r#"{{"timeUnixNano":"{now}","traceId":"{trace}","body":{{"stringValue":"{body}"}}}}"#);
    json("resourceLogs", "scopeLogs", "logRecords", &record)
}

pub(super) fn metrics_json(name: &str, value: i64) -> String {
    let now = wall_clock().0;
    let metric = format!(
        r#"{{"name":"{name}","gauge":{{"dataPoints":[{{"timeUnixNano":"{now}","asInt":"{value}"}}]}}}}"#
    );
    json("resourceMetrics", "scopeMetrics", "metrics", &metric)
}

fn resource() -> Resource {
    let attributes =
        vec![KeyValue { key: "service.name".to_owned(), value: Some(text("api")), ..KeyValue::default() }];
    Resource { attributes, ..Resource::default() }
}

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) }
}
