//! Builds requests and stores for the tests.

use std::path::Path;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use throughline_otlp::{Signal, TraceId, UnixNanos};
use throughline_store::{Ingest, Store, StoreOptions};

/// A span, its service, and ids as small numbers.
#[derive(Clone, Debug)]
pub(crate) struct SpanSpec {
    pub(crate) service: &'static str,
    pub(crate) trace: u8,
    pub(crate) id: u8,
    pub(crate) name: String,
    pub(crate) kind: i32,
    pub(crate) start: u64,
    pub(crate) nanos: u64,
    pub(crate) error: bool,
    pub(crate) attributes: Vec<(&'static str, Attribute)>,
    pub(crate) event: Vec<(&'static str, Attribute)>,
    /// Trace linked to, and the link's attributes.
    pub(crate) links: Vec<(u8, Vec<(&'static str, Attribute)>)>,
}

#[derive(Clone, Debug)]
pub(crate) struct LogSpec {
    pub(crate) service: &'static str,
    pub(crate) trace: u8,
    pub(crate) time: u64,
    pub(crate) severity: i32,
    pub(crate) body: &'static str,
    pub(crate) attributes: Vec<(&'static str, Attribute)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Attribute {
    Text(String),
    Int(i64),
    Double(f64),
    Bool(bool),
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Attribute {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl Default for SpanSpec {
    fn default() -> Self {
        Self {
            service: "api",
            trace: 1,
            id: 1,
            name: "work".to_owned(),
            kind: 1,
            start: 1_000,
            nanos: 10,
            error: false,
            attributes: vec![],
            event: vec![],
            links: vec![],
        }
    }
}

impl Default for LogSpec {
    fn default() -> Self {
        Self { service: "api", trace: 1, time: 1_000, severity: 9, body: "hello", attributes: vec![] }
    }
}

pub(crate) fn trace_id(number: u8) -> TraceId {
    TraceId::new([number; 16]).unwrap()
}

/// One request; a group per span.
pub(crate) fn traces(specs: &[SpanSpec]) -> Vec<u8> {
    let group = |spec: &SpanSpec| ResourceSpans {
        resource: Some(resource(spec.service)),
        scope_spans: vec![ScopeSpans { spans: vec![span(spec)], ..Default::default() }],
        ..Default::default()
    };
    ExportTraceServiceRequest { resource_spans: specs.iter().map(group).collect() }.encode_to_vec()
}

pub(crate) fn logs(specs: &[LogSpec]) -> Vec<u8> {
    let group = |spec: &LogSpec| ResourceLogs {
        resource: Some(resource(spec.service)),
        scope_logs: vec![ScopeLogs { log_records: vec![record(spec)], ..Default::default() }],
        ..Default::default()
    };
    ExportLogsServiceRequest { resource_logs: specs.iter().map(group).collect() }.encode_to_vec()
}

fn span(spec: &SpanSpec) -> Span {
    let link = |(trace, attributes): &(u8, Vec<_>)| Link {
        trace_id: vec![*trace; 16],
        span_id: vec![9; 8],
        attributes: key_values(attributes),
        ..Default::default()
    };
    let event =
        Event { name: "exception".to_owned(), attributes: key_values(&spec.event), ..Default::default() };
    Span {
        trace_id: vec![spec.trace; 16],
        span_id: vec![spec.id; 8],
        parent_span_id: if spec.id > 1 { vec![spec.id - 1; 8] } else { vec![] },
        name: spec.name.clone(),
        kind: spec.kind,
        start_time_unix_nano: spec.start,
        end_time_unix_nano: spec.start + spec.nanos,
        attributes: key_values(&spec.attributes),
        events: if spec.event.is_empty() { vec![] } else { vec![event] },
        links: spec.links.iter().map(link).collect(),
        status: spec.error.then(|| Status { code: 2, message: "failed".to_owned() }),
        ..Default::default()
    }
}

fn record(spec: &LogSpec) -> LogRecord {
    LogRecord {
        time_unix_nano: spec.time,
        severity_number: spec.severity,
        severity_text: if spec.severity >= 17 { "ERROR".to_owned() } else { "INFO".to_owned() },
        body: Some(any(&Attribute::Text(spec.body.to_owned()))),
        attributes: key_values(&spec.attributes),
        trace_id: vec![spec.trace; 16],
        span_id: vec![1; 8],
        ..Default::default()
    }
}

fn resource(service: &str) -> Resource {
    let attributes = [("service.name", Attribute::from(service)), ("host.name", Attribute::from("node-1"))];
    Resource { attributes: key_values(&attributes), ..Default::default() }
}

fn key_values(attributes: &[(&str, Attribute)]) -> Vec<KeyValue> {
    attributes
        .iter()
        .map(|(key, value)| KeyValue {
            key: (*key).to_owned(),
            value: Some(any(value)),
            ..Default::default()
        })
        .collect()
}

fn any(value: &Attribute) -> AnyValue {
    let value = match value {
        Attribute::Text(text) => Value::StringValue(text.clone()),
        Attribute::Int(number) => Value::IntValue(*number),
        Attribute::Double(number) => Value::DoubleValue(*number),
        Attribute::Bool(truth) => Value::BoolValue(*truth),
    };
    AnyValue { value: Some(value) }
}

/// A store in a temporary directory that outlives reopening it.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) options: StoreOptions,
    pub(crate) store: Store,
    pub(crate) next: u64,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(StoreOptions::default())
    }

    pub(crate) fn with(options: StoreOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), options.clone()).unwrap();
        Self { dir, options, store, next: 1 }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn spans(&mut self, specs: &[SpanSpec]) -> Vec<TraceId> {
        self.ingest(Signal::Traces, &traces(specs))
    }

    pub(crate) fn logs(&mut self, specs: &[LogSpec]) -> Vec<TraceId> {
        self.ingest(Signal::Logs, &logs(specs))
    }

    /// At the next position; arrives that many seconds after the epoch.
    pub(crate) fn ingest(&mut self, signal: Signal, otlp: &[u8]) -> Vec<TraceId> {
        let position = self.next;
        self.next += 1;
        self.store.ingest(Ingest { position, arrived: seconds(position), signal, otlp }).unwrap()
    }

    /// Drops the store with whatever is not committed, and opens it again.
    pub(crate) fn reopen(self) -> Self {
        let Self { dir, options, store, next } = self;
        drop(store);
        let store = Store::open(dir.path(), options.clone()).unwrap();
        Self { dir, options, store, next }
    }
}

pub(crate) fn seconds(seconds: u64) -> UnixNanos {
    UnixNanos(seconds * 1_000_000_000)
}

/// Directories of blocks, by their name's beginning and end.
pub(crate) fn directories(dir: &Path, suffix: &str) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("block-") && name.ends_with(suffix) && name.contains('.') != suffix.is_empty()
        })
        .collect();
    found.sort();
    found
}
