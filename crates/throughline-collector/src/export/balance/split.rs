//! A request cut by owner: what belongs together goes to one member, byte for byte as it came.

use throughline_otlp::wire::WireError;
use throughline_otlp::{OfPart, Parts, Signal, TraceId, Unit, service_name, trace_id};

use crate::export::Body;
use crate::export::ring::{Member, Ring};

/// `routing_key`: what decides about the owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoutingKey {
    /// `traceID`: the 16 bytes of the trace id. A log record without one goes by its own bytes: anywhere, but to the same
    /// member when it is sent again.
    #[default]
    TraceId,
    /// `service`: the resource's `service.name`; resources without one go by the empty name. (The peer refuses the whole
    /// request then.)
    Service,
}

/// What one member gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) member: Member,
    pub(super) request: Body,
    pub(super) items: usize,
}

/// Cuts a request over the members of the ring but those in `without`. Spans without a valid trace id are left out, as
/// their senders were told. No parts if nobody is left.
pub(super) fn split(
    ring: &Ring,
    key: RoutingKey,
    signal: Signal,
    request: &Body,
    without: &[Member],
) -> Result<Vec<Part>, WireError> {
    let mut parts = Parts::new(ring.members().len());
    let mut by_trace = ByTrace { ring, signal, without, last: None };
    for piece in request.pieces() {
        match key {
            RoutingKey::TraceId => parts.deal(piece, Unit::Item, |item| by_trace.owner(item))?,
            RoutingKey::Service => parts.deal(piece, Unit::Resource, |group| {
                let service = service_name(group)?.unwrap_or_default();
                Ok(ring.owner_but(service.as_bytes(), without).map(Member::number))
            })?,
        }
    }
    let part = |OfPart { number, request, items }| {
        ring.member(number).map(|member| Part { member, request: request.into(), items })
    };
    Ok(parts.into_requests().into_iter().filter_map(part).collect())
}

/// Who owns the item of a trace.
struct ByTrace<'r> {
    ring: &'r Ring,
    signal: Signal,
    without: &'r [Member],
    /// Spans of one trace often come one after the other.
    last: Option<(TraceId, Option<usize>)>,
}

impl ByTrace<'_> {
    fn owner(&mut self, item: &[u8]) -> Result<Option<usize>, WireError> {
        let owner = |key: &[u8]| self.ring.owner_but(key, self.without).map(Member::number);
        Ok(match (trace_id(self.signal, item)?, self.last) {
            (Some(id), Some((known, owner))) if id == known => owner,
            (Some(id), _) => {
                let owner = owner(&id.bytes());
                self.last = Some((id, owner));
                owner
            }
            (None, _) if self.signal == Signal::Logs => owner(item),
            (None, _) => None,
        })
    }
}
