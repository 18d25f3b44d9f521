//! Which records hold a trace's unsent spans: the first in its row, the others in a chain of 32-byte blocks of five that a
//! decision gives back at once. The first [`MAX_RECORDS`] of them; History has the rest.

use super::row::{Block, Flags};
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
        row.chained += 1;
        self.records += 1;
        if row.chain == NONE || !self.blocks.at_mut(row.chain).push(position) {
            row.chain = self.blocks.insert(Block::new(row.chain, position));
        }
    }

    pub(super) fn clear_records(&mut self, slot: u32) {
        let row = self.rows.at_mut(slot);
        let mut chain = std::mem::replace(&mut row.chain, NONE);
        self.records -= usize::from(std::mem::take(&mut row.chained));
        while chain != NONE {
            chain = self.blocks.remove(chain).prev;
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
            let block = self.blocks.at(chain);
            records.extend(block.positions());
            chain = block.prev;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is pushed comes back in its order, and is refused only where a block is full or the position too far off.
        #[test]
        fn a_block_holds_what_was_pushed(
            first in any::<u64>(),
            steps in prop::collection::vec((-2_i64..300, any::<u32>()), 0..8),
        ) {
            let mut block = Block::new(7, first);
            let mut held = vec![first];
            for (up, low) in steps {
                let high = (first >> 32).wrapping_add_signed(up) & 0xffff_ffff;
                let position = high << 32 | u64::from(low);
                let fits = held.len() < Block::RECORDS && (first >> 32..(first >> 32) + 255).contains(&high);
                prop_assert_eq!(block.push(position), fits);
                if fits {
                    held.push(position);
                }
                prop_assert_eq!(block.positions().collect::<Vec<_>>(), held.clone());
            }
            prop_assert_eq!((block.prev, size_of::<Block>()), (7, 32));
        }
    }
}
