//! [`TracedProducer`]: rdkafka's `FutureProducer` whose records carry their trace. Spans are [`crate::span`]'s, their ends
//! [`super::delivery`]'s; this file only puts them around rdkafka's two ways to send.

use super::delivery::{Sending, TracedDelivery};
use super::error;
use super::names::ClientNames;
use crate::{Payload, SpanSpec, inject_context, send, send_keeping_context};
use opentelemetry::Context;
use rdkafka::ClientConfig;
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::{FromClientConfig, FromClientConfigAndContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{OwnedHeaders, OwnedMessage, Timestamp, ToBytes};
use rdkafka::producer::future_producer::{Delivery, OwnedDeliveryResult};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::{AsyncRuntime, DefaultRuntime, Timeout};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long rdkafka waits before it tries a full queue again; the same here.
const QUEUE_RETRY: Duration = Duration::from_millis(100);
/// Room for the headers we write, so that an unadorned record allocates its list once.
const OWN_HEADERS: usize = 5;

/// A [`FutureProducer`] that traces: each record leaves with the caller's trace, and its send span ends at the delivery
/// report. Change the line that builds the producer and nothing else:
///
/// ```
/// use rdkafka::{ClientConfig, producer::FutureRecord};
/// use std::time::Duration;
/// use throughline::kafka::TracedProducer;
///
/// # async fn doc(config: ClientConfig) -> Result<(), rdkafka::error::KafkaError> {
/// let producer: TracedProducer = config.create()?; // was FutureProducer
///
/// let record = FutureRecord::to("orders").key("order-42").payload("{}");
/// let delivery = producer.publish(record, Duration::from_secs(5)).await?;
/// # drop(delivery);
/// # Ok(())
/// # }
/// ```
///
/// It dereferences to the [`FutureProducer`]; the table in the [module's documentation](super) says what is done with
/// each call.
#[must_use = "Producer polling thread will stop immediately if unused"]
pub struct TracedProducer<C = DefaultClientContext, R = DefaultRuntime>
where
    C: ClientContext + 'static,
{
    inner: FutureProducer<C, R>,
    names: Arc<ClientNames>,
}

/// Whose creation context a record carries.
#[derive(Clone, Copy)]
enum Creation {
    /// This send's.
    New,
    /// The one it came with, if it came with one.
    Kept,
}

impl<C, R> TracedProducer<C, R>
where
    C: ClientContext + 'static,
    R: AsyncRuntime,
{
    /// [`FutureProducer::send`] with a span: waits for the delivery report, and up to `queue_timeout` for room in the
    /// producer's queue.
    ///
    /// The trace is the caller's at the time of the call. If the future is dropped once the record is in the queue, the
    /// record is sent all the same and its span ends at the report; dropped before, it is not sent, and the span ends as
    /// `cancelled`. A record that failed comes back with our headers in it; sent again, they are replaced.
    pub fn send<'a, K, P, T>(
        &'a self,
        record: FutureRecord<'a, K, P>,
        queue_timeout: T,
    ) -> impl Future<Output = OwnedDeliveryResult>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
        T: Into<Timeout>,
    {
        self.send_as(Creation::New, record, queue_timeout.into())
    }

    /// [`send`](Self::send) with an error that `?` takes: rdkafka's pair of error and message cannot be displayed.
    ///
    /// # Errors
    /// What `send` returns, without the record.
    pub fn publish<'a, K, P, T>(
        &'a self,
        record: FutureRecord<'a, K, P>,
        queue_timeout: T,
    ) -> impl Future<Output = KafkaResult<Delivery>>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
        T: Into<Timeout>,
    {
        let sent = self.send(record, queue_timeout);
        async { sent.await.map_err(|(error, _)| error) }
    }

    /// Forwards a record that somebody else created (a retry, an outbox relay, a connector): its headers keep their
    /// creation context, so that consumers stay in the original trace, and the span is a CLIENT span linked to it. A
    /// record that carries no trace is sent like any other.
    pub fn send_keeping_context<'a, K, P, T>(
        &'a self,
        record: FutureRecord<'a, K, P>,
        queue_timeout: T,
    ) -> impl Future<Output = OwnedDeliveryResult>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
        T: Into<Timeout>,
    {
        self.send_as(Creation::Kept, record, queue_timeout.into())
    }

    /// [`FutureProducer::send_result`] with a span: puts the record into the queue or returns it at once. The span ends at
    /// the delivery report, whether or not the [`TracedDelivery`] is awaited.
    ///
    /// # Errors
    /// rdkafka's own error and the record, our headers in it: with a full queue
    /// [`QueueFull`](RDKafkaErrorCode::QueueFull). The span has ended with that error.
    #[expect(clippy::result_large_err, reason = "rdkafka's own signature")]
    pub fn send_result<'a, K, P>(
        &self,
        mut record: FutureRecord<'a, K, P>,
    ) -> Result<TracedDelivery, (KafkaError, FutureRecord<'a, K, P>)>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let sending = self.begin(Creation::New, Context::current(), &mut record);
        match self.inner.send_result(record) {
            Ok(delivery) => Ok(TracedDelivery::of(delivery, sending)),
            Err((error, record)) => {
                sending.failed(&error);
                Err((error, record))
            }
        }
    }

    /// Not an `async fn`: that would take the caller's context only when it is polled, perhaps in another task.
    fn send_as<'a, K, P>(
        &'a self,
        creation: Creation,
        mut record: FutureRecord<'a, K, P>,
        queue_timeout: Timeout,
    ) -> impl Future<Output = OwnedDeliveryResult>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let base = Context::current();
        async move {
            let asked = Instant::now();
            let sending = self.begin(creation, base, &mut record);
            loop {
                match self.inner.send_result(record) {
                    Ok(delivery) => {
                        let reported = TracedDelivery::of(delivery, sending).await;
                        break reported.expect("the producer, which is borrowed here, reports every record");
                    }
                    Err((error, back)) if is_queue_full(&error) && has_time(queue_timeout, asked) => {
                        record = back;
                        R::delay_for(QUEUE_RETRY).await;
                    }
                    Err((error, back)) => {
                        sending.failed(&error);
                        break Err((error, owned(back)));
                    }
                }
            }
        }
    }

    /// Starts the span and writes the headers.
    fn begin<K, P>(&self, creation: Creation, base: Context, record: &mut FutureRecord<'_, K, P>) -> Sending
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let headers = record.headers.take().unwrap_or_else(|| OwnedHeaders::new_with_capacity(OWN_HEADERS));
        let spec = match creation {
            Creation::New => send(record.topic).outgoing(&headers),
            Creation::Kept => send_keeping_context(record.topic, &headers),
        };
        let span = self.describe(spec, record).parent(base).start();
        record.headers = Some(inject_context(span.span().context(), headers));
        Sending { span, partition: chosen_partition(record) }
    }

    fn describe<K, P>(&self, spec: SpanSpec, record: &FutureRecord<'_, K, P>) -> SpanSpec
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let payload =
            record.payload.map_or(Payload::Tombstone, |payload| Payload::Bytes(payload.to_bytes().len()));
        let mut spec = self.names.onto(spec).payload(payload);
        if let Some(key) = record.key {
            spec = spec.key(key.to_bytes());
        }
        if let Some(partition) = chosen_partition(record) {
            spec = spec.partition(partition);
        }
        match record.timestamp {
            Some(millis) => spec.record_timestamp(millis),
            None => spec,
        }
    }
}

/// The partition the sender chose; `-1` is Kafka's way to say that the partitioner shall.
fn chosen_partition<K: ToBytes + ?Sized, P: ToBytes + ?Sized>(
    record: &FutureRecord<'_, K, P>,
) -> Option<i32> {
    record.partition.filter(|partition| *partition >= 0)
}

fn is_queue_full(error: &KafkaError) -> bool {
    *error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
}

fn has_time(queue_timeout: Timeout, asked: Instant) -> bool {
    match queue_timeout {
        Timeout::Never => true,
        Timeout::After(limit) => asked.elapsed() < limit,
    }
}

/// The message rdkafka's `send` gives back for a record that never got into the queue.
fn owned<K: ToBytes + ?Sized, P: ToBytes + ?Sized>(record: FutureRecord<'_, K, P>) -> OwnedMessage {
    OwnedMessage::new(
        record.payload.map(|payload| payload.to_bytes().to_vec()),
        record.key.map(|key| key.to_bytes().to_vec()),
        record.topic.to_owned(),
        record.timestamp.map_or(Timestamp::NotAvailable, Timestamp::CreateTime),
        record.partition.unwrap_or(-1),
        0,
        record.headers,
    )
}

impl<C, R> Deref for TracedProducer<C, R>
where
    C: ClientContext + 'static,
{
    type Target = FutureProducer<C, R>;

    fn deref(&self) -> &FutureProducer<C, R> {
        &self.inner
    }
}

impl<C, R> Clone for TracedProducer<C, R>
where
    C: ClientContext + 'static,
{
    fn clone(&self) -> Self {
        TracedProducer { inner: self.inner.clone(), names: Arc::clone(&self.names) }
    }
}

impl<R: AsyncRuntime> FromClientConfig for TracedProducer<DefaultClientContext, R> {
    fn from_config(config: &ClientConfig) -> KafkaResult<Self> {
        Self::from_config_and_context(config, DefaultClientContext)
    }
}

impl<C, R> FromClientConfigAndContext<C> for TracedProducer<C, R>
where
    C: ClientContext + 'static,
    R: AsyncRuntime,
{
    fn from_config_and_context(config: &ClientConfig, context: C) -> KafkaResult<Self> {
        error::register_names();
        let inner = FutureProducer::from_config_and_context(config, context)?;
        Ok(TracedProducer { inner, names: ClientNames::of(config) })
    }
}

impl<C, R> fmt::Debug for TracedProducer<C, R>
where
    C: ClientContext + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracedProducer").field("names", &self.names).finish_non_exhaustive()
    }
}
