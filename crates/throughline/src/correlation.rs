//! The correlation id and the tenant: what may be adopted from a message, what stands in for a missing one, and how
//! application code sets them. A business id is adopted, never overwritten.
//!
//! Order: the message's `x-correlation-id`; else the id of the context; else the first 16 hex digits of the trace id. Every
//! service of one trace derives the same id, so a trace has one even if nobody ever set it.

use crate::context::baggage::tenant_in;
use crate::context::traceparent::first_half;
use crate::context::{Carried, carried};
use crate::counters::Event;
use crate::headers::{Best, Spelling};
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::TraceContextExt;
use std::sync::Arc;

/// Longest correlation id or tenant that is adopted, in bytes.
pub const MAX_ID_LENGTH: usize = 128;

/// Why a correlation id or tenant was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Nothing there.
    #[error("id is empty; leave it out to get the one derived from the trace id")]
    Empty,
    /// More than [`MAX_ID_LENGTH`] bytes.
    #[error("id has {0} bytes, at most {MAX_ID_LENGTH} are allowed; send a hash or a shorter key")]
    TooLong(usize),
    /// A byte that is not visible ASCII.
    #[error("id has byte 0x{byte:02x} at {at}; only visible ASCII (0x21 to 0x7e) travels safely in headers")]
    Charset {
        /// Where.
        at: usize,
        /// What.
        byte: u8,
    },
}

/// Checks length and charset; white space around the id is no part of it.
///
/// # Errors
/// If the id is empty, longer than [`MAX_ID_LENGTH`] or not visible ASCII.
pub fn validate(id: &[u8]) -> Result<&str, InvalidId> {
    let id = id.trim_ascii();
    if id.is_empty() {
        return Err(InvalidId::Empty);
    }
    if id.len() > MAX_ID_LENGTH {
        return Err(InvalidId::TooLong(id.len()));
    }
    let bad = id.iter().copied().enumerate().find(|(_, byte)| !byte.is_ascii_graphic());
    match (bad, std::str::from_utf8(id)) {
        (None, Ok(id)) => Ok(id),
        (bad, _) => {
            let (at, byte) = bad.unwrap_or_default();
            Err(InvalidId::Charset { at, byte })
        }
    }
}

/// The id that a message carries under one name, while its headers are visited. What cannot be an id is as good as not
/// there, for a reader as for a writer.
#[derive(Default)]
pub(crate) struct CarriedId {
    best: Best<Arc<str>>,
    refused: bool,
}

impl CarriedId {
    /// Looks at one more header of that name; says what is worth counting.
    pub(crate) fn offer(&mut self, spelling: Spelling, value: &[u8]) -> Option<Event> {
        match validate(value) {
            Ok(id) => {
                let differs = self.best.held().is_some_and(|(_, held)| **held != *id);
                self.best.offer(spelling, id.into());
                differs.then_some(Event::value_conflicts)
            }
            Err(InvalidId::Empty) => None,
            Err(InvalidId::TooLong(_) | InvalidId::Charset { .. }) => {
                self.refused = true;
                Some(Event::ids_refused)
            }
        }
    }

    pub(crate) fn take(self) -> Option<Arc<str>> {
        self.best.take()
    }

    pub(crate) fn held(&self) -> Option<Arc<str>> {
        self.best.held().map(|(_, id)| Arc::clone(id))
    }

    /// There, and none that we can put on a span: left on the wire as it is, for it is not ours to overwrite.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused && self.best.held().is_none()
    }
}

/// The correlation id of a context: what it carries, else what its trace id gives, `None` without either.
#[must_use]
pub fn correlation_id(cx: &Context) -> Option<Arc<str>> {
    adopted(cx).or_else(|| {
        let span = cx.span();
        let span = span.span_context();
        span.is_valid().then(|| derived(span.trace_id()))
    })
}

/// The same context with another correlation id, for code that knows the business id (an order number, say).
///
/// ```
/// use throughline::{correlation_id, with_correlation_id, opentelemetry::Context};
/// let cx = with_correlation_id(&Context::current(), "order-42")?;
/// assert_eq!(correlation_id(&cx).as_deref(), Some("order-42"));
/// # Ok::<(), throughline::InvalidId>(())
/// ```
///
/// # Errors
/// If it is empty, longer than [`MAX_ID_LENGTH`] or not visible ASCII.
pub fn with_correlation_id(cx: &Context, id: impl AsRef<str>) -> Result<Context, InvalidId> {
    let id = validate(id.as_ref().as_bytes())?;
    Ok(Carried { correlation: Some(id.into()), ..Carried::of(cx) }.put_into(cx))
}

/// The tenant of a context: what its message or [`with_tenant`] said, else its baggage's `tenant.id`.
#[must_use]
pub fn tenant(cx: &Context) -> Option<Arc<str>> {
    tenant_of(cx, carried(cx))
}

/// The same context for another tenant. It travels as `x-tenant-id`.
///
/// A tenant read from a message is untrusted input: a label, never an authorisation.
///
/// # Errors
/// If it is empty, longer than [`MAX_ID_LENGTH`] or not visible ASCII.
pub fn with_tenant(cx: &Context, tenant: impl AsRef<str>) -> Result<Context, InvalidId> {
    let tenant = validate(tenant.as_ref().as_bytes())?;
    Ok(Carried { tenant: Some(tenant.into()), ..Carried::of(cx) }.put_into(cx))
}

/// What the context carries itself, nothing derived.
pub(crate) fn adopted(cx: &Context) -> Option<Arc<str>> {
    carried(cx).and_then(|carried| carried.correlation.clone())
}

/// The stand-in for a trace that carries no id.
pub(crate) fn derived(trace_id: opentelemetry::trace::TraceId) -> Arc<str> {
    String::from_utf8_lossy(&first_half(trace_id)).into()
}

/// [`tenant`] of a context that is known to carry this.
pub(crate) fn tenant_of(cx: &Context, carried: Option<&Carried>) -> Option<Arc<str>> {
    match carried {
        Some(Carried { tenant: Some(tenant), .. }) => Some(Arc::clone(tenant)),
        Some(Carried { baggage: Some(raw), .. }) if raw.is_still_in(cx) => raw.tenant.clone(),
        _ => tenant_in(cx.baggage()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bounded_in_length_and_charset() {
        let long = "x".repeat(MAX_ID_LENGTH);
        let too_long = "x".repeat(MAX_ID_LENGTH + 1);
        for (id, expected) in [
            ("order-42", Ok("order-42")),
            (" 7b/a:c=d,e \t", Ok("7b/a:c=d,e")),
            (&*long, Ok(&*long)),
            ("", Err(InvalidId::Empty)),
            ("  ", Err(InvalidId::Empty)),
            (&*too_long, Err(InvalidId::TooLong(MAX_ID_LENGTH + 1))),
            ("a b", Err(InvalidId::Charset { at: 1, byte: b' ' })),
            ("a\r\nb", Err(InvalidId::Charset { at: 1, byte: b'\r' })),
            ("ä", Err(InvalidId::Charset { at: 0, byte: 0xc3 })),
        ] {
            assert_eq!(validate(id.as_bytes()), expected, "{id:?}");
        }
        assert_eq!(validate(b"a\xff"), Err(InvalidId::Charset { at: 1, byte: 0xff }));
        let says = InvalidId::Charset { at: 1, byte: 0xff }.to_string();
        assert!(says.contains("0xff at 1"), "{says}");
    }

    #[test]
    fn the_application_sets_what_the_trace_would_give() {
        let cx = Context::new();
        assert_eq!((correlation_id(&cx), tenant(&cx)), (None, None));
        let cx = with_tenant(&with_correlation_id(&cx, "order-42").unwrap(), "acme").unwrap();
        assert_eq!(
            (correlation_id(&cx).as_deref(), tenant(&cx).as_deref()),
            (Some("order-42"), Some("acme"))
        );
        assert!(with_correlation_id(&cx, "order 42").is_err());
    }
}
