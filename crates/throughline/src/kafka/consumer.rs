//! [`TracedConsumer`]: rdkafka's `StreamConsumer` whose messages come with what they carried. It receives; what a span says
//! is [`super::received`]'s and [`super::batch`]'s.

use super::batch::{Batch, joined};
use super::commit::{self, Commits};
use super::error::{self, error_type};
use super::names::ClientNames;
use super::received::{Origin, Received};
use crate::metrics::delivered;
use crate::text::Text;
use crate::{extract, poll};
use futures_util::future::{Either, select};
use futures_util::{Stream, StreamExt as _};
use rdkafka::config::{FromClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::stream_consumer::StreamPartitionQueue;
use rdkafka::consumer::{
    CommitMode, Consumer as _, ConsumerContext, DefaultConsumerContext, MessageStream, StreamConsumer,
};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::util::{AsyncRuntime, DefaultRuntime};
use rdkafka::{ClientConfig, Message as _, TopicPartitionList};
use std::fmt;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

/// A [`StreamConsumer`] that traces. Change the line that builds the consumer, and wrap the handler:
///
/// ```
/// use rdkafka::{ClientConfig, consumer::Consumer as _};
/// use throughline::kafka::{Received, TracedConsumer};
/// # async fn handle(_: &Received<'_>) -> Result<(), rdkafka::error::KafkaError> { Ok(()) }
///
/// # async fn doc(config: ClientConfig) -> Result<(), rdkafka::error::KafkaError> {
/// let consumer: TracedConsumer = config.create()?; // was StreamConsumer
/// consumer.subscribe(&["orders"])?;
/// loop {
///     let message = consumer.recv().await?;
///     message.process(handle(&message)).await?; // any future; it borrows freely
/// }
/// # }
/// ```
///
/// It dereferences to the [`StreamConsumer`]; the table in the [module's documentation](super) says what is done with
/// each call.
#[must_use = "Consumer polling thread will stop immediately if unused"]
pub struct TracedConsumer<C = DefaultConsumerContext, R = DefaultRuntime>
where
    C: ConsumerContext + 'static,
{
    /// In an `Arc`, because that is what rdkafka asks for to split partitions off.
    inner: Arc<StreamConsumer<C, R>>,
    intake: Arc<Intake>,
    /// An error that came while a batch was being filled: the next receive reports it.
    deferred: Mutex<Option<KafkaError>>,
    commits: Commits,
}

/// What turns a client's message into a [`Received`].
#[derive(Debug)]
struct Intake {
    names: Arc<ClientNames>,
}

impl Intake {
    /// Reads the headers, before anybody else can: librdkafka parses them at the first look, and without a lock.
    fn receive<'a>(&self, message: BorrowedMessage<'a>) -> Received<'a> {
        let incoming = extract(&message);
        let topic = Text::of(message.topic());
        delivered("kafka", &topic, self.names.group.as_ref(), self.names.server.as_ref(), 1);
        Received::new(message, Origin { incoming, topic, names: Arc::clone(&self.names) })
    }
}

impl<C, R> TracedConsumer<C, R>
where
    C: ConsumerContext + 'static,
    R: AsyncRuntime,
{
    /// [`StreamConsumer::recv`]: the next message, with what it carried. No span is made for it; handle it with
    /// [`Received::process`].
    ///
    /// Cancellation safe.
    ///
    /// # Errors
    /// rdkafka's own.
    pub async fn recv(&self) -> KafkaResult<Received<'_>> {
        if let Some(error) = self.deferred().take() {
            return Err(error);
        }
        self.inner.recv().await.map(|message| self.intake.receive(message))
    }

    /// [`StreamConsumer::stream`]: the messages as a stream that never ends.
    pub fn stream(&self) -> ReceivedStream<'_, C> {
        ReceivedStream { messages: self.inner.stream(), intake: &self.intake }
    }

    /// Waits for a message, then takes what comes within `wait`, at most `max` (at least one). A poll span (`poll orders`,
    /// CLIENT) links to each message's sender and says how many there were.
    ///
    /// An error that comes after the first message does not take the messages with it: the next `recv` or `recv_batch`
    /// reports it.
    ///
    /// Not cancellation safe: dropped while it waits for more, the messages it has are gone, though the client counts them
    /// as delivered. Bound it by `wait`, not by a `select!`.
    ///
    /// # Errors
    /// rdkafka's own, if it comes before the first message.
    pub async fn recv_batch(&self, max: usize, wait: Duration) -> KafkaResult<Batch<'_>> {
        let began = (SystemTime::now(), Instant::now());
        let first = match self.recv().await {
            Ok(first) => first,
            Err(error) => {
                self.poll_failed(began, &error);
                return Err(error);
            }
        };
        let mut messages = vec![first];
        let mut time_is_up = pin!(R::delay_for(wait));
        while messages.len() < max {
            match select(pin!(self.inner.recv()), time_is_up.as_mut()).await {
                Either::Left((Ok(message), _)) => messages.push(self.intake.receive(message)),
                Either::Left((Err(error), _)) => {
                    *self.deferred() = Some(error);
                    break;
                }
                Either::Right(_) => break,
            }
        }
        let batch = Batch::new(messages, Arc::clone(&self.intake.names));
        batch.trace_poll(began);
        Ok(batch)
    }

    /// A poll that brought nothing but an error. The end of a partition, which is reported to those who asked for it, is
    /// none; and without any topic there was nothing to poll.
    fn poll_failed(&self, began: (SystemTime, Instant), error: &KafkaError) {
        if matches!(error, KafkaError::PartitionEOF(_)) {
            return;
        }
        let Ok(from) = self.inner.subscription().and_then(|subscribed| match subscribed.count() {
            0 => self.inner.assignment(),
            _ => Ok(subscribed),
        }) else {
            return;
        };
        let topics: Vec<Text> = from.elements().iter().map(|topic| Text::of(topic.topic())).collect();
        if topics.is_empty() {
            return;
        }
        let spec = poll(joined(&topics)).message_count(0);
        self.intake.names.onto_consumer(spec).began(began).start().fail(error, error_type(error));
    }

    fn deferred(&self) -> std::sync::MutexGuard<'_, Option<KafkaError>> {
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// [`StreamConsumer::split_partition_queue`]: the messages of one partition in a queue of their own.
    pub fn split_partition_queue(&self, topic: &str, partition: i32) -> Option<TracedPartitionQueue<C, R>> {
        let queue = self.inner.split_partition_queue(topic, partition)?;
        Some(TracedPartitionQueue { queue, intake: Arc::clone(&self.intake) })
    }

    /// From now on each synchronous commit has a span (`commit orders`, CLIENT). For automatic commits, whose results come
    /// later, see [`CommitSpans`](super::CommitSpans).
    pub fn with_commit_spans(mut self) -> Self {
        self.commits = Commits::Traced;
        self
    }

    /// [`Consumer::commit`](rdkafka::consumer::Consumer::commit), with a span if it is asked for and synchronous.
    ///
    /// # Errors
    /// rdkafka's own.
    pub fn commit(&self, offsets: &TopicPartitionList, mode: CommitMode) -> KafkaResult<()> {
        self.traced(mode, || Some(offsets.clone()), || self.inner.commit(offsets, mode))
    }

    /// [`Consumer::commit_message`](rdkafka::consumer::Consumer::commit_message), with a span if it is asked for and
    /// synchronous.
    ///
    /// # Errors
    /// rdkafka's own.
    pub fn commit_message(&self, message: &BorrowedMessage<'_>, mode: CommitMode) -> KafkaResult<()> {
        let offsets = || {
            let mut offsets = TopicPartitionList::with_capacity(1);
            let next = rdkafka::Offset::Offset(message.offset() + 1);
            offsets.add_partition_offset(message.topic(), message.partition(), next).ok()?;
            Some(offsets)
        };
        self.traced(mode, offsets, || self.inner.commit_message(message, mode))
    }

    /// [`Consumer::commit_consumer_state`](rdkafka::consumer::Consumer::commit_consumer_state), with a span if it is asked
    /// for and synchronous.
    ///
    /// # Errors
    /// rdkafka's own.
    pub fn commit_consumer_state(&self, mode: CommitMode) -> KafkaResult<()> {
        self.traced(mode, || self.inner.position().ok(), || self.inner.commit_consumer_state(mode))
    }

    fn traced(
        &self,
        mode: CommitMode,
        offsets: impl FnOnce() -> Option<TopicPartitionList>,
        commit: impl FnOnce() -> KafkaResult<()>,
    ) -> KafkaResult<()> {
        let span = match (self.commits, mode) {
            (Commits::Traced, CommitMode::Sync) => {
                offsets().and_then(|o| commit::begin(&self.intake.names, &o))
            }
            (Commits::Untraced, _) | (_, CommitMode::Async) => None,
        };
        let result = commit();
        if let Some(span) = span {
            commit::end(span, &result);
        }
        result
    }
}

/// The stream of a [`TracedConsumer`] or a [`TracedPartitionQueue`].
#[must_use = "streams do nothing unless polled"]
pub struct ReceivedStream<'a, C: ConsumerContext + 'static> {
    messages: MessageStream<'a, C>,
    intake: &'a Intake,
}

impl<'a, C: ConsumerContext + 'static> Stream for ReceivedStream<'a, C> {
    type Item = KafkaResult<Received<'a>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.messages.poll_next_unpin(context);
        next.map(|message| message.map(|message| message.map(|message| self.intake.receive(message))))
    }
}

/// The messages of one partition; rdkafka's [`StreamPartitionQueue`], traced.
#[must_use = "a partition that was split off is consumed nowhere else"]
pub struct TracedPartitionQueue<C, R = DefaultRuntime>
where
    C: ConsumerContext + 'static,
{
    queue: StreamPartitionQueue<C, R>,
    intake: Arc<Intake>,
}

impl<C, R> TracedPartitionQueue<C, R>
where
    C: ConsumerContext + 'static,
{
    /// As [`TracedConsumer::recv`], of this partition.
    ///
    /// # Errors
    /// rdkafka's own.
    pub async fn recv(&self) -> KafkaResult<Received<'_>> {
        self.queue.recv().await.map(|message| self.intake.receive(message))
    }

    /// As [`TracedConsumer::stream`], of this partition.
    pub fn stream(&self) -> ReceivedStream<'_, C> {
        ReceivedStream { messages: self.queue.stream(), intake: &self.intake }
    }
}

impl<C, R> Deref for TracedConsumer<C, R>
where
    C: ConsumerContext + 'static,
{
    type Target = StreamConsumer<C, R>;

    fn deref(&self) -> &StreamConsumer<C, R> {
        &self.inner
    }
}

impl<R: AsyncRuntime> FromClientConfig for TracedConsumer<DefaultConsumerContext, R> {
    fn from_config(config: &ClientConfig) -> KafkaResult<Self> {
        Self::from_config_and_context(config, DefaultConsumerContext)
    }
}

impl<C, R> FromClientConfigAndContext<C> for TracedConsumer<C, R>
where
    C: ConsumerContext + 'static,
    R: AsyncRuntime,
{
    fn from_config_and_context(config: &ClientConfig, context: C) -> KafkaResult<Self> {
        error::register_names();
        let inner = Arc::new(StreamConsumer::from_config_and_context(config, context)?);
        let intake = Arc::new(Intake { names: ClientNames::of(config) });
        Ok(TracedConsumer { inner, intake, deferred: Mutex::default(), commits: Commits::default() })
    }
}

impl<C, R> fmt::Debug for TracedConsumer<C, R>
where
    C: ConsumerContext + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracedConsumer").field("names", &self.intake.names).finish_non_exhaustive()
    }
}
