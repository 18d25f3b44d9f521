//! What runs between receiving and the ends: receivers, pipelines and exporters, as plain data that was checked before.
//! Names are those of the configuration: they appear in metrics and logs, and in the journal, where a restart finds them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use throughline_otlp::Signal;
use throughline_sampling::Plan;

use crate::configuration::{BearerToken, Cors, KafkaExporter, KafkaReceiver, MemoryLimiter, ServerTls};
use crate::export::balance::BalanceSettings;
use crate::export::debug::{Sampling, Verbosity};
use crate::export::file::FileSettings;
use crate::export::otlp::OtlpSettings;
use crate::export::resolver::ResolverSettings;
use crate::export::retry::RetrySettings;

/// Receivers, pipelines and exporters.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Where requests come in. At most 65,535.
    pub receivers: Vec<Receiver>,
    /// Which way they go.
    pub pipelines: Vec<Pipeline>,
}

/// An `otlp` or `kafka` receiver.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// `otlp` or `otlp/name`.
    pub name: String,
    /// OTLP over gRPC, if at all.
    pub grpc: Option<Server>,
    /// OTLP over HTTP, if at all.
    pub http: Option<Server>,
    /// What only HTTP has.
    pub web: Web,
    /// Topics, if it reads those; then it listens nowhere.
    pub kafka: Option<Box<Topics>>,
}

/// What a `kafka` receiver reads, and how far back.
#[derive(Clone, Debug, PartialEq)]
pub struct Topics {
    /// What it says.
    pub receiver: KafkaReceiver,
    /// Which of its signals go anywhere.
    pub signals: Vec<Signal>,
    /// `look_back` of `extensions::throughline`.
    pub look_back: Duration,
}

/// One place where a receiver listens, and what stands before its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where; port 0 takes any free one.
    pub address: SocketAddr,
    /// `tls`
    pub tls: Option<ServerTls>,
    /// `auth`: the `bearertokenauth` it names.
    pub authenticator: Option<BearerToken>,
    /// `max_recv_msg_size_mib`, `max_request_body_size`. `None`, here and below: as [`crate::Limits`] says.
    pub message_bytes: Option<usize>,
    /// `read_header_timeout`
    pub header_timeout: Option<Duration>,
    /// `idle_timeout`
    pub idle_timeout: Option<Duration>,
}

/// What only OTLP over HTTP has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// `traces_url_path`
    pub traces_path: String,
    /// `logs_url_path`
    pub logs_path: String,
    /// `metrics_url_path`
    pub metrics_path: String,
    /// `cors`
    pub cors: Option<Cors>,
}

impl Server {
    /// In the clear, open to everybody who reaches it.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            tls: None,
            authenticator: None,
            message_bytes: None,
            header_timeout: None,
            idle_timeout: None,
        }
    }
}

impl Default for Web {
    fn default() -> Self {
        Self {
            traces_path: "/v1/traces".to_owned(),
            logs_path: "/v1/logs".to_owned(),
            metrics_path: "/v1/metrics".to_owned(),
            cors: None,
        }
    }
}

/// From receivers through processors to exporters.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// `traces`, `logs/checkout`.
    pub name: String,
    /// What it carries. Metrics have no pipeline: their last values are served at `/metrics`.
    pub signal: Signal,
    /// Indexes into [`Topology::receivers`]; in what runs, the numbers of these in the journal.
    pub receivers: Vec<u16>,
    /// `tail_sampling`, if the pipeline samples.
    pub sampling: Option<Arc<Plan>>,
    /// Whom its traces are divided among.
    pub division: Division,
    /// `memory_limiter`
    pub memory: Option<Memory>,
    /// `batch`, or what is done without one.
    pub batch: Batch,
    /// Where it ends.
    pub ends: Vec<End>,
}

/// Whom the traces of a pipeline that samples are divided among.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Division {
    /// The threads of this process.
    #[default]
    Shards,
    /// The processes of a consumer group, by partition.
    Partitions,
}

/// A `memory_limiter`, by its name: with the same name it is the same one, whichever pipeline has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// `memory_limiter` or `memory_limiter/name`.
    pub name: String,
    /// What it says.
    pub limiter: MemoryLimiter,
}

/// How items are gathered into requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// A request goes when it holds so many items.
    pub items: u64,
    /// Or when its first item has waited for more.
    pub wait: Wait,
    /// It never holds more than these.
    pub most_items: Option<u64>,
}

/// How long what is to be sent waits for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// `timeout` of a `batch` processor: so long.
    Always(Duration),
    /// Without one: not at all, unless a request was made just before. Until so long after that, what comes goes together: who
    /// sends little sends at once, who sends much sends large requests.
    BehindAnother(Duration),
}

impl Wait {
    /// What is left of it for what came at `since`, when the request before was made at `before`.
    pub(crate) fn left(self, since: Instant, before: Option<Instant>) -> Duration {
        match self {
            Self::Always(wait) => wait.saturating_sub(since.elapsed()),
            Self::BehindAnother(wait) => {
                before.map_or(Duration::ZERO, |before| wait.saturating_sub(before.elapsed()))
            }
        }
    }
}

/// One end of a pipeline.
#[derive(Clone, Debug)]
pub enum End {
    /// The store of this process.
    Store,
    /// An exporter.
    Exporter(Box<Exporter>),
}

/// An exporter as one pipeline uses it.
#[derive(Clone, Debug)]
pub struct Exporter {
    /// `otlp` or `otlphttp/tempo`.
    pub name: String,
    /// Requests under way at one time.
    pub in_flight: usize,
    /// What happens when sending fails.
    pub retry: RetrySettings,
    /// Where it sends.
    pub settings: ExporterSettings,
}

/// What is needed to make an exporter.
#[derive(Clone, Debug)]
pub enum ExporterSettings {
    /// OTLP over gRPC or HTTP.
    Otlp(OtlpSettings),
    /// The members of a ring, each over gRPC.
    LoadBalancing(ResolverSettings, BalanceSettings),
    /// Topics of Kafka.
    Kafka(Box<KafkaExporter>),
    /// A file.
    File(FileSettings),
    /// [`crate::Config::debug_output`].
    Debug(Verbosity, Sampling),
}

impl Default for Batch {
    fn default() -> Self {
        Self { items: 8192, wait: Wait::BehindAnother(Duration::from_millis(50)), most_items: None }
    }
}

impl Topology {
    /// Whether decisions, or how far exporters are, go into the journal: that takes room of its own.
    pub(crate) fn writes_books(&self) -> bool {
        self.pipelines.iter().any(|pipeline| {
            pipeline.sampling.is_some() || pipeline.ends.iter().any(|end| matches!(end, End::Exporter(_)))
        })
    }

    /// What a process does that was told nothing: one receiver, everything into the store.
    #[must_use]
    pub fn store_everything(receiver: Receiver) -> Self {
        let pipeline = |name: &str, signal| Pipeline {
            name: name.to_owned(),
            signal,
            receivers: vec![0],
            sampling: None,
            division: Division::default(),
            memory: None,
            batch: Batch::default(),
            ends: vec![End::Store],
        };
        Self {
            receivers: vec![receiver],
            pipelines: vec![pipeline("traces", Signal::Traces), pipeline("logs", Signal::Logs)],
        }
    }

    /// The same with each pipeline's receivers under their numbers in the journal, given for each of
    /// [`Topology::receivers`].
    pub(crate) fn numbered(mut self, numbers: &[u16]) -> Self {
        for pipeline in &mut self.pipelines {
            let numbered = pipeline.receivers.iter().filter_map(|index| numbers.get(usize::from(*index)));
            pipeline.receivers = numbered.copied().collect();
        }
        self
    }
}
