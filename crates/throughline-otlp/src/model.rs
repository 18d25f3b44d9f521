//! Owned spans and logs, for everything off the hot path: store search, assembly, APIs, the page.
//!
//! Distinct from the views in [`crate::view`], which borrow the wire. What was not on the wire is `None` or empty,
//! never a made-up value.

use std::sync::Arc;

use throughline_semconv as semconv;

use crate::ids::{SpanId, TraceId, UnixNanos};

/// One span with the resource and scope it came under.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Trace the span belongs to.
    pub trace_id: TraceId,
    /// The span's own id.
    pub span_id: SpanId,
    /// Parent, `None` for a root.
    pub parent: Option<SpanId>,
    /// W3C tracestate as it came, often empty.
    pub trace_state: String,
    /// W3C flags and OTLP's remote bits.
    pub flags: u32,
    /// Operation name.
    pub name: String,
    /// Kind.
    pub kind: SpanKind,
    /// Start time.
    pub start: UnixNanos,
    /// End time.
    pub end: UnixNanos,
    /// Status.
    pub status: Status,
    /// Attributes in wire order; a key may occur twice, the first counts.
    pub attributes: Vec<KeyValue>,
    /// Events in wire order.
    pub events: Vec<Event>,
    /// Links in wire order.
    pub links: Vec<Link>,
    /// What the SDK says it dropped: attributes, events, links.
    pub dropped: Dropped,
    /// Resource; shared by the spans of one request.
    pub resource: Arc<Resource>,
    /// Instrumentation scope; shared likewise.
    pub scope: Arc<Scope>,
}

/// Span kind, OTLP numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum SpanKind {
    /// 0, or a number this version does not know.
    #[default]
    Unspecified,
    /// 1
    Internal,
    /// 2
    Server,
    /// 3
    Client,
    /// 4
    Producer,
    /// 5
    Consumer,
}

/// Span status, OTLP numbering.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Status {
    /// 0, or a number this version does not know.
    #[default]
    Unset,
    /// 1
    Ok,
    /// 2, with the message (may be empty).
    Error(String),
}

/// Counts of what the SDK dropped before sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Attributes dropped.
    pub attributes: u32,
    /// Events dropped.
    pub events: u32,
    /// Links dropped.
    pub links: u32,
}

/// One attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyValue {
    /// Key.
    pub key: String,
    /// Value.
    pub value: Value,
}

/// An attribute value or a log body (OTLP `AnyValue`).
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Value {
    /// No value on the wire.
    #[default]
    Empty,
    /// String.
    Str(String),
    /// Boolean.
    Bool(bool),
    /// Signed integer.
    Int(i64),
    /// Double.
    Double(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Array.
    Array(Vec<Value>),
    /// Key-value list.
    Map(Vec<KeyValue>),
}

/// A span event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub time: UnixNanos,
    /// Name; `exception` for exceptions.
    pub name: String,
    /// Attributes.
    pub attributes: Vec<KeyValue>,
}

/// A span link. Links with an invalid trace or span id are not kept (the wire view still has them).
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Trace linked to.
    pub trace_id: TraceId,
    /// Span linked to.
    pub span_id: SpanId,
    /// W3C tracestate of the link.
    pub trace_state: String,
    /// W3C flags.
    pub flags: u32,
    /// Attributes.
    pub attributes: Vec<KeyValue>,
}

/// What produced the telemetry.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Resource {
    /// Attributes, `service.name` among them.
    pub attributes: Vec<KeyValue>,
    /// Schema URL of the `ResourceSpans` or `ResourceLogs`.
    pub schema_url: String,
}

/// Instrumentation scope.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Scope {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Attributes.
    pub attributes: Vec<KeyValue>,
    /// Schema URL of the `ScopeSpans` or `ScopeLogs`.
    pub schema_url: String,
}

/// One log record.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord {
    /// When it happened; 0 on the wire becomes `observed`.
    pub time: UnixNanos,
    /// When it was seen.
    pub observed: UnixNanos,
    /// OTLP severity number, 0 if unset.
    pub severity: u8,
    /// Severity as text, may be empty.
    pub severity_text: String,
    /// Body.
    pub body: Value,
    /// Attributes.
    pub attributes: Vec<KeyValue>,
    /// Trace, if the log was written inside one.
    pub trace_id: Option<TraceId>,
    /// Span, likewise.
    pub span_id: Option<SpanId>,
    /// Event name, may be empty.
    pub event_name: String,
    /// Resource.
    pub resource: Arc<Resource>,
    /// Scope.
    pub scope: Arc<Scope>,
}

impl Span {
    /// First attribute with this key, or with an older name for it.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        find(&self.attributes, key)
    }

    /// `service.name` of the resource, `unknown_service` if it has none.
    #[must_use]
    pub fn service(&self) -> &str {
        self.resource.service()
    }

    /// Whether status is error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(self.status, Status::Error(_))
    }
}

impl Resource {
    /// `service.name`, `unknown_service` if absent (the SDK specification's default).
    #[must_use]
    pub fn service(&self) -> &str {
        match find(&self.attributes, semconv::attribute::SERVICE_NAME) {
            Some(Value::Str(name)) if !name.is_empty() => name,
            _ => "unknown_service",
        }
    }
}

impl LogRecord {
    /// First attribute with this key.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        find(&self.attributes, key)
    }
}

impl Link {
    /// First attribute with this key.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        find(&self.attributes, key)
    }
}

impl SpanKind {
    /// From OTLP's number.
    #[must_use]
    pub fn from_otlp(number: i32) -> Self {
        match number {
            1 => Self::Internal,
            2 => Self::Server,
            3 => Self::Client,
            4 => Self::Producer,
            5 => Self::Consumer,
            _ => Self::Unspecified,
        }
    }

    /// Lower-case name, as Jaeger's `span.kind` tag and the source print it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// First attribute whose key is `key` or an older name for it; the exact name wins.
#[must_use]
pub fn find<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes
        .iter()
        .find(|kv| kv.key == key)
        .or_else(|| attributes.iter().find(|kv| semconv::current_name(&kv.key) == Some(key)))
        .map(|kv| &kv.value)
}
