//! All that a shard remembers of traces: rows, memos, chains of records, and the table that finds them. Keeps the bounds;
//! decides nothing.

use std::collections::BTreeMap;

use throughline_otlp::{TraceId, UnixNanos};

use super::aside::Aside;
use super::forgotten::Forgotten;
use super::row::{Block, ByOrder, ByRoot, Flags, Memo, Row, State};
use super::slab::{List, Slab};
use super::table::Table;
use crate::facts::{MAX_LINKS, TraceFacts};

/// In the table: a memo, not a row.
pub(super) const MEMO: u32 = 1 << 31;

/// Forgotten traces in a generation of the filter, for each row: of sixteen times `num_traces` it is known which they are.
const GONE_A_ROW: usize = 4;

/// What is known of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Nothing,
    Row(u32),
    Memo(u32),
}

/// What only some traces have.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra {
    /// Ascending.
    pub(super) links: Vec<TraceId>,
    /// Those that came since links last spread from it.
    pub(super) fresh: Vec<TraceId>,
    pub(super) left_out: u32,
    /// The trace because of which it is kept.
    pub(super) origin: Option<TraceId>,
    /// What its spans on other nodes say.
    pub(super) elsewhere: Option<Box<TraceFacts>>,
}

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) rows: usize,
    pub(super) sampled: usize,
    pub(super) not_sampled: usize,
    pub(super) links: usize,
}

/// Whether decisions are being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turning {
    Between,
    Deciding,
}

#[derive(Debug)]
pub(super) struct Traces {
    pub(super) table: Table,
    pub(super) rows: Slab<Row>,
    memos: Slab<Memo>,
    pub(super) blocks: Slab<Block>,
    /// Records in them.
    pub(super) records: usize,
    /// Undecided, by first arrival: so by deadline too.
    pub(super) arrivals: List<ByOrder>,
    /// Undecided, due, and waiting for what other nodes hold.
    pub(super) aside: Aside,
    /// Undecided and decided earlier than by first arrival, because their root has come.
    pub(super) roots: List<ByRoot>,
    /// Decided, the one to be reduced to a memo first.
    pub(super) decided: List<ByOrder>,
    sampled: List<ByOrder>,
    not_sampled: List<ByOrder>,
    extras: BTreeMap<TraceId, Extra>,
    pub(super) links: usize,
    bounds: Bounds,
    turn: Turning,
    /// Seconds: what arrived before this may be forgotten.
    pub(super) horizon: Option<u32>,
    /// Which those are.
    pub(super) gone: Forgotten,
    pub(super) forgotten: u64,
    pub(super) spilled: u64,
}

impl Traces {
    pub(super) fn new(seed: u64, bounds: Bounds) -> Self {
        Self {
            table: Table::new(seed),
            rows: Slab::new(),
            memos: Slab::new(),
            blocks: Slab::new(),
            records: 0,
            arrivals: List::new(),
            aside: Aside::default(),
            roots: List::new(),
            decided: List::new(),
            sampled: List::new(),
            not_sampled: List::new(),
            extras: BTreeMap::new(),
            links: 0,
            bounds,
            turn: Turning::Between,
            horizon: None,
            gone: Forgotten::new(bounds.rows.saturating_mul(GONE_A_ROW)),
            forgotten: 0,
            spilled: 0,
        }
    }

    #[inline]
    pub(super) fn find(&self, trace: TraceId) -> Known {
        let found = self.table.find(self.table.hash(trace), |number| match number & MEMO {
            0 => self.rows.at(number).trace == trace,
            _ => self.memos.at(number & !MEMO).trace == trace,
        });
        match found {
            None => Known::Nothing,
            Some(number) if number & MEMO == 0 => Known::Row(number),
            Some(number) => Known::Memo(number & !MEMO),
        }
    }

    #[inline]
    pub(super) fn row(&self, slot: u32) -> &Row {
        self.rows.at(slot)
    }

    #[inline]
    pub(super) fn row_mut(&mut self, slot: u32) -> &mut Row {
        self.rows.at_mut(slot)
    }

    pub(super) fn memo(&self, slot: u32) -> &Memo {
        self.memos.at(slot)
    }

    pub(super) fn memo_mut(&mut self, slot: u32) -> &mut Memo {
        self.memos.at_mut(slot)
    }

    /// Adds a row for a trace of which nothing, or `instead` of which a memo, was known.
    pub(super) fn insert(&mut self, row: Row, instead: Option<u32>) -> u32 {
        while self.rows.len() >= self.bounds.rows && self.demote_oldest() {}
        let slot = self.rows.insert(row);
        let hash = self.table.hash(row.trace);
        // The memo may have been forgotten to make room for what was demoted just now.
        match instead.filter(|_| self.find(row.trace) != Known::Nothing) {
            Some(memo) => {
                self.table.replace(hash, memo | MEMO, slot);
                self.unlist_memo(memo);
                self.memos.remove(memo);
            }
            None => self.table.insert(hash, slot),
        }
        match row.state {
            State::Undecided => self.arrivals.push_back(&mut self.rows, slot),
            _ => self.decided.push_back(&mut self.rows, slot),
        }
        slot
    }

    /// The row belongs to a decided trace from now on.
    pub(super) fn settle(&mut self, slot: u32, state: State) {
        let row = self.rows.at_mut(slot);
        let was = std::mem::replace(&mut row.state, state);
        if row.flags.clear(Flags::IN_ROOTS) {
            self.roots.remove(&mut self.rows, slot);
        }
        match was {
            State::Undecided => self.arrivals.remove(&mut self.rows, slot),
            _ => self.decided.remove(&mut self.rows, slot),
        }
        self.decided.push_back(&mut self.rows, slot);
        if state == State::Dropped {
            self.clear_records(slot);
            self.set_extra(slot, None);
        }
    }

    /// Its root has come: it may be decided earlier.
    #[inline]
    pub(super) fn root(&mut self, slot: u32, due: Option<u64>) {
        let row = self.rows.at_mut(slot);
        let seen = row.flags.has(Flags::ROOT);
        row.flags.set(Flags::ROOT);
        if let Some(due) = due
            && !seen
            && row.state == State::Undecided
            && !row.flags.has(Flags::ASIDE)
            && due < row.due
        {
            row.due = due;
            row.flags.set(Flags::IN_ROOTS);
            self.roots.push_back(&mut self.rows, slot);
        }
    }

    /// A decided trace has news: its row stays longer.
    pub(super) fn touch(&mut self, slot: u32) {
        self.decided.remove(&mut self.rows, slot);
        self.decided.push_back(&mut self.rows, slot);
    }

    /// Reduces the decided row touched longest ago to a memo. False if there is none, or it waits for a decision.
    fn demote_oldest(&mut self) -> bool {
        let Some(slot) = self.decided.front() else { return false };
        if self.rows.at(slot).flags.has(Flags::QUEUED) {
            return false;
        }
        self.decided.remove(&mut self.rows, slot);
        self.clear_records(slot);
        let origin = self.extra(slot).and_then(|extra| extra.origin);
        self.set_extra(slot, origin.map(|origin| Extra { origin: Some(origin), ..Extra::default() }));
        let row = self.rows.remove(slot);
        let mut memo = Memo::new(row.trace, row.state, row.seen);
        (memo.reason, memo.hops, memo.extra) = (row.reason, row.hops, origin.is_some());
        let memo = self.memos.insert(memo);
        self.table.replace(self.table.hash(row.trace), slot, memo | MEMO);
        self.list_memo(memo);
        true
    }

    /// Remembers the decision on a trace of which nothing was known.
    pub(super) fn remember(&mut self, mut memo: Memo, origin: Option<TraceId>) {
        memo.extra = origin.is_some();
        if origin.is_some() {
            self.extras.insert(memo.trace, Extra { origin, ..Extra::default() });
        }
        let hash = self.table.hash(memo.trace);
        let slot = self.memos.insert(memo);
        self.table.insert(hash, slot | MEMO);
        self.list_memo(slot);
    }

    fn list_memo(&mut self, slot: u32) {
        let sampled = self.memos.at(slot).state == State::Sampled;
        let list = if sampled { &mut self.sampled } else { &mut self.not_sampled };
        list.push_back(&mut self.memos, slot);
        if self.turn == Turning::Between {
            self.trim();
        }
    }

    /// While decisions are being made nothing is forgotten: History learns of them only after that.
    pub(super) fn begin_turn(&mut self) {
        self.turn = Turning::Deciding;
    }

    /// They are in the caller's hands.
    pub(super) fn end_turn(&mut self) {
        self.turn = Turning::Between;
        self.trim();
    }

    fn trim(&mut self) {
        while self.sampled.len() > self.bounds.sampled
            && let Some(oldest) = self.sampled.front()
        {
            self.forget(oldest);
        }
        while self.not_sampled.len() > self.bounds.not_sampled
            && let Some(oldest) = self.not_sampled.front()
        {
            self.forget(oldest);
        }
    }

    fn unlist_memo(&mut self, slot: u32) {
        match self.memos.at(slot).state {
            State::Sampled => self.sampled.remove(&mut self.memos, slot),
            _ => self.not_sampled.remove(&mut self.memos, slot),
        }
    }

    /// Another verdict is remembered of it from now on.
    pub(super) fn relist_memo(&mut self, slot: u32, state: State) {
        self.unlist_memo(slot);
        self.memos.at_mut(slot).state = state;
        self.list_memo(slot);
    }

    fn forget(&mut self, slot: u32) {
        let memo = *self.memos.at(slot);
        self.discard_memo(slot);
        self.gone.add(self.table.hash(memo.trace), memo.seen);
        self.horizon = self.horizon.max(Some(memo.seen));
        self.forgotten += 1;
    }

    /// Removes a memo that has nothing to say any more.
    pub(super) fn discard_memo(&mut self, slot: u32) {
        self.unlist_memo(slot);
        let memo = self.memos.remove(slot);
        self.table.remove(self.table.hash(memo.trace), slot | MEMO);
        if memo.extra {
            self.extras.remove(&memo.trace);
        }
    }

    /// Anything that came before this may be History's.
    pub(super) fn forget_before(&mut self, seconds: u32) {
        self.gone.lose(seconds);
        self.horizon = self.horizon.max(Some(seconds));
    }

    /// Until when, in seconds, spans of a trace may have come that memory has forgotten.
    pub(super) fn forgotten_until(&self, trace: TraceId) -> Option<u32> {
        match self.horizon.is_some() && self.gone.may_contain(self.table.hash(trace)) {
            true => self.horizon,
            false => self.gone.lost(),
        }
    }

    pub(super) fn extra(&self, slot: u32) -> Option<&Extra> {
        let row = self.rows.at(slot);
        if row.flags.has(Flags::EXTRA) { self.extras.get(&row.trace) } else { None }
    }

    pub(super) fn memo_origin(&self, slot: u32) -> Option<TraceId> {
        let memo = self.memos.at(slot);
        if memo.extra { self.extras.get(&memo.trace).and_then(|extra| extra.origin) } else { None }
    }

    pub(super) fn set_memo_origin(&mut self, slot: u32, origin: TraceId) {
        let memo = self.memos.at_mut(slot);
        memo.extra = true;
        self.extras.entry(memo.trace).or_default().origin = Some(origin);
    }

    pub(super) fn extra_mut(&mut self, slot: u32) -> &mut Extra {
        let row = self.rows.at_mut(slot);
        row.flags.set(Flags::EXTRA);
        self.extras.entry(row.trace).or_default()
    }

    fn set_extra(&mut self, slot: u32, extra: Option<Extra>) {
        let row = self.rows.at_mut(slot);
        if !row.flags.clear(Flags::EXTRA) {
            return;
        }
        let old = self.extras.remove(&row.trace);
        self.links -= old.map_or(0, |old| old.links.len());
        if let Some(extra) = extra {
            self.extras.insert(row.trace, extra);
        }
    }

    /// Remembers that a trace links to `target`. True if that is news.
    pub(super) fn link(&mut self, slot: u32, target: TraceId) -> bool {
        let full = self.links >= self.bounds.links;
        let spreads = self.rows.at(slot).state == State::Sampled;
        let extra = self.extra_mut(slot);
        let Err(at) = extra.links.binary_search(&target) else { return false };
        if extra.links.len() >= MAX_LINKS {
            extra.left_out = extra.left_out.saturating_add(1);
            return false;
        }
        if spreads {
            extra.fresh.push(target);
        }
        if full {
            self.rows.at_mut(slot).flags.set(Flags::UNLINKED);
        } else {
            extra.links.insert(at, target);
            self.links += 1;
        }
        true
    }

    /// The links that came since links last spread from it.
    pub(super) fn take_fresh(&mut self, slot: u32) -> Vec<TraceId> {
        match self.extra(slot).is_some_and(|extra| !extra.fresh.is_empty()) {
            true => std::mem::take(&mut self.extra_mut(slot).fresh),
            false => Vec::new(),
        }
    }

    pub(super) fn measure(&self, stats: &mut super::Stats) {
        stats.undecided = self.undecided();
        stats.decided = self.decided.len();
        stats.remembered_sampled = self.sampled.len();
        stats.remembered_not_sampled = self.not_sampled.len();
        stats.records = self.records;
        stats.links = self.links;
        stats.forgotten = self.forgotten;
        stats.spilled = self.spilled;
        stats.bytes = self.table.bytes() + self.rows.bytes() + self.memos.bytes() + self.blocks.bytes();
        stats.bytes += self.gone.bytes();
    }
}

/// Wall time as rows keep it, rounded up.
pub(super) fn seconds(wall: UnixNanos) -> u32 {
    u32::try_from(wall.0.div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
impl Traces {
    /// Everything counted is what is there.
    pub(super) fn check(&self) {
        assert!(
            self.sampled.len() <= self.bounds.sampled && self.not_sampled.len() <= self.bounds.not_sampled
        );
        assert!(self.links <= self.bounds.links);
        assert_eq!(self.rows.len(), self.undecided() + self.decided.len());
        assert_eq!(self.memos.len(), self.sampled.len() + self.not_sampled.len());
        assert_eq!(self.table.len(), self.rows.len() + self.memos.len());
        assert!(self.extras.len() <= self.table.len());
        assert_eq!(self.links, self.extras.values().map(|extra| extra.links.len()).sum::<usize>());
        for trace in self.extras.keys() {
            assert_ne!(self.find(*trace), Known::Nothing, "an entry in the side table without a trace");
        }
    }
}
