//! What lies beyond a shard's memory: when History is asked about a trace, and how its answer is taken in.

use super::decide::Wished;
use super::row::{Flags, Row, State};
use super::{Shard, Turn};
use crate::decision::{History, Past, Reason, Verdict};
use crate::facts::Root;

/// What History said of a trace that memory did not know to be decided.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Earlier {
    /// It was decided so.
    pub(super) state: Option<State>,
    /// It was to be kept once spans came, and none had gone out.
    pub(super) promised: Option<Wished>,
}

impl Shard {
    /// Asks History about a trace if something of it may lie there that matters now; at most once per row.
    pub(super) fn consult(&mut self, slot: u32, turn: &mut Turn<'_>) -> Earlier {
        let row = self.traces.row(slot);
        let kept_anyway = row.state == State::Sampled && (self.links.is_none() || row.hops == Some(0));
        if !row.flags.has(Flags::PAST) || kept_anyway {
            return Earlier::default();
        }
        let (trace, first) = (row.trace, row.first);
        let ask = row.state != State::Undecided
            || (self.may_lie_beyond(row) && turn.history.lies_before(trace, first));
        self.traces.row_mut(slot).flags.clear(Flags::PAST);
        if !ask {
            return Earlier::default();
        }
        self.stats.asked_past += 1;
        turn.history.past(trace).map_or(Earlier::default(), |past| self.absorb(slot, &past))
    }

    /// Whether spans may have come before the horizon. Not if its root began clearly later: no span is older than its root.
    pub(super) fn may_lie_beyond(&self, row: &Row) -> bool {
        let Some(until) = self.traces.forgotten_until(row.trace) else { return false };
        let until = u64::from(until) * 1_000_000_000;
        let skew = u64::try_from(self.options.clock_skew.as_nanos()).unwrap_or(u64::MAX);
        !row.flags.has(Flags::ROOT) || row.start <= until.saturating_add(skew)
    }

    fn absorb(&mut self, slot: u32, past: &Past) -> Earlier {
        let row = self.traces.row_mut(slot);
        let state = row.state;
        let first = (!row.flags.has(Flags::SENT)).then_some(row.first);
        match past.records.last().is_some_and(|last| *last >= row.last) {
            // History has seen what this row has.
            true => row.cover(&past.facts),
            false => row.merge(&past.facts),
        }
        if past.facts.root == Root::Seen {
            row.flags.set(Flags::ROOT);
        }
        for link in &past.facts.links {
            self.traces.link(slot, *link);
        }
        if let Some(first) = first {
            self.add_older(slot, first, past);
        }
        if state == State::Undecided { self.earlier(slot, past) } else { Earlier::default() }
    }

    /// Adds the records before `first` that have not gone out.
    fn add_older(&mut self, slot: u32, first: u64, past: &Past) {
        let unsent = |record: &u64| past.sent_through.is_none_or(|sent| *record > sent);
        let older: Vec<u64> =
            past.records.iter().copied().filter(|record| *record < first && unsent(record)).collect();
        for record in &older {
            self.traces.chain(slot, *record);
        }
        if !older.is_empty() {
            let row = self.traces.row_mut(slot);
            row.unsent = row.spans;
        }
        if let Some(sent) = past.sent_through.filter(|sent| *sent >= first) {
            self.traces.sent_through(slot, sent);
        }
    }

    fn earlier(&mut self, slot: u32, past: &Past) -> Earlier {
        let Some((verdict, reason, hops)) = &past.decided else { return Earlier::default() };
        if let (Verdict::Sampled, Reason::LinkedFrom(origin), Some(hops), None) =
            (verdict, reason, hops, past.sent_through)
        {
            let promised = Some(Wished { hops: *hops, origin: *origin });
            return Earlier { state: None, promised };
        }
        let number = self.reasons.number(reason);
        let row = self.traces.row_mut(slot);
        row.reason = number;
        row.hops = hops.filter(|_| *verdict == Verdict::Sampled);
        if let Reason::LinkedFrom(origin) = reason {
            self.traces.extra_mut(slot).origin = Some(*origin);
        }
        Earlier { state: Some((*verdict).into()), promised: None }
    }

    /// The records of a kept trace that have not gone out, and how many spans they hold. From now on they have.
    pub(super) fn collect(&mut self, slot: u32, history: &mut dyn History) -> (Vec<u64>, u32) {
        let row = self.traces.row(slot);
        let (trace, spans, spilled) = (row.trace, row.unsent, row.flags.has(Flags::SPILLED));
        let sent = row.flags.has(Flags::SENT).then_some(row.first);
        let mut records = self.traces.take_records(slot);
        if spilled {
            self.stats.asked_past += 1;
            if let Some(past) = history.past(trace) {
                let sent = sent.max(past.sent_through);
                let unsent = |record: &u64| sent.is_none_or(|sent| *record > sent) && *record <= self.handled;
                records.extend(past.records.into_iter().filter(unsent));
                records.sort_unstable();
                records.dedup();
            }
        }
        (records, spans)
    }
}
