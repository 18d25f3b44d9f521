//! Decides a trace, and says what follows from it. The only place where a verdict is set.

use throughline_otlp::TraceId;

use super::reasons::{LINKED, SHUTDOWN, TOO_LARGE};
use super::row::{Flags, State};
use super::{Shard, Turn};
use crate::decision::{Decision, Reason, Trigger, Verdict};
use crate::facts::Now;
use crate::plan::Merit;

/// A trace is to be kept because of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wished {
    pub(super) hops: u8,
    pub(super) origin: TraceId,
}

/// Where a trace stood, and where it stands now.
#[derive(Clone, Copy, Debug)]
struct Change {
    from: State,
    from_hops: Option<u8>,
    to: State,
    to_hops: Option<u8>,
    reason: u16,
    /// The wish, if it made the difference.
    because: Option<Wished>,
    /// Whose word made the difference, if there was no wish.
    word: Word,
}

/// Whose word a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Judge,
    OtherNode,
}

impl Change {
    /// Kept, and nearer to a trace kept on its own merit than before: links spread from it, further than before.
    fn is_nearer(&self) -> bool {
        self.to == State::Sampled
            && self.to_hops.is_some_and(|to| self.from_hops.is_none_or(|from| to < from))
    }
}

/// What others want of a trace.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Words {
    /// A link's.
    pub(super) wish: Option<Wished>,
    /// Another node's that holds a part of it.
    pub(super) told: Option<Told>,
}

/// Another node's verdict.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) state: State,
    pub(super) reason: u16,
    pub(super) hops: Option<u8>,
}

impl From<Wished> for Words {
    fn from(wish: Wished) -> Self {
        Self { wish: Some(wish), told: None }
    }
}

impl Shard {
    /// Decides a trace, for the first time or because something came. Asks other nodes first if they may hold a part.
    pub(super) fn decide(&mut self, slot: u32, trigger: Trigger, words: Words, turn: &mut Turn<'_>) {
        let at_arrival = trigger == Trigger::Ingest;
        if !at_arrival && self.asks(slot, trigger, turn) {
            return;
        }
        self.conclude(slot, trigger, words, turn);
        if at_arrival && self.traces.row(slot).state != State::Undecided {
            self.asks(slot, trigger, turn);
        }
    }

    /// Decides it on what is known by now. Asks History if something may lie there.
    pub(super) fn conclude(&mut self, slot: u32, trigger: Trigger, words: Words, turn: &mut Turn<'_>) {
        let undecided = self.traces.row(slot).state == State::Undecided;
        let aside = self.traces.bring_back(slot);
        let promised = self.take_promise(slot);
        let earlier = self.consult(slot, turn);
        let wish = nearer(nearer(words.wish, promised), earlier.promised);
        let from = earlier.state.unwrap_or(self.traces.row(slot).state);
        let own = self.own_trigger(slot);
        let change = self.weigh(slot, from, Words { wish, ..words }, turn.now);
        let trigger = match trigger {
            Trigger::Link => Trigger::Link,
            Trigger::Peer if change.word == Word::OtherNode || change.because.is_some() => Trigger::Peer,
            _ if earlier.state.is_some() => Trigger::Late,
            // What others hold made it no other: its own time has come.
            Trigger::Peer => own,
            other => other,
        };
        if trigger == Trigger::Ingest && change.to != State::Sampled {
            self.traces.row_mut(slot).flags.clear(Flags::JUDGED);
            if let Some(due) = aside {
                self.traces.set_aside(slot, due);
            }
            return;
        }
        self.apply(slot, &change);
        let to_send = change.to == State::Sampled && !self.traces.is_sent(slot);
        if undecided || change.from != change.to || change.is_nearer() || to_send {
            self.tell(slot, undecided, trigger, &change, turn);
        } else {
            // Links that came with a record that is already out: there are none, but they must not pile up either.
            self.spread_fresh(slot, turn.now);
        }
    }

    /// Decides an undecided trace "not sampled" because the process ends.
    pub(super) fn drop_pending(&mut self, slot: u32, turn: &mut Turn<'_>) {
        let from = State::Undecided;
        let to = State::NotSampled;
        let (because, word) = (None, Word::Judge);
        let change = Change { from, from_hops: None, to, to_hops: None, reason: SHUTDOWN, because, word };
        self.apply(slot, &change);
        self.tell(slot, true, Trigger::Shutdown, &change, turn);
    }

    /// What a link asked for before the first span came.
    fn take_promise(&mut self, slot: u32) -> Option<Wished> {
        let origin = self.traces.extra(slot).and_then(|extra| extra.origin);
        let row = self.traces.row_mut(slot);
        let hops = if row.state == State::Undecided { row.hops.take() } else { None };
        Some(Wished { hops: hops?, origin: origin? })
    }

    /// Where a trace stands now: the judge's word, another node's and the wish, none of which can lower what stood.
    fn weigh(&mut self, slot: u32, from: State, words: Words, now: Now) -> Change {
        let row = self.traces.row(slot);
        let from_hops = row.hops.filter(|_| from == State::Sampled);
        let (mut to, mut reason, merit) = match self.is_settled(slot, from) {
            true => (from, row.reason, Merit::None),
            false => self.ask_judge(slot, from, now),
        };
        let (mut to_hops, mut word) = (from_hops, Word::Judge);
        if from == State::Sampled {
            to = State::Sampled;
            let shown = merit == Merit::Own && row_is_linked(self.traces.row(slot).reason);
            reason = if shown { reason } else { self.traces.row(slot).reason };
        }
        if to == State::Sampled && merit == Merit::Own {
            to_hops = Some(0);
        }
        if let Some(told) = words.told.filter(|told| follows(from, told.state)) {
            let hops = told.hops.into_iter().chain(to_hops).min().filter(|_| told.state == State::Sampled);
            if (to, to_hops) != (told.state, hops) {
                word = Word::OtherNode;
            }
            reason = if to == told.state { reason } else { told.reason };
            (to, to_hops) = (told.state, hops);
        }
        let allowed = if to == State::Dropped { None } else { words.wish };
        let because = allowed.filter(|wish| to_hops.is_none_or(|hops| wish.hops < hops));
        if let Some(wish) = because {
            to_hops = Some(wish.hops);
            reason = if to == State::Sampled { reason } else { LINKED };
            to = State::Sampled;
        }
        if to == State::Undecided {
            to = State::NotSampled;
        }
        Change { from, from_hops, to, to_hops, reason, because, word }
    }

    /// Whether the judge has nothing to add.
    fn is_settled(&self, slot: u32, from: State) -> bool {
        let row = self.traces.row(slot);
        match from {
            State::Undecided => false,
            State::Dropped => true,
            State::NotSampled => row.flags.has(Flags::JUDGED),
            // It goes out in any case; merit of its own matters only for what is linked with it.
            State::Sampled => row.flags.has(Flags::JUDGED) || row.hops == Some(0) || self.links.is_none(),
        }
    }

    fn ask_judge(&mut self, slot: u32, from: State, now: Now) -> (State, u16, Merit) {
        let row = self.traces.row_mut(slot);
        row.flags.set(Flags::JUDGED);
        let mut facts = row.facts();
        if let Some(elsewhere) = self.traces.extra(slot).and_then(|extra| extra.elsewhere.as_ref()) {
            facts.merge(elsewhere);
        }
        if from != State::Sampled && facts.bytes > self.terms.max_bytes {
            return (State::NotSampled, TOO_LARGE, Merit::None);
        }
        let judgement = self.judge.decide(now, &facts);
        self.stats.failed_policies += u64::from(judgement.failed);
        (judgement.verdict.into(), self.reasons.number(&judgement.reason), judgement.merit)
    }

    /// Writes down where the trace stands.
    fn apply(&mut self, slot: u32, change: &Change) {
        let row = self.traces.row_mut(slot);
        (row.reason, row.hops) = (change.reason, change.to_hops);
        if row.state != change.to {
            self.traces.settle(slot, change.to);
        }
        if let Some(wish) = change.because {
            self.traces.extra_mut(slot).origin = Some(wish.origin);
        }
    }

    /// Hands out the decision and the wishes that follow from it.
    fn tell(&mut self, slot: u32, first: bool, trigger: Trigger, change: &Change, turn: &mut Turn<'_>) {
        self.count(first, trigger, change);
        let row = self.traces.row(slot);
        let (trace, through) = (row.trace, row.last);
        let origin = self.traces.extra(slot).and_then(|extra| extra.origin);
        let (records, spans, left_out) = match change.to {
            State::Sampled => {
                let (records, spans) = self.collect(slot, turn.history);
                // Also if History said that it had been kept: links may have come that memory did not take for new.
                let left_out = match first || change.is_nearer() {
                    true => self.spread_all(slot, turn.now, turn.history),
                    false => self.spread_fresh(slot, turn.now),
                };
                (records, spans, left_out)
            }
            _ => (Vec::new(), 0, 0),
        };
        let reason = match change.because {
            Some(wish) if change.from == State::Sampled => Reason::LinkedFrom(wish.origin),
            _ => self.reasons.reason(change.reason, origin),
        };
        let (verdict, hops) = (verdict(change.to), change.to_hops);
        let decision = Decision { trace, verdict, reason, trigger, hops, records, spans, through, left_out };
        turn.out.decisions.push(decision);
    }

    fn count(&mut self, first: bool, trigger: Trigger, change: &Change) {
        let stats = &mut self.stats;
        if first {
            let by_verdict = match change.to {
                State::Sampled => &mut stats.sampled,
                State::Dropped => &mut stats.dropped,
                _ => &mut stats.not_sampled,
            };
            *by_verdict += 1;
            stats.evicted += u64::from(trigger == Trigger::Evicted);
            stats.too_large += u64::from(change.reason == TOO_LARGE);
        }
        stats.overturned += u64::from(change.from == State::NotSampled && change.to == State::Sampled);
        let kept = change.from != State::Sampled && change.to == State::Sampled;
        stats.linked += u64::from(kept && change.reason == LINKED);
        stats.kept_elsewhere += u64::from(kept && change.word == Word::OtherNode);
    }
}

fn row_is_linked(reason: u16) -> bool {
    reason == LINKED
}

fn verdict(state: State) -> Verdict {
    match state {
        State::Undecided | State::NotSampled => Verdict::NotSampled,
        State::Sampled => Verdict::Sampled,
        State::Dropped => Verdict::Dropped,
    }
}

/// Whether another node's verdict counts: of a trace of which one part is kept, no part is dropped any more.
fn follows(from: State, told: State) -> bool {
    match told {
        State::Sampled => from != State::Dropped,
        State::Dropped => from != State::Sampled,
        State::Undecided | State::NotSampled => false,
    }
}

/// The one that is fewer links away.
pub(super) fn nearer(one: Option<Wished>, other: Option<Wished>) -> Option<Wished> {
    match (one, other) {
        (Some(one), Some(other)) if other.hops < one.hops => Some(other),
        (one, other) => one.or(other),
    }
}
