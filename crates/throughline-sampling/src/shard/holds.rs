//! What is held here of a trace: the answer to another node's question. Changes nothing.

use throughline_otlp::TraceId;

use super::Shard;
use super::row::{Flags, State};
use super::traces::Known;
use crate::decision::{Decided, Held, History, Past, Reason, Verdict};
use crate::facts::TraceFacts;

impl Shard {
    /// What is held here of a trace.
    pub fn holds(&self, trace: TraceId, history: &mut dyn History) -> Held {
        Held { followed: !self.waiting.of(trace).is_empty(), ..self.known(trace, history) }
    }

    fn known(&self, trace: TraceId, history: &mut dyn History) -> Held {
        match self.traces.find(trace) {
            Known::Row(slot) => self.row_holds(slot, history),
            Known::Memo(slot) => self.memo_holds(slot, history),
            Known::Nothing if self.traces.forgotten_until(trace).is_some() => {
                self.past_holds(history.past(trace))
            }
            Known::Nothing => Held::default(),
        }
    }

    /// Whether more facts may still change something: also of a trace that is kept they may show merit of its own, which
    /// matters for what is linked with it.
    pub(super) fn is_open(&self, state: State, hops: Option<u8>) -> bool {
        match state {
            State::Undecided | State::NotSampled => true,
            State::Sampled => self.links.is_some() && hops != Some(0),
            State::Dropped => false,
        }
    }

    fn memo_holds(&self, slot: u32, history: &mut dyn History) -> Held {
        let memo = self.traces.memo(slot);
        let origin = self.traces.memo_origin(slot);
        if memo.promise {
            return Held { promised: origin.zip(memo.hops), ..Held::default() };
        }
        let reason = self.reasons.reason(memo.reason, origin);
        let decided = verdict(memo.state).map(|verdict| (verdict, reason, memo.hops));
        let facts = match self.is_open(memo.state, memo.hops) {
            true => history.past(memo.trace).and_then(facts),
            false => None,
        };
        Held { decided, facts, ..Held::default() }
    }

    fn row_holds(&self, slot: u32, history: &mut dyn History) -> Held {
        let row = self.traces.row(slot);
        let beyond =
            row.flags.has(Flags::PAST) && (row.state != State::Undecided || self.may_lie_beyond(row));
        let past = if beyond { history.past(row.trace) } else { None };
        let decided = match verdict(row.state) {
            Some(verdict) => {
                let origin = self.traces.extra(slot).and_then(|extra| extra.origin);
                Some((verdict, self.reasons.reason(row.reason, origin), row.hops))
            }
            None => past.as_ref().and_then(|past| past.decided.clone()),
        };
        let facts = if self.matters(decided.as_ref()) { Some(self.own_facts(slot, past)) } else { None };
        Held { decided, facts, ..Held::default() }
    }

    fn past_holds(&self, past: Option<Past>) -> Held {
        let Some(past) = past else { return Held::default() };
        let (decided, promised) = match (&past.decided, past.sent_through) {
            // Nothing had come when it was decided.
            (Some((Verdict::Sampled, Reason::LinkedFrom(origin), Some(hops))), None) => {
                (None, Some((*origin, *hops)))
            }
            (decided, _) => (decided.clone(), None),
        };
        let facts = if self.matters(decided.as_ref()) { facts(past) } else { None };
        Held { decided, promised, facts, ..Held::default() }
    }

    fn matters(&self, decided: Option<&Decided>) -> bool {
        decided.is_none_or(|(verdict, _, hops)| self.is_open((*verdict).into(), *hops))
    }

    /// What the spans of this node say, with those of which only History knows; not what other nodes said.
    fn own_facts(&self, slot: u32, past: Option<Past>) -> TraceFacts {
        let row = self.traces.row(slot);
        let mut own = row.facts();
        let Some(past) = past else { return own };
        match past.records.last().is_some_and(|last| *last >= row.last) {
            // History has seen what this row has.
            true => own.cover(&past.facts),
            false => own.merge(&past.facts),
        }
        own.links = Vec::new();
        own
    }
}

fn verdict(state: State) -> Option<Verdict> {
    match state {
        State::Undecided => None,
        State::NotSampled => Some(Verdict::NotSampled),
        State::Sampled => Some(Verdict::Sampled),
        State::Dropped => Some(Verdict::Dropped),
    }
}

fn facts(past: Past) -> Option<TraceFacts> {
    (!past.records.is_empty()).then_some(TraceFacts { links: Vec::new(), links_left_out: 0, ..past.facts })
}
