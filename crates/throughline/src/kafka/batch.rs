//! Several messages handled as one: [`Batch`], and the poll span that says they were handed over.

use super::names::ClientNames;
use super::received::Received;
use crate::text::Text;
use crate::{Lineage, Outcome, SpanSpec, extract_batch_lineage, poll, process, settings};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Messages that were received together; never empty. It dereferences to a slice of [`Received`].
///
/// ```
/// use std::time::Duration;
/// use throughline::{Span, kafka::TracedConsumer};
/// # struct Refused;
/// # impl std::fmt::Display for Refused { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
/// # async fn settle(_: &[u8]) -> Result<(), Refused> { Ok(()) }
///
/// # async fn doc(consumer: TracedConsumer) -> Result<(), rdkafka::error::KafkaError> {
/// use rdkafka::Message as _;
/// let batch = consumer.recv_batch(100, Duration::from_secs(3)).await?;
/// batch
///     .process(async {
///         for (index, message) in batch.iter().enumerate() {
///             if let Err(refused) = settle(message.payload().unwrap_or_default()).await {
///                 // The batch goes on, and its span names the message that failed.
///                 Span::current().fail_message(index, &refused);
///             }
///         }
///     })
///     .await;
/// # Ok(())
/// # }
/// ```
pub struct Batch<'a> {
    messages: Vec<Received<'a>>,
    names: Arc<ClientNames>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(messages: Vec<Received<'a>>, names: Arc<ClientNames>) -> Self {
        Batch { messages, names }
    }

    /// Which traces contributed; links past [`settings::link_cap`] are left out, oldest first.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        extract_batch_lineage(&self.messages, settings::link_cap())
    }

    /// The process span to be: a new trace with a link to each message's sender, their count and their lineage hash.
    /// Messages from several topics have their names joined by commas.
    pub fn spec(&self) -> SpanSpec {
        let spec = process(joined(self.messages.iter().map(Received::topic_name)));
        self.names.onto_consumer(spec).lineage(self.lineage()).already_counted()
    }

    /// Runs `handler` inside the batch's process span, which is [`Span::current`](crate::Span::current) within it.
    pub fn process<F>(&self, handler: F) -> impl Future<Output = F::Output> + use<'a, F>
    where
        F: Future<Output: Outcome>,
    {
        self.spec().instrument(handler)
    }

    /// The messages.
    #[must_use]
    pub fn into_messages(self) -> Vec<Received<'a>> {
        self.messages
    }

    /// The span of the call that handed these messages over, made when it is known what it handed over.
    pub(super) fn trace_poll(&self, began: (SystemTime, Instant)) {
        let spec = poll(joined(self.messages.iter().map(Received::topic_name)));
        self.names.onto_consumer(spec).lineage(self.lineage()).began(began).start().end();
    }
}

/// The distinct topics in the order they came: nearly always one.
pub(super) fn joined<'n>(topics: impl IntoIterator<Item = &'n Text>) -> Text {
    let mut distinct: Vec<&Text> = Vec::new();
    for topic in topics {
        if !distinct.contains(&topic) {
            distinct.push(topic);
        }
    }
    match distinct.as_slice() {
        [one] => (*one).clone(),
        many => Text::of(&many.iter().map(|topic| topic.as_str()).collect::<Vec<_>>().join(",")),
    }
}

impl<'a> Deref for Batch<'a> {
    type Target = [Received<'a>];

    fn deref(&self) -> &[Received<'a>] {
        &self.messages
    }
}

impl<'b, 'a> IntoIterator for &'b Batch<'a> {
    type Item = &'b Received<'a>;
    type IntoIter = std::slice::Iter<'b, Received<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.messages.iter()
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.messages).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_named_once_in_the_order_they_came() {
        let cases = [(vec!["a"], "a"), (vec!["b", "a", "b", "b"], "b,a"), (vec!["a", "a"], "a")];
        for (topics, name) in cases {
            let topics: Vec<Text> = topics.into_iter().map(Text::of).collect();
            assert_eq!(joined(&topics).as_str(), name);
        }
    }
}
