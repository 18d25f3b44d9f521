//! The two Kafka clients, made once: what any service has, traced or not. Only the type of the client says that it is
//! traced.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::{
    ClientConfig, ClientContext, Message as _,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    producer::{FutureProducer, FutureRecord, Producer},
};
use serde::Serialize;
use throughline::kafka::{Received, TracedConsumer, TracedProducer};

use crate::{Ready, Service, Settings};

/// Where a service's events go.
pub enum Outbox {
    /// The drop-in client.
    Traced(TracedProducer),
    /// rdkafka's own, which loses the trace. Only for the test that wants that.
    Untraced(FutureProducer),
}

impl Outbox {
    /// Connects; nothing is sent before the first event.
    ///
    /// # Errors
    /// If rdkafka refuses the configuration.
    pub fn connect(service: Service, settings: &Settings, config: &mut ClientConfig) -> KafkaResult<Outbox> {
        config.set("bootstrap.servers", &settings.bootstrap).set("client.id", service.name());
        match settings.break_injection {
            Some(broken) if broken == service => Ok(Outbox::Untraced(config.create()?)),
            _ => Ok(Outbox::Traced(config.create()?)),
        }
    }

    /// Sends one event and waits until Kafka has it.
    ///
    /// # Errors
    /// If Kafka did not take it in time.
    pub async fn publish(&self, topic: &str, key: &str, event: &impl Serialize) -> KafkaResult<()> {
        let payload = serde_json::to_vec(event).expect("events are plain data, which has a JSON form");
        let record = FutureRecord::to(topic).key(key).payload(&payload);
        let wait = Duration::from_secs(1); // for room in the queue
        match self {
            Outbox::Traced(producer) => {
                producer.send(record, wait).await.map(drop).map_err(|(error, _)| error)
            }
            Outbox::Untraced(producer) => {
                producer.send(record, wait).await.map(drop).map_err(|(error, _)| error)
            }
        }
    }

    /// Waits for what is under way.
    pub fn flush(&self) {
        let flushed = match self {
            Outbox::Traced(producer) => producer.flush(Duration::from_secs(5)),
            Outbox::Untraced(producer) => producer.flush(Duration::from_secs(5)),
        };
        if let Err(error) = flushed {
            tracing::warn!(%error, "some events are not on their way");
        }
    }
}

/// A member of the group named like its service. `ready` is called once it has partitions.
///
/// # Errors
/// If rdkafka refuses the configuration or the subscription.
pub fn subscribe(
    service: Service,
    settings: &Settings,
    topic: &str,
    ready: impl FnOnce(Ready) + Send + 'static,
) -> KafkaResult<TracedConsumer<Membership>> {
    let consumer: TracedConsumer<Membership> = ClientConfig::new()
        .set("bootstrap.servers", &settings.bootstrap)
        .set("client.id", service.name())
        .set("group.id", service.name())
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000") // a member that was killed hands its partitions on soon
        .set("heartbeat.interval.ms", "2000")
        .set("enable.auto.offset.store", "false") // an offset counts once its message is done: at least once
        .set("allow.auto.create.topics", "true")
        .set("topic.metadata.refresh.interval.ms", "1000")
        .create_with_context(Membership(Mutex::new(Some(Box::new(ready)))))?;
    consumer.subscribe(&[topic])?;
    Ok(consumer)
}

/// Goes on after errors that librdkafka recovers from by itself.
///
/// # Errors
/// With the error, if it is final.
pub fn survive(error: KafkaError) -> KafkaResult<()> {
    match error.rdkafka_error_code() {
        None | Some(RDKafkaErrorCode::Fatal) => Err(error),
        Some(_) => {
            tracing::warn!(%error, "kafka is in trouble; going on");
            Ok(())
        }
    }
}

/// The message is done: the next commit covers it. If its partition has gone to another member meanwhile, that one gets
/// the message again.
pub fn done(consumer: &TracedConsumer<Membership>, message: &Received<'_>) {
    if let Err(error) = consumer.store_offset_from_message(message) {
        tracing::warn!(%error, offset = message.offset(), "not ours any more; it comes again elsewhere");
    }
}

/// Leaves the group with everything that is done committed.
pub fn leave(consumer: &TracedConsumer<Membership>) {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
        Err(error) => tracing::warn!(%error, "not committed; the last messages will come again"),
    }
}

type Announce = Box<dyn FnOnce(Ready) + Send>;

/// Hears of the group's assignments.
pub struct Membership(Mutex<Option<Announce>>);

impl ClientContext for Membership {}

impl ConsumerContext for Membership {
    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(partitions) = rebalance else { return };
        tracing::info!(partitions = partitions.count(), "assigned");
        if partitions.count() > 0
            && let Some(ready) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            ready(Ready::Assigned { partitions: partitions.count() });
        }
    }
}
