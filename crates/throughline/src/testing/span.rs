//! One recorded span and what a test can say about it. Assertions return the span, so that they chain; each failure
//! prints the span as it is.

use std::fmt;

use opentelemetry::{
    Value,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceId},
};
use opentelemetry_sdk::trace::SpanData;
use throughline_semconv::attribute::ERROR_TYPE;

/// A span that has ended.
#[derive(Debug, Clone)]
pub struct RecordedSpan(SpanData);

impl RecordedSpan {
    pub(super) fn new(data: SpanData) -> Self {
        RecordedSpan(data)
    }

    /// Everything the SDK knows of it.
    #[must_use]
    pub fn data(&self) -> &SpanData {
        &self.0
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its trace.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        self.0.span_context.trace_id()
    }

    /// Its id.
    #[must_use]
    pub fn span_id(&self) -> SpanId {
        self.0.span_context.span_id()
    }

    /// The span it stands under, if any.
    #[must_use]
    pub fn parent(&self) -> Option<SpanId> {
        (self.0.parent_span_id != SpanId::INVALID).then_some(self.0.parent_span_id)
    }

    /// What it links to.
    pub fn links(&self) -> impl Iterator<Item = &SpanContext> {
        self.0.links.iter().map(|link| &link.span_context)
    }

    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        self.0
            .attributes
            .iter()
            .find(|attribute| attribute.key.as_str() == key)
            .map(|attribute| &attribute.value)
    }

    /// It is of this kind.
    #[track_caller]
    pub fn assert_kind(&self, kind: SpanKind) -> &Self {
        assert_eq!(self.0.span_kind, kind, "kind of {self}");
        self
    }

    /// It has this attribute, with this value and type.
    #[track_caller]
    pub fn assert_attribute(&self, key: &str, value: impl Into<Value>) -> &Self {
        assert_eq!(
            self.attribute(key),
            Some(&value.into()),
            "attribute {key:?} of {self}\n{}",
            self.attributes()
        );
        self
    }

    /// It lacks this attribute.
    #[track_caller]
    pub fn assert_no_attribute(&self, key: &str) -> &Self {
        assert_eq!(self.attribute(key), None, "attribute {key:?} of {self}");
        self
    }

    /// It stands under `parent`, in the same trace.
    #[track_caller]
    pub fn assert_child_of(&self, parent: &RecordedSpan) -> &Self {
        assert_eq!(self.trace_id(), parent.trace_id(), "{self} is in another trace than {parent}");
        assert_eq!(self.parent(), Some(parent.span_id()), "{self} is not under {parent}");
        self
    }

    /// It begins a trace.
    #[track_caller]
    pub fn assert_root(&self) -> &Self {
        assert_eq!(self.parent(), None, "{self} is not a root");
        self
    }

    /// It links to `other`.
    #[track_caller]
    pub fn assert_links_to(&self, other: &RecordedSpan) -> &Self {
        let linked =
            self.links().any(|link| link.trace_id() == other.trace_id() && link.span_id() == other.span_id());
        assert!(
            linked,
            "{self} does not link to {other}; it links to {:?}",
            self.links().collect::<Vec<_>>()
        );
        self
    }

    /// It did not fail.
    #[track_caller]
    pub fn assert_ok(&self) -> &Self {
        assert!(!matches!(self.0.status, Status::Error { .. }), "{self} failed");
        self.assert_no_attribute(ERROR_TYPE)
    }

    /// It failed, with this `error.type`.
    #[track_caller]
    pub fn assert_error(&self, error_type: &str) -> &Self {
        assert!(matches!(self.0.status, Status::Error { .. }), "{self} did not fail");
        self.assert_attribute(ERROR_TYPE, error_type.to_owned())
    }

    fn attributes(&self) -> String {
        let lines =
            self.0.attributes.iter().map(|attribute| format!("  {} = {:?}", attribute.key, attribute.value));
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for RecordedSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({:?}, {}-{}", self.name(), self.0.span_kind, self.trace_id(), self.span_id())?;
        match &self.0.status {
            Status::Error { description } => write!(f, ", error: {description})"),
            Status::Ok | Status::Unset => f.write_str(")"),
        }
    }
}
