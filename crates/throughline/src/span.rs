//! Spans around messages: [`send`], [`process`], [`poll`], [`commit`], the guard [`ActiveSpan`] and the handle [`Span`].
//!
//! Wrap a *future* where you can (`process(..).run(..)`): no lifetimes to fight, and the span ends as the work ended. Knows
//! the conventions; knows no client and no backend.

mod attributes;
mod functions;
mod future;
mod name;
mod spec;
mod start;
pub(crate) mod tracer;

pub(crate) use attributes::{position, rename_position};
pub use functions::{
    Meta, ProcessingSpan, commit, internal, poll, process, send, send_keeping_context, with_consumer_span,
    with_processing_span, with_producer_span,
};
#[cfg(feature = "http")]
pub(crate) use functions::{call, serve};
pub use future::Traced;
pub(crate) use spec::Server;
pub(crate) use spec::shown_key;
pub use spec::{ContextMode, Payload, SpanSpec};
pub(crate) use start::link;
pub use tracer::{parent_based_providers_are_set, providers_are_set, with_tracer_provider};

use crate::context::{Incoming, inject_context};
use crate::correlation;
use crate::headers::HeaderSink;
use crate::lineage::BatchSlot;
use crate::metrics::{Measure, Measured};
use crate::outcome::{Failure, Outcome, cancelled, error_type};
use crate::settings::{self, Profile};
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceContextExt, TraceId};
use opentelemetry::{Context, ContextGuard, Key, KeyValue, Value};
use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;
use throughline_semconv::{attribute, own};

/// What is done to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Send,
    /// A send that leaves the message's creation context as it is.
    Forward,
    Receive,
    Process,
    Settle,
    /// No messaging operation: a piece of the application's own work.
    Internal,
    /// No messaging operation: an answer to a request (HTTP).
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "only the HTTP layers answer"))]
    Serve,
    /// No messaging operation: a request to somebody else (HTTP).
    Call,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Send | Self::Forward => "send",
            Self::Receive => "poll",
            Self::Process => "process",
            Self::Settle => "commit",
            Self::Internal | Self::Serve | Self::Call => "",
        }
    }

    fn type_name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Settle => "settle",
            other => other.name(),
        }
    }

    fn legacy_name(self) -> &'static str {
        match self {
            Self::Send | Self::Forward => "publish",
            other => other.type_name(),
        }
    }

    fn kind(self, keeps_creation: bool) -> SpanKind {
        match self {
            Self::Send => SpanKind::Producer,
            Self::Forward if keeps_creation => SpanKind::Client,
            Self::Forward => SpanKind::Producer,
            Self::Receive | Self::Settle => SpanKind::Client,
            Self::Process => SpanKind::Consumer,
            Self::Internal => SpanKind::Internal,
            Self::Serve => SpanKind::Server,
            Self::Call => SpanKind::Client,
        }
    }

    fn measure(self) -> Measure {
        match self {
            Self::Send | Self::Forward => Measure::Send,
            Self::Receive | Self::Settle => Measure::Client,
            Self::Process => Measure::Process,
            Self::Internal | Self::Serve | Self::Call => Measure::Nothing,
        }
    }
}

/// Context value of a span that is written with other names than the process's. The spans below it see it and are not
/// meant.
struct OwnProfile {
    span: SpanId,
    profile: Profile,
}

impl OwnProfile {
    fn of_span_in(context: Context, profile: Profile) -> Context {
        let span = context.span().span_context().span_id();
        context.with_value(Self { span, profile })
    }

    /// The names the span of this context is written with.
    fn of(context: &Context) -> Profile {
        let own = context.get::<Self>().filter(|own| own.span == context.span().span_context().span_id());
        own.map_or_else(settings::profile, |own| own.profile)
    }
}

/// A handle to a running span. Cheap to clone, usable from anywhere inside.
///
/// A clone keeps the span's memory, not the span: that ends with its handler. What is set afterwards is lost in silence.
#[derive(Clone, Debug)]
pub struct Span {
    context: Context,
}

impl Span {
    pub(crate) fn new(context: Context) -> Self {
        Self { context }
    }

    /// The span of the current context.
    #[must_use]
    pub fn current() -> Self {
        Self::new(Context::current())
    }

    /// Sets an attribute.
    ///
    /// The SDK never overwrites: a key that is set twice is exported twice. Set a key once, or on the
    /// [`SpanSpec`](SpanSpec::set), where the last value wins and a sampler sees it.
    pub fn set(&self, key: impl Into<Key>, value: impl Into<Value>) -> &Self {
        self.context.span().set_attribute(KeyValue::new(key, value));
        self
    }

    /// Adds an event.
    pub fn event(&self, name: &'static str, attributes: impl IntoIterator<Item = KeyValue>) -> &Self {
        self.context.span().add_event(name, attributes.into_iter().collect());
        self
    }

    /// Links another message. Past the SDK's limit the link is dropped: links known at the start belong on the spec.
    pub fn link(&self, message: &Incoming) -> &Self {
        if message.found().traceparent {
            let attributes = vec![KeyValue::new(own::LINK_REASON, "contributor")];
            self.context.span().add_link(message.span_context(), attributes);
        }
        self
    }

    /// Where the broker put the message, once it is known (the delivery report).
    pub fn position(&self, partition: i32, offset: i64) -> &Self {
        self.delivered_to(Some(partition), Some(offset));
        self
    }

    /// What of the position is known, in the names this span is written with.
    pub(crate) fn delivered_to(&self, partition: Option<i32>, offset: Option<i64>) {
        let mut attributes = Vec::with_capacity(3);
        position(&mut attributes, OwnProfile::of(&self.context), partition, offset);
        self.context.span().set_attributes(attributes);
    }

    /// Records that one message of a batch failed while the batch goes on: an exception event that names the message
    /// (topic, partition, offset, key, correlation id, trace), and one more in the batch's failed count. `index` is the
    /// message's place in what [`extract_batch_lineage`](crate::extract_batch_lineage) was given.
    ///
    /// A batch that ends well all the same ends as `partial_failure`. From a span below the batch's the event stands on that
    /// span, and the count on the batch's.
    ///
    /// Only a span that was given the whole lineage ([`SpanSpec::lineage`](crate::SpanSpec::lineage)) knows its messages. Where
    /// none surrounds the work, as with a [`ProcessingSpan`] that has only the links, the event has the error and the
    /// index, nothing is counted, and the span ends as its work does.
    pub fn fail_message<E: Display + 'static>(&self, index: usize, error: &E) -> &Self {
        let mut attributes = exception(error_type(error), error.to_string());
        attributes.push(KeyValue::new(own::MESSAGE_INDEX, attributes::int(index)));
        if let Some(batch) = self.context.get::<BatchSlot>() {
            attributes.extend(batch.message_failed(index));
        }
        self.context.span().add_event(attribute::EXCEPTION_EVENT, attributes);
        self
    }

    /// The trace.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        self.context.span().span_context().trace_id()
    }

    /// The correlation id; empty only outside any trace.
    #[must_use]
    pub fn correlation_id(&self) -> Arc<str> {
        correlation::correlation_id(&self.context).unwrap_or_default()
    }

    /// The context of this span: parent of what you start with it.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Whether anything set on it is kept.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.context.span().is_recording()
    }

    /// Writes this span's context into a message's headers: see [`inject_context`].
    #[must_use = "the headers are returned, not changed in place"]
    pub fn inject<H: HeaderSink>(&self, headers: H) -> H {
        inject_context(&self.context, headers)
    }
}

/// A started span. Ends with [`end`](ActiveSpan::end), [`finish`](ActiveSpan::finish), [`fail`](ActiveSpan::fail), the
/// future it instruments, or, if it is just dropped, as `error.type` = `cancelled`.
///
/// It always ends explicitly: a clone of its context that somebody still holds does not keep it open.
#[must_use = "dropped without `end` the span is marked as cancelled"]
pub struct ActiveSpan {
    span: Span,
    /// The batch this span is of. Not read from the context, which the spans below it inherit.
    batch: Option<BatchSlot>,
    measured: Option<Measured>,
    open: bool,
}

impl ActiveSpan {
    fn new(span: Span, batch: Option<BatchSlot>, measured: Option<Measured>) -> Self {
        Self { span, batch, measured, open: true }
    }

    /// The handle.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Makes the span current until the guard is dropped. The guard must not cross an `.await`: use
    /// [`instrument`](ActiveSpan::instrument) there.
    pub fn enter(&self) -> ContextGuard {
        self.span.context.clone().attach()
    }

    /// Lets go of the context of a span that keeps nothing. Says whether the end of the span is still worth waiting for.
    #[cfg(feature = "kafka")]
    pub(crate) fn awaits_its_end(&mut self) -> bool {
        let recording = self.span.is_recording();
        if !recording {
            self.span = Span::new(Context::new());
        }
        recording || self.measured.is_some()
    }

    /// Ends the span well.
    pub fn end(mut self) {
        self.close(None);
    }

    /// Ends the span as the work ended.
    pub fn finish<R: Outcome>(mut self, outcome: &R) {
        self.close(outcome.failure());
    }

    /// Ends the span with an error of a known name (a broker's error code, say).
    pub fn fail(mut self, error: &(impl Display + ?Sized), error_type: impl Into<Cow<'static, str>>) {
        self.close(Some(Failure { error_type: error_type.into(), message: error.to_string() }));
    }

    fn close(&mut self, failure: Option<Failure>) {
        if !std::mem::replace(&mut self.open, false) {
            return;
        }
        let span = self.span.context.span();
        // Nothing said to it is kept, and its end would read the clock.
        if self.measured.is_none() && !span.is_recording() {
            return;
        }
        let (batch, messages) = self.batch.as_ref().map_or((0, 0), BatchSlot::failed_of);
        if batch > 0 {
            span.set_attribute(KeyValue::new(own::BATCH_FAILED_COUNT, batch));
        }
        let partial = (failure.is_none() && batch > 0).then(|| Failure {
            error_type: Cow::Borrowed("partial_failure"),
            message: format!("{batch} of {messages} messages of the batch failed"),
        });
        if let Some(failure) = &failure {
            let event = exception(failure.error_type.clone(), failure.message.clone());
            span.add_event(attribute::EXCEPTION_EVENT, event);
        }
        let failure = failure.or(partial);
        if let Some(measured) = self.measured.take() {
            measured.finish(failure.as_ref().map(|failure| &*failure.error_type));
        }
        if let Some(Failure { error_type, message }) = failure {
            span.set_attribute(KeyValue::new(attribute::ERROR_TYPE, error_type));
            span.set_status(Status::error(message));
        }
        span.end();
    }
}

fn exception(error_type: Cow<'static, str>, message: String) -> Vec<KeyValue> {
    vec![
        KeyValue::new(attribute::EXCEPTION_TYPE, error_type),
        KeyValue::new(attribute::EXCEPTION_MESSAGE, message),
    ]
}

impl Drop for ActiveSpan {
    fn drop(&mut self) {
        if self.open {
            self.close(Some(cancelled()));
        }
    }
}
