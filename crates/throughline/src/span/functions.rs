//! The entry points: one function per operation, and the source's own names as thin functions over them.

use super::spec::{ContextMode, SpanSpec};
use super::{Operation, Span};
use crate::headers::HeaderSource;
use crate::outcome::Outcome;
use crate::text::Text;
use opentelemetry::trace::Link;
use std::borrow::Cow;

/// A span around sending one message: `send orders`, PRODUCER, becomes the message's creation context.
pub fn send(topic: impl AsRef<str>) -> SpanSpec {
    SpanSpec::new(Operation::Send, Some(Text::of(topic.as_ref())))
}

/// A span around forwarding a message that somebody else created (a retry, an outbox relay, a connector): `send orders`,
/// CLIENT. The headers given here keep their creation context, which is linked; so consumers stay in the original trace.
/// A message that has none is sent like any other.
///
/// ```
/// use throughline::{inject_trace_headers, send_keeping_context};
/// let record = vec![(
///     "traceparent".to_owned(),
///     b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_vec(),
/// )];
/// let forwarded = send_keeping_context("orders.retry", &record).run_sync(|_| {
///     let headers = inject_trace_headers(record.clone()); // comes back untouched
///     Ok::<_, std::io::Error>(headers)
/// })?;
/// assert_eq!(forwarded, record);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn send_keeping_context<H: HeaderSource + ?Sized>(topic: impl AsRef<str>, headers: &H) -> SpanSpec {
    SpanSpec::new(Operation::Forward, Some(Text::of(topic.as_ref()))).headers(headers)
}

/// A span around handling one message, or with [`lineage`](SpanSpec::lineage) a batch: `process orders`, CONSUMER.
pub fn process(topic: impl AsRef<str>) -> SpanSpec {
    SpanSpec::new(Operation::Process, Some(Text::of(topic.as_ref())))
}

/// A span around asking the broker for messages: `poll orders`, CLIENT.
pub fn poll(topic: impl AsRef<str>) -> SpanSpec {
    SpanSpec::new(Operation::Receive, Some(Text::of(topic.as_ref())))
}

/// A span around settling messages: `commit orders`, CLIENT.
pub fn commit(topic: impl AsRef<str>) -> SpanSpec {
    SpanSpec::new(Operation::Settle, Some(Text::of(topic.as_ref())))
}

/// A span around a piece of the application's own work: INTERNAL, no messaging attributes.
///
/// ```
/// let id = throughline::internal("checkout/start").run_sync(|span| Ok::<_, std::io::Error>(span.correlation_id()));
/// # drop(id);
/// ```
pub fn internal(name: impl Into<Cow<'static, str>>) -> SpanSpec {
    SpanSpec::new(Operation::Internal, None).name(name)
}

/// A span around answering a request: SERVER, no messaging attributes.
#[cfg(feature = "http")]
pub(crate) fn serve(name: impl Into<Cow<'static, str>>) -> SpanSpec {
    SpanSpec::new(Operation::Serve, None).name(name)
}

/// A span around asking somebody else: CLIENT, no messaging attributes.
#[cfg(feature = "http")]
pub(crate) fn call(name: impl Into<Cow<'static, str>>) -> SpanSpec {
    SpanSpec::new(Operation::Call, None).name(name)
}

/// What is known of one message besides its topic: the source's message metadata.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meta<'a> {
    /// The key.
    pub key: Option<&'a str>,
    /// The partition.
    pub partition: Option<i32>,
    /// The offset.
    pub offset: Option<i64>,
    /// When the record was stamped, in Unix milliseconds.
    pub record_timestamp: Option<i64>,
}

impl<'a> Meta<'a> {
    /// Just a key.
    #[must_use]
    pub fn key(key: &'a str) -> Self {
        Self { key: Some(key), ..Self::default() }
    }

    /// Where a message was read from.
    #[must_use]
    pub fn position(partition: i32, offset: i64) -> Self {
        Self { partition: Some(partition), offset: Some(offset), ..Self::default() }
    }

    fn onto(self, mut spec: SpanSpec) -> SpanSpec {
        spec.partition = self.partition;
        spec.offset = self.offset;
        spec.record_timestamp = self.record_timestamp;
        match self.key {
            Some(key) => spec.key(key),
            None => spec,
        }
    }
}

/// The source's `withProducerSpan`: runs `work` inside a send span. Inject inside it.
///
/// ```
/// # async fn doc() -> Result<(), std::io::Error> {
/// use throughline::{Meta, inject_trace_headers, with_producer_span};
/// # async fn publish(_: Vec<(String, Vec<u8>)>) -> Result<(), std::io::Error> { Ok(()) }
/// with_producer_span("orders", Meta::key("order-42"), async || publish(inject_trace_headers(vec![])).await).await
/// # }
/// ```
pub fn with_producer_span<R: Outcome, F: AsyncFnOnce() -> R>(
    topic: &str,
    meta: Meta<'_>,
    work: F,
) -> impl Future<Output = R> + use<R, F> {
    meta.onto(send(topic)).run(async |_| work().await)
}

/// The source's `withConsumerSpan`: runs `work` inside a process span whose parent is the message.
///
/// ```
/// # async fn doc() -> Result<(), std::io::Error> {
/// use throughline::{Meta, with_consumer_span};
/// # async fn handle() -> Result<(), std::io::Error> { Ok(()) }
/// # let headers = vec![("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
/// with_consumer_span("orders", "email-worker", &headers, Meta::position(2, 17), async || handle().await).await
/// # }
/// ```
pub fn with_consumer_span<R: Outcome, F: AsyncFnOnce() -> R, H: HeaderSource + ?Sized>(
    topic: &str,
    group: &str,
    headers: &H,
    meta: Meta<'_>,
    work: F,
) -> impl Future<Output = R> + use<R, F, H> {
    meta.onto(process(topic).group(group).headers(headers)).run(async |_| work().await)
}

/// The arguments of the source's `withProcessingSpan`, in its spelling.
#[derive(Default)]
pub struct ProcessingSpan<'a> {
    /// The span's name, whatever the conventions would call it.
    pub name: Cow<'static, str>,
    /// The message's headers, if there is one message.
    pub headers: Option<&'a dyn HeaderSource>,
    /// How the span relates to that message and to the ambient span.
    pub context_mode: Option<ContextMode>,
    /// Links to contributing traces: [`Lineage::links`](crate::Lineage::links), on which each message's correlation id is
    /// found.
    pub links: Vec<Link>,
    /// Where the messages came from.
    pub topic: Cow<'a, str>,
    /// The consumer group.
    pub consumer_group: Option<Cow<'a, str>>,
}

impl From<ProcessingSpan<'_>> for SpanSpec {
    fn from(span: ProcessingSpan<'_>) -> Self {
        let mut spec = process(&*span.topic).name(span.name).links(span.links);
        if let Some(headers) = span.headers {
            spec = spec.headers(headers);
        }
        if let Some(mode) = span.context_mode {
            spec = spec.mode(mode);
        }
        match span.consumer_group {
            Some(group) => spec.group(&*group),
            None => spec,
        }
    }
}

/// The source's `withProcessingSpan`: runs `work` inside a process span made to measure, from a [`ProcessingSpan`] or any
/// [`SpanSpec`].
pub fn with_processing_span<R: Outcome, F: AsyncFnOnce(Span) -> R, S: Into<SpanSpec>>(
    spec: S,
    work: F,
) -> impl Future<Output = R> + use<R, F, S> {
    spec.into().run(work)
}
