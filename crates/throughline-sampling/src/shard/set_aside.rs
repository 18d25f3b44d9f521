//! Undecided traces that are due and wait for what other nodes hold of them: out of the way of those that are due next.

use super::row::Flags;
use super::traces::Traces;

impl Traces {
    /// An undecided trace waits, until `due` at most.
    pub(super) fn set_aside(&mut self, slot: u32, due: u64) {
        let row = self.rows.at_mut(slot);
        if row.flags.clear(Flags::IN_ROOTS) {
            self.roots.remove(&mut self.rows, slot);
        }
        self.arrivals.remove(&mut self.rows, slot);
        let row = self.rows.at_mut(slot);
        row.flags.set(Flags::ASIDE);
        row.due = due;
        self.aside.insert(slot, row.first, due);
    }

    /// It is decided next, so its place among the others does not matter. Until when it would have waited, if it did.
    pub(super) fn bring_back(&mut self, slot: u32) -> Option<u64> {
        let row = self.rows.at_mut(slot);
        if !row.flags.clear(Flags::ASIDE) {
            return None;
        }
        let (first, due) = (row.first, row.due);
        self.aside.remove(slot, first, due);
        self.arrivals.push_back(&mut self.rows, slot);
        Some(due)
    }

    /// Nobody waits any more.
    pub(super) fn bring_all_back(&mut self) {
        while let Some((_, slot)) = self.aside.next() {
            self.bring_back(slot);
        }
    }

    pub(super) fn undecided(&self) -> usize {
        self.arrivals.len() + self.aside.len()
    }
}
