//! Linked traces: what a kept trace asks of others, and what others ask of a trace of this shard.
//!
//! ```text
//! kept, 0 hops   --Keep, 1 hop-->   owner of a linked trace: kept, 1 hop
//! kept, n hops   --Pass, n+1-->     owner of the origin: counts, then --Keep, n+1 hops--> owner of the linked trace
//! has a link     --Follow-->        owner of what it links to: remembers it, answers with one of the above when that is kept
//! ```
//!
//! The shortest way wins: a trace that is reached again by fewer hops asks again. All of them may come twice.

use throughline_otlp::TraceId;

use super::decide::Wished;
use super::reasons::LINKED;
use super::row::{Flags, Memo, Row, State};
use super::sets::Added;
use super::traces::{Known, seconds};
use super::{Shard, Turn};
use crate::decision::{Decision, History, Past, Reason, Trigger, Verdict, Wish};
use crate::facts::{Now, Root};
use crate::settings::Direction;

/// How a trace is kept, as far as links care.
#[derive(Clone, Copy, Debug)]
struct Kept {
    hops: u8,
    origin: TraceId,
    seen: u32,
}

impl Shard {
    pub(super) fn do_wishes(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..self.options.slice {
            let Some((came, wish)) = self.wishes.pop_front() else { return };
            match wish {
                Wish::Keep { trace, from, hops } => {
                    self.keep_linked(trace, Wished { hops, origin: from }, came, turn);
                }
                Wish::Pass { trace, to, hops } => {
                    self.grant(trace, to, hops, came);
                }
                Wish::Follow { trace, from } => self.follow(trace, from, came, turn),
            }
        }
    }

    pub(super) fn keep_linked(&mut self, trace: TraceId, wish: Wished, came: u32, turn: &mut Turn<'_>) {
        if self.links.as_ref().is_none_or(|links| wish.hops > links.max_hops) {
            return;
        }
        match self.traces.find(trace) {
            Known::Row(slot) => {
                let row = self.traces.row(slot);
                let old = row.state != State::Undecided && self.is_beyond_look_back(row.seen, came);
                if !is_news(row.state, row.hops, wish) {
                } else if old {
                    self.stats.beyond_look_back += 1;
                } else {
                    self.decide(slot, Trigger::Link, wish.into(), turn);
                }
            }
            Known::Memo(slot) => self.keep_remembered(slot, wish, came, turn),
            Known::Nothing => {
                let forgotten = self.traces.forgotten_until(trace).is_some();
                let past = if forgotten { self.ask(trace, turn.history) } else { None };
                match past {
                    Some(past) => self.keep_forgotten(&past, wish, came, turn),
                    None => self.promise(trace, wish, came, turn),
                }
            }
        }
    }

    /// A trace of which only the decision is remembered: History knows its records.
    fn keep_remembered(&mut self, slot: u32, wish: Wished, came: u32, turn: &mut Turn<'_>) {
        let memo = *self.traces.memo(slot);
        if !is_news(memo.state, memo.hops, wish) {
            return;
        }
        if self.is_beyond_look_back(memo.seen, came) {
            self.stats.beyond_look_back += 1;
            return;
        }
        let past = if memo.promise { None } else { self.ask(memo.trace, turn.history) };
        match past.filter(|past| past.records.iter().any(|record| *record <= self.handled)) {
            Some(past) => self.adopt(Some(slot), &past, wish, turn),
            // Nothing is left of it, or nothing has come: what comes from now on is kept.
            None => self.promise_remembered(slot, wish, turn),
        }
    }

    fn promise_remembered(&mut self, slot: u32, wish: Wished, turn: &mut Turn<'_>) {
        let memo = self.traces.memo_mut(slot);
        let trace = memo.trace;
        memo.promise |= memo.state != State::Sampled;
        memo.hops = Some(wish.hops);
        let promise = memo.promise;
        if memo.state != State::Sampled {
            memo.reason = LINKED;
            self.traces.relist_memo(slot, State::Sampled);
        }
        self.traces.set_memo_origin(slot, wish.origin);
        let trigger = if promise { Trigger::Promise } else { Trigger::Link };
        self.tell_promise(trace, wish, trigger, turn);
        if !promise {
            // It is kept elsewhere, or its spans are gone: what links to it may be here.
            self.spread_waiting(trace, turn.now, turn.history);
        }
    }

    fn keep_forgotten(&mut self, past: &Past, wish: Wished, came: u32, turn: &mut Turn<'_>) {
        let stands = past.decided.as_ref().map(|(verdict, _, hops)| (State::from(*verdict), *hops));
        let trace = past.facts.trace;
        if stands.is_some_and(|(state, hops)| !is_news(state, hops, wish)) {
            return;
        }
        if past.records.iter().all(|record| *record > self.handled) {
            return self.promise(trace, wish, came, turn);
        }
        if self.is_beyond_look_back(seconds(past.last_arrival), came) {
            self.stats.beyond_look_back += 1;
            return;
        }
        self.adopt(None, past, wish, turn);
    }

    /// Takes a trace back from History, to keep it.
    fn adopt(&mut self, memo: Option<u32>, past: &Past, wish: Wished, turn: &mut Turn<'_>) {
        let slot = self.revive(memo, past);
        self.decide(slot, Trigger::Link, wish.into(), turn);
    }

    /// Takes a trace back from History, with its records and links.
    pub(super) fn revive(&mut self, memo: Option<u32>, past: &Past) -> u32 {
        let records = past.records.iter().copied().filter(|record| *record <= self.handled);
        let mut row =
            Row::new(&past.facts, past.records.first().copied().unwrap_or(0), 0, seconds(past.last_arrival));
        let mut sent = past.sent_through;
        let mut origin = None;
        row.state = State::NotSampled;
        if let Some(memo) = memo {
            origin = self.traces.memo_origin(memo);
            let memo = self.traces.memo(memo);
            (row.state, row.reason, row.hops) = (memo.state, memo.reason, memo.hops);
            sent = if memo.state == State::Sampled { Some(self.handled) } else { None };
        } else if let Some((Verdict::Sampled, reason, hops)) = &past.decided {
            (row.state, row.reason, row.hops) = (State::Sampled, self.reasons.number(reason), *hops);
            origin = reason.origin();
        }
        if past.facts.root == Root::Seen {
            row.flags.set(Flags::ROOT);
        }
        let records: Vec<u64> = records.skip(1).collect();
        let slot = self.traces.insert(row, memo);
        for record in records {
            self.traces.record(slot, record, 0);
        }
        if let Some(sent) = sent {
            self.traces.sent_through(slot, sent);
        }
        if origin.is_some() {
            self.traces.extra_mut(slot).origin = origin;
        }
        for link in &past.facts.links {
            self.traces.link(slot, *link);
        }
        slot
    }

    /// A trace that nobody has seen: what comes of it is kept.
    fn promise(&mut self, trace: TraceId, wish: Wished, came: u32, turn: &mut Turn<'_>) {
        let mut memo = Memo::new(trace, State::Sampled, came);
        (memo.reason, memo.hops, memo.promise) = (LINKED, Some(wish.hops), true);
        self.traces.remember(memo, Some(wish.origin));
        self.stats.promised += 1;
        self.tell_promise(trace, wish, Trigger::Promise, turn);
    }

    /// Another node holds spans of a trace that is promised here.
    pub(super) fn promise_again(&mut self, slot: u32, turn: &mut Turn<'_>) {
        let (memo, origin) = (self.traces.memo(slot), self.traces.memo_origin(slot));
        if let (Some(hops), Some(origin)) = (memo.hops, origin) {
            let trace = memo.trace;
            self.hand_out_promise(trace, Wished { hops, origin }, Trigger::Promise, turn);
        }
    }

    fn tell_promise(&mut self, trace: TraceId, wish: Wished, trigger: Trigger, turn: &mut Turn<'_>) {
        self.hand_out_promise(trace, wish, trigger, turn);
        if turn.history.elsewhere(trace).is_some() {
            turn.out.questions.push(trace);
            self.stats.asked_elsewhere += 1;
        }
    }

    fn hand_out_promise(&self, trace: TraceId, wish: Wished, trigger: Trigger, turn: &mut Turn<'_>) {
        turn.out.decisions.push(Decision {
            trace,
            verdict: Verdict::Sampled,
            reason: Reason::LinkedFrom(wish.origin),
            trigger,
            hops: Some(wish.hops),
            records: Vec::new(),
            spans: 0,
            through: self.handled,
            left_out: 0,
        });
    }

    /// `from` links to `trace`: remembered, and asked for if that is kept.
    fn follow(&mut self, trace: TraceId, from: TraceId, came: u32, turn: &mut Turn<'_>) {
        if self.waiting.add(trace, from, self.until(came)) == Added::Full {
            self.stats.links_left_out += 1;
        }
        if self.traces.find(trace) == Known::Nothing && self.traces.forgotten_until(trace).is_some() {
            self.recall(trace, turn.history);
        }
        if let Some(kept) = self.kept(trace).filter(|kept| !self.is_beyond_look_back(kept.seen, came)) {
            self.ask_for(kept.origin, from, kept.hops.saturating_add(1), came);
        } else if self.is_unseen(trace) && turn.history.elsewhere(trace).is_some() {
            turn.out.questions.push(trace);
            self.stats.asked_elsewhere += 1;
        }
    }

    /// Whether no span of it has come, as far as is remembered.
    fn is_unseen(&self, trace: TraceId) -> bool {
        match self.traces.find(trace) {
            Known::Nothing => true,
            Known::Memo(slot) => self.traces.memo(slot).promise,
            Known::Row(_) => false,
        }
    }

    /// How a trace stands that is kept and from which links may spread.
    fn kept(&self, trace: TraceId) -> Option<Kept> {
        let (hops, origin, seen) = match self.traces.find(trace) {
            Known::Row(slot) => {
                let row = self.traces.row(slot);
                let hops = row.hops.filter(|_| row.state == State::Sampled);
                (hops?, self.traces.extra(slot).and_then(|extra| extra.origin), row.seen)
            }
            Known::Memo(slot) => {
                let memo = self.traces.memo(slot);
                let hops = memo.hops.filter(|_| memo.state == State::Sampled && !memo.promise);
                (hops?, self.traces.memo_origin(slot), memo.seen)
            }
            Known::Nothing => return None,
        };
        // A trace sampled by a policy without merit, and by a link as well, has its policy for a reason: what it was linked
        // from is not in the journal. Then it counts for itself.
        let origin = origin.filter(|_| hops > 0).unwrap_or(trace);
        Some(Kept { hops, origin, seen })
    }

    /// Remembers again that a trace is kept, if History says so.
    fn recall(&mut self, trace: TraceId, history: &mut dyn History) {
        let Some(past) = self.ask(trace, history) else { return };
        if let (Some((Verdict::Sampled, reason, hops)), Some(_)) = (&past.decided, past.sent_through) {
            let mut memo = Memo::new(trace, State::Sampled, seconds(past.last_arrival));
            (memo.reason, memo.hops) = (self.reasons.number(reason), *hops);
            self.traces.remember(memo, reason.origin());
        }
    }

    pub(super) fn ask(&mut self, trace: TraceId, history: &mut dyn History) -> Option<Past> {
        self.stats.asked_past += 1;
        history.past(trace)
    }

    /// Asks for all traces that a kept one is linked with. Returns how many are left out.
    pub(super) fn spread_all(&mut self, slot: u32, now: Now, history: &mut dyn History) -> u32 {
        let row = self.traces.row(slot);
        let (trace, flags) = (row.trace, row.flags);
        let Some((direction, limit)) =
            self.links.as_ref().map(|links| (links.direction, links.max_traces.get()))
        else {
            return 0;
        };
        let mut targets = Vec::new();
        let mut left_out = 0;
        if direction != Direction::Dependants {
            if let Some(extra) = self.traces.extra(slot) {
                targets.extend_from_slice(&extra.links);
                targets.extend_from_slice(&extra.fresh);
                left_out = extra.left_out;
            }
            if (flags.has(Flags::UNLINKED) || flags.has(Flags::PAST))
                && let Some(past) = self.ask(trace, history)
            {
                targets.extend(past.facts.links);
            }
        }
        if direction != Direction::Contributors {
            targets.extend(self.dependants(trace, limit, history));
        }
        targets.sort_unstable();
        targets.dedup();
        self.traces.take_fresh(slot);
        self.spread(trace, &targets, now).saturating_add(left_out)
    }

    fn dependants(&mut self, trace: TraceId, limit: usize, history: &mut dyn History) -> Vec<TraceId> {
        let mut known = self.waiting.of(trace).to_vec();
        if self.traces.horizon.is_some() || self.waiting.lost {
            self.stats.asked_dependants += 1;
            known.extend(history.dependants(trace, limit));
        }
        known
    }

    /// Asks for the traces that link to one that is kept elsewhere and of which nothing has come here.
    pub(super) fn spread_waiting(&mut self, trace: TraceId, now: Now, history: &mut dyn History) {
        let Some(links) = self.links.as_ref().filter(|links| links.direction != Direction::Contributors)
        else {
            return;
        };
        let limit = links.max_traces.get();
        let targets = self.dependants(trace, limit, history);
        self.spread(trace, &targets, now);
    }

    /// Asks for those that links came for since, if the trace is kept.
    pub(super) fn spread_fresh(&mut self, slot: u32, now: Now) -> u32 {
        let fresh = self.traces.take_fresh(slot);
        let follows = self.links.as_ref().is_some_and(|links| links.direction != Direction::Dependants);
        let trace = self.traces.row(slot).trace;
        if follows { self.spread(trace, &fresh, now) } else { 0 }
    }

    /// After a restart: what was asked before may not have arrived.
    pub(super) fn spread_again(&mut self, slot: u32, turn: &mut Turn<'_>) {
        if self.traces.row(slot).state == State::Sampled {
            self.spread_all(slot, turn.now, turn.history);
        }
    }

    fn spread(&mut self, trace: TraceId, targets: &[TraceId], now: Now) -> u32 {
        let Some(kept) = self.kept(trace) else { return 0 };
        let mut left_out = 0;
        for target in targets {
            let asked = self.ask_for(kept.origin, *target, kept.hops.saturating_add(1), seconds(now.wall));
            left_out += u32::from(!asked);
        }
        left_out
    }

    /// False if `max_traces` leaves it out.
    fn ask_for(&mut self, origin: TraceId, target: TraceId, hops: u8, now: u32) -> bool {
        let beyond = self.links.as_ref().is_none_or(|links| hops > links.max_hops);
        if beyond || origin == target {
            return true;
        }
        if hops == 1 {
            return self.grant(origin, target, hops, now);
        }
        self.outgoing.push(Wish::Pass { trace: origin, to: target, hops });
        true
    }

    fn grant(&mut self, origin: TraceId, target: TraceId, hops: u8, now: u32) -> bool {
        if self.granted.add(origin, target, self.until(now)) == Added::Full {
            self.stats.links_left_out += 1;
            return false;
        }
        self.stats.wishes_sent += 1;
        self.outgoing.push(Wish::Keep { trace: target, from: origin, hops });
        true
    }

    fn until(&self, now: u32) -> u32 {
        now.saturating_add(self.look_back())
    }

    pub(super) fn is_beyond_look_back(&self, seen: u32, now: u32) -> bool {
        seen.saturating_add(self.look_back()) < now
    }

    fn look_back(&self) -> u32 {
        let look_back = self.links.as_ref().map_or(0, |links| links.look_back.as_secs());
        u32::try_from(look_back).unwrap_or(u32::MAX)
    }
}

/// Whether a wish changes anything about a trace that stands so.
fn is_news(state: State, hops: Option<u8>, wish: Wished) -> bool {
    match state {
        State::Undecided | State::NotSampled => true,
        State::Sampled => hops.is_none_or(|hops| wish.hops < hops),
        State::Dropped => false,
    }
}
