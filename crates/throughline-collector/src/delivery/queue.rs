//! What one exporter still has to send, as positions in the journal: a state machine without threads, files or clock.
//!
//! A unit is one record: a list of decisions, or a request in a pipeline that does not sample. Units come in the order of
//! their positions, are taken in that order, and are acknowledged in any. What is behind the first unacknowledged one may
//! be sent again after a crash; what is before it is never sent again.
//!
//! Memory: 40 bytes or so a unit. The journal's cap bounds their number, as each stands for a record in it.

use std::collections::BTreeMap;

/// One record of the journal that holds something for this exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Where the record is.
    pub(crate) position: u64,
    /// The lowest position that must still be readable when it is sent: its own, or that of the spans it names.
    pub(crate) needs_from: u64,
    /// Spans or log records that it stands for.
    pub(crate) items: u64,
}

/// The queue of one exporter in one pipeline.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Everything pushed and not acknowledged.
    outstanding: BTreeMap<u64, Outstanding>,
    /// Everything at or above this has not been taken.
    untaken_from: u64,
    /// First position nothing is known of yet.
    next: u64,
    items: u64,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    needs_from: u64,
    items: u64,
}

impl Queue {
    /// A queue that starts with everything from position `next` on.
    pub(crate) fn starting_at(next: u64) -> Self {
        Self { outstanding: BTreeMap::new(), untaken_from: next, next, items: 0 }
    }

    /// Something new to send. What lies before the start was acknowledged in an earlier life, and is passed over.
    pub(crate) fn push(&mut self, unit: Unit) {
        if unit.position < self.next {
            return;
        }
        self.next = unit.position.saturating_add(1);
        self.items = self.items.saturating_add(unit.items);
        let Unit { position, needs_from, items } = unit;
        self.outstanding.insert(position, Outstanding { needs_from, items });
    }

    /// The record at this position holds nothing for this exporter.
    pub(crate) fn pass(&mut self, position: u64) {
        self.next = self.next.max(position.saturating_add(1));
    }

    /// The next units, in order, until they stand for `items` or there are no more.
    pub(crate) fn take(&mut self, items: u64) -> Vec<Unit> {
        let mut taken = Vec::new();
        let mut sum = 0;
        for (&position, &Outstanding { needs_from, items: own }) in
            self.outstanding.range(self.untaken_from..)
        {
            if sum >= items {
                break;
            }
            sum += own;
            taken.push(Unit { position, needs_from, items: own });
        }
        if let Some(last) = taken.last() {
            self.untaken_from = last.position.saturating_add(1);
        }
        taken
    }

    /// A unit that was taken and comes again. For a simulation: a task that sends keeps what it has.
    #[cfg(test)]
    pub(crate) fn put_back(&mut self, unit: Unit) {
        self.untaken_from = self.untaken_from.min(unit.position);
    }

    /// Items not taken yet.
    pub(crate) fn untaken(&self) -> u64 {
        self.outstanding.range(self.untaken_from..).map(|(_, unit)| unit.items).sum()
    }

    /// The backend has this unit, or will never take it.
    pub(crate) fn acknowledge(&mut self, position: u64) {
        if let Some(unit) = self.outstanding.remove(&position) {
            self.items = self.items.saturating_sub(unit.items);
        }
    }

    /// As [`Queue::acknowledge`], of every unit up to this one.
    pub(crate) fn acknowledge_through(&mut self, position: u64) {
        while let Some(unit) = self.outstanding.first_entry().filter(|unit| *unit.key() <= position) {
            self.items = self.items.saturating_sub(unit.remove().items);
        }
    }

    /// First position that is not acknowledged: where the next life starts.
    pub(crate) fn resume_at(&self) -> u64 {
        self.outstanding.keys().next().copied().unwrap_or(self.next)
    }

    /// Lowest position that must stay readable for this exporter.
    pub(crate) fn needs_from(&self) -> u64 {
        self.outstanding.values().map(|unit| unit.needs_from).min().unwrap_or(self.next)
    }

    /// Units that are not acknowledged, and what they stand for.
    pub(crate) fn backlog(&self) -> (usize, u64) {
        (self.outstanding.len(), self.items)
    }

    /// Whether everything pushed is acknowledged.
    pub(crate) fn is_drained(&self) -> bool {
        self.outstanding.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(position: u64, needs_from: u64, items: u64) -> Unit {
        Unit { position, needs_from, items }
    }

    fn positions(units: &[Unit]) -> Vec<u64> {
        units.iter().map(|unit| unit.position).collect()
    }

    #[test]
    fn units_are_taken_in_order_and_acknowledged_in_any() {
        let mut queue = Queue::starting_at(10);
        for each in [unit(9, 1, 5), unit(10, 2, 5), unit(20, 15, 5), unit(30, 3, 5)] {
            queue.push(each);
        }
        assert_eq!((queue.resume_at(), queue.needs_from(), queue.backlog()), (10, 2, (3, 15)));
        assert_eq!(positions(&queue.take(6)), [10, 20]);
        assert_eq!((queue.untaken(), positions(&queue.take(1)), queue.untaken()), (5, vec![30], 0));
        assert!(queue.take(1).is_empty());
        queue.acknowledge(20);
        assert_eq!((queue.resume_at(), queue.needs_from()), (10, 2));
        queue.acknowledge(10);
        assert_eq!((queue.resume_at(), queue.needs_from()), (30, 3));
        queue.acknowledge(30);
        assert_eq!((queue.resume_at(), queue.needs_from(), queue.is_drained()), (31, 31, true));
        queue.pass(50);
        assert_eq!((queue.resume_at(), queue.needs_from(), queue.backlog()), (51, 51, (0, 0)));
    }

    proptest! {
        /// Against a list of everything: each unit is taken once and in order, and a restart at `resume_at` misses
        /// nothing that was not acknowledged.
        #[test]
        fn nothing_is_skipped(steps in proptest::collection::vec((0_u8..4, 1_u64..6), 1..80)) {
            let mut queue = Queue::starting_at(0);
            let (mut all, mut taken, mut done): (Vec<u64>, Vec<u64>, Vec<u64>) = Default::default();
            let mut at = 0_u64;
            for (step, n) in steps {
                match step {
                    0 | 1 => { at += n; queue.push(unit(at, at.saturating_sub(n), n)); all.push(at); }
                    2 => taken.extend(positions(&queue.take(n))),
                    _ => if !taken.is_empty() {
                        let which = taken.swap_remove(usize::try_from(n).unwrap_or(0) % taken.len());
                        queue.acknowledge(which);
                        done.push(which);
                    },
                }
                let open: Vec<u64> = all.iter().copied().filter(|p| !done.contains(p)).collect();
                prop_assert_eq!(open.first().copied().unwrap_or(if all.is_empty() { 0 } else { at + 1 }), queue.resume_at());
                prop_assert_eq!(queue.backlog().0, open.len());
                prop_assert!(open.iter().all(|p| *p >= queue.resume_at() && queue.needs_from() <= *p));
            }
        }
    }
}
