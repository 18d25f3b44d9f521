//! How far a partition has been dealt with: for every record its offset and where it is in the journal, until nobody needs that
//! any more. What may be committed is below the first record that somebody needs. Knows no clock and no Kafka.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The records of one partition since it was assigned.
#[derive(Debug, Default)]
pub(crate) struct Tracker(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    /// In the order of offsets.
    records: VecDeque<(u64, Standing)>,
    /// What may be committed if nothing is left in `records`.
    next: u64,
    /// The first record that the journal did not take in the end.
    failed: Option<u64>,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// On its way into the journal.
    Written,
    /// In the journal, at this position.
    At(u64),
    /// Nobody needs it: it was no request, or is history.
    Done,
}

impl Tracker {
    /// Nothing before `offset` is this process's.
    pub(crate) fn starting_at(offset: u64) -> Self {
        Self(Mutex::new(Queue { next: offset, ..Queue::default() }))
    }

    /// A record that is in the journal since an earlier life.
    pub(crate) fn restored(&self, offset: u64, position: u64) {
        self.queue().push(offset, Standing::At(position));
    }

    /// A record is handed over; they come in the order of their offsets.
    pub(crate) fn begun(&self, offset: u64) {
        self.queue().push(offset, Standing::Written);
    }

    /// It was not handed over after all.
    pub(crate) fn withdrawn(&self, offset: u64) {
        let mut queue = self.queue();
        if queue.records.back().is_some_and(|(last, _)| *last == offset) {
            queue.records.pop_back();
            queue.next = offset;
        }
    }

    /// It needs nothing done.
    pub(crate) fn done(&self, offset: u64) {
        self.queue().stand(offset, Standing::Done);
    }

    /// It is in the journal.
    pub(crate) fn durable(&self, offset: u64, position: u64) {
        self.queue().stand(offset, Standing::At(position));
    }

    /// The journal did not take it.
    pub(crate) fn failed(&self, offset: u64) {
        let mut queue = self.queue();
        queue.failed = Some(queue.failed.map_or(offset, |known| known.min(offset)));
    }

    /// Where reading has to begin again, if the journal did not take a record. Everything from there on is forgotten.
    pub(crate) fn rewind(&self) -> Option<u64> {
        let mut queue = self.queue();
        let failed = queue.failed.take()?;
        queue.records.retain(|(offset, _)| *offset < failed);
        queue.next = queue.next.min(failed);
        Some(failed)
    }

    /// The offset that may be committed, when nothing below position `floor` of the journal is needed.
    pub(crate) fn committable(&self, floor: u64) -> u64 {
        let mut queue = self.queue();
        while let Some((offset, standing)) = queue.records.front().copied() {
            match standing {
                Standing::Written => return offset,
                Standing::At(position) if position >= floor => return offset,
                Standing::At(_) | Standing::Done => {}
            }
            queue.records.pop_front();
        }
        queue.next
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, offset: u64, standing: Standing) {
        self.records.push_back((offset, standing));
        self.next = self.next.max(offset.saturating_add(1));
    }

    fn stand(&mut self, offset: u64, standing: Standing) {
        let found = self.records.binary_search_by_key(&offset, |(known, _)| *known).ok();
        if let Some(record) = found.and_then(|at| self.records.get_mut(at)) {
            record.1 = standing;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_committed_is_below_everything_that_somebody_needs() {
        let tracker = Tracker::starting_at(10);
        assert_eq!(tracker.committable(u64::MAX), 10);
        tracker.restored(10, 100);
        [11, 12, 20].into_iter().for_each(|offset| tracker.begun(offset));
        assert_eq!((tracker.committable(100), tracker.committable(101)), (10, 11));
        tracker.durable(12, 102);
        tracker.done(20);
        assert_eq!(tracker.committable(u64::MAX), 11);
        tracker.durable(11, 101);
        assert_eq!(tracker.committable(102), 12);
        assert_eq!(tracker.committable(103), 21);
    }

    #[test]
    fn what_the_journal_did_not_take_is_read_again() {
        let tracker = Tracker::starting_at(0);
        [0, 1, 2].into_iter().for_each(|offset| tracker.begun(offset));
        tracker.durable(0, 5);
        tracker.failed(2);
        tracker.failed(1);
        assert_eq!((tracker.rewind(), tracker.rewind()), (Some(1), None));
        assert_eq!(tracker.committable(6), 1);
        tracker.begun(1);
        tracker.durable(1, 7);
        assert_eq!(tracker.committable(8), 2);
    }

    proptest! {
        /// In whatever order the journal answers and the floor rises, no offset is passed that is needed.
        #[test]
        fn nothing_needed_is_passed(order in Just((0_u64..20).collect::<Vec<_>>()).prop_shuffle(), floors in prop::collection::vec(0_u64..60, 20)) {
            let tracker = Tracker::starting_at(0);
            (0..20).for_each(|offset| tracker.begun(offset));
            let mut durable = Vec::new();
            let mut highest = 0;
            for (offset, floor) in order.into_iter().zip(floors) {
                tracker.durable(offset, offset * 3);
                durable.push(offset);
                highest = highest.max(floor);
                let committable = tracker.committable(highest);
                prop_assert!((0..committable).all(|offset| durable.contains(&offset) && offset * 3 < highest));
            }
        }
    }
}
