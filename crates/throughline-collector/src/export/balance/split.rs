//! A request cut by owner: what belongs together goes to one member, byte for byte as it came.

use throughline_otlp::view::messages;
use throughline_otlp::wire::WireError;
use throughline_otlp::{Choice, Signal, select_items, select_resources, service_name, trace_id};

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
    pub(super) request: Vec<u8>,
    pub(super) items: usize,
}

/// Cuts a request over the members of the ring but those in `without`. Spans without a valid trace id are left out, as
/// their senders were told. No parts if nobody is left.
pub(super) fn split(
    ring: &Ring,
    key: RoutingKey,
    signal: Signal,
    request: &[u8],
    without: &[Member],
) -> Result<Vec<Part>, WireError> {
    let owners = match key {
        RoutingKey::TraceId => owners_of_items(ring, signal, request, without)?,
        RoutingKey::Service => owners_of_resources(ring, request, without)?,
    };
    let mut members: Vec<Member> = owners.iter().flatten().copied().collect();
    members.sort_unstable();
    members.dedup();
    let part = |member: Member| {
        let mut part = Part { member, request: Vec::new(), items: 0 };
        let mut choose = |number: usize, _: &[u8]| {
            let owner = owners.get(number).copied().flatten();
            Ok(if owner == Some(member) { Choice::Keep } else { Choice::Drop })
        };
        part.items = match key {
            RoutingKey::TraceId => select_items(request, &mut choose, &mut part.request)?,
            RoutingKey::Service => select_resources(request, &mut choose, &mut part.request)?,
        };
        Ok(part)
    };
    members.into_iter().map(part).collect()
}

/// The owner of each item, in order.
fn owners_of_items(
    ring: &Ring,
    signal: Signal,
    request: &[u8],
    without: &[Member],
) -> Result<Vec<Option<Member>>, WireError> {
    let mut owners = Vec::new();
    // Spans of one trace often come one after the other.
    let mut last = None;
    let mut note = |_: usize, item: &[u8]| {
        let owner = match (trace_id(signal, item)?, last) {
            (Some(id), Some((known, owner))) if id == known => owner,
            (Some(id), _) => {
                let owner = ring.owner_but(&id.bytes(), without);
                last = Some((id, owner));
                owner
            }
            (None, _) if signal == Signal::Logs => ring.owner_but(item, without),
            (None, _) => None,
        };
        owners.push(owner);
        Ok(Choice::Drop)
    };
    select_items(request, &mut note, &mut Vec::new())?;
    Ok(owners)
}

/// The owner of each resource group, in order.
fn owners_of_resources(
    ring: &Ring,
    request: &[u8],
    without: &[Member],
) -> Result<Vec<Option<Member>>, WireError> {
    let owner = |group| {
        let service = service_name(group)?.unwrap_or_default();
        Ok(ring.owner_but(service.as_bytes(), without))
    };
    messages(request, 1).map(|group| group.and_then(owner)).collect()
}
