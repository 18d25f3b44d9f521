//! The demo's Kafka: librdkafka's mock cluster in this process, or a real one that is named. Either way the four topics
//! are there before anybody subscribes.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use throughline::kafka::MockKafka;
use throughline_checkout::events::{NOTIFICATIONS, ORDERS, PAYMENTS, SETTLEMENTS};

use crate::exit::Failure;
use crate::output::Output;
use crate::quantity::show_length;

/// Partitions of each topic that is created.
const PARTITIONS: i32 = 3;
/// How often it is told that a real Kafka is still being waited for.
const PROGRESS: Duration = Duration::from_secs(5);
const TOPICS: [&str; 4] = [ORDERS, PAYMENTS, NOTIFICATIONS, SETTLEMENTS];

/// A Kafka that has the demo's topics.
pub(super) enum Broker {
    /// In this process; ends when it is dropped.
    Mock(MockKafka),
    /// Somebody's.
    Real(String),
}

impl Broker {
    /// Starts the embedded one, or finds the named one, which may take so long to answer.
    pub(super) async fn start(
        bootstrap: Option<&str>,
        patience: Duration,
        output: &Output,
    ) -> Result<Self, Failure> {
        match bootstrap {
            Some(bootstrap) => {
                let waiting = format!("waiting for Kafka at {bootstrap}, {} at most", show_length(patience));
                telling(&waiting, create_topics(bootstrap, patience), output).await?;
                Ok(Self::Real(bootstrap.to_owned()))
            }
            None => {
                mock().map_err(|error| Failure::Start(format!("the embedded Kafka cannot start: {error}")))
            }
        }
    }

    /// The value of `bootstrap.servers`.
    pub(super) fn bootstrap(&self) -> &str {
        match self {
            Self::Mock(kafka) => kafka.bootstrap_servers(),
            Self::Real(bootstrap) => bootstrap,
        }
    }

    /// Which of the two, for a person.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Mock(_) => "embedded: librdkafka's mock cluster",
            Self::Real(_) => "yours",
        }
    }
}

fn mock() -> Result<Broker, KafkaError> {
    let kafka = MockKafka::start()?;
    for topic in TOPICS {
        kafka.create_topic(topic, PARTITIONS)?;
    }
    Ok(Broker::Mock(kafka))
}

/// Does the work, and says every now and then what it is waiting for.
async fn telling<T>(waiting: &str, work: impl Future<Output = T>, output: &Output) -> T {
    let mut work = std::pin::pin!(work);
    // The first tick comes at once.
    let mut ticks = tokio::time::interval(PROGRESS);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => output.talk(waiting),
        }
    }
}

/// Creates what is missing; what is there stays as it is.
async fn create_topics(bootstrap: &str, patience: Duration) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::Start(format!(
            "Kafka at {bootstrap} did not create the demo's topics: {error}; is --bootstrap right? It had {}; --timeout says \
             how long it gets",
            show_length(patience)
        ))
    };
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().map_err(|error| failed(&error))?;
    // -1: as many replicas as the cluster gives by default.
    let topics = TOPICS.map(|topic| NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(-1)));
    let options = AdminOptions::new().request_timeout(Some(patience)).operation_timeout(Some(patience));
    let created = admin.create_topics(&topics, &options).await.map_err(|error| failed(&error))?;
    for outcome in created {
        match outcome {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(failed(&format!("{topic}: {code}"))),
        }
    }
    Ok(())
}
