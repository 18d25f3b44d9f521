//! Commit spans, which nobody gets without asking: `commit orders`, CLIENT. They say that the broker took an offset, or why
//! not; they carry no message's trace, because a commit settles everything before it.

use super::batch::joined;
use super::error::error_type;
use super::names::ClientNames;
use crate::text::Text;
use crate::{ActiveSpan, SpanSpec, commit};
use rdkafka::ClientContext;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::Arc;

/// Whether a consumer's synchronous commits have a span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Commits {
    /// They have none.
    #[default]
    Untraced,
    /// They have one.
    Traced,
}

/// A consumer context that makes a span of every automatic commit, when its result is known. Synchronous commits are the
/// matter of [`TracedConsumer::with_commit_spans`](super::TracedConsumer::with_commit_spans).
///
/// An asynchronous commit (`CommitMode::Async`) has no span: rdkafka 0.39 tells nobody how it ended (its issue 856). Once
/// it does, this context is called back for those as well.
///
/// ```
/// use throughline::kafka::{CommitSpans, TracedConsumer};
/// # fn doc(config: rdkafka::ClientConfig) -> rdkafka::error::KafkaResult<()> {
/// let consumer: TracedConsumer<CommitSpans> = config.create_with_context(CommitSpans::of(&config))?;
/// # drop(consumer);
/// # Ok(())
/// # }
/// ```
///
/// With a context of your own, call [`CommitSpans::committed`] from its `commit_callback`.
#[derive(Debug, Clone)]
pub struct CommitSpans {
    names: Arc<ClientNames>,
}

impl CommitSpans {
    /// For a consumer of this configuration.
    #[must_use]
    pub fn of(config: &rdkafka::ClientConfig) -> Self {
        CommitSpans { names: ClientNames::of(config) }
    }

    /// Makes the span of one commit whose result is known.
    pub fn committed(&self, result: &KafkaResult<()>, offsets: &TopicPartitionList) {
        // librdkafka also calls back when there was nothing to commit.
        if let Some(span) = begin(&self.names, offsets) {
            end(span, result);
        }
    }
}

impl ClientContext for CommitSpans {}

impl ConsumerContext for CommitSpans {
    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.committed(&result, offsets);
    }
}

/// Starts the span of a commit of these offsets, if there are any.
pub(super) fn begin(names: &ClientNames, offsets: &TopicPartitionList) -> Option<ActiveSpan> {
    let elements = offsets.elements();
    let settled: Vec<_> =
        elements.iter().filter(|element| matches!(element.offset(), Offset::Offset(_))).collect();
    let topics: Vec<Text> = settled.iter().map(|element| Text::of(element.topic())).collect();
    if topics.is_empty() {
        return None;
    }
    let spec = commit(joined(&topics));
    Some(match settled.as_slice() {
        [one] => start(names, position(spec, one.partition(), one.offset())),
        _ => start(names, spec),
    })
}

/// The offset of the last message that is settled: a committed offset is the next one to read.
fn position(spec: SpanSpec, partition: i32, committed: Offset) -> SpanSpec {
    let spec = spec.partition(partition);
    match committed {
        Offset::Offset(next) => spec.offset(next - 1),
        _ => spec,
    }
}

pub(super) fn start(names: &ClientNames, spec: SpanSpec) -> ActiveSpan {
    names.onto_consumer(spec).start()
}

pub(super) fn end(span: ActiveSpan, result: &KafkaResult<()>) {
    match result {
        Ok(()) => span.end(),
        Err(error) => span.fail(error, error_type(error)),
    }
}
