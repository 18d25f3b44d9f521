//! What the journal's index says beside a trace id, and how a record is found by it: the bytes of FORMAT.md, "Keys".
//!
//! Owns the kinds of value but that of Kafka. A value of a kind not known here is passed over: a later version wrote it.

use std::ops::Range;

use throughline_journal::{Keys, Pairs};
use throughline_otlp::TraceId;
use throughline_sampling::decision::Decision;
use throughline_sampling::{Stretch, Survey};

/// The record holds so many spans or log records of the trace (four bytes, little-endian). They may be followed by where in
/// the payload these stand: from which byte, up to which.
const HOLDS: u8 = 1;
/// Bytes of such a value.
const HOLDS_BYTES: usize = 5;
/// And of one that says where.
const PLACED_BYTES: usize = 13;
/// A span in the record, of the trace whose id follows, links to the trace.
const LINKED_BY: u8 = 2;
/// The record holds a decision on the trace.
const DECIDES: u8 = 3;

/// What of the payload is no span. The key is [`NO_TRACE`].
const REST: u8 = 5;
/// Key of what is said of the record and not of a trace.
pub(crate) const NO_TRACE: [u8; 16] = [0; 16];

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

/// The keys of a request of which this was found.
pub(crate) fn of_survey(survey: &Survey) -> Keys {
    let Survey { facts, layout } = survey;
    let mut keys = Keys::with_room_for(facts.len() + 1, facts.len() * PLACED_BYTES + 17);
    if !layout.rest.is_empty() {
        let mut value = vec![REST];
        layout.rest.iter().for_each(|stretch| value.extend_from_slice(&bytes_of(*stretch)));
        keys.push(NO_TRACE, &value);
    }
    let mut places = layout.traces.iter();
    for fact in facts {
        match places.next() {
            Some(place) => push_placed(&mut keys, fact.trace, fact.spans, *place),
            None => push_holds(&mut keys, fact.trace, fact.spans),
        }
        for target in &fact.links {
            push_linked_by(&mut keys, *target, fact.trace);
        }
    }
    keys
}

fn push_placed(keys: &mut Keys, trace: TraceId, count: u32, place: Stretch) {
    let ([a, b, c, d], [e, f, g, h, i, j, k, l]) = (count.to_le_bytes(), bytes_of(place));
    let value: [u8; PLACED_BYTES] = [HOLDS, a, b, c, d, e, f, g, h, i, j, k, l];
    keys.push(trace.bytes(), &value);
}

fn bytes_of(stretch: Stretch) -> [u8; 8] {
    let (from, to) = (u64::from(stretch.from), u64::from(stretch.to));
    (from | to << 32).to_le_bytes()
}

fn range_of(bytes: &[u8; 8]) -> Range<usize> {
    let [a, b, c, d, e, f, g, h] = *bytes;
    u32::from_le_bytes([a, b, c, d]) as usize..u32::from_le_bytes([e, f, g, h]) as usize
}

/// What of a record's payload is to be read for the sake of some traces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Ascending, and none meets the next: these traces, and all that is no span.
    pub(crate) at_hand: Vec<Range<usize>>,
    /// Spans of these traces.
    pub(crate) spans: u64,
}

impl Parts {
    /// By a record's keys. `None`: they do not say.
    pub(crate) fn of(pairs: Pairs<'_>, wanted: impl Fn(TraceId) -> bool) -> Option<Self> {
        let mut parts = Self::default();
        let mut says = false;
        for (key, value) in pairs.iter() {
            match value {
                [HOLDS, a, b, c, d, place @ ..] => {
                    if !TraceId::new(key).is_some_and(&wanted) {
                        continue;
                    }
                    parts.at_hand.push(range_of(place.as_array()?));
                    parts.spans += u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
                }
                [REST, rest @ ..] if key == NO_TRACE => {
                    parts.at_hand.extend(rest.as_chunks().0.iter().map(range_of));
                    says = true;
                }
                _ => {}
            }
        }
        parts.join();
        says.then_some(parts)
    }

    fn join(&mut self) {
        self.at_hand.sort_unstable_by_key(|part| (part.start, part.end));
        self.at_hand.dedup_by(|next, part| {
            let meets = next.start <= part.end;
            if meets {
                part.end = part.end.max(next.end);
            }
            meets
        });
    }

    /// All else of a payload of so many bytes.
    pub(crate) fn holes(&self, payload: usize) -> Vec<Range<usize>> {
        let ends = std::iter::once(0).chain(self.at_hand.iter().map(|part| part.end));
        let starts = self.at_hand.iter().map(|part| part.start).chain([payload]);
        ends.zip(starts).map(|(end, start)| end..start).filter(|hole| !hole.is_empty()).collect()
    }
}

/// The keys of a record of decisions.
pub(crate) fn of_decisions(decisions: &[Decision]) -> Keys {
    let mut keys = Keys::with_room_for(decisions.len(), decisions.len());
    for decision in decisions {
        keys.push(decision.trace.bytes(), &[DECIDES]);
    }
    keys
}
