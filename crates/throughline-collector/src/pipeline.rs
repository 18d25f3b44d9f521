//! What happens between "durable" and "in the store", as a state machine without threads, files or clock.
//!
//! Requests come in the order of their journal positions and leave in that order, each exactly once. A bounded number
//! of bytes waits in memory; what does not fit is only remembered as a range of positions, to be read back from the
//! journal, where it lies anyway. So a slow store, or a restart, costs time and never an acknowledged span: the same
//! path serves both. `now` is any monotone clock, given by the caller.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use throughline_otlp::{Signal, UnixNanos};

/// One durable request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Durable {
    pub(crate) position: u64,
    pub(crate) signal: Signal,
    pub(crate) arrived: UnixNanos,
    pub(crate) content: Content,
}

/// Where a request's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Still in memory.
    Here(Bytes),
    /// In the journal, at its position or where the decisions at its position say.
    InJournal,
}

impl Content {
    fn len(&self) -> usize {
        match self {
            Self::Here(bytes) => bytes.len(),
            Self::InJournal => 0,
        }
    }
}

/// What the ingesting side does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Put this into the store.
    Ingest(Durable),
    /// Read everything after `after` (everything there is, if `None`) up to and including `through` from the journal
    /// and put it into the store.
    ReadBack { after: Option<u64>, through: u64 },
    /// Nothing to do.
    Wait,
}

/// The state between journal and store.
#[derive(Debug)]
pub(crate) struct Pipeline {
    queue: VecDeque<Durable>,
    queued_bytes: usize,
    bounds: Bounds,
    /// Set while the journal has something that the queue has not: what it is, is everything after this position.
    behind: Option<After>,
    /// Newest durable position.
    durable: Option<u64>,
    /// Newest position in the store, its memory included.
    ingested: Option<u64>,
    /// Newest position on the store's disk.
    committed: Option<u64>,
    /// Since when something is ingested and not committed.
    uncommitted_since: Option<Duration>,
    /// What was durable when this process started: not counted among `waiting`.
    before: Option<u64>,
    waiting: u64,
    overflowed: u64,
}

/// What bounds a pipeline in memory and in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of requests in the queue.
    pub(crate) queue_bytes: usize,
    /// How long a request may be in the store's memory only. Until then a restart reads it from the journal.
    pub(crate) commit_every: Duration,
}

/// A lower bound of positions, itself excluded. Positions are compared, never computed with.
type After = Option<u64>;

/// How far the store is behind the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lag {
    /// Requests acknowledged by this process and not yet in the store.
    pub(crate) waiting: u64,
    /// Their bytes held in memory.
    pub(crate) queued_bytes: usize,
    /// Requests that did not fit into memory and were, or will be, read back from the journal.
    pub(crate) overflowed: u64,
}

impl Pipeline {
    /// Starts after a restart: the store has everything through `committed`, the journal reaches to `end`.
    pub(crate) fn new(bounds: Bounds, committed: Option<u64>, end: Option<u64>) -> Self {
        Self {
            queue: VecDeque::new(),
            queued_bytes: 0,
            bounds,
            behind: (end > committed).then_some(committed),
            durable: end.max(committed),
            ingested: committed,
            committed,
            uncommitted_since: None,
            before: end,
            waiting: 0,
            overflowed: 0,
        }
    }

    /// The journal says that a request is durable. Positions rise from call to call.
    pub(crate) fn durable(&mut self, request: Durable) {
        let position = request.position;
        let size = request.content.len();
        if self.behind.is_none() && self.queued_bytes.saturating_add(size) <= self.bounds.queue_bytes {
            self.queued_bytes += size;
            self.queue.push_back(request);
        } else {
            // Once behind, everything later is too, or it would overtake.
            self.behind.get_or_insert(self.durable);
            self.overflowed += 1;
        }
        self.durable = Some(position);
        self.waiting += 1;
    }

    /// Whether the journal has something that is neither in the store nor in the queue.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind.is_some()
    }

    /// What to do next. The caller does it before asking again.
    pub(crate) fn next(&mut self) -> Step {
        if let Some(request) = self.queue.pop_front() {
            self.queued_bytes -= request.content.len();
            return Step::Ingest(request);
        }
        match (self.behind.take(), self.durable) {
            (Some(after), Some(through)) => Step::ReadBack { after, through },
            _ => Step::Wait,
        }
    }

    /// The request at this position is in the store, or can never be.
    pub(crate) fn ingested(&mut self, position: u64, now: Duration) {
        self.ingested = Some(position);
        self.uncommitted_since.get_or_insert(now);
        if self.before < Some(position) {
            self.waiting = self.waiting.saturating_sub(1);
        }
    }

    /// How far a commit that begins now will reach.
    pub(crate) fn commit_covers(&self) -> Option<u64> {
        self.ingested
    }

    /// The store's disk reaches to `committed`, after a commit of everything through `covers`. Says how far the journal
    /// may be released, if that is news.
    pub(crate) fn committed(
        &mut self,
        committed: Option<u64>,
        covers: Option<u64>,
        now: Duration,
    ) -> Option<u64> {
        let grown = committed > self.committed;
        self.committed = self.committed.max(committed);
        if covers >= self.ingested {
            self.uncommitted_since = None;
        } else if grown {
            // What came while the store committed has its time from now on.
            self.uncommitted_since = Some(now);
        }
        committed.filter(|_| grown)
    }

    /// When the store is to be told to commit; `None` if nothing waits for it.
    pub(crate) fn commit_at(&self) -> Option<Duration> {
        self.uncommitted_since.map(|since| since + self.bounds.commit_every)
    }

    /// A commit failed: the next one is due a whole interval later.
    pub(crate) fn commit_failed(&mut self, now: Duration) {
        self.uncommitted_since = self.uncommitted_since.map(|_| now);
    }

    pub(crate) fn lag(&self) -> Lag {
        Lag { waiting: self.waiting, queued_bytes: self.queued_bytes, overflowed: self.overflowed }
    }
}

#[cfg(test)]
mod tests;
