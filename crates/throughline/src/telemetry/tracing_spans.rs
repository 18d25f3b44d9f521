//! The tracer under the spans of `tracing`. What is said inside such a span leaves as a log record that names the span; the
//! layer that makes the spans would have it a second time, as an event on the span. This is where that copy ends.
//!
//! Here, because elsewhere it is worse: a filter on that layer alone loses spans (see [`super::subscriber`]), and the layer's
//! own filter for events prints to standard output.

use std::{borrow::Cow, time::SystemTime};

use opentelemetry::{
    Context, KeyValue,
    trace::{Event, Span, SpanBuilder, SpanContext, Status, Tracer},
};
use throughline_semconv::attribute::EXCEPTION_MESSAGE;

/// Who writes what is said inside a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The log bridge; the span keeps its exceptions.
    InLogs,
    /// Nobody else: there is no log exporter, so all of it is events on the span.
    OnSpan,
}

/// A tracer whose spans take [`Said`] to heart.
#[derive(Clone, Debug)]
pub(super) struct TracingSpans<T> {
    pub(super) tracer: T,
    pub(super) said: Said,
}

impl<T: Tracer> Tracer for TracingSpans<T> {
    type Span = TracingSpan<T::Span>;

    fn build_with_context(&self, mut builder: SpanBuilder, parent: &Context) -> Self::Span {
        if let Some(events) = &mut builder.events {
            events.retain(|Event { attributes, .. }| self.said.belongs_on_span(attributes));
        }
        TracingSpan { span: self.tracer.build_with_context(builder, parent), said: self.said }
    }
}

impl Said {
    /// What the layer makes of a `tracing` event begins with its level and its target. An exception stays, for a reader of
    /// a failed span looks for it there; and so does what the application adds through OpenTelemetry itself.
    fn belongs_on_span(self, attributes: &[KeyValue]) -> bool {
        let is_log = matches!(attributes, [level, target, ..] if level.key.as_str() == "level" && target.key.as_str() == "target");
        let is_exception = || attributes.iter().any(|kv| kv.key.as_str() == EXCEPTION_MESSAGE);
        self == Said::OnSpan || !is_log || is_exception()
    }
}

/// A span that keeps out what is in the logs.
#[derive(Debug)]
pub(super) struct TracingSpan<S> {
    span: S,
    said: Said,
}

impl<S: Span> Span for TracingSpan<S> {
    fn add_event<N: Into<Cow<'static, str>>>(&mut self, name: N, attributes: Vec<KeyValue>) {
        if self.said.belongs_on_span(&attributes) {
            self.span.add_event(name, attributes);
        }
    }

    fn add_event_with_timestamp<N: Into<Cow<'static, str>>>(
        &mut self,
        name: N,
        at: SystemTime,
        attributes: Vec<KeyValue>,
    ) {
        if self.said.belongs_on_span(&attributes) {
            self.span.add_event_with_timestamp(name, at, attributes);
        }
    }

    fn span_context(&self) -> &SpanContext {
        self.span.span_context()
    }

    fn is_recording(&self) -> bool {
        self.span.is_recording()
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        self.span.set_attribute(attribute);
    }

    fn set_status(&mut self, status: Status) {
        self.span.set_status(status);
    }

    fn update_name<N: Into<Cow<'static, str>>>(&mut self, name: N) {
        self.span.update_name(name);
    }

    fn add_link(&mut self, span: SpanContext, attributes: Vec<KeyValue>) {
        self.span.add_link(span, attributes);
    }

    fn end(&mut self) {
        self.span.end();
    }

    fn end_with_timestamp(&mut self, at: SystemTime) {
        self.span.end_with_timestamp(at);
    }
}
