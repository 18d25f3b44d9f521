//! Kafka, through rdkafka: drop-in clients whose records carry their trace. Change the lines where clients are built, and
//! wrap the handler; every other call stays as it is.
//!
//! ```
//! use rdkafka::{ClientConfig, Message as _, consumer::Consumer as _, producer::FutureRecord};
//! use std::time::Duration;
//! use throughline::kafka::{Received, TracedConsumer, TracedProducer};
//!
//! # type Error = rdkafka::error::KafkaError;
//! # async fn doc(config: ClientConfig) -> Result<(), Error> {
//! let producer: TracedProducer = config.create()?; // was FutureProducer
//! let consumer: TracedConsumer = config.create()?; // was StreamConsumer
//! consumer.subscribe(&["orders"])?;
//! loop {
//!     let message = consumer.recv().await?;
//!     message.process(pay(&message, &producer)).await?; // was pay(&message, &producer).await?
//! }
//!
//! async fn pay(message: &Received<'_>, producer: &TracedProducer) -> Result<(), Error> {
//!     let record = FutureRecord::to("payments").key(message.key().unwrap_or_default()).payload("paid");
//!     producer.publish(record, Duration::from_secs(5)).await?;
//!     Ok(())
//! }
//! # }
//! ```
//!
//! Both dereference to rdkafka's clients, so everything else is called as before; where a function asks for
//! `&impl Consumer` or `&impl Producer`, pass `&*client`.
//!
//! # What becomes of each call of `FutureProducer`
//!
//! | call | with [`TracedProducer`] |
//! |---|---|
//! | `config.create()`, `create_with_context(…)`, `clone()` | the same; `client.id` and, if it is only one, the bootstrap server are read for spans and metrics |
//! | `send(record, timeout)` | span `send T` (PRODUCER) from the call to the delivery report; our headers replace whatever trace headers the record has. The same result, the same waiting for a full queue |
//! | … its future dropped | in the queue already: the record goes out and the span ends at the report. Still waiting for room: not sent, the span ends as `cancelled` |
//! | `send_result(record)` | the same span; [`TracedDelivery`] has the output of `DeliveryFuture`. Dropped, it is fire and forget: the span ends at the report all the same |
//! | … with a full queue | rdkafka's error and the record come back at once; the span ends with `error.type` = `_QUEUE_FULL` |
//! | a failed delivery | the span ends with the code's name (`NOT_ENOUGH_REPLICAS`, `_MSG_TIMED_OUT`); the record that comes back has our headers in it, which sending it again replaces |
//! | (ours) [`publish`](TracedProducer::publish) | `send` with an error that `?` takes |
//! | (ours) [`send_keeping_context`](TracedProducer::send_keeping_context) | forwards a record without becoming its creator |
//! | `init_transactions`, `begin_…`, `commit_…`, `abort_transaction`, `send_offsets_to_transaction` | rdkafka's, untouched, no span. An aborted transaction's sends keep their spans: they were sent |
//! | `flush`, `in_flight_count`, `poll`, `client`, `context` | rdkafka's, untouched |
//! | `purge`, dropping the last clone | rdkafka's: what was not sent is reported as `_PURGE_QUEUE` or `_PURGE_INFLIGHT`, which ends its spans |
//!
//! # What becomes of each call of `StreamConsumer` and `Consumer`
//!
//! | call | with [`TracedConsumer`] |
//! |---|---|
//! | `config.create()`, `create_with_context(…)` | the same, with any `ConsumerContext`; `group.id`, `client.id` and, if it is only one, the bootstrap server are read for spans and metrics |
//! | `recv()` | a [`Received`]: rdkafka's message, and what it carried. No span; one more in `messaging.client.consumed.messages` |
//! | `message.payload()`, `key()`, `commit_message(&message, …)`, … | the same: a [`Received`] dereferences to rdkafka's message. A function of yours that is generic over `M: Message` takes `&*message` |
//! | `stream()` | a [`ReceivedStream`] of the same |
//! | `split_partition_queue(…)` | a [`TracedPartitionQueue`] with `recv` and `stream`; needs no `Arc` around the consumer |
//! | (ours) [`Received::process`] | span `process T` (CONSUMER), child of the send span and linked to it, with partition, offset, key, group, record timestamp |
//! | (ours) [`recv_batch`](TracedConsumer::recv_batch) | a [`Batch`]; span `poll T` (CLIENT), a link per message |
//! | (ours) [`Batch::process`] | one `process T` in a trace of its own, a link per message, count and hash of the lineage |
//! | `commit`, `commit_message`, `commit_consumer_state` | rdkafka's; synchronous ones have a span `commit T` (CLIENT) after [`with_commit_spans`](TracedConsumer::with_commit_spans) |
//! | automatic commits | rdkafka's; with the context [`CommitSpans`] a span when the result is known |
//! | `commit…(…, CommitMode::Async)` | rdkafka's, never a span: rdkafka 0.39 does not report how it ended |
//! | `subscribe`, `unsubscribe`, `assign`, `unassign`, `incremental_assign`, `incremental_unassign`, `seek`, `seek_partitions`, `pause`, `resume`, `store_offset`, `store_offset_from_message`, `store_offsets` | rdkafka's, untouched, no span. Rebalances go to the context's callbacks as ever |
//! | `position`, `committed`, `committed_offsets`, `offsets_for_timestamp`, `offsets_for_times`, `subscription`, `assignment`, `assignment_lost`, `rebalance_protocol`, `fetch_metadata`, `fetch_watermarks`, `fetch_group_list`, `group_metadata`, `client`, `context` | rdkafka's, untouched |
//!
//! # What an error is called
//!
//! A handler that returns a [`KafkaError`](rdkafka::error::KafkaError), as it is or in a `Box<dyn Error>`, ends its span with
//! the code's name as `error.type`. An error of your own that wraps one has its type's name, until you say once that it is
//! named by its cause:
//!
//! ```
//! use rdkafka::error::{KafkaError, RDKafkaErrorCode};
//! # use throughline::Outcome;
//! # fn main() -> Result<(), KafkaError> {
//! # let _names: throughline::kafka::TracedProducer = rdkafka::ClientConfig::new().create()?;
//! #[derive(Debug, thiserror::Error)]
//! enum Payment {
//!     #[error("the card was declined")]
//!     Declined,
//!     #[error("the payment could not be published")]
//!     Kafka(#[from] KafkaError),
//! }
//! throughline::name_by_cause::<Payment>();
//!
//! let late = Payment::from(KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut));
//! assert_eq!(Err::<(), _>(late).failure().unwrap().error_type, "_MSG_TIMED_OUT");
//! # assert!(Err::<(), _>(Payment::Declined).failure().unwrap().error_type.ends_with("Payment"));
//! # Ok(())
//! # }
//! ```
//!
//! # Records from strangers
//!
//! Any header survives: null, empty, duplicate, not UTF-8, and keys that are not UTF-8 (on which rdkafka's own
//! `headers().iter()` panics, here as anywhere: read them with [`HeaderSource::visit`](crate::HeaderSource::visit)). A key
//! stands on the span only if it is UTF-8. A null payload is a tombstone and is marked as one.
//!
//! # With a plain client
//!
//! [`OwnedHeaders`](rdkafka::message::OwnedHeaders) is a [`HeaderSink`](crate::HeaderSink), rdkafka's messages are
//! [`HeaderSource`](crate::HeaderSource)s: [`inject_trace_headers`](crate::inject_trace_headers),
//! [`extract`](crate::extract), [`with_producer_span`](crate::with_producer_span) and
//! [`with_consumer_span`](crate::with_consumer_span) work with `FutureProducer`, `BaseProducer` and `StreamConsumer` too.

mod batch;
mod carrier;
mod commit;
mod consumer;
mod delivery;
mod error;
mod mock;
mod names;
mod producer;
mod raw;
mod received;

pub use batch::Batch;
pub use carrier::insert_header;
pub use commit::CommitSpans;
pub use consumer::{ReceivedStream, TracedConsumer, TracedPartitionQueue};
pub use delivery::TracedDelivery;
pub use error::error_type;
pub use mock::MockKafka;
pub use producer::TracedProducer;
pub use received::{Received, ReceivedOwned};
