//! One pass over a message's headers to an [`Incoming`].
//!
//! Of several headers of one name the best valid one counts ([`Best`]). `tracestate` and `baggage` may be split over several
//! headers (W3C); they are joined unless the message has several `traceparent` as well, for then the earlier ones belong
//! to earlier hops.

use super::baggage::{self, RawBaggage};
use super::{Carried, Found, Incoming, TraceParent, tracestate};
use crate::correlation::CarriedId;
use crate::counters::{Event, count};
use crate::headers::{Best, HeaderSource, Spelling};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceId};
use std::sync::Arc;
use throughline_semconv::header;

/// More losers than this in one message are counted and not linked.
const MAX_LOSERS: usize = 8;

/// Reads everything of ours out of a message's headers. Never fails: what is not valid is treated as not there.
///
/// ```
/// let headers = [
///     ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
///     ("baggage", "token=eyJpZCI6MX0="),
///     ("x-correlation-id", "order-42"),
/// ];
/// let incoming = throughline::extract(&headers);
/// assert_eq!(incoming.trace_id().unwrap().to_string(), "0af7651916cd43dd8448eb211c80319c");
/// assert_eq!(incoming.baggage("token"), Some("eyJpZCI6MX0="));
/// assert_eq!(incoming.correlation_id().as_deref(), Some("order-42"));
/// ```
#[must_use]
pub fn extract<H: HeaderSource + ?Sized>(headers: &H) -> Incoming {
    let mut reading = Reading::default();
    headers.visit(&mut |name, value| {
        if let Some(value) = value {
            reading.header(name, value);
        }
    });
    reading.finish()
}

/// The best value of a header that W3C lets a sender split: the last one, and all of the same spelling joined.
struct BestList<T> {
    last: Best<T>,
    joined: Option<Vec<u8>>,
}

impl<T> Default for BestList<T> {
    fn default() -> Self {
        Self { last: Best::default(), joined: None }
    }
}

impl<T: AsRef<[u8]>> BestList<T> {
    fn offer(&mut self, spelling: Spelling, value: T) {
        let same = matches!(self.last.held(), Some((held, _)) if held == spelling);
        let better = matches!(self.last.held(), Some((held, _)) if held < spelling);
        if same && let Some((_, last)) = self.last.held() {
            let joined = self.joined.get_or_insert_with(|| last.as_ref().to_vec());
            joined.push(b',');
            joined.extend_from_slice(value.as_ref());
        } else if better {
            self.joined = None;
        }
        self.last.offer(spelling, value);
    }

    /// The joined value where `split` says that the list was split, else the last.
    fn take(self, split: bool, parse: impl FnOnce(&[u8]) -> T) -> Option<T> {
        match self.joined {
            Some(joined) if split => Some(parse(&joined)),
            _ => self.last.take(),
        }
    }
}

impl AsRef<[u8]> for RawBaggage {
    fn as_ref(&self) -> &[u8] {
        &self.raw
    }
}

#[derive(Default)]
struct Reading {
    parent: Best<TraceParent>,
    losers: Vec<TraceParent>,
    parents_seen: usize,
    tracestate: BestList<Arc<[u8]>>,
    baggage: BestList<RawBaggage>,
    correlation: CarriedId,
    tenant: CarriedId,
}

impl Reading {
    /// The length of the name rules out almost every foreign header before any bytes are compared.
    fn header(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            11 => {
                if let Some(spelling) = Spelling::of(name, header::TRACEPARENT) {
                    self.traceparent(spelling, value);
                } else if let Some(spelling) = Spelling::of(name, header::X_TENANT_ID) {
                    offer_id(&mut self.tenant, spelling, value);
                }
            }
            10 => {
                if let Some(spelling) = Spelling::of(name, header::TRACESTATE)
                    && let Some(accepted) = tracestate::accept(value)
                {
                    self.tracestate.offer(spelling, accepted.into());
                }
            }
            7 => {
                if let Some(spelling) = Spelling::of(name, header::BAGGAGE)
                    && !value.trim_ascii().is_empty()
                {
                    self.baggage.offer(spelling, baggage::remember(value));
                }
            }
            16 => {
                if let Some(spelling) = Spelling::of(name, header::X_CORRELATION_ID) {
                    offer_id(&mut self.correlation, spelling, value);
                }
            }
            _ => {}
        }
    }

    fn traceparent(&mut self, spelling: Spelling, value: &[u8]) {
        let Some(parent) = TraceParent::parse(value) else {
            count(Event::traceparents_invalid, 1);
            return;
        };
        self.parents_seen += 1;
        if let Some(loser) = self.parent.offer(spelling, parent)
            && self.losers.len() < MAX_LOSERS
        {
            self.losers.push(loser);
        }
    }

    fn finish(self) -> Incoming {
        let parent = self.parent.take();
        let split = self.parents_seen <= 1;
        // A tracestate without a traceparent says nothing (W3C).
        let tracestate =
            self.tracestate.take(split, |joined| tracestate::accept(joined).unwrap_or_default().into());
        let tracestate = tracestate.filter(|_| parent.is_some());
        let carried = Carried {
            correlation: self.correlation.take(),
            tenant: self.tenant.take(),
            tracestate,
            baggage: self.baggage.take(split, baggage::remember),
            trace_id: parent.map_or(TraceId::INVALID, |parent| parent.trace_id),
            flags: parent.map_or(0, TraceParent::flags),
        };
        incoming(parent, carried, losers(self.losers, parent))
    }
}

fn incoming(parent: Option<TraceParent>, mut carried: Carried, losers: Vec<SpanContext>) -> Incoming {
    let found = Found {
        traceparent: parent.is_some(),
        tracestate: carried.tracestate.is_some(),
        baggage: carried.baggage.is_some(),
        correlation_id: carried.correlation.is_some(),
        tenant_id: carried.tenant.is_some(),
    };
    if found == Found::default() {
        return Incoming::none();
    }
    let mut context = carried.baggage.as_ref().map_or_else(Context::new, |baggage| baggage.context.clone());
    let in_baggage = carried.baggage.as_ref().and_then(|baggage| baggage.tenant.clone());
    let tenant_conflict =
        matches!((&carried.tenant, &in_baggage), (Some(header), Some(baggage)) if header != baggage);
    if tenant_conflict {
        count(Event::value_conflicts, 1);
    }
    carried.tenant = carried.tenant.or(in_baggage);
    context = carried.put_into(&context);
    if let Some(parent) = parent {
        context = context.with_remote_span_context(parent.to_span_context());
    }
    Incoming { context, losers, found, tenant_conflict }
}

/// Distinct contexts other than the winner's, as links need them.
fn losers(offered: Vec<TraceParent>, winner: Option<TraceParent>) -> Vec<SpanContext> {
    let mut distinct: Vec<TraceParent> = Vec::new();
    for loser in offered {
        let same = |other: &TraceParent| other.trace_id == loser.trace_id && other.span_id == loser.span_id;
        if !winner.as_ref().is_some_and(same) && !distinct.iter().any(same) {
            distinct.push(loser);
        }
    }
    if !distinct.is_empty() {
        count(Event::traceparent_conflicts, 1);
    }
    distinct.into_iter().map(TraceParent::to_span_context).collect()
}

fn offer_id(id: &mut CarriedId, spelling: Spelling, value: &[u8]) {
    if let Some(event) = id.offer(spelling, value) {
        count(event, 1);
    }
}
