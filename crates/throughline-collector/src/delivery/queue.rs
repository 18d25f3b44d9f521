//! What one exporter still has to send, as positions in the journal: a state machine without threads, files or clock.
//!
//! A unit is one record: a list of decisions, or a request in a pipeline that does not sample. Units come in the order of
//! their positions, are taken in that order, and are acknowledged in any. What is behind the first unacknowledged one may
//! be sent again after a crash; what is before it is never sent again.
//!
//! Memory: 40 bytes or so a unit, and as much again for one that needs older records than itself. The journal's cap bounds
//! their number, as each stands for a record in it. Whatever is asked of it takes no longer because more waits.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

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
    /// Sum over everything outstanding.
    items: u64,
    /// Sum over what of it has not been taken.
    untaken: u64,
    /// How many of those outstanding need which position, if that is below their own.
    needs: BTreeMap<u64, usize>,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    needs_from: u64,
    items: u64,
}

impl Queue {
    /// A queue that starts with everything from position `next` on.
    pub(crate) fn starting_at(next: u64) -> Self {
        Self { untaken_from: next, next, ..Self::default() }
    }

    /// Something new to send. What lies before the start was acknowledged in an earlier life, and is passed over.
    pub(crate) fn push(&mut self, unit: Unit) {
        if unit.position < self.next {
            return;
        }
        self.next = unit.position.saturating_add(1);
        let Unit { position, needs_from, items } = unit;
        self.items += items;
        self.untaken += items;
        if needs_from < position {
            *self.needs.entry(needs_from).or_default() += 1;
        }
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
            self.untaken -= sum;
        }
        taken
    }

    /// A unit that was taken and comes again. For a simulation: a task that sends keeps what it has.
    #[cfg(test)]
    pub(crate) fn put_back(&mut self, unit: Unit) {
        if unit.position < self.untaken_from {
            let again = self.outstanding.range(unit.position..self.untaken_from);
            self.untaken += again.map(|(_, unit)| unit.items).sum::<u64>();
            self.untaken_from = unit.position;
        }
    }

    /// Items not taken yet.
    pub(crate) fn untaken(&self) -> u64 {
        self.untaken
    }

    /// The backend has this unit, or will never take it.
    pub(crate) fn acknowledge(&mut self, position: u64) {
        if let Some(unit) = self.outstanding.remove(&position) {
            self.forget(position, unit);
        }
    }

    fn forget(&mut self, position: u64, unit: Outstanding) {
        self.items -= unit.items;
        if position >= self.untaken_from {
            self.untaken -= unit.items;
        }
        if let Entry::Occupied(mut needing) = self.needs.entry(unit.needs_from)
            && unit.needs_from < position
        {
            *needing.get_mut() -= 1;
            if *needing.get() == 0 {
                needing.remove();
            }
        }
    }

    /// As [`Queue::acknowledge`], of every unit up to this one.
    pub(crate) fn acknowledge_through(&mut self, position: u64) {
        while let Some(unit) = self.outstanding.first_entry().filter(|unit| *unit.key() <= position) {
            let (position, unit) = unit.remove_entry();
            self.forget(position, unit);
        }
    }

    /// First position that is not acknowledged: where the next life starts.
    pub(crate) fn resume_at(&self) -> u64 {
        self.outstanding.keys().next().copied().unwrap_or(self.next)
    }

    /// Lowest position that must stay readable for this exporter.
    pub(crate) fn needs_from(&self) -> u64 {
        // Whatever is not named in `needs` needs its own position, and none of these is below the first.
        self.needs.keys().next().copied().unwrap_or(u64::MAX).min(self.resume_at())
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

    /// The queue as a list of everything that is outstanding, each with whether it was taken.
    #[derive(Default)]
    struct Model {
        open: Vec<(Unit, bool)>,
        next: u64,
    }

    impl Model {
        fn take(&mut self, items: u64) -> Vec<Unit> {
            let (mut taken, mut sum) = (Vec::new(), 0);
            for (unit, was_taken) in self.open.iter_mut().filter(|(_, was_taken)| !was_taken) {
                if sum >= items {
                    break;
                }
                sum += unit.items;
                *was_taken = true;
                taken.push(*unit);
            }
            taken
        }

        fn agrees(&self, queue: &Queue) -> Result<(), TestCaseError> {
            let untaken: u64 = self.open.iter().filter(|(_, taken)| !taken).map(|(unit, _)| unit.items).sum();
            let items: u64 = self.open.iter().map(|(unit, _)| unit.items).sum();
            let first = self.open.first().map_or(self.next, |(unit, _)| unit.position);
            let needs = self.open.iter().map(|(unit, _)| unit.needs_from).min().unwrap_or(self.next);
            prop_assert_eq!((queue.untaken(), queue.backlog()), (untaken, (self.open.len(), items)));
            prop_assert_eq!((queue.resume_at(), queue.needs_from()), (first, needs));
            prop_assert_eq!(queue.is_drained(), self.open.is_empty());
            Ok(())
        }
    }

    proptest! {
        /// Whatever is done to it, every figure is what counting everything would give, each unit is taken in order and once
        /// until it is put back, and a restart at `resume_at` misses nothing that was not acknowledged.
        #[test]
        fn figures_are_those_of_a_list(steps in proptest::collection::vec((0_u8..8, 1_u64..6), 1..120)) {
            let (mut queue, mut model) = (Queue::starting_at(0), Model::default());
            let mut at = 0_u64;
            for (step, n) in steps {
                let which = usize::try_from(n).unwrap_or(0) % model.open.len().max(1);
                let chosen = model.open.get(which).copied();
                match (step, chosen) {
                    (0..=2, _) => {
                        at += n;
                        let unit = unit(at, at.saturating_sub(2 * (n - 1)), n);
                        queue.push(unit);
                        model.open.push((unit, false));
                        model.next = at + 1;
                    }
                    (3, _) => prop_assert_eq!(queue.take(n * 2), model.take(n * 2)),
                    (4, _) => {
                        queue.pass(at + n);
                        at += n;
                        model.next = at + 1;
                    }
                    (5, Some((unit, _))) => {
                        queue.acknowledge_through(unit.position);
                        model.open.retain(|(open, _)| open.position > unit.position);
                    }
                    (6, Some((unit, true))) => {
                        queue.put_back(unit);
                        model.open.iter_mut().for_each(|(open, taken)| *taken &= open.position < unit.position);
                    }
                    (_, Some((unit, _))) => {
                        queue.acknowledge(unit.position);
                        model.open.remove(which);
                    }
                    (_, None) => {}
                }
                model.agrees(&queue)?;
            }
        }
    }
}
