//! Which records hold a trace's unsent spans: the first in its row, the others in a chain of 12-byte entries that a decision
//! gives back at once. The first [`MAX_RECORDS`] of them; History has the rest.

use super::row::{Entry, Flags};
use super::slab::NONE;
use super::traces::Traces;

/// Records held of one trace, its first apart. Beyond it they are asked from History when the trace is kept.
pub const MAX_RECORDS: usize = 1024;

impl Traces {
    /// Remembers that a record holds spans of the trace; each record once.
    #[inline]
    pub(super) fn record(&mut self, slot: u32, position: u64, spans: u32) {
        let row = self.rows.at_mut(slot);
        row.unsent = row.unsent.saturating_add(spans);
        if position <= row.last {
            return;
        }
        row.last = position;
        self.chain(slot, position);
    }

    /// As [`Traces::record`], for one that may be older than those known and is not among them.
    #[inline]
    pub(super) fn chain(&mut self, slot: u32, position: u64) {
        let row = self.rows.at_mut(slot);
        if row.flags.has(Flags::SPILLED) && row.chained == 0 {
            return;
        }
        if usize::from(row.chained) >= MAX_RECORDS {
            row.flags.set(Flags::SPILLED);
            self.spilled += 1;
            self.clear_records(slot);
            return;
        }
        row.chain = self.entries.insert(Entry::new(row.chain, position));
        row.chained += 1;
    }

    pub(super) fn clear_records(&mut self, slot: u32) {
        let row = self.rows.at_mut(slot);
        let mut chain = std::mem::replace(&mut row.chain, NONE);
        row.chained = 0;
        while chain != NONE {
            chain = self.entries.remove(chain).prev;
        }
    }

    /// The records that have not gone out, as far as they fitted, ascending; from now on they have.
    pub(super) fn take_records(&mut self, slot: u32) -> Vec<u64> {
        let mut records = self.unsent(slot);
        self.clear_records(slot);
        records.sort_unstable();
        records.dedup();
        let row = self.rows.at_mut(slot);
        row.unsent = 0;
        row.first = row.last;
        row.flags.set(Flags::SENT);
        row.flags.clear(Flags::SPILLED);
        records
    }

    fn unsent(&self, slot: u32) -> Vec<u64> {
        let row = self.rows.at(slot);
        let mut records = Vec::with_capacity(usize::from(row.chained) + 1);
        if !row.flags.has(Flags::SENT) {
            records.push(row.first);
        }
        let mut chain = row.chain;
        while chain != NONE {
            let entry = self.entries.at(chain);
            records.push(entry.position());
            chain = entry.prev;
        }
        records
    }

    /// Everything up to `position` has gone out.
    pub(super) fn sent_through(&mut self, slot: u32, position: u64) {
        let later: Vec<u64> = self.unsent(slot).into_iter().filter(|record| *record > position).collect();
        self.clear_records(slot);
        let row = self.rows.at_mut(slot);
        row.first = if row.flags.has(Flags::SENT) { row.first.max(position) } else { position };
        row.last = row.last.max(position);
        row.flags.set(Flags::SENT);
        if later.is_empty() {
            row.unsent = 0;
        }
        for record in later {
            self.chain(slot, record);
        }
    }

    /// Whether nothing waits to go out.
    pub(super) fn is_sent(&self, slot: u32) -> bool {
        let row = self.rows.at(slot);
        row.flags.has(Flags::SENT) && row.chained == 0 && !row.flags.has(Flags::SPILLED)
    }
}
