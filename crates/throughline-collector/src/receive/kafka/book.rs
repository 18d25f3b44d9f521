//! The book that the samplers of a group share: a compacted topic with as many partitions as the one they read. [`Writer`] is
//! where this process writes; what is on its way is known by the lowest position of the journal that it stands for.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use throughline_otlp::TraceId;
use throughline_sampling::decision::{Decision, Verdict, Wish};

use super::entry::{Delivery, Entry};
use crate::configuration::KafkaClient;
use crate::export::SettingError;
use crate::export::kafka::client;
use crate::sampler::group::{Book, passes_back};
use crate::sampler::record::Decided;

/// Where decisions and wishes are written.
pub(crate) struct Writer {
    producer: ThreadedProducer<Reports>,
    topic: String,
    pipeline: String,
    partitions: u32,
    number: AtomicU64,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Position in the journal that is needed until a record is in the topic, and the record's number.
    under_way: BTreeSet<(u64, u64)>,
    /// What librdkafka had no room for, or gave up: written again.
    again: VecDeque<Writing>,
}

/// A record on its way.
#[derive(Clone)]
struct Writing {
    partition: u32,
    key: Arc<str>,
    value: Arc<[u8]>,
    needs_from: u64,
    number: u64,
}

struct Reports(Arc<Mutex<State>>);

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log("decisions", level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::report("decisions", &error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Writing>;

    fn delivery(&self, result: &DeliveryResult<'_>, writing: Box<Writing>) {
        let mut state = locked(&self.0);
        match result {
            Ok(_) => {
                state.under_way.remove(&(writing.needs_from, writing.number));
            }
            Err((error, _)) => {
                tracing::warn!(%error, key = %writing.key, "a decision is not in its topic yet; it is written again");
                state.again.push_back(*writing);
            }
        }
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    pub(crate) fn new(
        client: &KafkaClient,
        topic: &str,
        pipeline: &str,
        partitions: u32,
    ) -> Result<Self, SettingError> {
        let state = Arc::<Mutex<State>>::default();
        let mut config = client::config(client)?;
        config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "5");
        let producer = config
            .create_with_context(Reports(Arc::clone(&state)))
            .map_err(|error| SettingError::new("decisions_topic", error.to_string()))?;
        let (topic, pipeline) = (topic.to_owned(), pipeline.to_owned());
        Ok(Self { producer, topic, pipeline, partitions, number: AtomicU64::new(0), state })
    }

    /// How many partitions the topic has.
    pub(crate) fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Writes once more what did not arrive.
    pub(crate) fn write_again(&self) {
        let again: Vec<Writing> = locked(&self.state).again.drain(..).collect();
        again.into_iter().for_each(|writing| self.send(writing));
    }

    /// Waits until what was written is there, for so long at most.
    pub(crate) fn flush(&self, limit: Duration) {
        self.write_again();
        if let Err(error) = self.producer.flush(limit) {
            tracing::warn!(%error, "decisions are still on their way to their topic; offsets stay below them");
        }
    }

    fn write(&self, partition: u32, entry: &Entry, needs_from: u64) {
        let (key, value) = entry.encode(&self.pipeline);
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        locked(&self.state).under_way.insert((needs_from, number));
        self.send(Writing { partition, key: Arc::from(key), value: Arc::from(value), needs_from, number });
    }

    fn send(&self, writing: Writing) {
        let (key, value) = (Arc::clone(&writing.key), Arc::clone(&writing.value));
        let partition = i32::try_from(writing.partition).unwrap_or_default();
        let record = BaseRecord::with_opaque_to(&self.topic, Box::new(writing))
            .partition(partition)
            .key(&*key)
            .payload(&*value);
        if let Err((_, record)) = self.producer.send(record) {
            locked(&self.state).again.push_back(*record.delivery_opaque);
        }
    }
}

impl Book for Writer {
    fn decided(&self, partition: u32, decided: &Decided, needs_from: u64) {
        for decision in &decided.decisions {
            let open = passes_back(decision, needs_from);
            let delivery = if open { Delivery::Open } else { Delivery::Settled };
            self.write(partition, &Entry::Decision(delivery, decision.clone()), needs_from);
        }
    }

    fn delivered(&self, partition: u32, decision: &Decision) {
        debug_assert_eq!(decision.verdict, Verdict::Sampled);
        self.write(partition, &Entry::Decision(Delivery::Settled, decision.clone()), u64::MAX);
    }

    fn wish(&self, wish: Wish, needs_from: u64) {
        self.write(self.partition(wish.trace()), &Entry::Wish(wish), needs_from);
    }

    fn partition(&self, trace: TraceId) -> u32 {
        client::partition(trace.to_string().as_bytes(), self.partitions)
    }

    fn needs_from(&self) -> u64 {
        locked(&self.state).under_way.first().map_or(u64::MAX, |(needs_from, _)| *needs_from)
    }

    fn has_room(&self) -> bool {
        locked(&self.state).again.is_empty()
    }
}
