//! Counts what goes into an exporter's queue and what comes of it. The SDK's batch processors drop in silence when their
//! queue is full or an export fails; here each span and log record is accounted for: exported, still queued, or dropped
//! and why. Refuses to queue on its own: the bound is enforced in front of the SDK's queue of the same size, which
//! therefore never is full.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::client::LastProblem;

/// Between two lines about failing exports. Numbers in between are summed up, not lost.
const REPORT_EVERY: Duration = Duration::from_secs(30);

/// What became of the spans (or log records) that ended so far. `accepted` is `exported + queued + export_failed`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken into the queue.
    pub accepted: u64,
    /// Acknowledged by the backend.
    pub exported: u64,
    /// In the queue or under way.
    pub queued: u64,
    /// Not kept, because the queue was full.
    pub queue_full: u64,
    /// Not kept, because the backend could not be reached or refused them until the timeout.
    pub export_failed: u64,
    /// Not kept, because they ended after the shutdown.
    pub after_shutdown: u64,
}

impl Counts {
    /// All that were not kept, for whatever reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.queue_full + self.export_failed + self.after_shutdown
    }
}

/// What is counted, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    Span,
    LogRecord,
}

impl Item {
    /// As it stands in a metric's name.
    pub(super) fn singular(self) -> &'static str {
        match self {
            Item::Span => "span",
            Item::LogRecord => "log",
        }
    }

    /// As it stands in a metric's unit.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Item::Span => "span",
            Item::LogRecord => "log_record",
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Item::Span => "spans",
            Item::LogRecord => "log records",
        }
    }
}

/// The account of one queue. Shared by the processor that fills it and the exporter that empties it.
#[derive(Debug)]
pub(super) struct Ledger {
    item: Item,
    capacity: usize,
    destination: String,
    problem: LastProblem,
    queued: AtomicUsize,
    accepted: AtomicU64,
    exported: AtomicU64,
    queue_full: AtomicU64,
    export_failed: AtomicU64,
    after_shutdown: AtomicU64,
    closed: AtomicBool,
    reported: Mutex<Reported>,
}

/// What the log already says.
#[derive(Debug, Default)]
struct Reported {
    at: Option<Instant>,
    dropped: u64,
    failing: bool,
}

impl Ledger {
    pub(super) fn new(item: Item, capacity: usize, destination: String, problem: LastProblem) -> Self {
        Ledger {
            item,
            capacity,
            destination,
            problem,
            queued: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            exported: AtomicU64::new(0),
            queue_full: AtomicU64::new(0),
            export_failed: AtomicU64::new(0),
            after_shutdown: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            reported: Mutex::new(Reported::default()),
        }
    }

    /// Whether one more fits; if so it counts as queued until it is [`settled`](Self::settled).
    pub(super) fn admit(&self) -> bool {
        if self.closed.load(Ordering::Acquire) {
            self.after_shutdown.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        if self.queued.fetch_add(1, Ordering::AcqRel) >= self.capacity {
            self.queued.fetch_sub(1, Ordering::AcqRel);
            self.queue_full.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.accepted.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// The exporter is done with `items`, well or not. Called on the exporter's thread, so it may log.
    pub(super) fn settled(&self, items: usize, failure: Option<&str>) {
        // After `write_off` the items are accounted for already: only what is still queued is settled.
        let less = |queued: usize| Some(queued.saturating_sub(items));
        let queued = self.queued.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).unwrap_or_default();
        let count = u64::try_from(queued.min(items)).unwrap_or(u64::MAX);
        let counter = if failure.is_some() { &self.export_failed } else { &self.exported };
        counter.fetch_add(count, Ordering::Relaxed);
        self.report(failure);
    }

    /// From now on nothing is taken.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// The exporter has stopped: what is still queued is not on its way any more, but lost.
    pub(super) fn write_off(&self) {
        let left = self.queued.swap(0, Ordering::AcqRel);
        self.export_failed.fetch_add(u64::try_from(left).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            accepted: self.accepted.load(Ordering::Relaxed),
            exported: self.exported.load(Ordering::Relaxed),
            queued: u64::try_from(self.queued.load(Ordering::Acquire)).unwrap_or(u64::MAX),
            queue_full: self.queue_full.load(Ordering::Relaxed),
            export_failed: self.export_failed.load(Ordering::Relaxed),
            after_shutdown: self.after_shutdown.load(Ordering::Relaxed),
        }
    }

    pub(super) fn item(&self) -> Item {
        self.item
    }

    #[cfg(test)]
    pub(super) fn last_problem(&self) -> Option<String> {
        self.problem.get()
    }

    /// One line when things go wrong, one when they are right again, never one per batch.
    fn report(&self, failure: Option<&str>) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = self.counts();
        let what = self.item.plural();
        let recent = reported.at.is_some_and(|at| at.elapsed() < REPORT_EVERY);
        if counts.dropped() > reported.dropped && !recent {
            let reason = failure.map(|failure| self.problem.get().unwrap_or_else(|| failure.to_owned()));
            tracing::warn!(
                target: "throughline::telemetry",
                lost = counts.dropped() - reported.dropped,
                queue_full = counts.queue_full,
                export_failed = counts.export_failed,
                destination = %self.destination,
                reason = reason.as_deref().unwrap_or("the queue was full"),
                "{what} could not be kept; is the backend running, and fast enough?"
            );
            *reported =
                Reported { at: Some(Instant::now()), dropped: counts.dropped(), failing: failure.is_some() };
        } else if failure.is_none() && reported.failing {
            tracing::info!(target: "throughline::telemetry", destination = %self.destination, "{what} are exported again");
            reported.failing = false;
        }
    }

    /// The closing line, if there is anything to say.
    pub(super) fn report_total(&self) {
        let counts = self.counts();
        if counts.dropped() > 0 {
            tracing::warn!(
                target: "throughline::telemetry",
                dropped = counts.dropped(),
                queue_full = counts.queue_full,
                export_failed = counts.export_failed,
                after_shutdown = counts.after_shutdown,
                exported = counts.exported,
                destination = %self.destination,
                "{} were lost in this process's life", self.item.plural()
            );
        }
    }
}
