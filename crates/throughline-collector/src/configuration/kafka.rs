//! The Kafka receiver and exporter: the OpenTelemetry Collector's keys, so that both can stand on the same topics.

mod topics;

use std::time::Duration;

use super::endpoint::HostPort;
use super::read::{At, Block};
use super::sending::{self, Retry};
use super::tls::{self, ClientTls};
use topics::{Several, topic_name, topics};

pub use topics::{Encoding, Topic, Topics};

/// How brokers are reached.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaClient {
    /// `brokers`. Default localhost:9092.
    pub brokers: Vec<HostPort>,
    /// `client_id`. Default `otel-collector`.
    pub client_id: String,
    /// `tls`; without it in the clear.
    pub tls: Option<ClientTls>,
    /// `auth`
    pub login: Option<KafkaLogin>,
    /// `rack_id`: fetches from a replica nearby.
    pub rack: Option<String>,
    /// `metadata::refresh_interval`
    pub metadata_refresh: Option<Duration>,
}

/// `auth::sasl`, or `auth::plain_text`, which is SASL's `PLAIN`.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaLogin {
    /// `mechanism`
    pub mechanism: SaslMechanism,
    /// `username`
    pub user: String,
    /// `password`
    pub password: String,
}

/// `auth::sasl::mechanism`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslMechanism {
    /// `PLAIN`
    Plain,
    /// `SCRAM-SHA-256`
    ScramSha256,
    /// `SCRAM-SHA-512`
    ScramSha512,
}

/// The receiver `kafka`.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaReceiver {
    /// How brokers are reached.
    pub client: KafkaClient,
    /// `traces::topics`, or the one `traces::topic`. Default `otlp_spans`.
    pub traces: Topics,
    /// `logs::topics`. Default `otlp_logs`.
    pub logs: Topics,
    /// `metrics::topics`. Default `otlp_metrics`.
    pub metrics: Topics,
    /// `group_id`. Default `otel-collector`, so that it goes on where an OpenTelemetry Collector stopped.
    pub group: String,
    /// `group_instance_id`: a member that comes back within `session_timeout` keeps its partitions.
    pub group_instance: Option<String>,
    /// `initial_offset`
    pub initial_offset: InitialOffset,
    /// `session_timeout`. Default 10 s.
    pub session_timeout: Duration,
    /// `heartbeat_interval`. Default 3 s.
    pub heartbeat: Duration,
    /// `min_fetch_size`, in bytes. Default 1.
    pub min_fetch_bytes: u32,
    /// `max_fetch_size`, in bytes, over all partitions. Default 50 MiB.
    pub max_fetch_bytes: u32,
    /// `max_partition_fetch_size`, in bytes. Default 1 MiB.
    pub max_partition_fetch_bytes: u32,
    /// `max_fetch_wait`. Default 250 ms.
    pub max_fetch_wait: Duration,
    /// Ours, `decisions_topic`: the compacted topic of decisions. Default the traces' topic followed by `_decisions`.
    pub decisions: Option<String>,
}

/// `initial_offset`: where a group begins that has no offset yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitialOffset {
    /// `latest`
    #[default]
    Latest,
    /// `earliest`
    Earliest,
}

/// The exporter `kafka`.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaExporter {
    /// How brokers are reached.
    pub client: KafkaClient,
    /// `traces::topic`. Default `otlp_spans`.
    pub traces: Topic,
    /// `logs::topic`. Default `otlp_logs`.
    pub logs: Topic,
    /// `metrics::topic`. Default `otlp_metrics`.
    pub metrics: Topic,
    /// `partition_traces_by_id`
    pub partitioning: Partitioning,
    /// `timeout` of one attempt. Default 5 s.
    pub timeout: Duration,
    /// `retry_on_failure`
    pub retry: Retry,
    /// `sending_queue::num_consumers`
    pub in_flight: u32,
    /// `producer::compression`. Default none.
    pub compression: KafkaCompression,
    /// `producer::required_acks`. Default 1, the leader's.
    pub acknowledgements: Acknowledgements,
    /// `producer::max_message_bytes`. Default 1,000,000.
    pub max_message_bytes: u32,
    /// `producer::linger`. Default 10 ms.
    pub linger: Duration,
}

/// `partition_traces_by_id`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Partitioning {
    /// Any partition.
    #[default]
    Any,
    /// A trace's spans all go to one, by the hash of the 32 hex digits of its id.
    TraceId,
}

/// `producer::compression`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KafkaCompression {
    /// `none`
    #[default]
    None,
    /// `gzip`
    Gzip,
    /// `snappy`
    Snappy,
    /// `lz4`
    Lz4,
    /// `zstd`
    Zstd,
}

/// `producer::required_acks`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledgements {
    /// `0`: a record may be lost.
    None,
    /// `1`: a record is lost with its leader.
    #[default]
    Leader,
    /// `-1` or `all`
    All,
}

/// A password never shows in a log.
impl std::fmt::Debug for KafkaLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLogin").field("mechanism", &self.mechanism).field("user", &self.user).finish()
    }
}

const CLIENT: &str = "librdkafka, the client used here, chooses it";
const OFFSETS: &str = "an offset is committed once everything below it is decided and delivered";

pub(super) fn receiver(at: &At<'_>) -> Option<KafkaReceiver> {
    let mut block = at.block()?;
    let [traces, logs, metrics] = topics(&mut block, Several::Yes);
    let bytes = |block: &mut Block<'_>, key, default: u32| {
        let at = block.get(key).and_then(|at| at.integer(1, i32::MAX.into()));
        at.and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
    };
    let time = |block: &mut Block<'_>, key, default| {
        block.get(key).and_then(|at| at.some_time()).unwrap_or(Duration::from_millis(default))
    };
    let offsets = [("latest", InitialOffset::Latest), ("earliest", InitialOffset::Earliest)];
    let receiver = KafkaReceiver {
        client: client(&mut block),
        traces,
        logs,
        metrics,
        group: block.some_text("group_id").unwrap_or_else(|| "otel-collector".to_owned()),
        group_instance: block.some_text("group_instance_id"),
        initial_offset: block.get("initial_offset").and_then(|at| at.one_of(&offsets)).unwrap_or_default(),
        session_timeout: time(&mut block, "session_timeout", 10_000),
        heartbeat: time(&mut block, "heartbeat_interval", 3_000),
        min_fetch_bytes: bytes(&mut block, "min_fetch_size", 1),
        max_fetch_bytes: bytes(&mut block, "max_fetch_size", 50 << 20),
        max_partition_fetch_bytes: bytes(&mut block, "max_partition_fetch_size", 1 << 20),
        max_fetch_wait: time(&mut block, "max_fetch_wait", 250),
        decisions: block.get("decisions_topic").and_then(|at| at.text_with(topic_name)),
    };
    block.without_effect(&["autocommit", "message_marking", "error_backoff"], OFFSETS);
    block.without_effect(&["default_fetch_size", "group_rebalance_strategy"], CLIENT);
    block.without_effect(&["telemetry"], "all metrics are always on");
    block.unsupported(&["header_extraction"], "take it out: headers of records do not become attributes");
    block.finish();
    if receiver.heartbeat >= receiver.session_timeout {
        at.error("`heartbeat_interval` must be less than `session_timeout`");
    }
    Some(receiver)
}

pub(super) fn exporter(at: &At<'_>) -> Option<KafkaExporter> {
    let mut block = at.block()?;
    let one = |topics: Topics| Topic {
        name: topics.names.into_iter().next().unwrap_or_default(),
        encoding: topics.encoding,
    };
    let [traces, logs, metrics] = topics(&mut block, Several::No).map(one);
    let client = client(&mut block);
    let by_id = block.boolean("partition_traces_by_id").unwrap_or(false);
    let timeout = sending::time_limit(&mut block, Duration::from_secs(5));
    let retry = sending::retry(&mut block);
    let in_flight = sending::queue(&mut block);
    let mut exporter = KafkaExporter {
        client,
        traces,
        logs,
        metrics,
        partitioning: if by_id { Partitioning::TraceId } else { Partitioning::Any },
        timeout,
        retry,
        in_flight,
        compression: KafkaCompression::default(),
        acknowledgements: Acknowledgements::default(),
        max_message_bytes: 1_000_000,
        linger: Duration::from_millis(10),
    };
    if let Some(mut producer) = block.get("producer").and_then(|at| at.block()) {
        read_producer(&mut producer, &mut exporter);
        producer.finish();
    }
    block.unsupported(
        NOT_BY_THESE,
        "traces are partitioned by `partition_traces_by_id`, logs and metrics are not",
    );
    block.finish();
    Some(exporter)
}

const NOT_BY_THESE: &[&str] = &[
    "topic_from_attribute",
    "include_metadata_keys",
    "partition_metrics_by_resource_attributes",
    "partition_logs_by_resource_attributes",
    "partition_logs_by_trace_id",
];

fn read_producer(block: &mut Block<'_>, exporter: &mut KafkaExporter) {
    let compressions = [
        ("none", KafkaCompression::None),
        ("gzip", KafkaCompression::Gzip),
        ("snappy", KafkaCompression::Snappy),
        ("lz4", KafkaCompression::Lz4),
        ("zstd", KafkaCompression::Zstd),
    ];
    let acknowledgements = [
        ("0", Acknowledgements::None),
        ("1", Acknowledgements::Leader),
        ("-1", Acknowledgements::All),
        ("all", Acknowledgements::All),
    ];
    let most = block.get("max_message_bytes").and_then(|at| at.integer(1_000, 1_000_000_000));
    exporter.max_message_bytes = most.and_then(|most| u32::try_from(most).ok()).unwrap_or(1_000_000);
    exporter.compression =
        block.get("compression").and_then(|at| at.one_of(&compressions)).unwrap_or_default();
    exporter.acknowledgements =
        block.get("required_acks").and_then(|at| at.one_of(&acknowledgements)).unwrap_or_default();
    exporter.linger = block.duration("linger").unwrap_or(Duration::from_millis(10));
    let keys = ["compression_params", "flush_max_messages", "allow_auto_topic_creation"];
    block.without_effect(
        &keys,
        "librdkafka, the client used here, chooses it; topics are the broker's to create",
    );
}

fn client(block: &mut Block<'_>) -> KafkaClient {
    let brokers = block.get("brokers");
    let listed = brokers.as_ref().map(At::list).unwrap_or_default();
    if let (Some(at), []) = (&brokers, listed.as_slice()) {
        at.error("names no broker");
    }
    let broker = |at: &At<'_>| at.text_with(|text| HostPort::to_reach(text, Some(9092)));
    let default = || HostPort::to_reach("localhost:9092", None).into_iter().collect();
    let client = KafkaClient {
        brokers: brokers.map_or_else(default, |_| listed.iter().filter_map(broker).collect()),
        client_id: block.some_text("client_id").unwrap_or_else(|| "otel-collector".to_owned()),
        tls: block.get("tls").and_then(|at| tls::client(&at)),
        login: block.get("auth").and_then(|at| login(&at)),
        rack: block.some_text("rack_id"),
        metadata_refresh: block.get("metadata").and_then(|at| metadata(&at)),
    };
    let keys = ["protocol_version", "resolve_canonical_bootstrap_servers_only", "use_leader_epoch"];
    block.without_effect(&keys, CLIENT);
    client
}

fn metadata(at: &At<'_>) -> Option<Duration> {
    let mut block = at.block()?;
    let refresh = block.get("refresh_interval").and_then(|at| at.some_time());
    block.without_effect(&["full", "retry"], CLIENT);
    block.finish();
    refresh
}

fn login(at: &At<'_>) -> Option<KafkaLogin> {
    let mut block = at.block()?;
    let plain = block.get("plain_text").and_then(|at| account(&at, false));
    let sasl = block.get("sasl").and_then(|at| account(&at, true));
    block.unsupported(&["kerberos"], "use `sasl`");
    block.unsupported(&["tls"], "write `tls` beside `auth`");
    block.finish();
    sasl.or(plain)
}

fn account(at: &At<'_>, sasl: bool) -> Option<KafkaLogin> {
    let mut block = at.block()?;
    let user = block.required("username").and_then(|at| at.filled());
    let password = block.required("password").and_then(|at| at.text());
    let mut mechanism = Some(SaslMechanism::Plain);
    if sasl {
        let words = [
            ("PLAIN", SaslMechanism::Plain),
            ("SCRAM-SHA-256", SaslMechanism::ScramSha256),
            ("SCRAM-SHA-512", SaslMechanism::ScramSha512),
        ];
        mechanism = block.required("mechanism").and_then(|at| at.one_of(&words));
        block.without_effect(&["version"], CLIENT);
        block.unsupported(&["aws_msk"], "use `mechanism: SCRAM-SHA-512`");
    }
    block.finish();
    Some(KafkaLogin { mechanism: mechanism?, user: user?, password: password? })
}
