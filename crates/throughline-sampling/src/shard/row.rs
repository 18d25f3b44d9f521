//! What is held of a trace: a [`Row`] while it is undecided and as long after as `num_traces` allows, then a [`Memo`].

use throughline_otlp::{TraceId, UnixNanos};

use super::slab::{Link, Linked, NONE};
use crate::decision::Verdict;
use crate::facts::{Met, Root, TraceFacts};

/// Where a trace stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Undecided,
    NotSampled,
    Sampled,
    Dropped,
}

impl From<Verdict> for State {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::NotSampled => Self::NotSampled,
            Verdict::Sampled => Self::Sampled,
            Verdict::Dropped => Self::Dropped,
        }
    }
}

/// A row's yes-or-no properties, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u16);

impl Flags {
    /// Its root has come.
    pub(super) const ROOT: Self = Self(1);
    /// It is in the list of those whose root has come.
    pub(super) const IN_ROOTS: Self = Self(1 << 1);
    /// It waits in the queue of work.
    pub(super) const QUEUED: Self = Self(1 << 2);
    /// `first` is the last record that went out, not the first that came.
    pub(super) const SENT: Self = Self(1 << 3);
    /// History may know more of it than this row.
    pub(super) const PAST: Self = Self(1 << 4);
    /// Records did not fit: History has them.
    pub(super) const SPILLED: Self = Self(1 << 5);
    /// Its facts have been judged.
    pub(super) const JUDGED: Self = Self(1 << 6);
    /// It has an entry in the side table.
    pub(super) const EXTRA: Self = Self(1 << 7);
    /// A restart has to ask for its linked traces once more: the first asking may not have arrived.
    pub(super) const SPREAD: Self = Self(1 << 8);
    /// Links did not fit: History has them.
    pub(super) const UNLINKED: Self = Self(1 << 9);
    /// It is due and waits for what other nodes hold of it.
    pub(super) const ASIDE: Self = Self(1 << 10);
    /// Other nodes have been asked since its last span came.
    pub(super) const ASKED: Self = Self(1 << 11);

    #[inline]
    pub(super) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    #[inline]
    pub(super) fn set(&mut self, flag: Self) {
        self.0 |= flag.0;
    }

    /// Whether it was set.
    #[inline]
    pub(super) fn clear(&mut self, flag: Self) -> bool {
        let was = self.has(flag);
        self.0 &= !flag.0;
        was
    }
}

/// A trace with its facts and records. Two cache lines; an arrival writes both.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Row {
    pub(super) met: Met,
    pub(super) trace: TraceId,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) bytes: u64,
    pub(super) spans: u32,
    /// Spans in records that have not gone out.
    pub(super) unsent: u32,
    /// When it is decided, monotone nanoseconds.
    pub(super) due: u64,
    /// Its first record; with [`Flags::SENT`] the last that went out.
    pub(super) first: u64,
    /// Its last record.
    pub(super) last: u64,
    /// By first arrival while undecided, by last touch afterwards.
    order: Link,
    roots: Link,
    /// The newest of its records in the chain.
    pub(super) chain: u32,
    /// When its last span arrived, in seconds rounded up.
    pub(super) seen: u32,
    pub(super) reason: u16,
    /// Records in the chain.
    pub(super) chained: u16,
    pub(super) flags: Flags,
    pub(super) state: State,
    pub(super) hops: Option<u8>,
}

/// In the list of undecided traces, or in that of decided ones.
#[derive(Debug)]
pub(super) struct ByOrder;
/// In the list of undecided traces whose root has come.
#[derive(Debug)]
pub(super) struct ByRoot;

impl Linked<ByOrder> for Row {
    fn link(&mut self) -> &mut Link {
        &mut self.order
    }
}

impl Linked<ByRoot> for Row {
    fn link(&mut self) -> &mut Link {
        &mut self.roots
    }
}

impl Row {
    /// A row whose first record is `position`.
    #[inline]
    pub(super) fn new(facts: &TraceFacts, position: u64, due: u64, seen: u32) -> Self {
        Self {
            met: facts.met,
            trace: facts.trace,
            start: facts.start.0,
            end: facts.end.0,
            bytes: facts.bytes,
            spans: facts.spans,
            unsent: facts.spans,
            due,
            first: position,
            last: position,
            order: Link::NONE,
            roots: Link::NONE,
            chain: NONE,
            seen,
            reason: 0,
            chained: 0,
            flags: Flags::default(),
            state: State::Undecided,
            hops: None,
        }
    }

    /// Adds what another record said, its links and its root apart.
    #[inline]
    pub(super) fn merge(&mut self, facts: &TraceFacts) {
        self.widen(facts);
        self.bytes = self.bytes.saturating_add(facts.bytes);
        self.spans = self.spans.saturating_add(facts.spans);
        self.flags.clear(Flags::JUDGED);
    }

    /// Adds what records said that may be among those already counted.
    pub(super) fn cover(&mut self, facts: &TraceFacts) {
        self.widen(facts);
        self.bytes = self.bytes.max(facts.bytes);
        self.spans = self.spans.max(facts.spans);
        self.flags.clear(Flags::JUDGED);
    }

    #[inline]
    fn widen(&mut self, facts: &TraceFacts) {
        self.met.0 |= facts.met.0;
        self.start = self.start.min(facts.start.0);
        self.end = self.end.max(facts.end.0);
    }

    /// What the judge is shown. Links are not a judge's matter.
    pub(super) fn facts(&self) -> TraceFacts {
        TraceFacts {
            trace: self.trace,
            met: self.met,
            start: UnixNanos(self.start),
            end: UnixNanos(self.end),
            spans: self.spans,
            bytes: self.bytes,
            root: if self.flags.has(Flags::ROOT) { Root::Seen } else { Root::Unseen },
            links: Vec::new(),
            links_left_out: 0,
        }
    }
}

/// A decided trace without its facts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memo {
    pub(super) trace: TraceId,
    pub(super) seen: u32,
    order: Link,
    pub(super) reason: u16,
    pub(super) state: State,
    pub(super) hops: Option<u8>,
    /// No span of it has come yet: a link asked for it.
    pub(super) promise: bool,
    pub(super) extra: bool,
}

impl Memo {
    pub(super) fn new(trace: TraceId, state: State, seen: u32) -> Self {
        Self { trace, seen, order: Link::NONE, reason: 0, state, hops: None, promise: false, extra: false }
    }
}

impl Linked<ByOrder> for Memo {
    fn link(&mut self) -> &mut Link {
        &mut self.order
    }
}

/// Some records of a trace, one of a chain of such blocks: who walks it waits for memory once for five records instead of
/// once for each. They lie within a few segments of the journal, so the upper half of a position is written once.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(super) struct Block {
    pub(super) prev: u32,
    /// Upper half of the first position.
    high: u32,
    low: [u32; Block::RECORDS],
    /// How much greater the upper half of each further position is; [`FREE`] where none is yet.
    beyond: [u8; Block::RECORDS - 1],
}

const FREE: u8 = u8::MAX;

impl Block {
    /// Records in one.
    pub(super) const RECORDS: usize = 5;

    pub(super) fn new(prev: u32, position: u64) -> Self {
        let mut low = [0; Self::RECORDS];
        if let Some(first) = low.first_mut() {
            *first = position as u32;
        }
        Self { prev, high: (position >> 32) as u32, low, beyond: [FREE; Self::RECORDS - 1] }
    }

    /// Adds a record. `false`: it has to go into another block.
    #[inline]
    pub(super) fn push(&mut self, position: u64) -> bool {
        let beyond =
            ((position >> 32) as u32).checked_sub(self.high).filter(|beyond| *beyond < u32::from(FREE));
        let free = self.beyond.iter_mut().zip(self.low.iter_mut().skip(1)).find(|(taken, _)| **taken == FREE);
        let (Some(beyond), Some(free)) = (beyond, free) else { return false };
        (*free.0, *free.1) = (beyond as u8, position as u32);
        true
    }

    /// The records, in the order they were added.
    pub(super) fn positions(&self) -> impl Iterator<Item = u64> {
        let beyond = self.beyond.into_iter().take_while(|beyond| *beyond != FREE);
        let high = u64::from(self.high);
        let of = move |(beyond, low): (u8, u32)| (high + u64::from(beyond)) << 32 | u64::from(low);
        std::iter::once(0).chain(beyond).zip(self.low).map(of)
    }
}
