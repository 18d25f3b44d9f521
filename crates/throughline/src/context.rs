//! What one message carried, and how it goes on to the next: [`Incoming`], [`extract`] and [`inject_context`].
//!
//! The OpenTelemetry [`Context`] carries everything, span and baggage in their usual slots, the rest in one value of ours.
//! Knows headers and contexts; knows no spans of its own and no client.

pub(crate) mod baggage;
mod extract;
mod inject;
mod propagator;
#[cfg(test)]
mod tests;
pub(crate) mod traceparent;
mod tracestate;

pub use extract::extract;
pub(crate) use inject::KeepsCreation;
pub use inject::{inject_context, inject_trace_headers};
pub use propagator::Propagator;
pub use traceparent::TraceParent;

use crate::correlation;
use baggage::RawBaggage;
use opentelemetry::Context;
use opentelemetry::baggage::{Baggage, BaggageExt, KeyValueMetadata};
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceId};
use std::sync::Arc;

/// What travels beside the span context: one context value.
#[derive(Clone)]
pub(crate) struct Carried {
    pub(crate) correlation: Option<Arc<str>>,
    pub(crate) tenant: Option<Arc<str>>,
    /// Raw, because the SDK's type loses bytes. Belongs to `trace_id` and leaves only with it.
    pub(crate) tracestate: Option<Arc<[u8]>>,
    pub(crate) baggage: Option<RawBaggage>,
    /// The trace the message came with.
    pub(crate) trace_id: TraceId,
    /// Its flags. The SDK forgets bit 02 on unsampled spans.
    pub(crate) flags: u8,
}

impl Carried {
    pub(crate) const NOTHING: Self = Self {
        correlation: None,
        tenant: None,
        tracestate: None,
        baggage: None,
        trace_id: TraceId::INVALID,
        flags: 0,
    };

    /// A copy of what `cx` carries, to change one part of it.
    pub(crate) fn of(cx: &Context) -> Self {
        carried(cx).cloned().unwrap_or(Self::NOTHING)
    }

    pub(crate) fn put_into(self, cx: &Context) -> Context {
        cx.with_value(self)
    }
}

pub(crate) fn carried(cx: &Context) -> Option<&Carried> {
    cx.get()
}

/// The same context with only those baggage members that `keep` lets through: for edges where baggage must not leak.
#[must_use]
pub fn retain_baggage(cx: &Context, keep: impl Fn(&str) -> bool) -> Context {
    if cx.baggage().iter().all(|(name, _)| keep(name.as_str())) {
        return cx.clone();
    }
    cx.with_baggage(copy_baggage(cx.baggage(), keep))
}

/// A copy of some of a baggage (the type is not `Clone`).
pub(crate) fn copy_baggage(baggage: &Baggage, keep: impl Fn(&str) -> bool) -> Vec<KeyValueMetadata> {
    let kept = baggage.iter().filter(|(name, _)| keep(name.as_str()));
    kept.map(|(name, (value, properties))| {
        KeyValueMetadata::new(name.clone(), value.clone(), properties.as_str())
    })
    .collect()
}

/// Which of our headers a message had. Displays as `throughline.headers.found` wants it: names joined by commas, or `none`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// A valid `traceparent`.
    pub traceparent: bool,
    /// A usable `tracestate`.
    pub tracestate: bool,
    /// `baggage`.
    pub baggage: bool,
    /// An adopted `x-correlation-id`.
    pub correlation_id: bool,
    /// An adopted `x-tenant-id`.
    pub tenant_id: bool,
}

impl Found {
    /// The five in the order of the attribute's documentation; bit i of the index stands for the i-th name.
    pub(crate) fn index(self) -> usize {
        [self.traceparent, self.tracestate, self.baggage, self.correlation_id, self.tenant_id]
            .into_iter()
            .enumerate()
            .fold(0, |index, (bit, there)| index | usize::from(there) << bit)
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use throughline_semconv::header::{BAGGAGE, TRACEPARENT, TRACESTATE, X_CORRELATION_ID, X_TENANT_ID};
        let names = [TRACEPARENT, TRACESTATE, BAGGAGE, X_CORRELATION_ID, X_TENANT_ID];
        let index = self.index();
        let mut separator = "";
        for (_, name) in names.iter().enumerate().filter(|(bit, _)| index & 1 << bit != 0) {
            write!(f, "{separator}{name}")?;
            separator = ",";
        }
        if index == 0 { f.write_str("none") } else { Ok(()) }
    }
}

/// What one message carried. Owned, cheap to clone, [`Send`]: keep it as long as you like, hand it to another task.
#[derive(Clone, Default)]
pub struct Incoming {
    pub(crate) context: Context,
    /// Other valid `traceparent` values of the same message, oldest first. Nearly always empty, which costs nothing.
    pub(crate) losers: Vec<SpanContext>,
    pub(crate) found: Found,
    pub(crate) tenant_conflict: bool,
}

impl Incoming {
    /// A message without any of our headers.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The message's context: remote span, baggage, correlation id, tenant.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The span that sent the message; invalid if the message carried none.
    #[must_use]
    pub fn span_context(&self) -> SpanContext {
        self.context.span().span_context().clone()
    }

    /// The trace the message belongs to, if it carried one.
    #[must_use]
    pub fn trace_id(&self) -> Option<TraceId> {
        let id = self.context.span().span_context().trace_id();
        (id != TraceId::INVALID).then_some(id)
    }

    /// The correlation id: the header's, else what the trace id gives.
    #[must_use]
    pub fn correlation_id(&self) -> Option<Arc<str>> {
        correlation::correlation_id(&self.context)
    }

    /// The tenant: the header's, else the baggage's `tenant.id`. Untrusted input: a label, never an authorisation.
    #[must_use]
    pub fn tenant(&self) -> Option<Arc<str>> {
        correlation::tenant(&self.context)
    }

    /// One baggage value.
    #[must_use]
    pub fn baggage(&self, name: &str) -> Option<&str> {
        self.context.baggage().get(name).map(opentelemetry::StringValue::as_str)
    }

    /// Which of our headers were there.
    #[must_use]
    pub fn found(&self) -> Found {
        self.found
    }

    /// The span contexts that lost: the message had more than one valid `traceparent` and the last one won. Each is linked.
    #[must_use]
    pub fn conflicts(&self) -> &[SpanContext] {
        &self.losers
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming")
            .field("span_context", self.context.span().span_context())
            .field("found", &format_args!("{}", self.found))
            .field("correlation_id", &self.correlation_id())
            .field("tenant", &self.tenant())
            .field("conflicts", &self.losers)
            .finish()
    }
}
