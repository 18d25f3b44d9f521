//! After a restart: what the journal says came in and was decided, in its order.

use std::time::Duration;

use throughline_otlp::{TraceId, UnixNanos};

use super::Shard;
use super::row::{Flags, Memo, Row, State};
use super::traces::{Known, seconds};
use crate::decision::{Decision, Trigger, Verdict, Wish};
use crate::facts::{Met, Now, Root, TraceFacts};

/// A journal's record, as far as this shard is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restored {
    /// Spans came.
    Arrival {
        /// The record.
        position: u64,
        /// When it was accepted.
        arrived: UnixNanos,
        /// What it said of this shard's traces.
        facts: Vec<TraceFacts>,
    },
    /// A trace was decided.
    Decision(Decision),
}

impl Shard {
    /// Takes what came or was decided before the restart, which is `now`; in the journal's order, before the first `poll`.
    /// A deadline is the original one, but not before restart and grace. What was decided stays decided: the next `poll`
    /// hands out only what had not been told.
    pub fn restore(&mut self, now: Now, restored: &Restored) {
        match restored {
            Restored::Arrival { position, arrived, facts } => {
                let grace = self.options.grace;
                let due = |wait: Duration| {
                    let original = Duration::from_nanos(arrived.0).saturating_add(wait);
                    let left = original.saturating_sub(Duration::from_nanos(now.wall.0));
                    now.mono.saturating_add(left.max(grace))
                };
                let (wait, root_wait) = (due(self.terms.wait), self.terms.root_wait.map(due));
                let arrival = self.arrival_due(*position, seconds(*arrived), wait, root_wait);
                for facts in facts {
                    self.arrive(self.traces.find(facts.trace), &arrival, facts);
                }
            }
            Restored::Decision(decision) => match self.traces.find(decision.trace) {
                Known::Row(slot) => self.restore_row(slot, decision),
                Known::Memo(slot) => self.restore_memo(slot, decision),
                Known::Nothing => self.restore_unknown(now, decision),
            },
        }
    }

    /// Takes a wish that came at `wall`, before the restart. Unlike [`Shard::keep`] it refuses none, however many there are:
    /// they were acknowledged, and those that nobody has acted on yet come last.
    pub fn restore_wish(&mut self, wall: UnixNanos, wish: Wish) {
        if self.links.is_some() {
            self.wishes.push_back((seconds(wall), wish));
        }
    }

    fn restore_row(&mut self, slot: u32, decision: &Decision) {
        let number = self.reasons.number(&decision.reason);
        let promise = decision.trigger == Trigger::Promise;
        if let Some(origin) = decision.reason.origin() {
            self.traces.extra_mut(slot).origin = Some(origin);
        }
        let row = self.traces.row_mut(slot);
        let last = row.last;
        if row.state == State::Undecided && promise {
            row.hops = decision.hops;
            self.queue(slot, last);
            return;
        }
        let known = row.hops.filter(|_| row.state == State::Sampled);
        row.hops = decision.hops.into_iter().chain(known).min();
        row.reason = number;
        if last <= decision.through {
            row.flags.set(Flags::JUDGED);
        }
        let state = State::from(decision.verdict);
        if row.state != state {
            self.traces.settle(slot, state);
        }
        if decision.verdict == Verdict::Sampled {
            self.restore_sent(slot, decision);
        }
        // Whatever is left to judge, to send or to ask for comes out of the next poll.
        self.queue(slot, last);
    }

    fn restore_sent(&mut self, slot: u32, decision: &Decision) {
        if let Some(sent) = decision.records.last() {
            self.traces.sent_through(slot, *sent);
        }
        let row = self.traces.row_mut(slot);
        row.unsent = row.unsent.saturating_sub(decision.spans);
        if row.hops.is_some() && self.links.is_some() {
            row.flags.set(Flags::SPREAD);
        }
    }

    fn restore_memo(&mut self, slot: u32, decision: &Decision) {
        let number = self.reasons.number(&decision.reason);
        let promise = decision.trigger == Trigger::Promise;
        let memo = self.traces.memo_mut(slot);
        memo.promise &= promise;
        (memo.reason, memo.hops) = (number, decision.hops);
        let state = State::from(decision.verdict);
        if memo.state != state {
            self.traces.relist_memo(slot, state);
        }
        if let Some(origin) = decision.reason.origin() {
            self.traces.set_memo_origin(slot, origin);
        }
    }

    /// A decision on a trace that came before the first record restored.
    fn restore_unknown(&mut self, now: Now, decision: &Decision) {
        let (reason, origin) = (self.reasons.number(&decision.reason), decision.reason.origin());
        let state = State::from(decision.verdict);
        let promise = decision.trigger == Trigger::Promise;
        if self.links.is_none() || decision.hops.is_none() || promise {
            let mut memo = Memo::new(decision.trace, state, seconds(now.wall));
            (memo.reason, memo.hops, memo.promise) = (reason, decision.hops, promise);
            self.traces.remember(memo, origin);
            return;
        }
        // Its links are in History: a row, so that the next poll asks for them.
        let mut row = Row::new(&no_facts(decision.trace), decision.through, 0, seconds(now.wall));
        (row.state, row.reason, row.hops) = (state, reason, decision.hops);
        row.flags.set(Flags::SENT);
        row.flags.set(Flags::PAST);
        row.flags.set(Flags::SPREAD);
        row.flags.set(Flags::JUDGED);
        let slot = self.traces.insert(row, None);
        if origin.is_some() {
            self.traces.extra_mut(slot).origin = origin;
        }
        self.queue(slot, decision.through);
    }
}

fn no_facts(trace: TraceId) -> TraceFacts {
    TraceFacts {
        trace,
        met: Met::default(),
        start: UnixNanos(u64::MAX),
        end: UnixNanos(0),
        spans: 0,
        bytes: 0,
        root: Root::Unseen,
        links: Vec::new(),
        links_left_out: 0,
    }
}
