//! Traces of which other nodes may hold a part: they are asked before it is decided, and what they say is followed. Whom to ask
//! is [`History::elsewhere`]'s to say; asking, and bringing the answer, is the caller's.
//!
//! ```text
//! due            --question--> aside, undecided --answer, or the wait is over--> judged with what they hold
//! anything else  --question--> decided at once  --answer--> judged again: a no may become a yes
//! they keep it   -----------------------------------------> kept, whatever is here or comes
//! ```
//!
//! A trace is asked about once more when spans of it have come. So whichever node has its last span judges all of it, and what
//! that node keeps, the others are told to keep: together they decide as one node would. Facts of other nodes stand apart from
//! a trace's own, and are never told on: nothing counts twice.

use throughline_otlp::TraceId;

use super::arrive::nanos;
use super::decide::{Told, Wished, Words, nearer};
use super::row::{Flags, Memo, State};
use super::traces::{Known, seconds};
use super::{Shard, Turn};
use crate::decision::{Decided, Decision, Heard, Held, History, Past, Reason, Trigger, Verdict};
use crate::facts::TraceFacts;

impl Shard {
    /// Takes what other nodes say of a trace. The next [`Shard::poll`] acts on it.
    pub fn told(&mut self, trace: TraceId, heard: Heard) {
        self.answers.push_back((trace, heard));
    }

    /// Wishes, and words of other nodes, on which no [`Shard::poll`] has acted yet. Who takes more of them can be told to wait.
    #[must_use]
    pub fn unheeded(&self) -> usize {
        self.wishes.len() + self.answers.len()
    }

    /// Asks about a trace if other nodes may hold a part of it and have not been asked since its last span. Whether it waits
    /// for the answer.
    pub(super) fn asks(&mut self, slot: u32, trigger: Trigger, turn: &mut Turn<'_>) -> bool {
        let row = self.traces.row(slot);
        let asked = row.flags.has(Flags::ASKED) || trigger == Trigger::Shutdown;
        // What was kept at arrival has asked nobody yet: who holds a part of it is to keep that.
        let open = self.is_open(row.state, row.hops) || trigger == Trigger::Ingest;
        if asked || !open || !self.may_lie_elsewhere(slot, turn.history) {
            return false;
        }
        let row = self.traces.row_mut(slot);
        row.flags.set(Flags::ASKED);
        turn.out.questions.push(row.trace);
        self.stats.asked_elsewhere += 1;
        let due = row.state == State::Undecided && matches!(trigger, Trigger::Wait | Trigger::Root);
        if due {
            let until = turn.now.mono.saturating_add(self.options.ask_wait);
            self.traces.set_aside(slot, nanos(until));
        }
        due
    }

    fn may_lie_elsewhere(&self, slot: u32, history: &mut dyn History) -> bool {
        let row = self.traces.row(slot);
        let Some(before) = history.elsewhere(row.trace) else { return false };
        let skew = u64::try_from(self.options.clock_skew.as_nanos()).unwrap_or(u64::MAX);
        // No span is older than its root.
        !row.flags.has(Flags::ROOT) || row.start <= before.0.saturating_add(skew)
    }

    /// Decides those that have waited long enough.
    pub(super) fn do_overdue(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..self.options.slice {
            let Some((due, slot)) = self.traces.aside.next() else { return };
            if due > nanos(turn.now.mono) {
                return;
            }
            self.stats.unanswered += 1;
            self.conclude(slot, self.own_trigger(slot), Words::default(), turn);
        }
    }

    pub(super) fn do_answers(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..self.options.slice {
            let Some((trace, heard)) = self.answers.pop_front() else { return };
            match heard {
                Heard::Answer(held) => self.answered(trace, held, turn),
                Heard::Partly(held) => {
                    self.stats.unanswered += 1;
                    self.answered(trace, held, turn);
                }
                Heard::Kept(reason, hops) => {
                    self.kept_elsewhere(trace, (Verdict::Sampled, reason, hops), turn)
                }
            }
        }
    }

    fn answered(&mut self, trace: TraceId, held: Held, turn: &mut Turn<'_>) {
        let known = self.traces.find(trace);
        if let Known::Row(slot) = known {
            return self.hear(slot, held, turn);
        }
        let open = match known {
            Known::Memo(memo) => self.is_open(self.traces.memo(memo).state, self.traces.memo(memo).hops),
            _ => true,
        };
        if held.facts.is_some()
            && open
            && let Some(slot) = self.take_back(known, trace, turn.history)
        {
            return self.hear(slot, held, turn);
        }
        if (held.facts.is_some() || held.followed)
            && let Known::Memo(memo) = known
            && self.traces.memo(memo).promise
        {
            self.promise_again(memo, turn);
        }
        match (held.decided, held.promised) {
            (Some(decided @ (Verdict::Sampled, ..)), _) => self.kept_elsewhere(trace, decided, turn),
            (_, Some((origin, hops))) => {
                self.keep_linked(trace, Wished { hops, origin }, seconds(turn.now.wall), turn);
            }
            (_, None) => {}
        }
    }

    fn hear(&mut self, slot: u32, held: Held, turn: &mut Turn<'_>) {
        let row = self.traces.row(slot);
        let (state, aside) = (row.state, row.flags.has(Flags::ASIDE));
        let left_out = is_behind(&held, row.hops);
        let mut words = self.words(held.decided);
        let promised = held.promised.map(|(origin, hops)| Wished { hops, origin });
        words.wish = nearer(words.wish, promised);
        let spoken = words.wish.is_some() || words.told.is_some();
        if state == State::Dropped || (state == State::Undecided && !aside && !spoken) {
            // It is asked about again when it is due.
            return;
        }
        let left_out = state == State::Sampled && left_out;
        if let Some(facts) = held.facts {
            self.take_facts(slot, facts);
        }
        // Spans that came while the answer was under way: whoever answered did not see them, nor they what came there.
        self.asks(slot, Trigger::Peer, turn);
        self.conclude(slot, Trigger::Peer, words, turn);
        if left_out {
            self.tell_again(slot, turn);
        }
    }

    /// It was kept before it was known that another node holds a part, which is to hear of it.
    fn tell_again(&self, slot: u32, turn: &mut Turn<'_>) {
        let row = self.traces.row(slot);
        let origin = self.traces.extra(slot).and_then(|extra| extra.origin);
        turn.out.decisions.push(Decision {
            trace: row.trace,
            verdict: Verdict::Sampled,
            reason: self.reasons.reason(row.reason, origin),
            trigger: Trigger::Late,
            hops: row.hops,
            records: Vec::new(),
            spans: 0,
            through: row.last,
            left_out: 0,
        });
    }

    /// What made a trace due that waited, or came to a decided one.
    pub(super) fn own_trigger(&self, slot: u32) -> Trigger {
        let row = self.traces.row(slot);
        match row.state {
            State::Undecided if self.terms.root_wait.is_some() && row.flags.has(Flags::ROOT) => Trigger::Root,
            State::Undecided => Trigger::Wait,
            _ => Trigger::Late,
        }
    }

    fn words(&mut self, decided: Option<Decided>) -> Words {
        match decided {
            None | Some((Verdict::NotSampled, ..)) => Words::default(),
            Some((Verdict::Sampled, Reason::LinkedFrom(origin), Some(hops))) => {
                Wished { hops, origin }.into()
            }
            Some((verdict, reason, hops)) => {
                let told = Told { state: verdict.into(), reason: self.reasons.number(&reason), hops };
                Words { wish: None, told: Some(told) }
            }
        }
    }

    fn take_facts(&mut self, slot: u32, facts: TraceFacts) {
        let extra = self.traces.extra_mut(slot);
        match &mut extra.elsewhere {
            // Those of an earlier answer may be among them.
            Some(known) => known.cover(&facts),
            None => extra.elsewhere = Some(Box::new(facts)),
        }
        self.traces.row_mut(slot).flags.clear(Flags::JUDGED);
    }

    /// Another node keeps a part of it.
    fn kept_elsewhere(&mut self, trace: TraceId, decided: Decided, turn: &mut Turn<'_>) {
        let known = self.traces.find(trace);
        let hops = decided.2;
        let news = |memo: &Memo| match memo.state {
            State::Dropped => false,
            State::Sampled if memo.promise => true,
            State::Sampled => hops.is_some_and(|hops| memo.hops.is_none_or(|known| hops < known)),
            State::Undecided | State::NotSampled => true,
        };
        if let Known::Memo(memo) = known
            && !news(self.traces.memo(memo))
        {
            return;
        }
        let words = self.words(Some(decided.clone()));
        if let Known::Row(slot) = known {
            return self.decide(slot, Trigger::Peer, words, turn);
        }
        match self.take_back(known, trace, turn.history) {
            Some(slot) => self.conclude(slot, Trigger::Peer, words, turn),
            None => self.keep_unseen(known, trace, decided, turn),
        }
    }

    /// The row of a trace that memory holds no facts of, with what History knows; `None` if nothing of it came.
    fn take_back(&mut self, known: Known, trace: TraceId, history: &mut dyn History) -> Option<u32> {
        let memo = match known {
            Known::Row(slot) => return Some(slot),
            Known::Memo(memo) if self.traces.memo(memo).promise => return None,
            Known::Memo(memo) => Some(memo),
            Known::Nothing if self.traces.forgotten_until(trace).is_none() => return None,
            Known::Nothing => None,
        };
        let past = self.ask(trace, history)?;
        if !self.is_here(&past) {
            return None;
        }
        let slot = self.revive(memo, &past);
        // It is taken back for what others said: asking once more for that would never end.
        self.traces.row_mut(slot).flags.set(Flags::ASKED);
        Some(slot)
    }

    fn is_here(&self, past: &Past) -> bool {
        let dropped = past.decided.as_ref().is_some_and(|(verdict, ..)| *verdict == Verdict::Dropped);
        !dropped && past.records.iter().any(|record| *record <= self.handled)
    }

    /// A trace of which nothing is left here, or nothing has come: what comes is kept.
    fn keep_unseen(&mut self, known: Known, trace: TraceId, decided: Decided, turn: &mut Turn<'_>) {
        let (verdict, reason, hops) = decided;
        let number = self.reasons.number(&reason);
        match known {
            Known::Row(_) => return,
            Known::Memo(slot) => {
                let memo = self.traces.memo_mut(slot);
                memo.promise = false;
                memo.hops = hops.into_iter().chain(memo.hops).min();
                if memo.state != State::Sampled {
                    memo.reason = number;
                    self.traces.relist_memo(slot, State::Sampled);
                }
                if let Some(origin) = reason.origin() {
                    self.traces.set_memo_origin(slot, origin);
                }
            }
            Known::Nothing => {
                let mut memo = Memo::new(trace, State::Sampled, seconds(turn.now.wall));
                (memo.reason, memo.hops) = (number, hops);
                self.traces.remember(memo, reason.origin());
            }
        }
        turn.out.decisions.push(Decision {
            trace,
            verdict,
            reason,
            trigger: Trigger::Peer,
            hops,
            records: Vec::new(),
            spans: 0,
            through: self.handled,
            left_out: 0,
        });
        self.spread_waiting(trace, turn.now, turn.history);
    }
}

/// Whether another node holds something of a trace that is kept here, and does not know it, or not from as near.
fn is_behind(held: &Held, hops: Option<u8>) -> bool {
    let far = |hops: Option<u8>| hops.map_or(u16::MAX, u16::from);
    match held.decided {
        Some((Verdict::Sampled, _, theirs)) => far(theirs) > far(hops),
        _ => held.facts.is_some() || held.followed,
    }
}
