//! The backend as one thing: built from a [`Config`], run, and drained.
//!
//! Build: folder, ports, store, journal, in this order, so that a taken port or folder is said before anything is
//! touched. Run: two listeners, the journal's committer, two keeping threads. Drain, the other way round: stop
//! accepting, answer what is in progress, ingest what is queued, commit, close.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use throughline_journal::{Fs, Journal, JournalError, Options, Position, RealFs};
use throughline_otlp::TraceId;
use throughline_store::{Store, StoreError, StoreOptions};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use crate::config::{Config, Limits};
use crate::exposition::{Exposition, Kind};
use crate::folder::{Folder, FolderError};
use crate::intake::Intake;
use crate::keep::{Health, Keep, Stop, Threads};
use crate::pipeline::Bounds;
use crate::receive::{Bound, Listener, Receiver, bind, serve};

/// Journal segments: large enough for two requests at the limit, and not below what was measured to be fast.
const SEGMENT_BYTES: usize = 16 * 1024 * 1024;

/// A running backend. Dropping it cuts off what is in progress; [`Backend::shutdown`] does not.
///
/// Nothing that was acknowledged is lost either way.
pub struct Backend {
    addresses: Addresses,
    receiver: Arc<Receiver>,
    keep: Arc<Keep>,
    store: Arc<Store>,
    journal: Journal,
    stop: watch::Sender<bool>,
    // Fields drop in this order: no connection, then no thread, then nobody holds the folder.
    listeners: JoinSet<()>,
    threads: Threads,
    folder: Folder,
}

/// Where a backend listens, with the real ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// OTLP over gRPC.
    pub grpc: SocketAddr,
    /// OTLP over HTTP.
    pub http: SocketAddr,
}

/// Why a backend did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something else listens there.
    #[error("port {} for {which} is in use ({addr}); choose another with {}", addr.port(), which.flag())]
    PortInUse {
        /// The address.
        addr: SocketAddr,
        /// What it was for.
        which: Listener,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr} for {which}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What it was for.
        which: Listener,
        /// The cause.
        source: io::Error,
    },
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The store cannot be opened.
    #[error("{}", crate::keep::chain(.0))]
    Store(StoreError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

impl Backend {
    /// Builds and runs a backend. Returns when the store has everything the journal had, or reports why it has not
    /// ([`Backend::readiness`]); requests are accepted before that already.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_on(config, Arc::new(RealFs)).await
    }

    /// As [`Backend::start`], with the journal's files behind `fs`.
    async fn start_on(config: Config, fs: Arc<dyn Fs>) -> Result<Self, StartError> {
        let folder = Folder::open(&config.data)?;
        let grpc = listen(Listener::Grpc, config.grpc).await?;
        let http = listen(Listener::Http, config.http).await?;
        let addresses = Addresses { grpc: grpc.address, http: http.address };

        let Opened { store, journal, keep } = Opened::open(&folder, &config, fs).await?;
        let threads = keep.start().map_err(StartError::Thread)?;
        let intake = Intake::new(journal.clone(), Arc::clone(&keep), config.limits);
        let Config { cors_origins, allow_hosts, .. } = config;
        let receiver = Arc::new(Receiver { intake, cors_origins, allow_hosts });

        let stop = watch::Sender::new(false);
        let mut listeners = JoinSet::new();
        for bound in [grpc, http] {
            listeners.spawn(serve(bound, Arc::clone(&receiver), stop.subscribe()));
        }
        // The sender of health lives in `keep`: waiting ends by a change.
        let _ = keep.health().wait_for(Health::is_settled).await;
        tracing::info!(
            grpc = %addresses.grpc,
            http = %addresses.http,
            data = %folder.path().display(),
            durability = %config.durability,
            "receiving OTLP"
        );
        Ok(Self { addresses, receiver, keep, store, journal, stop, listeners, threads, folder })
    }

    /// What is kept, for queries.
    #[must_use]
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// The trace ids of each request, announced once the store answers for them. A receiver more than 1,024 requests
    /// behind is told that it lagged and misses those in between.
    #[must_use]
    pub fn arrivals(&self) -> broadcast::Receiver<Arc<Vec<TraceId>>> {
        self.keep.arrivals()
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The data folder in use.
    #[must_use]
    pub fn data_folder(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    /// What `/metrics` says, without holding the backend itself: clone it into whoever serves.
    #[must_use]
    pub fn probe(&self) -> Probe {
        Probe { receiver: Arc::clone(&self.receiver), keep: Arc::clone(&self.keep) }
    }

    /// Received metrics and the backend's own, as Prometheus text.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.probe().metrics()
    }

    /// Whether everything acknowledged can be found.
    ///
    /// # Errors
    /// Why not, for a person.
    pub fn readiness(&self) -> Result<(), String> {
        self.probe().readiness()
    }

    /// Stops accepting, answers what is in progress (at most [`crate::Limits::drain`]), commits and lets go of the data
    /// folder.
    pub async fn shutdown(self) {
        let Self { receiver, keep, store, journal, stop, mut listeners, threads, folder, .. } = self;
        // Nobody listening any more is as good as told to stop.
        let _ = stop.send(true);
        while listeners.join_next().await.is_some() {}
        drop(receiver);
        let closing = move || {
            if folder.is_ephemeral() {
                threads.stop(Stop::Now);
            } else {
                threads.stop(Stop::Drain);
                keep.commit();
            }
            if let Err(error) = journal.close() {
                tracing::warn!(%error, "the journal did not close in order; the next start recovers it");
            }
            drop(store);
            if let Err(error) = folder.close() {
                tracing::warn!(%error, "the temporary folder stays behind");
            }
        };
        if tokio::task::spawn_blocking(closing).await.is_err() {
            tracing::error!("shutdown panicked; the next start recovers");
        }
    }
}

/// A way to ask a running backend how it is.
#[derive(Clone)]
pub struct Probe {
    receiver: Arc<Receiver>,
    keep: Arc<Keep>,
}

impl Probe {
    /// Received metrics and the backend's own, as Prometheus text.
    #[must_use]
    pub fn metrics(&self) -> String {
        let intake = &self.receiver.intake;
        let mut page = Exposition::default();
        intake.counters().write(&mut page);
        let in_flight = intake.budget().used();
        page.single(
            "throughline_receiver_in_flight_bytes",
            Kind::Gauge,
            "Bytes of requests being received or made durable.",
            in_flight,
        );
        self.keep.write(&mut page);
        let mut series = intake.series().lock().unwrap_or_else(PoisonError::into_inner);
        page.single("throughline_metric_series", Kind::Gauge, "Metric series in memory.", series.len());
        series.write(&mut page, Instant::now());
        page.finish()
    }

    /// Whether everything acknowledged can be found, and requests are accepted.
    ///
    /// # Errors
    /// Why not, for a person.
    pub fn readiness(&self) -> Result<(), String> {
        self.keep.readiness()
    }
}

async fn listen(which: Listener, addr: SocketAddr) -> Result<Bound, StartError> {
    bind(which, addr).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse { addr, which },
        _ => StartError::Listen { addr, which, source },
    })
}

struct Opened {
    store: Arc<Store>,
    journal: Journal,
    keep: Arc<Keep>,
}

impl Opened {
    /// Opening reads disks: off the runtime's threads.
    async fn open(folder: &Folder, config: &Config, fs: Arc<dyn Fs>) -> Result<Self, StartError> {
        let (path, store_dir, journal_dir) = (folder.path().to_path_buf(), folder.store(), folder.journal());
        let config = config.clone();
        let open = move || {
            let options = StoreOptions {
                retention_age: config.retention_age,
                retention_bytes: config.retention_bytes,
                ..StoreOptions::default()
            };
            let store = Arc::new(Store::open(&store_dir, options).map_err(StartError::Store)?);
            let options = journal_options(&config, store.committed());
            let (journal, recovery) = Journal::open(fs, &journal_dir, options)?;
            let Limits { queue_bytes, commit_every, .. } = config.limits;
            let bounds = Bounds { queue_bytes, commit_every };
            let keep = Keep::recovered(journal.clone(), Arc::clone(&store), path, bounds, &recovery);
            Ok(Self { store, journal, keep })
        };
        tokio::task::spawn_blocking(open)
            .await
            .map_err(|error| StartError::Thread(io::Error::other(error)))?
    }
}

fn journal_options(config: &Config, committed: Option<u64>) -> Options {
    let segment = (config.limits.message_bytes.saturating_mul(2)).max(SEGMENT_BYTES).next_multiple_of(4096);
    Options {
        segment_bytes: u32::try_from(segment).unwrap_or(u32::MAX),
        cap_bytes: config.journal_bytes,
        durability: config.durability,
        after: committed.map(Position),
        ..Options::default()
    }
}

#[cfg(test)]
mod tests;
