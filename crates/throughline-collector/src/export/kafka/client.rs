//! What every Kafka client of ours has in common: how brokers are reached, what librdkafka says in the log, and by which hash
//! a key finds its partition.

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::configuration::{HostPort, KafkaClient, SaslMechanism};
use crate::export::SettingError;

/// librdkafka's name for what Sarama, and with it the OpenTelemetry Collector, does with a key: FNV-1a of 32 bits, its
/// absolute value as a signed number, modulo the partitions. Records without a key go anywhere.
pub(crate) const PARTITIONER: &str = "fnv1a_random";

/// The partition of a key among so many, by the same hash.
pub(crate) fn partition(key: &[u8], partitions: u32) -> u32 {
    let hash =
        key.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    hash.cast_signed().unsigned_abs() % partitions.max(1)
}

/// How brokers are reached; what this build's client cannot do is refused.
pub(crate) fn config(client: &KafkaClient) -> Result<ClientConfig, SettingError> {
    if client.tls.is_some() {
        return Err(SettingError::new(
            "tls",
            "this build's Kafka client has no TLS; leave it out, and reach the brokers over a network that needs none",
        ));
    }
    let mut config = ClientConfig::new();
    let brokers: Vec<String> = client.brokers.iter().map(HostPort::to_string).collect();
    config.set("bootstrap.servers", brokers.join(",")).set("client.id", &client.client_id);
    if let Some(login) = &client.login {
        if login.mechanism != SaslMechanism::Plain {
            return Err(SettingError::new(
                "auth.sasl.mechanism",
                "SCRAM needs TLS's library, which is not in this build's Kafka client; use PLAIN",
            ));
        }
        config
            .set("security.protocol", "sasl_plaintext")
            .set("sasl.mechanisms", "PLAIN")
            .set("sasl.username", &login.user)
            .set("sasl.password", &login.password);
    }
    if let Some(rack) = &client.rack {
        config.set("client.rack", rack);
    }
    if let Some(refresh) = client.metadata_refresh {
        config.set("topic.metadata.refresh.interval.ms", refresh.as_millis().to_string());
    }
    Ok(config)
}

/// Where librdkafka's own messages go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Events {
    client: &'static str,
}

impl Events {
    /// Those of a client that is called so in the log.
    pub(crate) fn of(client: &'static str) -> Self {
        Self { client }
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(self.client, level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        report(self.client, &error, reason);
    }
}

impl ConsumerContext for Events {}

/// What librdkafka reports besides its log. That a partition has been read to its end is no trouble.
pub(crate) fn report(client: &'static str, error: &KafkaError, reason: &str) {
    if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
        tracing::warn!(kafka = client, %error, reason, "said by the Kafka client");
    }
}

/// A line of librdkafka's at the level it has here.
pub(crate) fn log(client: &'static str, level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => {
            tracing::error!(kafka = client, facility, message);
        }
        RDKafkaLogLevel::Warning => tracing::warn!(kafka = client, facility, message),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(kafka = client, facility, message),
        RDKafkaLogLevel::Debug => tracing::debug!(kafka = client, facility, message),
    }
}
