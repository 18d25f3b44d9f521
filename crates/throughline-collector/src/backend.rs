//! The backend as one thing: built from a [`Config`], run, and drained.
//!
//! Build: folder, ports, store, journal, in this order, so that a taken port or folder is said before anything is
//! touched. Run: two listeners, the journal's committer, two keeping threads. Drain, the other way round: stop
//! accepting, answer what is in progress, ingest what is queued, commit, close.

mod listeners;
mod open;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use throughline_journal::{Fs, Journal, JournalError, RealFs};
use throughline_otlp::{Signal, TraceId};
use throughline_sampling::decision::Decision;
use throughline_store::{Store, StoreError};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use crate::build::Running;
use crate::config::Config;
use crate::export::SettingError;
use crate::exposition::{Exposition, Kind};
use crate::folder::{Folder, FolderError};
use crate::intake::Intake;
use crate::keep::{Keep, Stop, Threads};
use crate::ledger::Clerk;
use crate::lines::Lines;
use crate::look_back::Reach;
use crate::memory::Limiters;
use crate::peers::Peers;
use crate::picture::{Picture, Standing};
use crate::receive::Listener;
use crate::sampler;
use crate::topology::Topology;

/// A running backend. Dropping it cuts off what is in progress; [`Backend::shutdown`] does not.
///
/// Nothing that was acknowledged is lost either way.
pub struct Backend {
    addresses: Addresses,
    receivers: Vec<(String, Addresses)>,
    intake: Arc<Intake>,
    lines: Arc<Lines>,
    keep: Arc<Keep>,
    store: Arc<Store>,
    journal: Journal,
    stop: watch::Sender<bool>,
    drain: Drain,
    // Fields drop in this order: no connection, then no thread, then nobody holds the folder.
    listeners: JoinSet<()>,
    members: listeners::Members,
    running: Running,
    peers: Option<Arc<Peers>>,
    threads: Threads,
    clerk: Clerk,
    folder: Folder,
}

/// What a shutdown does with what is on its way.
#[derive(Clone, Copy)]
struct Drain {
    undecided: sampler::Stop,
    limit: Duration,
}

/// Where a backend listens, with the real ports. With several receivers: the first of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// OTLP over gRPC.
    pub grpc: Option<SocketAddr>,
    /// OTLP over HTTP.
    pub http: Option<SocketAddr>,
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
    /// The journal may not become large enough for requests of the size that is let in.
    #[error(
        "a journal of {bytes} bytes is too small for requests of {message_bytes} bytes, which need {least} bytes; raise \
         `journal_size` (--journal-size), or lower the receivers' limits"
    )]
    SmallJournal {
        /// What it may take.
        bytes: u64,
        /// The largest request that is let in.
        message_bytes: usize,
        /// What it must be allowed to take.
        least: u64,
    },
    /// The store cannot be opened.
    #[error("{}", crate::keep::chain(.0))]
    Store(StoreError),
    /// An exporter cannot be made from its settings.
    #[error("exporter {name}: {source}")]
    Exporter {
        /// `pipeline/exporter`
        name: String,
        /// The cause.
        source: SettingError,
    },
    /// A receiver's certificates or tokens cannot be used.
    #[error("receiver {name}: {source}")]
    Receiver {
        /// As in the configuration, and which of its protocols.
        name: String,
        /// The cause.
        source: SettingError,
    },
    /// The other nodes of the tier cannot be called, or cannot call.
    #[error("extensions::throughline: {0}")]
    Peers(SettingError),
    /// The address at which peers call cannot be listened on.
    #[error(
        "cannot listen on {addr} for peers: {source}; choose another in extensions::throughline::peers::endpoint"
    )]
    PeersListen {
        /// The address.
        addr: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// How much memory there is, or is used, cannot be found out, which a `memory_limiter` needs.
    #[error("memory_limiter: {0}")]
    Memory(io::Error),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// What is configured, else one receiver and everything into the store.
fn topology(config: &Config) -> Topology {
    let default = || Topology::store_everything(listeners::default_receiver(config));
    config.topology.clone().unwrap_or_else(default)
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
        let (folder, topology) = (Folder::open(&config.data)?, topology(&config));
        let opened = listeners::open(&topology).await?;
        let (receivers, addresses) = listeners::places(&topology, &opened);
        let numbers = folder.number_receivers(topology.receivers.iter().map(|of| of.name.as_str()))?;
        let topology = topology.numbered(&numbers);
        let memory = Limiters::open(&topology).map_err(StartError::Memory)?;
        let peers = listeners::open_peers(&config, &folder).await?;
        let open::Opened { store, journal, keep, built, ledger } =
            open::Opened::open(&folder, &config, topology.clone(), fs).await?;
        let threads = keep.start().map_err(StartError::Thread)?;
        let (lines, running) = built.start(&config, peers.as_ref().map(|(peers, _)| peers))?;
        let clerk = open::begin_books(ledger).await?;
        let intake = Arc::new(Intake::new(journal.clone(), Arc::clone(&lines), memory, &config.limits));
        let stop = watch::Sender::new(false);
        let members = listeners::Members::serve(&topology, &numbers, &intake, &stop, &running.held);
        let mut listeners = listeners::serve_all(opened, &topology, &numbers, &intake, &config, &stop);
        let peers = listeners::serve_peers(peers, &mut listeners, &lines, &journal, &stop);
        keep.settled().await;
        tracing::info!(?addresses, data = %folder.path().display(), durability = %config.durability, "receiving OTLP");
        Ok(Self {
            addresses,
            receivers,
            intake,
            lines,
            keep,
            store,
            journal,
            stop,
            drain: Drain::of(&folder, &config),
            listeners,
            members,
            running,
            peers,
            threads,
            clerk,
            folder,
        })
    }

    /// What is kept, for queries.
    #[must_use]
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// The trace ids of each request, once the store answers for them. Who is more than 1,024 requests behind is told, and misses those.
    #[must_use]
    pub fn arrivals(&self) -> broadcast::Receiver<Arc<Vec<TraceId>>> {
        self.keep.arrivals()
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Those of each receiver, by its name.
    #[must_use]
    pub fn receivers(&self) -> &[(String, Addresses)] {
        &self.receivers
    }

    /// The data folder in use.
    #[must_use]
    pub fn data_folder(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    /// What `/metrics` says, without holding the backend itself: clone it into whoever serves.
    #[must_use]
    pub fn probe(&self) -> Probe {
        Probe {
            intake: Arc::clone(&self.intake),
            lines: Arc::clone(&self.lines),
            keep: Arc::clone(&self.keep),
            peers: self.peers.clone(),
        }
    }

    /// The last decision on a trace, as far back as the journal reaches; `None` if no pipeline decided on it.
    #[must_use]
    pub fn decision(&self, trace: TraceId) -> Option<Decision> {
        self.lines.samplers.iter().find_map(|sampler| sampler.decision(trace))
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

    /// Stops accepting, answers what is in progress, decides and sends what there is (each at most [`crate::Limits::drain`]),
    /// commits and lets go of the data folder.
    pub async fn shutdown(self) {
        let Self {
            intake,
            lines,
            keep,
            store,
            journal,
            stop,
            drain,
            mut listeners,
            members,
            running,
            peers,
            threads,
            clerk,
            folder,
            ..
        } = self;
        let _ = stop.send(true); // Nobody listening any more is as good as told to stop.
        while listeners.join_next().await.is_some() {}
        drop(intake);
        running.drain(drain.undecided, drain.limit).await;
        members.give_back().await;
        if let Some(peers) = peers {
            peers.drain(drain.limit).await;
        }
        let closing = move || close(folder, threads, &keep, clerk, &journal, (store, lines));
        if tokio::task::spawn_blocking(closing).await.is_err() {
            tracing::error!("shutdown panicked; the next start recovers");
        }
    }
}

impl Drain {
    /// Nobody comes back to a folder that is removed: what is undecided is decided before that.
    fn of(folder: &Folder, config: &Config) -> Self {
        let undecided = if folder.is_ephemeral() { sampler::Stop::Decide } else { sampler::Stop::Resume };
        Self { undecided, limit: config.limits.drain }
    }
}

/// The end of everything that touches the folder, in order. Blocks.
fn close<T>(folder: Folder, threads: Threads, keep: &Keep, clerk: Clerk, journal: &Journal, rest: T) {
    if folder.is_ephemeral() {
        threads.stop(Stop::Now);
    } else {
        threads.stop(Stop::Drain);
        keep.commit();
    }
    clerk.close();
    if let Err(error) = journal.close() {
        tracing::warn!(%error, "the journal did not close in order; the next start recovers it");
    }
    drop(rest);
    if let Err(error) = folder.close() {
        tracing::warn!(%error, "the temporary folder stays behind");
    }
}

/// A way to ask a running backend how it is.
#[derive(Clone)]
pub struct Probe {
    intake: Arc<Intake>,
    lines: Arc<Lines>,
    keep: Arc<Keep>,
    peers: Option<Arc<Peers>>,
}

impl Probe {
    /// Received metrics and the backend's own, as Prometheus text.
    #[must_use]
    pub fn metrics(&self) -> String {
        let intake = &self.intake;
        let mut page = Exposition::default();
        intake.counters().write(&mut page);
        intake.memory().write(&mut page);
        let in_flight = intake.budget().used();
        page.single(
            "throughline_receiver_in_flight_bytes",
            Kind::Gauge,
            "Bytes of requests being received or made durable.",
            in_flight,
        );
        self.lines.write(&mut page);
        if let Some(peers) = &self.peers {
            peers.write(&mut page);
        }
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

    /// What each pipeline that samples knows of a trace. Reads the journal: off the runtime's threads.
    #[must_use]
    pub fn standings(&self, trace: TraceId) -> Vec<Standing> {
        self.lines.standings(trace)
    }

    /// Figures of samplers, exporters and the other nodes.
    #[must_use]
    pub fn picture(&self) -> Picture {
        let tier = self.peers.as_ref().map(|peers| peers.figures());
        Picture { tier, ..self.lines.picture(self.intake.counters().accepted(Signal::Traces)) }
    }

    /// How far back late spans and links can reach; `None` if nothing samples, or nothing has come.
    #[must_use]
    pub fn reach(&self) -> Option<Reach> {
        self.lines.reach()
    }
}

#[cfg(test)]
mod tests;
