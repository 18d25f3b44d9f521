//! A context to the headers of one outgoing message: exactly one `traceparent`, nothing stale, within the byte budget.

use super::baggage::{self, Encoded};
use super::{Carried, TraceParent, carried, tracestate};
use crate::correlation::{CarriedId, derived, tenant_of};
use crate::counters::{Event, count};
use crate::headers::{HeaderSink, HeaderSource, OWNED, Spelling};
use crate::settings;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceState};
use opentelemetry::{Context, KeyValue};
use std::borrow::Cow;
use std::sync::Arc;
use throughline_semconv::{header, own};

/// Writes the current context into headers: the source's `injectTraceHeaders`.
///
/// Replaces whatever trace headers were there, so that a forwarded record ends up with exactly one `traceparent` and no
/// stale `tracestate` or `baggage`. A correlation id or tenant that the application has put into the headers stays.
///
/// Inside a [`send_keeping_context`](crate::send_keeping_context) span a message that already has a creation context comes
/// back untouched.
#[must_use = "the headers are returned, not changed in place"]
pub fn inject_trace_headers<H: HeaderSink>(headers: H) -> H {
    // Cloned first: a sink is foreign code, and the current context must not be borrowed while it runs.
    inject_context(&Context::current(), headers)
}

/// Writes a context into headers; see [`inject_trace_headers`].
///
/// Without a valid span in `cx` the trace headers of a message that is merely passed on stay as they are.
#[must_use = "the headers are returned, not changed in place"]
pub fn inject_context<H: HeaderSink>(cx: &Context, headers: H) -> H {
    let present = Present::read(&headers);
    let span = cx.span();
    let span_context = span.span_context();
    if present.traceparent && KeepsCreation::applies(cx, span_context) {
        return headers;
    }
    let mut outgoing = Outgoing::new(cx, span_context, &present);
    let budget = settings::header_budget();
    if outgoing.size() > budget
        && let Some(dropped) = outgoing.fit(cx, budget)
    {
        // An event: one span may write many messages, and the SDK exports a key twice that is set twice.
        span.add_event(own::HEADERS_DROPPED, vec![KeyValue::new(own::HEADERS_DROPPED, dropped)]);
    }
    let mut names = [""; OWNED.len()];
    let replaced = present.names_to_replace(span_context.is_valid(), &outgoing, &mut names);
    outgoing.write(headers, replaced)
}

/// Names the span that forwards a message without becoming its creator; no span once another one runs below it, which may
/// share its id where nothing is sampled.
pub(crate) struct KeepsCreation(pub(crate) Option<SpanId>);

impl KeepsCreation {
    /// Only for that very span: a send below it is a send like any other.
    fn applies(cx: &Context, span: &SpanContext) -> bool {
        cx.get::<Self>().is_some_and(|keeps| keeps.0 == Some(span.span_id()))
    }
}

/// What of ours the message has before we write.
#[derive(Default)]
struct Present {
    traceparent: bool,
    correlation: CarriedId,
    tenant: CarriedId,
}

impl Present {
    fn read<H: HeaderSource + ?Sized>(headers: &H) -> Self {
        let mut present = Self::default();
        headers.visit(&mut |name, value| {
            let Some(value) = value else { return };
            match name.len() {
                11 if name.eq_ignore_ascii_case(header::TRACEPARENT.as_bytes()) => {
                    present.traceparent |= TraceParent::parse(value).is_some();
                }
                11 => offer_id(&mut present.tenant, Spelling::of(name, header::X_TENANT_ID), value),
                16 => offer_id(&mut present.correlation, Spelling::of(name, header::X_CORRELATION_ID), value),
                _ => {}
            }
        });
        present
    }

    /// The names to clear: all of ours, but not an id that was refused; and without a trace of our own only what we write.
    fn names_to_replace<'a>(
        &self,
        has_trace: bool,
        outgoing: &Outgoing<'_>,
        names: &'a mut [&'static str; OWNED.len()],
    ) -> &'a [&'static str] {
        let is_replaced = |name: &str| match name {
            header::X_CORRELATION_ID => !self.correlation.is_refused(),
            header::X_TENANT_ID => !self.tenant.is_refused(),
            header::BAGGAGE => has_trace || outgoing.baggage.is_some(),
            _ => has_trace,
        };
        let mut length = 0;
        for (slot, name) in names.iter_mut().zip(OWNED.into_iter().filter(|name| is_replaced(name))) {
            *slot = name;
            length += 1;
        }
        names.get(..length).unwrap_or_default()
    }
}

/// A conflict of two ids is counted where the message is read, once.
fn offer_id(id: &mut CarriedId, spelling: Option<Spelling>, value: &[u8]) {
    if let Some(spelling) = spelling
        && id.offer(spelling, value) == Some(Event::ids_refused)
    {
        count(Event::ids_refused, 1);
    }
}

/// The headers to write.
struct Outgoing<'a> {
    traceparent: Option<[u8; super::traceparent::LENGTH]>,
    tracestate: Option<Cow<'a, [u8]>>,
    baggage: Option<Cow<'a, [u8]>>,
    correlation: Option<Arc<str>>,
    tenant: Option<Arc<str>>,
}

impl<'a> Outgoing<'a> {
    fn new(cx: &'a Context, span: &SpanContext, present: &Present) -> Self {
        let carried = carried(cx);
        let same_trace = carried.filter(|carried| carried.trace_id == span.trace_id());
        // The SDK drops bit 02 of unsampled spans: put back what the trace came with.
        let flags = span.trace_flags().to_u8() | same_trace.map_or(0, |carried| carried.flags & 0b10);
        let parent = TraceParent::new(span.trace_id(), span.span_id(), flags);
        let correlation = match &present.correlation {
            id if id.is_refused() => None,
            id => id
                .held()
                .or_else(|| carried.and_then(|carried| carried.correlation.clone()))
                .or_else(|| parent.map(|parent| derived(parent.trace_id))),
        };
        let tenant = match &present.tenant {
            id if id.is_refused() => None,
            id => id.held().or_else(|| tenant_of(cx, carried)),
        };
        Self {
            traceparent: parent.map(TraceParent::to_bytes),
            tracestate: parent.and_then(|_| state(span, same_trace)),
            baggage: bytes_of_baggage(cx, carried),
            correlation,
            tenant,
        }
    }

    fn entries(&self) -> [Option<(&'static str, &[u8])>; 5] {
        [
            self.traceparent.as_ref().map(|value| (header::TRACEPARENT, value.as_slice())),
            self.tracestate.as_deref().map(|value| (header::TRACESTATE, value)),
            self.baggage.as_deref().map(|value| (header::BAGGAGE, value)),
            self.correlation.as_deref().map(|value| (header::X_CORRELATION_ID, value.as_bytes())),
            self.tenant.as_deref().map(|value| (header::X_TENANT_ID, value.as_bytes())),
        ]
    }

    fn size(&self) -> usize {
        self.entries().iter().flatten().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Leaves out what is least needed until the rest fits; says what. (The pathway, which would go first, is not written
    /// by this version.)
    fn fit(&mut self, cx: &Context, budget: usize) -> Option<&'static str> {
        let had_baggage = self.baggage.is_some();
        if had_baggage {
            let allowed = settings::is_baggage_allowed;
            let kept = cx.baggage().iter().filter(|(name, _)| allowed(name.as_str())).count();
            count(Event::baggage_members_dropped, cx.baggage().len().saturating_sub(kept) as u64);
            let value = baggage::encode(cx.baggage(), &allowed).value;
            self.baggage = (!value.is_empty()).then_some(Cow::Owned(value));
        }
        if self.size() > budget && self.baggage.take().is_some() {
            count(Event::baggage_dropped, 1);
        }
        let state_dropped = self.size() > budget && self.tracestate.take().is_some();
        if state_dropped {
            count(Event::tracestate_dropped, 1);
        }
        match (had_baggage, state_dropped) {
            (true, true) => Some("baggage,tracestate"),
            (true, false) => Some(header::BAGGAGE),
            (false, true) => Some(header::TRACESTATE),
            (false, false) => None,
        }
    }

    fn write<H: HeaderSink>(&self, headers: H, owned: &[&'static str]) -> H {
        let mut entries: [(&'static str, &[u8]); 5] = [("", b""); 5];
        let mut length = 0;
        for (slot, entry) in entries.iter_mut().zip(self.entries().into_iter().flatten()) {
            *slot = entry;
            length += 1;
        }
        headers.replace(owned, entries.get(..length).unwrap_or_default())
    }
}

/// The raw bytes that came with this trace; if a sampler has put something into the SDK's state, that goes first.
fn state<'a>(span: &SpanContext, same_trace: Option<&'a Carried>) -> Option<Cow<'a, [u8]>> {
    let raw = same_trace.and_then(|carried| carried.tracestate.as_deref());
    if *span.trace_state() == TraceState::NONE {
        return raw.map(Cow::Borrowed);
    }
    let merged = tracestate::merge(span.trace_state(), raw);
    (!merged.is_empty()).then_some(Cow::Owned(merged))
}

/// Untouched baggage goes out as the bytes that came in.
fn bytes_of_baggage<'a>(cx: &Context, carried: Option<&'a Carried>) -> Option<Cow<'a, [u8]>> {
    match carried.and_then(|carried| carried.baggage.as_ref()) {
        Some(raw) if raw.fit_to_forward && raw.is_still_in(cx) => Some(Cow::Borrowed(&*raw.raw)),
        _ if cx.baggage().is_empty() => None,
        _ => {
            let Encoded { value, over_limit } = baggage::encode(cx.baggage(), &|_| true);
            if over_limit > 0 {
                count(Event::baggage_members_dropped, over_limit);
            }
            (!value.is_empty()).then_some(Cow::Owned(value))
        }
    }
}
