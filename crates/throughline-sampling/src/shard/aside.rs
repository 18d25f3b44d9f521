//! Which undecided traces wait for what other nodes hold of them, by their first record and by when their wait is over.

use std::collections::BTreeSet;

/// Rows that wait.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// First record and row.
    by_first: BTreeSet<(u64, u32)>,
    /// When the wait is over, and row.
    by_due: BTreeSet<(u64, u32)>,
}

impl Aside {
    pub(super) fn len(&self) -> usize {
        self.by_first.len()
    }

    /// The oldest record of a trace that waits.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.by_first.first().map(|(first, _)| *first)
    }

    /// When the next wait is over, and whose.
    pub(super) fn next(&self) -> Option<(u64, u32)> {
        self.by_due.first().copied()
    }

    pub(super) fn insert(&mut self, slot: u32, first: u64, due: u64) {
        self.by_first.insert((first, slot));
        self.by_due.insert((due, slot));
    }

    pub(super) fn remove(&mut self, slot: u32, first: u64, due: u64) {
        self.by_first.remove(&(first, slot));
        self.by_due.remove(&(due, slot));
    }
}
