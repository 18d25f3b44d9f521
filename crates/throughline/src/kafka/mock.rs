//! An in-process Kafka for demos and quick tests: librdkafka's own mock cluster, which speaks the real protocol. It is
//! no evidence for semantics: transactions mean nothing in it, and it keeps only 5 MiB of a partition.

use super::raw;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, Producer as _};
use std::fmt;
use std::time::Duration;

/// A Kafka of one broker inside this process, gone when it is dropped. Other processes can connect to it.
///
/// ```
/// # fn main() -> Result<(), rdkafka::error::KafkaError> {
/// let kafka = throughline::kafka::MockKafka::start()?;
/// kafka.create_topic("orders", 3)?;
/// let mut config = rdkafka::ClientConfig::new();
/// config.set("bootstrap.servers", kafka.bootstrap_servers());
/// # Ok(())
/// # }
/// ```
#[must_use = "the broker ends when it is dropped"]
pub struct MockKafka {
    /// The cluster belongs to the client that created it.
    owner: BaseProducer,
    bootstrap: String,
}

impl MockKafka {
    /// Starts the broker on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When librdkafka cannot start it, which means that there is no memory or no port.
    pub fn start() -> KafkaResult<MockKafka> {
        let owner: BaseProducer = ClientConfig::new().set("test.mock.num.brokers", "1").create()?;
        // The default of three seconds waits for more members, which matters to real groups only.
        raw::set_join_delay(owner.client(), Duration::ZERO);
        let cluster = owner.client().mock_cluster().ok_or_else(no_cluster)?;
        let bootstrap = cluster.bootstrap_servers();
        drop(cluster);
        Ok(MockKafka { owner, bootstrap })
    }

    /// The value of `bootstrap.servers`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// When it exists, or the name is not one.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> KafkaResult<()> {
        self.owner.client().mock_cluster().ok_or_else(no_cluster)?.create_topic(topic, partitions, 1)
    }
}

fn no_cluster() -> KafkaError {
    KafkaError::ClientCreation("librdkafka was built without its mock cluster".to_owned())
}

impl fmt::Debug for MockKafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockKafka").field("bootstrap_servers", &self.bootstrap).finish_non_exhaustive()
    }
}
