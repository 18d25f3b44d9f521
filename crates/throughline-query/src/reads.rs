//! What reading may cost: how many heavy reads run and wait at once, and how much of a trace they hold in memory. Past a
//! bound a request is refused: with 503 and `Retry-After` if others are the reason, with 413 if the trace itself is.
//!
//! A trace takes some [`DECODED`] times its OTLP while it is worked on, so all that runs at once holds at most about
//! `DECODED * (MAX_READS * SMALL_TRACE + LARGEST_TRACE)`, 1.1 GB, and no more than one large trace is read at a time.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use throughline_otlp::{Span, TraceId};
use throughline_store::{Store, StoreError, TraceData};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use crate::answer::{Answer, Outgoing};
use crate::load::Source;
use crate::reply::Failure;

#[cfg(test)]
mod tests;

/// Searches and whole traces read at once, each on a thread of its own: a thread that once held a large trace keeps the
/// room for the next one, so a pool that grows would grow the memory with it.
pub const MAX_READS: usize = 3;
/// Further ones that wait for their turn. One that waits is its request and no more, a few kilobytes: many people looking
/// at once are answered one after the other, not sent away.
pub const MAX_WAITING: usize = 256;
/// How long they wait.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of OTLP in memory at once past which a read is a large one. One of these runs at a time.
pub const SMALL_TRACE: usize = 32 * 1024 * 1024;
/// How long a second large one waits. It holds one of the few turns meanwhile, so not long.
pub const PATIENCE_FOR_LARGE: Duration = Duration::from_secs(4);
/// Bytes of OTLP past which a trace is not read at all: some 170,000 spans of a dozen attributes each.
pub const LARGEST_TRACE: usize = 128 * 1024 * 1024;
/// How much larger than its OTLP a trace is in memory, as measured.
pub const DECODED: usize = 5;

/// What one read may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) small: usize,
    pub(crate) largest: usize,
    pub(crate) patience: Duration,
}

impl Default for Room {
    fn default() -> Self {
        Self { small: SMALL_TRACE, largest: LARGEST_TRACE, patience: PATIENCE_FOR_LARGE }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The way in for heavy reads, and the way out for large answers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    /// For those that run and those that wait.
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
    patience: Duration,
    /// To the threads that read. Never holds more than have a turn.
    jobs: Sender<Job>,
    /// For the one read that is large.
    large: Arc<Semaphore>,
    room: Room,
    outgoing: Outgoing,
}

/// Leave to read; given back when dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    _running: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Default for Reads {
    fn default() -> Self {
        Self::new(MAX_READS, MAX_WAITING, PATIENCE)
    }
}

impl Reads {
    pub(crate) fn new(at_once: usize, waiting: usize, patience: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(at_once + waiting)),
            running: Arc::new(Semaphore::new(at_once)),
            patience,
            jobs: threads(at_once),
            large: Arc::new(Semaphore::new(1)),
            room: Room::default(),
            outgoing: Outgoing::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn with_room(mut self, room: Room) -> Self {
        self.room = room;
        self
    }

    pub(crate) fn outgoing(&self) -> &Outgoing {
        &self.outgoing
    }

    /// Waits for its turn; refused at once if too many wait already.
    pub(crate) async fn enter(&self) -> Result<Pass, Failure> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| busy())?;
        let turn = timeout(self.patience, Arc::clone(&self.running).acquire_owned()).await;
        let running = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        Ok(Pass { _running: running, _place: place })
    }

    /// Runs a question when its turn comes. A client that goes away does not free the turn: the work still runs.
    pub(crate) async fn run<T, F>(&self, store: Arc<Store>, question: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&Reader<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let pass = self.enter().await?;
        let (answer, answered) = oneshot::channel();
        let (reads, runtime) = (self.clone(), Handle::current());
        let job = move || {
            let reader = Reader {
                store: &store,
                reads: &reads,
                runtime,
                held: Cell::default(),
                large: RefCell::default(),
                refused: RefCell::default(),
            };
            let result = question(&reader);
            drop(reader);
            drop(pass);
            // The client may have gone.
            let _ = answer.send(result);
        };
        self.jobs.send(Box::new(job)).map_err(|_| Failure::internal("there is no thread to read with"))?;
        answered.await.unwrap_or_else(|_| Err(Failure::internal("a query stopped")))
    }
}

fn busy() -> Failure {
    Failure::Busy("too many searches and traces are being read; try again in a moment".to_owned())
}

/// Starts the threads; they end when the last sender is gone.
fn threads(number: usize) -> Sender<Job> {
    let (jobs, queue) = channel();
    let queue = Arc::new(Mutex::new(queue));
    for at in 0..number {
        let queue = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name(format!("read-{at}"));
        // Without a thread the sender says so at the first read.
        let _ = thread.spawn(move || work(&queue));
    }
    jobs
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // One that panics drops its answer's sender, which tells the handler; the thread goes on.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

/// The store, as one heavy read may use it. It counts what is held in memory.
pub(crate) struct Reader<'a> {
    store: &'a Store,
    reads: &'a Reads,
    runtime: Handle,
    /// Bytes of OTLP of what was read and not given up.
    held: Cell<usize>,
    /// The place of the one large read, once this is it.
    large: RefCell<Option<OwnedSemaphorePermit>>,
    /// Why no more was admitted.
    refused: RefCell<Option<Failure>>,
}

impl Reader<'_> {
    /// The spans of a trace as one-span requests.
    pub(crate) fn trace_otlp(&self, id: TraceId) -> Result<Vec<Vec<u8>>, Failure> {
        let read = self.store.trace_otlp_within(id, &mut |bytes| self.admit(id, bytes));
        read.map_err(|error| self.failure(error))
    }

    /// What was read so far has been dropped: it is not held any more.
    pub(crate) fn dropped(&self) {
        self.held.set(0);
        self.large.take();
    }

    /// An answer to write to.
    pub(crate) fn answer(&self) -> Answer {
        self.reads.outgoing.answer()
    }

    fn admit(&self, id: TraceId, bytes: usize) -> bool {
        let held = self.held.get() + bytes;
        self.held.set(held);
        match self.room_for(id, held) {
            Ok(()) => true,
            Err(failure) => {
                self.refused.replace(Some(failure));
                false
            }
        }
    }

    fn room_for(&self, id: TraceId, held: usize) -> Result<(), Failure> {
        let Room { small, largest, patience } = self.reads.room;
        if held > largest {
            return Err(Failure::TooLarge(format!(
                "trace {id} has more than {} MiB of spans, which is more than is read at once; that much under one id is \
                 most likely a loop or a job that never starts a new trace",
                largest.div_ceil(1024 * 1024)
            )));
        }
        if held > small && self.large.borrow().is_none() {
            let turn = Arc::clone(&self.reads.large).acquire_owned();
            let place = self.runtime.block_on(async { timeout(patience, turn).await });
            let place = place.ok().and_then(Result::ok);
            let busy =
                || Failure::Busy("another very large trace is being read; try again in a moment".to_owned());
            self.large.replace(Some(place.ok_or_else(busy)?));
        }
        Ok(())
    }

    fn failure(&self, error: StoreError) -> Failure {
        match error {
            StoreError::NotAdmitted => self.refused.take().unwrap_or_else(busy),
            other => other.into(),
        }
    }
}

impl Source for Reader<'_> {
    type Error = Failure;

    fn store(&self) -> &Store {
        self.store
    }

    fn trace(&self, id: TraceId) -> Result<TraceData, Failure> {
        let read = self.store.trace_within(id, &mut |bytes| self.admit(id, bytes));
        read.map_err(|error| self.failure(error))
    }

    /// A neighbour for which there is no room is left out: the trace that was asked for is not refused for it.
    fn neighbour(&self, id: TraceId) -> Result<Option<Vec<Span>>, Failure> {
        let before = self.held.get();
        match self.trace(id) {
            Ok(data) => Ok(Some(data.spans)),
            Err(Failure::TooLarge(_) | Failure::Busy(_)) => {
                self.held.set(before);
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }
}
