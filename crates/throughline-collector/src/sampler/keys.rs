//! What the journal's index says beside a trace id, and how a record is found by it: the bytes of FORMAT.md, "Keys".
//!
//! Owns the three kinds of value. A value of a kind not known here is passed over: a later version wrote it.

use throughline_journal::Keys;
use throughline_otlp::TraceId;
use throughline_sampling::decision::Decision;
use throughline_sampling::facts::TraceFacts;

/// The record holds so many spans or log records of the trace (four bytes, little-endian).
const HOLDS: u8 = 1;
/// Bytes of such a value.
pub(crate) const HOLDS_BYTES: usize = 5;
/// A span in the record, of the trace whose id follows, links to the trace.
const LINKED_BY: u8 = 2;
/// The record holds a decision on the trace.
const DECIDES: u8 = 3;

/// What a key's value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The record holds spans or log records of the trace.
    Holds,
    /// The record holds a span of that trace which links to the trace.
    LinkedBy(TraceId),
    /// The record holds a decision on the trace.
    Decides,
}

impl Entry {
    /// Reads a value; `None` if this build does not know its kind.
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        match value {
            [HOLDS, ..] => Some(Self::Holds),
            [LINKED_BY, trace @ ..] => TraceId::from_slice(trace).map(Self::LinkedBy),
            [DECIDES, ..] => Some(Self::Decides),
            _ => None,
        }
    }
}

/// The record holds `count` spans or log records of this trace.
pub(crate) fn push_holds(keys: &mut Keys, trace: TraceId, count: u32) {
    let [a, b, c, d] = count.to_le_bytes();
    let value: [u8; HOLDS_BYTES] = [HOLDS, a, b, c, d];
    keys.push(trace.bytes(), &value);
}

/// A span of the trace `by` links to `target`.
pub(crate) fn push_linked_by(keys: &mut Keys, target: TraceId, by: TraceId) {
    let mut value = [LINKED_BY; 17];
    if let Some(id) = value.get_mut(1..) {
        id.copy_from_slice(&by.bytes());
    }
    keys.push(target.bytes(), &value);
}

/// The keys of a request whose facts are these.
pub(crate) fn of_facts(facts: &[TraceFacts]) -> Keys {
    let mut keys = Keys::with_room_for(facts.len(), facts.len() * HOLDS_BYTES);
    for fact in facts {
        push_holds(&mut keys, fact.trace, fact.spans);
        for target in &fact.links {
            push_linked_by(&mut keys, *target, fact.trace);
        }
    }
    keys
}

/// The keys of a record of decisions.
pub(crate) fn of_decisions(decisions: &[Decision]) -> Keys {
    let mut keys = Keys::with_room_for(decisions.len(), decisions.len());
    for decision in decisions {
        keys.push(decision.trace.bytes(), &[DECIDES]);
    }
    keys
}
