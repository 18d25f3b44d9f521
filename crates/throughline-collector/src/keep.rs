//! The two threads between journal and store, around the [`Pipeline`] that decides.
//!
//! One ingests, in order of position, and announces what it ingested; one commits, releases the journal and applies
//! retention, so that a commit never delays a span's way into the page. A store that fails is asked again: meanwhile
//! requests are acknowledged into the journal until that is full and refuses, so nothing acknowledged is lost.

mod ingest;
mod report;
mod room;

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use throughline_journal::{Journal, Recovery};
use throughline_otlp::{Signal, TraceId};
use throughline_store::Store;
use tokio::sync::{broadcast, watch};

use crate::delivery::queue::{Queue, Unit};
use crate::intake::wall_clock;
use crate::log::is_worth_a_line;
use crate::pipeline::{Bounds, Content, Durable, Pipeline};

/// Between two looks at the store's age and size.
const RETENTION_EVERY: Duration = Duration::from_secs(30);

/// Between two attempts at a store that fails, and between two blocks dropped from a full disk.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Announcements a slow listener may be behind before it is told that it missed some.
const ARRIVALS: usize = 1024;

/// How keeping goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    /// What the journal held at start is not yet all in the store.
    pub(crate) recovering: bool,
    /// The store refuses; why. Nothing is lost, and it is asked again.
    pub(crate) failing: Option<String>,
    /// A thread panicked: what is acknowledged is safe in the journal and found after a restart, not before.
    pub(crate) broken: bool,
    /// Shutting down.
    pub(crate) stopping: bool,
}

impl Health {
    /// Whether the start is over, well or not.
    pub(crate) fn is_settled(&self) -> bool {
        !self.recovering || self.failing.is_some() || self.broken
    }
}

/// What of the journal belongs into the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Feeds {
    /// Receivers all of whose spans do.
    pub(crate) traces: Vec<u16>,
    /// Receivers all of whose log records do.
    pub(crate) logs: Vec<u16>,
    /// Pipelines whose kept spans do.
    pub(crate) kept: Vec<String>,
}

impl Feeds {
    /// Whether everything of this signal that comes through this receiver belongs into the store.
    pub(crate) fn take(&self, intake: u16, signal: Signal) -> bool {
        match signal {
            Signal::Traces => self.traces.contains(&intake),
            Signal::Logs => self.logs.contains(&intake),
            Signal::Metrics => false,
        }
    }
}

/// Journal, store and the state between them.
pub(crate) struct Keep {
    journal: Journal,
    feeds: Feeds,
    /// What of the journal the store still needs.
    claims: Mutex<Queue>,
    store: Arc<Store>,
    /// Where the free space is asked for.
    folder: PathBuf,
    arrivals: broadcast::Sender<Arc<Vec<TraceId>>>,
    health: watch::Sender<Health>,
    opened: Instant,
    state: Mutex<State>,
    ingest_due: Condvar,
    commit_due: Condvar,
}

struct State {
    pipeline: Pipeline,
    stop: Stop,
    /// Somebody met a full disk since a block was last dropped for it.
    disk_full: bool,
    counts: Counts,
}

/// What the threads are told at shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// Keep working.
    No,
    /// Ingest what is queued in memory, commit, then end. What is only in the journal waits there for the next start.
    Drain,
    /// End at once.
    Now,
}

/// Things that are reported, not handled.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Records of the journal that could not be read back, or that the store cannot take.
    quarantined: u64,
    store_failures: u64,
    retention_failures: u64,
    /// Blocks dropped because the disk was full, not because of age or size.
    blocks_dropped_for_room: u64,
}

/// The running threads; dropping it stops them.
pub(crate) struct Threads {
    keep: Arc<Keep>,
    handles: Vec<JoinHandle<()>>,
}

impl Keep {
    /// After journal and store were opened: says what was found damaged, and begins where the store ends.
    pub(crate) fn recovered(
        journal: Journal,
        store: Arc<Store>,
        folder: PathBuf,
        bounds: Bounds,
        feeds: Feeds,
        recovery: &Recovery,
    ) -> Arc<Self> {
        report::say(recovery, &store.stats());
        let committed = store.committed();
        let claims = Mutex::new(Queue::starting_at(committed.map_or(0, |committed| committed + 1)));
        let end = recovery.last.map(|position| position.0);
        let pipeline = Pipeline::new(bounds, committed, end);
        let health = Health { recovering: pipeline.is_behind(), ..Health::default() };
        let counts = Counts { quarantined: recovery.quarantined.len() as u64, ..Counts::default() };
        Arc::new(Self {
            journal,
            feeds,
            claims,
            store,
            folder,
            arrivals: broadcast::Sender::new(ARRIVALS),
            health: watch::Sender::new(health),
            opened: Instant::now(),
            state: Mutex::new(State { pipeline, stop: Stop::No, disk_full: false, counts }),
            ingest_due: Condvar::new(),
            commit_due: Condvar::new(),
        })
    }

    /// Starts both threads.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<Threads> {
        let mut threads = Threads { keep: Arc::clone(self), handles: Vec::new() };
        let (ingest, commit) = (Arc::clone(self), Arc::clone(self));
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        threads.handles.push(named("ingest").spawn(move || ingest.guarded(Self::run_ingest))?);
        threads.handles.push(named("commit").spawn(move || commit.guarded(Self::run_commit))?);
        Ok(threads)
    }

    /// Called by the journal's thread, in order of position: queues and returns, whatever the store does.
    pub(crate) fn durable(&self, request: Durable) {
        let position = request.position;
        self.claims().push(Unit { position, needs_from: position, items: 1 });
        self.state().pipeline.durable(request);
        self.ingest_due.notify_one();
    }

    /// As [`Keep::durable`], for a record of decisions in a pipeline that ends here.
    pub(crate) fn decided(&self, unit: Unit) {
        if unit.items == 0 {
            return self.pass(unit.position);
        }
        let (position, arrived) = (unit.position, wall_clock());
        self.claims().push(unit);
        let request = Durable { position, signal: Signal::Traces, arrived, content: Content::InJournal };
        self.state().pipeline.durable(request);
        self.ingest_due.notify_one();
    }

    /// A record that holds nothing for the store.
    pub(crate) fn pass(&self, position: u64) {
        self.claims().pass(position);
    }

    /// A record that was in the journal at start: it is read back where the store has not got it, and until then needed.
    pub(crate) fn restored(&self, unit: Unit) {
        self.claims().push(unit);
    }

    /// What of the journal belongs into the store.
    pub(crate) fn feeds(&self) -> &Feeds {
        &self.feeds
    }

    /// Newest position on the store's disk.
    pub(crate) fn committed(&self) -> Option<u64> {
        self.store.committed()
    }

    /// Lowest position that must stay readable for the store.
    pub(crate) fn needs_from(&self) -> u64 {
        self.claims().needs_from()
    }

    pub(crate) fn arrivals(&self) -> broadcast::Receiver<Arc<Vec<TraceId>>> {
        self.arrivals.subscribe()
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Returns when the store has everything the journal had, or cannot get it.
    pub(crate) async fn settled(&self) {
        // The sender lives in `self`: waiting ends by a change.
        let _ = self.health().wait_for(Health::is_settled).await;
    }

    /// Runs a thread's body; a panic in it makes the backend unready instead of silently stale.
    fn guarded(&self, body: fn(&Self)) {
        struct Guard<'a>(&'a Keep);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                if thread::panicking() {
                    self.0.health.send_modify(|health| health.broken = true);
                }
            }
        }
        let _guard = Guard(self);
        body(self);
    }

    fn run_commit(&self) {
        let (mut retention_at, mut room_at) = (Duration::ZERO, Duration::ZERO);
        while self.wait_until_due(retention_at, room_at) == Stop::No {
            self.commit_if_due();
            if self.opened.elapsed() >= retention_at {
                self.retire();
                retention_at = self.opened.elapsed() + RETENTION_EVERY;
            }
            if self.opened.elapsed() >= room_at && std::mem::take(&mut self.state().disk_full) {
                self.make_room();
                room_at = self.opened.elapsed() + RETRY_EVERY;
            }
        }
    }

    fn wait_until_due(&self, retention_at: Duration, room_at: Duration) -> Stop {
        let mut state = self.state();
        loop {
            let room_at = state.disk_full.then_some(room_at);
            let due =
                [state.pipeline.commit_at(), room_at].into_iter().flatten().fold(retention_at, Duration::min);
            let wait = due.saturating_sub(self.opened.elapsed());
            if state.stop > Stop::No || wait.is_zero() {
                return state.stop;
            }
            state = self.commit_due.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn commit_if_due(&self) {
        let due = self.state().pipeline.commit_at();
        if due.is_some_and(|due| due <= self.opened.elapsed()) {
            self.commit();
        }
    }

    /// Puts everything ingested on the store's disk and lets the journal reuse its space.
    pub(crate) fn commit(&self) {
        let covers = self.state().pipeline.commit_covers();
        match self.store.commit() {
            Ok(committed) => {
                let now = self.opened.elapsed();
                let release = self.state().pipeline.committed(committed, covers, now);
                self.release(release);
                self.store_works();
            }
            Err(error) => {
                self.store_failed(&error);
                self.state().pipeline.commit_failed(self.opened.elapsed());
            }
        }
    }

    /// The store's disk has moved on, so it works, and the journal may reuse what it held until here.
    fn release(&self, through: Option<u64>) {
        if let Some(through) = through {
            self.claims().acknowledge_through(through);
            self.store_works();
        }
    }

    fn store_works(&self) {
        self.health.send_if_modified(|health| health.failing.take().is_some());
    }

    fn quarantine(&self, error: &dyn std::error::Error) {
        let mut state = self.state();
        let before = state.counts.quarantined;
        state.counts.quarantined += 1;
        drop(state);
        if is_worth_a_line(before) {
            let skipped = before + 1;
            tracing::error!(error = chain(error), skipped, "a journal record cannot be kept and is skipped");
        }
    }

    /// Waits, unless told to stop.
    fn pause(&self, time: Duration) -> Stop {
        let state = self.state();
        let waited = self.ingest_due.wait_timeout_while(state, time, |state| state.stop == Stop::No);
        waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }

    fn stop(&self, how: Stop) {
        let mut state = self.state();
        state.stop = state.stop.max(how);
        drop(state);
        self.health.send_modify(|health| health.stopping = true);
        self.ingest_due.notify_all();
        self.commit_due.notify_all();
    }

    fn claims(&self) -> MutexGuard<'_, Queue> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Threads {
    /// Stops both threads and waits for them. Blocks.
    pub(crate) fn stop(mut self, how: Stop) {
        self.end(how);
    }

    fn end(&mut self, how: Stop) {
        self.keep.stop(how);
        for handle in self.handles.drain(..) {
            if handle.join().is_err() {
                tracing::error!("a keeping thread panicked");
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.end(Stop::Now);
        // Connections that are not gone yet hold the journal too: nothing may be written once the folder is let go. What
        // does not close in order is recovered at the next open.
        let _ = self.keep.journal.close();
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
