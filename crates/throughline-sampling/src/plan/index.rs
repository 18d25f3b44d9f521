//! Finds a trace among those of one request. Ids are a stranger's choice: many that collide cost a slower lookup, never the
//! square of their number.

use std::collections::BTreeMap;

use throughline_otlp::TraceId;

use crate::facts::TraceFacts;

/// Open addressing over the facts gathered so far; they hold the ids themselves.
pub(super) struct Index {
    table: Vec<u32>,
    used: usize,
    /// Steps past occupied places, over the life of the index.
    steps: usize,
    /// Takes over once `steps` says that ids were chosen to collide.
    ordered: Option<BTreeMap<TraceId, u32>>,
    last: usize,
}

const FREE: u32 = u32::MAX;

/// Steps allowed before the first trace, and then for each trace.
const PATIENCE: usize = 16;

impl Index {
    /// An index with room for about `traces` before it grows.
    pub(super) fn with_room_for(traces: usize) -> Self {
        let places = (traces * 2).next_power_of_two().clamp(16, 1 << 16);
        Self { table: vec![FREE; places], used: 0, steps: 0, ordered: None, last: 0 }
    }

    /// Where the facts of `trace` are among `facts`; their end if it has none, where the caller then must put them.
    #[inline]
    pub(super) fn place(&mut self, trace: TraceId, facts: &[TraceFacts]) -> usize {
        // Spans of one trace often come together.
        if facts.get(self.last).is_some_and(|facts| facts.trace == trace) {
            return self.last;
        }
        self.last = match &mut self.ordered {
            None => self.place_hashed(trace, facts),
            Some(ordered) => *ordered.entry(trace).or_insert(as_u32(facts.len())) as usize,
        };
        self.last
    }

    fn place_hashed(&mut self, trace: TraceId, facts: &[TraceFacts]) -> usize {
        if (self.used + 1) * 2 > self.table.len() {
            self.grow(facts);
        }
        let mask = self.table.len() - 1;
        let mut at = hash(trace) & mask;
        while let Some(place) = self.table.get_mut(at) {
            if *place == FREE {
                *place = as_u32(facts.len());
                self.used += 1;
                return facts.len();
            }
            if facts.get(*place as usize).is_some_and(|facts| facts.trace == trace) {
                return *place as usize;
            }
            self.steps += 1;
            if self.steps > PATIENCE * (self.used + PATIENCE) {
                return self.place_ordered(trace, facts);
            }
            at = (at + 1) & mask;
        }
        facts.len()
    }

    fn place_ordered(&mut self, trace: TraceId, facts: &[TraceFacts]) -> usize {
        let known = facts.iter().enumerate().map(|(at, facts)| (facts.trace, as_u32(at)));
        let mut ordered: BTreeMap<TraceId, u32> = known.collect();
        let at = *ordered.entry(trace).or_insert(as_u32(facts.len()));
        self.ordered = Some(ordered);
        at as usize
    }

    fn grow(&mut self, facts: &[TraceFacts]) {
        let places = self.table.len() * 2;
        self.table.clear();
        self.table.resize(places, FREE);
        for (number, facts) in facts.iter().enumerate() {
            let mut at = hash(facts.trace) & (places - 1);
            while self.table.get(at).is_some_and(|place| *place != FREE) {
                at = (at + 1) & (places - 1);
            }
            if let Some(place) = self.table.get_mut(at) {
                *place = as_u32(number);
            }
        }
    }
}

/// A request is far smaller than 4 Gi traces of at least 30 bytes each.
fn as_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(FREE)
}

/// Folded multiplication of the id's halves: trace ids are random already, where they are not it spreads them.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a hash is cut to size")]
fn hash(trace: TraceId) -> usize {
    let id = u128::from_le_bytes(trace.bytes());
    let (low, high) = (id as u64 ^ 0x9e37_79b9_7f4a_7c15, (id >> 64) as u64 ^ 0xd1b5_4a32_d192_ed03);
    let product = u128::from(low) * u128::from(high);
    (product as u64 ^ (product >> 64) as u64) as usize
}
