//! What every handler works with: the store, the live data, the clock, the hosts it answers to.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use throughline_otlp::{TraceId, UnixNanos};
use throughline_store::Store;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::answer::Bounds;
use crate::guard::Hosts;
use crate::reads::{Reader, Reads};
use crate::reply::Failure;
use crate::sampling::{Decision, Sampling};

/// How many event streams are open at once; one more is refused with 503. Each holds a place in the broadcast of arrivals.
pub const MAX_FOLLOWERS: usize = 64;

/// What changes while the process runs. The one who runs the backend wires it.
pub trait Live: Send + Sync + 'static {
    /// A place in the broadcast of accepted requests. One that lags misses some and reads the store again.
    fn arrivals(&self) -> broadcast::Receiver<Arc<Arrival>>;
    /// The metrics of the backend as Prometheus text; `None` if they are switched off.
    fn metrics(&self) -> Option<String>;
    /// Whether the backend can accept spans.
    ///
    /// # Errors
    /// Why it cannot.
    fn readiness(&self) -> Result<(), String>;

    /// What each pipeline that samples says of a trace; none, if none has seen it. May read from disk.
    fn decisions(&self, _trace: TraceId) -> Vec<Decision> {
        Vec::new()
    }

    /// Figures of samplers and exporters; `None` if nothing samples. May read from disk.
    fn sampling(&self) -> Option<Sampling> {
        None
    }

    /// Whether anything samples.
    fn samples(&self) -> Samples {
        Samples::Nothing
    }
}

/// Whether there is tail sampling in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Samples {
    /// Everything is kept.
    #[default]
    Nothing,
    /// A pipeline samples.
    Traces,
}

/// One accepted request; the store answers for it already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Traces it has spans or logs of.
    pub traces: Vec<TraceId>,
}

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct App {
    store: Arc<Store>,
    live: Arc<dyn Live>,
    hosts: Arc<Hosts>,
    followers: Arc<Semaphore>,
    reads: Reads,
    bounds: Bounds,
    clock: fn() -> UnixNanos,
    otlp: Arc<str>,
}

impl App {
    /// Answers to loopback names and IP addresses; see [`App::allow_hosts`].
    #[must_use]
    pub fn new(store: Arc<Store>, live: Arc<dyn Live>) -> Self {
        Self {
            store,
            live,
            hosts: Arc::default(),
            followers: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
            reads: Reads::default(),
            bounds: Bounds::default(),
            clock: system_time,
            otlp: Arc::from("http://localhost:4318"),
        }
    }

    /// Answers to these host names as well.
    #[must_use]
    pub fn allow_hosts(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.hosts = Arc::new(Hosts::new(names));
        self
    }

    /// The OTLP/HTTP endpoint the page tells people to send to; `http://localhost:4318` unless told.
    #[must_use]
    pub fn otlp_endpoint(mut self, url: &str) -> Self {
        self.otlp = Arc::from(url);
        self
    }

    /// Another clock, so that ages can be tested.
    #[must_use]
    pub fn with_clock(mut self, clock: fn() -> UnixNanos) -> Self {
        self.clock = clock;
        self
    }

    pub(crate) fn now(&self) -> UnixNanos {
        (self.clock)()
    }

    pub(crate) fn live(&self) -> &dyn Live {
        &*self.live
    }

    /// Why nothing of this trace is in the store. May read from disk.
    pub(crate) fn missing(&self, id: TraceId) -> Failure {
        let decisions = self.live.decisions(id);
        let why: Vec<String> = decisions.iter().map(Decision::line).collect();
        match why.is_empty() {
            true => Failure::Missing(format!("nothing of trace {id} is in the store")),
            false => Failure::Missing(format!("nothing of trace {id} is in the store; {}", why.join("; "))),
        }
    }

    pub(crate) fn hosts(&self) -> Arc<Hosts> {
        Arc::clone(&self.hosts)
    }

    pub(crate) fn otlp(&self) -> &str {
        &self.otlp
    }

    /// One of the [`MAX_FOLLOWERS`] places for an event stream; given back when it is dropped.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let full = |_| Failure::Busy("too many event streams are open; close one and try again".to_owned());
        Arc::clone(&self.followers).try_acquire_owned().map_err(full)
    }

    #[cfg(test)]
    pub(crate) fn followers(&self) -> Arc<Semaphore> {
        Arc::clone(&self.followers)
    }

    pub(crate) fn reads(&self) -> &Reads {
        &self.reads
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    #[cfg(test)]
    pub(crate) fn with_reads(mut self, reads: Reads) -> Self {
        self.reads = reads;
        self
    }

    #[cfg(test)]
    pub(crate) fn with_bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Like [`App::ask`], for what may read many spans: few run at once, each holds only so much, and the answer is to be
    /// made in here as well, so that the runtime's threads stay free.
    pub(crate) async fn read<T, F>(&self, question: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&Reader<'_>) -> Result<T, Failure> + Send + 'static,
    {
        self.reads.run(Arc::clone(&self.store), question).await
    }

    /// Runs a question to the store off the runtime's threads: the store is synchronous and may read from disk.
    pub(crate) async fn ask<T, F>(&self, question: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&Store) -> Result<T, Failure> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || question(&store))
            .await
            .unwrap_or_else(|stopped| Err(Failure::internal(format!("a query stopped: {stopped}"))))
    }
}

fn system_time() -> UnixNanos {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
}
