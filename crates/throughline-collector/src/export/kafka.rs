//! Kafka out: one request becomes records, one [`Outcome`] once every one of them has its delivery report. With
//! `partition_traces_by_id` a trace is a record, under the key and hash that the OpenTelemetry Collector's exporter uses, so
//! that both may write to one topic.
//!
//! `parcels` cuts, `client` knows librdkafka's settings. Nothing is queued here beyond the request at hand: what waits is in
//! the journal.

pub(crate) mod client;
mod parcels;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
use throughline_otlp::Signal;

use self::client::Events;
use self::parcels::{Cutting, Parcel, cut, halves};
use super::{Outcome, Rejected, SettingError, Trouble};
use crate::configuration::{
    Acknowledgements, KafkaCompression, KafkaExporter as Settings, Partitioning, Topic,
};

/// How long to wait when librdkafka's own queue is full and nothing of ours is in it.
const FULL: Duration = Duration::from_millis(20);

/// Above this a request is cut off the runtime's threads.
const INLINE_BYTES: usize = 64 * 1024;

/// `kafka`: a producer and what it writes where.
pub struct KafkaExporter {
    producer: FutureProducer<Events>,
    traces: Topic,
    logs: Topic,
    partitioning: Partitioning,
    max_message_bytes: usize,
}

impl fmt::Debug for KafkaExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { traces, logs, partitioning, .. } = self;
        f.debug_struct("KafkaExporter")
            .field("traces", traces)
            .field("logs", logs)
            .field("partitioning", partitioning)
            .finish_non_exhaustive()
    }
}

impl KafkaExporter {
    /// Makes a producer; connects to nothing yet.
    ///
    /// # Errors
    /// [`SettingError`] if librdkafka, or this build of it, cannot do what is asked for.
    pub fn new(settings: &Settings) -> Result<Self, SettingError> {
        let producer = producer_config(settings)?;
        let events = Events::of("exporter");
        let producer = producer
            .create_with_context(events)
            .map_err(|error| SettingError::new("producer", error.to_string()))?;
        Ok(Self {
            producer,
            traces: settings.traces.clone(),
            logs: settings.logs.clone(),
            partitioning: settings.partitioning,
            max_message_bytes: usize::try_from(settings.max_message_bytes).unwrap_or(usize::MAX),
        })
    }

    /// Whether these settings can be honoured, without making anything.
    pub(crate) fn check(settings: &Settings) -> Result<(), SettingError> {
        let config = producer_config(settings)?;
        config
            .create_native_config()
            .map(drop)
            .map_err(|error| SettingError::new("producer", error.to_string()))
    }

    /// Sends one request and waits until the broker has all of it, as `required_acks` says. [`Outcome::Retry`] has in `rest`
    /// what it has not.
    pub async fn send(&self, signal: Signal, request: Bytes) -> Outcome {
        let topic = match signal {
            Signal::Traces => &self.traces,
            Signal::Logs => &self.logs,
            Signal::Metrics => return Outcome::Refused { why: "metrics are not exported".to_owned() },
        };
        let by_id = signal == Signal::Traces && self.partitioning == Partitioning::TraceId;
        let cutting = Cutting { signal, encoding: topic.encoding, by_id, most: self.max_message_bytes };
        let parcels = if request.len() <= INLINE_BYTES {
            cut(cutting, request)
        } else {
            let cutting = tokio::task::spawn_blocking(move || cut(cutting, request)).await;
            match cutting {
                Ok(parcels) => parcels,
                Err(_) => return Outcome::unreachable("the collector is stopping"),
            }
        };
        match parcels {
            Ok(parcels) => self.deliver(&topic.name, cutting, parcels).await,
            Err(why) => Outcome::Refused { why },
        }
    }

    /// All parcels at once; what the broker finds too large then goes alone, and in halves.
    async fn deliver(&self, topic: &str, cutting: Cutting, parcels: Vec<Parcel>) -> Outcome {
        let mut end = End::default();
        let mut too_large = VecDeque::new();
        for (parcel, delivered) in self.produce(topic, parcels).await {
            match delivered {
                Err(error) if is_too_large(&error) => too_large.push_back(parcel),
                other => end.note(&parcel, other),
            }
        }
        while let Some(parcel) = too_large.pop_front() {
            for (parcel, delivered) in self.produce(topic, vec![parcel]).await {
                let smaller = match &delivered {
                    Err(error) if is_too_large(error) => halves(cutting, &parcel),
                    _ => None,
                };
                match smaller {
                    Some(smaller) => too_large.extend(smaller),
                    None => end.note(&parcel, delivered),
                }
            }
        }
        end.outcome()
    }

    /// Hands parcels to librdkafka and waits for what becomes of each.
    async fn produce(&self, topic: &str, parcels: Vec<Parcel>) -> Vec<(Parcel, Result<(), KafkaError>)> {
        let mut done = Vec::with_capacity(parcels.len());
        let mut waiting: VecDeque<(Parcel, DeliveryFuture)> = VecDeque::new();
        for parcel in parcels {
            loop {
                let mut record = FutureRecord::to(topic).payload(&*parcel.payload);
                if let Some(key) = &parcel.key {
                    record = record.key(key.as_str());
                }
                match self.producer.send_result(record) {
                    Ok(delivery) => {
                        waiting.push_back((parcel, delivery));
                        break;
                    }
                    // What is in the way leaves, or runs into its time limit.
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                        match waiting.pop_front() {
                            Some((earlier, delivery)) => done.push((earlier, reported(delivery).await)),
                            // tidy: sleeps, because librdkafka does not say when its queue has room.
                            None => tokio::time::sleep(FULL).await,
                        }
                    }
                    Err((error, _)) => {
                        done.push((parcel, Err(error)));
                        break;
                    }
                }
            }
        }
        for (parcel, delivery) in waiting {
            done.push((parcel, reported(delivery).await));
        }
        done
    }
}

async fn reported(delivery: DeliveryFuture) -> Result<(), KafkaError> {
    match delivery.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _))) => Err(error),
        Err(_) => Err(KafkaError::Canceled),
    }
}

/// What the records of one request have come to.
#[derive(Default)]
struct End {
    rest: Vec<u8>,
    again: Option<(Trouble, String)>,
    rejected: Rejected,
    accepted: bool,
}

impl End {
    fn note(&mut self, parcel: &Parcel, delivered: Result<(), KafkaError>) {
        match delivered {
            Ok(()) => self.accepted = true,
            Err(error) if is_the_records_fault(&error) => {
                self.rejected.items += parcel.items;
                let advice = if is_too_large(&error) {
                    "; one item alone is larger than the topic, or `producer::max_message_bytes`, allows"
                } else {
                    ""
                };
                self.rejected.why = format!("{error}{advice}");
            }
            Err(error) => {
                // Requests one after the other are one request.
                self.rest.extend_from_slice(&parcel.request);
                let trouble = trouble(&error);
                // That somebody answered is the better news.
                if self.again.as_ref().is_none_or(|(known, _)| *known == Trouble::Connection) {
                    self.again = Some((trouble, error.to_string()));
                }
            }
        }
    }

    fn outcome(self) -> Outcome {
        let Self { rest, again, rejected, accepted } = self;
        if let Some((trouble, mut why)) = again {
            // What was refused on the way is said with what is tried again: nobody else would say it.
            if rejected.items > 0 {
                why = format!("{why}; {} items refused: {}", rejected.items, rejected.why);
            }
            return Outcome::Retry { after: None, trouble, why, rest: Some(rest.into()) };
        }
        if !accepted && rejected.items > 0 {
            return Outcome::Refused { why: rejected.why };
        }
        Outcome::Accepted { rejected: (rejected.items > 0).then_some(rejected) }
    }
}

fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    error.rdkafka_error_code()
}

fn is_too_large(error: &KafkaError) -> bool {
    code(error) == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

/// Nothing but another record would help. Everything else may be put right at the broker while the record waits.
fn is_the_records_fault(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{InvalidRecord, InvalidTimestamp, MessageSizeTooLarge};
    matches!(code(error), Some(MessageSizeTooLarge | InvalidRecord | InvalidTimestamp))
}

fn trouble(error: &KafkaError) -> Trouble {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, MessageTimedOut};
    match code(error) {
        None | Some(AllBrokersDown | BrokerTransportFailure | MessageTimedOut) => Trouble::Connection,
        Some(_) => Trouble::Destination,
    }
}

fn producer_config(settings: &Settings) -> Result<rdkafka::ClientConfig, SettingError> {
    let mut config = client::config(&settings.client)?;
    let compression = match settings.compression {
        KafkaCompression::None => "none",
        KafkaCompression::Gzip => "gzip",
        KafkaCompression::Snappy => "snappy",
        KafkaCompression::Lz4 => "lz4",
        KafkaCompression::Zstd => {
            return Err(SettingError::new(
                "producer.compression",
                "zstd is not in this build's Kafka client; use lz4, snappy, gzip or none",
            ));
        }
    };
    let acks = match settings.acknowledgements {
        Acknowledgements::None => "0",
        Acknowledgements::Leader => "1",
        Acknowledgements::All => "all",
    };
    if settings.timeout <= settings.linger {
        return Err(SettingError::new("timeout", "must be longer than `producer::linger`"));
    }
    config
        .set("partitioner", client::PARTITIONER)
        .set("compression.type", compression)
        .set("acks", acks)
        .set("message.max.bytes", settings.max_message_bytes.to_string())
        .set("linger.ms", settings.linger.as_millis().to_string())
        .set("message.timeout.ms", settings.timeout.as_millis().max(1).to_string());
    Ok(config)
}
