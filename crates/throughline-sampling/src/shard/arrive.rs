//! Spans that come: a new trace, more of an undecided one, or late ones. Nothing is decided here and History is not asked.

use std::time::Duration;

use super::row::{Flags, Row, State};
use super::traces::{Known, seconds};
use super::{Shard, Work};
use crate::decision::Wish;
use crate::facts::{Now, Root, TraceFacts};
use crate::settings::{Direction, Strategy};

/// When and where a record came, with the deadlines of traces that begin with it or whose root it brings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) position: u64,
    pub(super) seen: u32,
    pub(super) due: u64,
    pub(super) root_due: Option<u64>,
}

impl Shard {
    pub(super) fn arrival(&mut self, now: Now, position: u64) -> Arrival {
        let root_due = self.terms.root_wait.map(|wait| now.mono.saturating_add(wait));
        self.arrival_due(position, seconds(now.wall), now.mono.saturating_add(self.terms.wait), root_due)
    }

    /// Deadlines never go back: after a restart they are computed from wall clocks, which may.
    pub(super) fn arrival_due(
        &mut self,
        position: u64,
        seen: u32,
        due: Duration,
        root_due: Option<Duration>,
    ) -> Arrival {
        self.handled = self.handled.max(position);
        self.last_due = self.last_due.max(nanos(due));
        if let Some(root_due) = root_due {
            self.last_root_due = self.last_root_due.max(nanos(root_due));
        }
        let root_due = root_due.map(|_| self.last_root_due);
        Arrival { position, seen, due: self.last_due, root_due }
    }

    #[inline]
    pub(super) fn arrive(&mut self, known: Known, arrival: &Arrival, facts: &TraceFacts) {
        match known {
            Known::Row(slot) => self.more(slot, arrival, facts),
            Known::Memo(slot) => self.wake(slot, arrival, facts),
            Known::Nothing => {
                self.open(None, arrival, facts);
            }
        }
    }

    /// A trace of which nothing but perhaps a promise is known.
    fn open(&mut self, promise: Option<u32>, arrival: &Arrival, facts: &TraceFacts) -> u32 {
        let mut row = Row::new(facts, arrival.position, arrival.due, arrival.seen);
        if self.traces.horizon.is_some() {
            row.flags.set(Flags::PAST);
        }
        let slot = self.traces.insert(row, promise);
        self.notice(slot, arrival, facts);
        slot
    }

    #[inline]
    fn more(&mut self, slot: u32, arrival: &Arrival, facts: &TraceFacts) {
        let row = self.traces.row_mut(slot);
        row.seen = row.seen.max(arrival.seen);
        match row.state {
            State::Undecided => {}
            State::NotSampled => self.stats.late_not_sampled += u64::from(facts.spans),
            State::Sampled => self.stats.late_sampled += u64::from(facts.spans),
            State::Dropped => {
                self.stats.late_dropped += u64::from(facts.spans);
                return;
            }
        }
        row.flags.clear(Flags::ASKED);
        row.merge(facts);
        if row.state != State::Undecided {
            self.traces.touch(slot);
        }
        self.traces.record(slot, arrival.position, facts.spans);
        self.notice(slot, arrival, facts);
    }

    /// A late span of a trace of which only the decision is remembered, or the first of one that was promised.
    fn wake(&mut self, memo: u32, arrival: &Arrival, facts: &TraceFacts) {
        let origin = self.traces.memo_origin(memo);
        let known = *self.traces.memo(memo);
        match known.state {
            State::Dropped => {
                self.stats.late_dropped += u64::from(facts.spans);
                self.traces.memo_mut(memo).seen = known.seen.max(arrival.seen);
                return;
            }
            State::Sampled if known.promise => return self.keep_promise(memo, arrival, facts),
            State::Sampled => self.stats.late_sampled += u64::from(facts.spans),
            _ => self.stats.late_not_sampled += u64::from(facts.spans),
        }
        let mut row = Row::new(facts, arrival.position, arrival.due, arrival.seen.max(known.seen));
        (row.state, row.reason, row.hops) = (known.state, known.reason, known.hops);
        row.flags.set(Flags::PAST);
        if known.state == State::Sampled {
            // All that came before has gone out, or the row would not have become a memo.
            row.first = arrival.position.saturating_sub(1);
            row.last = row.first;
            row.flags.set(Flags::SENT);
        }
        let slot = self.traces.insert(row, Some(memo));
        if origin.is_some() {
            self.traces.extra_mut(slot).origin = origin;
        }
        self.traces.record(slot, arrival.position, 0);
        self.notice(slot, arrival, facts);
    }

    fn keep_promise(&mut self, memo: u32, arrival: &Arrival, facts: &TraceFacts) {
        let origin = self.traces.memo_origin(memo);
        let promise = *self.traces.memo(memo);
        if self.is_beyond_look_back(promise.seen, arrival.seen) {
            self.traces.discard_memo(memo);
            self.open(None, arrival, facts);
            return;
        }
        let slot = self.open(Some(memo), arrival, facts);
        self.traces.row_mut(slot).hops = promise.hops;
        self.traces.extra_mut(slot).origin = origin;
        self.queue(slot, arrival.position);
    }

    /// What an arrival sets off: the root's deadline, links, and looking at the trace before its time.
    #[inline]
    fn notice(&mut self, slot: u32, arrival: &Arrival, facts: &TraceFacts) {
        if facts.root == Root::Seen {
            self.traces.root(slot, arrival.root_due);
        }
        if !facts.links.is_empty() {
            self.notice_links(slot, facts);
        }
        let row = self.traces.row(slot);
        let early = row.bytes > self.terms.max_bytes || self.terms.strategy == Strategy::SpanIngest;
        if early || row.state != State::Undecided || row.hops.is_some() {
            self.queue(slot, arrival.position);
        }
    }

    fn notice_links(&mut self, slot: u32, facts: &TraceFacts) {
        let Some(direction) = self.links.as_ref().map(|links| links.direction) else { return };
        for link in &facts.links {
            if self.traces.link(slot, *link) && direction != Direction::Contributors {
                self.outgoing.push(Wish::Follow { trace: *link, from: facts.trace });
            }
        }
        if facts.links_left_out > 0 {
            let extra = self.traces.extra_mut(slot);
            extra.left_out = extra.left_out.saturating_add(facts.links_left_out);
        }
    }

    #[inline]
    pub(super) fn queue(&mut self, slot: u32, position: u64) {
        let row = self.traces.row_mut(slot);
        if !row.flags.has(Flags::QUEUED) {
            row.flags.set(Flags::QUEUED);
            self.work.push_back(Work { slot, position });
        }
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
