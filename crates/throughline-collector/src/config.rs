//! What the backend can be told, and what it does when told nothing. Owns the defaults; reads no file and no environment.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use throughline_journal::Durability;

use crate::peers::PeerSettings;
use crate::topology::Topology;

const MIB: usize = 1024 * 1024;
const GIB: u64 = 1024 * 1024 * 1024;
/// Journal segments: not above what was measured to be fast, and not below what the largest record of decisions takes, ...
const USUAL_SEGMENT: u64 = 16 << 20;
const LEAST_SEGMENT: u64 = 2 << 20;
/// ... an eighth of the journal between the two, so that a small one is not two segments, ...
const SEGMENTS: u64 = 8;
/// ... and of these it has three at least: one is written, one is read, one is the reserve.
const LEAST_SEGMENTS: u64 = 3;

/// Everything a backend needs to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where OTLP over gRPC is received; port 0 takes any free one. Default 127.0.0.1:4317.
    pub grpc: SocketAddr,
    /// Where OTLP over HTTP is received; port 0 takes any free one. Default 127.0.0.1:4318.
    pub http: SocketAddr,
    /// Where journal and store live.
    pub data: DataFolder,
    /// What "acknowledged" promises. Default [`Durability::Sync`]: it is on disk.
    pub durability: Durability,
    /// Blocks older than this are dropped. Default 7 days.
    pub retention_age: Duration,
    /// Oldest blocks are dropped while the store is larger than this. Default 10 GiB.
    pub retention_bytes: u64,
    /// The journal refuses requests (retryably) rather than grow beyond this. Default 1 GiB.
    pub journal_bytes: u64,
    /// What nobody needs any more stays in the journal while it is smaller than this: so far back late spans find their
    /// trace's decision, and linked traces can be brought back. Default 0 without a sampling pipeline.
    pub look_back_bytes: u64,
    /// What is older is not brought back, however much room the journal has. Default 1 h.
    pub look_back: Duration,
    /// Origins a browser may send from (`Access-Control-Allow-Origin`). Default none: cross-origin requests get no CORS answer.
    pub cors_origins: Vec<String>,
    /// Host names that OTLP over HTTP is received under, besides IP addresses, `localhost`, names without a dot and those
    /// under `.internal`, `.svc` and `.cluster.local`. Default none: under any other name a web page could write through its
    /// visitor's browser. With TLS or tokens it could not, and any name will do.
    pub allow_hosts: Vec<String>,
    /// What runs between receiving and the ends. `None`, the default: one receiver at `grpc` and `http`, and everything
    /// into the store.
    pub topology: Option<Topology>,
    /// Threads that decide, for each pipeline that samples. Default: one for each core.
    pub shards: usize,
    /// After a restart no trace is decided sooner than this: clients are still sending what was not acknowledged. Default 5 s.
    pub grace: Duration,
    /// The other nodes of the tier, if this is one of several. Default none.
    pub peers: Option<PeerSettings>,
    /// Where `debug` exporters write. Default nowhere: who prints is the caller's to say.
    pub debug_output: fn() -> Box<dyn io::Write + Send>,
    /// What one peer, and all peers together, may ask for.
    pub limits: Limits,
}

/// Where the data is, and whether it outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataFolder {
    /// This folder, created if missing.
    Persistent(PathBuf),
    /// A temporary folder, removed at shutdown.
    Ephemeral,
}

/// Bounds on what is accepted. Each refusal is counted in `throughline_receiver_refused_requests_total` under its reason.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest request, both as it comes and once inflated. Beyond it: 413, or `RESOURCE_EXHAUSTED` without a retry
    /// hint, since the same request can never succeed. Default 16 MiB.
    pub message_bytes: usize,
    /// All request bodies in memory at one time. Beyond it: 429, or `RESOURCE_EXHAUSTED` with a retry hint. Default 256 MiB.
    pub in_flight_bytes: usize,
    /// Requests that are acknowledged and not yet in the store, held in memory. Beyond it they are read back from the
    /// journal instead, so a slow store costs time and never an acknowledged span. Default 64 MiB.
    pub queue_bytes: usize,
    /// How long a request may be in the store's memory only; a restart reads it from the journal. Default 5 s.
    pub commit_every: Duration,
    /// Connections on each port. Beyond it new ones wait in the kernel's backlog. Default 1,024.
    pub connections: usize,
    /// A connection that has not sent one whole request header by then is closed. Default 10 s.
    pub header_timeout: Duration,
    /// A connection without a request for this long is closed. Default 5 min.
    pub idle_timeout: Duration,
    /// The next piece of a body must arrive within this. Default 10 s.
    pub body_idle_timeout: Duration,
    /// The whole body must arrive within this. Default 60 s.
    pub body_timeout: Duration,
    /// Metric series kept. Points of further series are refused, as partial success. Default 10,000.
    pub series: usize,
    /// A series without a new point for this long is forgotten. Default 5 min.
    pub series_age: Duration,
    /// How long shutdown waits for requests that are being answered. Default 10 s.
    pub drain: Duration,
}

impl Config {
    /// The least that `journal_bytes` can be, with these limits.
    #[must_use]
    pub fn least_journal_bytes(&self) -> u64 {
        self.segment_of(LEAST_SEGMENT).saturating_mul(LEAST_SEGMENTS)
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_of((self.journal_bytes / SEGMENTS).clamp(LEAST_SEGMENT, USUAL_SEGMENT))
    }

    /// Large enough for two requests at the limit.
    fn segment_of(&self, bytes: u64) -> u64 {
        (self.limits.message_bytes as u64).saturating_mul(2).max(bytes).next_multiple_of(4096)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            grpc: SocketAddr::from((Ipv4Addr::LOCALHOST, 4317)),
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 4318)),
            data: DataFolder::Ephemeral,
            durability: Durability::Sync,
            retention_age: Duration::from_secs(7 * 24 * 3600),
            retention_bytes: 10 * GIB,
            journal_bytes: GIB,
            look_back_bytes: 0,
            look_back: Duration::from_secs(3600),
            cors_origins: Vec::new(),
            allow_hosts: Vec::new(),
            topology: None,
            shards: std::thread::available_parallelism().map_or(1, usize::from),
            grace: Duration::from_secs(5),
            peers: None,
            debug_output: || Box::new(io::sink()),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 16 * MIB,
            in_flight_bytes: 256 * MIB,
            queue_bytes: 64 * MIB,
            commit_every: Duration::from_secs(5),
            connections: 1024,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            body_idle_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            series: 10_000,
            series_age: Duration::from_secs(300),
            drain: Duration::from_secs(10),
        }
    }
}
