//! What can be asked of the store, in its own words. Owns the public questions and answers; how a question is
//! evaluated is [`crate::query`]'s.

use std::time::Duration;

use throughline_otlp::{SpanKind, TraceId, UnixNanos};

/// Conditions that all hold on the same span (or log record). What is `None` or empty asks nothing.
///
/// Of a log record, service, time, attributes and `errors` (severity ERROR and above) are asked; operation, kind and
/// duration are things no record has, so with any of them set no record matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// `service.name` of the resource.
    pub service: Option<String>,
    /// The span's name.
    pub operation: Option<String>,
    /// The span's kind.
    pub kind: Option<SpanKind>,
    /// Whether only errors count.
    pub errors: Errors,
    /// Shortest duration, inclusive.
    pub min_duration: Option<Duration>,
    /// Longest duration, inclusive.
    pub max_duration: Option<Duration>,
    /// Earliest start (of a record: time), inclusive. What is later than an hour after its arrival counts as that hour, so
    /// that a clock far ahead does not put a span into every search to come.
    pub start: Option<UnixNanos>,
    /// Latest start (of a record: time), inclusive.
    pub end: Option<UnixNanos>,
    /// Attributes as key and value, the value as text (`200`, `true`, `eu-1`). Looked for on the span, its resource, its
    /// events and its links; of a record on the record and its resource. Keys of older generations of the conventions
    /// and today's are the same key, and so are `correlation_id` and `messaging.message.conversation_id`.
    ///
    /// `trace_id`, `span_id` and `parent_span_id` (hex) ask for the span's own ids; `severity`, `body` and `event.name`
    /// for what a record has instead of attributes.
    pub attributes: Vec<(String, String)>,
    /// At most so many answers; 0 asks for none.
    pub limit: usize,
}

/// Whether a search asks for errors only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Errors {
    /// Errors or not.
    #[default]
    Any,
    /// Only spans with status error, only records of severity ERROR and above.
    Only,
}

/// One trace with at least one matching span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The trace.
    pub trace_id: TraceId,
    /// How many of its spans match.
    pub matched: usize,
    /// Start of the newest matching span.
    pub start: UnixNanos,
}

/// An operation of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// The span's name.
    pub name: String,
    /// The span's kind.
    pub kind: SpanKind,
}

impl Default for Search {
    /// Everything, newest twenty.
    fn default() -> Self {
        Self {
            service: None,
            operation: None,
            kind: None,
            errors: Errors::Any,
            min_duration: None,
            max_duration: None,
            start: None,
            end: None,
            attributes: Vec::new(),
            limit: 20,
        }
    }
}
