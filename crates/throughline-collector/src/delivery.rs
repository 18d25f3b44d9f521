//! An exporter at work: what it has to send is positions in the journal ([`queue`]); a thread reads them back and cuts them
//! into requests ([`read_back`]), or takes whole ones as they came in ([`whole`]); tasks send these, again and again until the
//! backend has them or refuses them for good.
//!
//! Memory: [`HELD_BYTES`], of whole requests as much again that was taken and is being cut into requests, and requests read and not
//! sent, at most [`Settings::in_flight`] and three; the rest waits in the journal. How far the backend has acknowledged is written
//! there too ([`checkpoint`]), so that a restart sends again only what came after.

pub(crate) mod checkpoint;
mod cut;
pub(crate) mod queue;
pub(crate) mod read_back;
mod sending;
mod whole;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use throughline_journal::{Journal, Reader};
use tokio::sync::mpsc;

use self::checkpoint::Checkpoint;
use self::queue::{Queue, Unit};
use self::read_back::{Full, Gone, Outcome, Source, Unreadable, read_back};
pub(crate) use self::sending::{Destination, random};
use self::sending::{Job, Request, Sending};
use self::whole::{Held, Taken, gather};
use crate::log::is_worth_a_line;
use crate::topology::Wait;

/// Between two attempts to read a journal whose disk does not answer.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// So often a record is asked for, which is ten minutes: one sector that cannot be read must not hold everything behind it back for
/// ever.
const ATTEMPTS: u32 = 600;

/// Most bytes of requests that an exporter holds in memory: of kept traces, to read each once; of whole requests, those that
/// came last, to read none while its backend keeps up.
const HELD_BYTES: usize = 16 << 20;

/// How an exporter gathers and sends.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `pipeline/exporter`: its name in the journal, in metrics and logs.
    pub(crate) name: String,
    /// What feeds it.
    pub(crate) source: Source,
    /// A request is sent when it holds so many items (`send_batch_size`).
    pub(crate) batch_items: u64,
    /// Or so many bytes. What is larger is cut.
    pub(crate) batch_bytes: usize,
    /// More than these are never in one request (`send_batch_max_size`).
    pub(crate) most_items: u64,
    /// Or when its first item has waited for more.
    pub(crate) batch_wait: Wait,
    /// Requests on their way at one time (`num_consumers`).
    pub(crate) in_flight: usize,
    /// What to do about failures.
    pub(crate) retry: crate::export::retry::RetrySettings,
}

/// One exporter in one pipeline.
pub(crate) struct Delivery {
    settings: Settings,
    journal: Journal,
    state: Mutex<State>,
    changed: Condvar,
    counts: Counts,
}

struct State {
    queue: Queue,
    held: Held,
    /// When the oldest untaken unit came.
    waiting_since: Option<Instant>,
    /// When units were taken last.
    taken: Option<Instant>,
    stop: Stop,
}

/// How an exporter ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// It goes on.
    No,
    /// It sends what it has, then ends.
    Drain,
    /// It ends at once. What is not acknowledged is sent by the next process.
    Now,
}

/// What an exporter has done, for `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: AtomicU64,
    /// Refused for good by the backend.
    pub(crate) refused: AtomicU64,
    /// Attempts that failed and are made again.
    pub(crate) failed_attempts: AtomicU64,
    /// Records that could not be read back.
    pub(crate) gone: AtomicU64,
    /// Requests refused for good, and answers with something to say: how many were worth a line of the log.
    pub(crate) dropped_requests: AtomicU64,
    pub(crate) remarks: AtomicU64,
}

/// The running thread and tasks.
pub(crate) struct Running {
    delivery: Arc<Delivery>,
    reader: Option<JoinHandle<()>>,
    senders: Option<tokio::task::JoinHandle<()>>,
}

impl Delivery {
    /// An exporter that has sent nothing yet.
    pub(crate) fn new(settings: Settings, journal: Journal) -> Arc<Self> {
        let held = Held::with_room_for(HELD_BYTES);
        let queue = Queue::starting_at(0);
        let state = State { queue, held, waiting_since: None, taken: None, stop: Stop::No };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Arc::new(Self { settings, journal, state, changed, counts: Counts::default() })
    }

    /// After everything in the journal was pushed: what its backend had acknowledged is not sent again. An exporter that
    /// the last checkpoint does not know is new, and begins with what comes from now on, at `next`.
    pub(crate) fn resume(&self, last: Option<&Checkpoint>, next: u64) {
        let Some(last) = last else { return };
        let resume_at = last.of(self.name()).unwrap_or(next);
        let mut state = self.state();
        if let Some(before) = resume_at.checked_sub(1) {
            state.queue.acknowledge_through(before);
            state.queue.pass(before);
        }
        if state.queue.is_drained() {
            state.waiting_since = None;
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    pub(crate) fn source(&self) -> &Source {
        &self.settings.source
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Something new to send, in order of position.
    pub(crate) fn push(&self, unit: Unit) {
        self.push_with(unit, None);
    }

    /// As [`Delivery::push`], of a request that has just come and need not be read back.
    pub(crate) fn push_whole(&self, unit: Unit, request: &Bytes) {
        self.push_with(unit, Some(request));
    }

    fn push_with(&self, unit: Unit, request: Option<&Bytes>) {
        let mut state = self.state();
        if unit.items == 0 {
            return state.queue.pass(unit.position);
        }
        state.queue.push(unit);
        if let Some(request) = request {
            state.held.hold(unit.position, request);
        }
        let is_first = state.waiting_since.is_none();
        state.waiting_since.get_or_insert_with(Instant::now);
        let due = state.queue.untaken() >= self.settings.batch_items;
        drop(state);
        // Who waits for more knows until when.
        if is_first || due {
            self.changed.notify_all();
        }
    }

    /// A record that holds nothing for this exporter.
    pub(crate) fn pass(&self, position: u64) {
        self.state().queue.pass(position);
    }

    /// First position that the backend has not acknowledged, and the lowest that must stay readable.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let state = self.state();
        (state.queue.resume_at(), state.queue.needs_from())
    }

    /// Units that wait for the backend, and their items.
    pub(crate) fn backlog(&self) -> (usize, u64) {
        self.state().queue.backlog()
    }

    /// Starts reading and sending.
    pub(crate) fn start<D: Destination>(self: &Arc<Self>, destination: D) -> io::Result<Running> {
        let (full, requests) = mpsc::channel(1);
        let delivery = Arc::clone(self);
        let senders = tokio::spawn(sending::run(delivery, Arc::new(destination), requests));
        let delivery = Arc::clone(self);
        let named = thread::Builder::new().name("export".to_owned());
        let reader = named.spawn(move || delivery.read(&full))?;
        Ok(Running { delivery: Arc::clone(self), reader: Some(reader), senders: Some(senders) })
    }

    /// The body of the reading thread.
    fn read(&self, full: &mpsc::Sender<Sending>) {
        // Traces decided one after the other have spans in the same requests; what comes whole is read once anyway.
        let holding = if matches!(self.settings.source, Source::Kept { .. }) { HELD_BYTES } else { 0 };
        let mut journal = self.journal.reader(holding);
        while let Some(units) = self.next_units() {
            let job = Job::new(units.iter().map(|taken| taken.unit.position).collect());
            let mut emit = |request: Request| {
                // Nobody receives any more: what is not acknowledged is sent by the next process.
                let _ = full.blocking_send(Sending::new(request, &job));
            };
            let mut outcome = Outcome::default();
            let mut asked = (0, 0);
            while let Err(record) = self.requests(&mut journal, &units, &mut outcome, &mut emit) {
                asked =
                    if asked.0 == record.position { (asked.0, asked.1 + 1) } else { (record.position, 1) };
                if asked.1 >= ATTEMPTS {
                    outcome.give_up(record);
                    continue;
                }
                tracing::error!(exporter = self.name(), error = %record, "exporting waits for the disk");
                if self.pause(READ_AGAIN) == Stop::Now {
                    return;
                }
            }
            self.report(outcome);
            self.finish(&job);
        }
    }

    /// Hands over the requests that these units make.
    fn requests(
        &self,
        journal: &mut Reader,
        taken: &[Taken],
        outcome: &mut Outcome,
        emit: &mut dyn FnMut(Request),
    ) -> Result<(), Unreadable> {
        let Settings { batch_items: items, batch_bytes: bytes, most_items, .. } = self.settings;
        let full = Full { items, bytes, most_items };
        match &self.settings.source {
            Source::Everything(signal, _) => gather(journal, *signal, taken, full, outcome, emit),
            Source::Kept { pipeline, reasons } => {
                let units: Vec<Unit> = taken.iter().map(|taken| taken.unit).collect();
                let mut emit = |request: read_back::Request| emit(request.into());
                read_back(journal, pipeline, *reasons, &units, full, outcome, &mut emit)
            }
        }
    }

    /// A request failed so many times in a row. Said once when it begins and then now and again, not for each request.
    fn failing(&self, why: &str, failures: u32) {
        let exporter = self.name();
        if failures == 1 || failures.is_multiple_of(20) {
            tracing::warn!(exporter, why, failures, "the backend does not take a request; it is sent again");
        }
    }

    fn report(&self, outcome: Outcome) {
        for Gone { position, why } in outcome.into_gone() {
            let before = self.counts.gone.fetch_add(1, Ordering::Relaxed);
            if is_worth_a_line(before) {
                let (exporter, gone) = (self.name(), before + 1);
                tracing::error!(exporter, position, why, gone, "a record cannot be exported any more");
            }
        }
    }

    /// One holder of the job has done its part; the last acknowledges its units.
    fn finish(&self, job: &Job) {
        if job.is_last() {
            let mut state = self.state();
            job.positions().iter().for_each(|position| state.queue.acknowledge(*position));
            drop(state);
            self.changed.notify_all();
        }
    }

    /// The units of the next requests, once a request is full or has waited long enough. `None` is the end.
    fn next_units(&self) -> Option<Vec<Taken>> {
        let mut state = self.state();
        loop {
            let wait = match (state.stop, state.waiting_since) {
                (Stop::Now, _) => return None,
                (Stop::Drain, None) => return None,
                (Stop::Drain, Some(_)) => Some(Duration::ZERO),
                (Stop::No, None) => None,
                (Stop::No, Some(_)) if state.queue.untaken() >= self.settings.batch_items => {
                    Some(Duration::ZERO)
                }
                (Stop::No, Some(since)) => Some(self.settings.batch_wait.left(since, state.taken)),
            };
            match wait {
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    let units = state.queue.take(self.settings.batch_items);
                    let more = state.queue.untaken() > 0;
                    state.waiting_since = state.waiting_since.filter(|_| more);
                    state.taken = Some(Instant::now());
                    return Some(state.held.take(units));
                }
                Some(wait) => {
                    let waited = self.changed.wait_timeout(state, wait);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Waits, unless it is to end at once.
    fn pause(&self, time: Duration) -> Stop {
        let waited = self.changed.wait_timeout_while(self.state(), time, |state| state.stop != Stop::Now);
        waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }

    /// For a simulation, which reads and sends on its own thread: the units of the next request, at once.
    #[cfg(test)]
    pub(crate) fn take_now(&self) -> Vec<Unit> {
        self.state().queue.take(self.settings.batch_items)
    }

    #[cfg(test)]
    pub(crate) fn put_back(&self, units: &[Unit]) {
        let mut state = self.state();
        units.iter().for_each(|unit| state.queue.put_back(*unit));
    }

    #[cfg(test)]
    pub(crate) fn acknowledge(&self, units: &[Unit]) {
        let mut state = self.state();
        units.iter().for_each(|unit| state.queue.acknowledge(unit.position));
    }

    fn stop(&self, how: Stop) {
        let mut state = self.state();
        state.stop = state.stop.max(how);
        drop(state);
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Sends what there is, for at most `limit`, then ends. What was not acknowledged is sent by the next process.
    pub(crate) async fn drain(mut self, limit: Duration) {
        self.delivery.stop(Stop::Drain);
        if let Some(senders) = &mut self.senders
            && tokio::time::timeout(limit, senders).await.is_ok()
        {
            self.senders = None;
        }
        self.end();
        if let Some(reader) = self.reader.take() {
            // The thread may wait for the disk: not on the runtime's time.
            let _ = tokio::task::spawn_blocking(move || reader.join()).await;
        }
    }

    fn end(&mut self) {
        self.delivery.stop(Stop::Now);
        if let Some(senders) = self.senders.take() {
            senders.abort();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
pub(crate) mod tests;
