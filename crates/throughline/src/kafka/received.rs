//! One message in hand: [`Received`], still borrowed from the consumer, and [`ReceivedOwned`], which outlives it. What
//! they carried was read when the message was received; what stands on a process span is decided here, once for both.

use super::names::ClientNames;
use crate::lineage::{Contribution, Contributor};
use crate::span::Operation;
use crate::text::Text;
use crate::{Incoming, Outcome, Payload, SpanSpec};
use rdkafka::message::{BorrowedMessage, Message, OwnedMessage};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// What a message brought besides its content.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) incoming: Incoming,
    pub(super) topic: Text,
    pub(super) names: Arc<ClientNames>,
}

impl Origin {
    fn spec<M: Message>(&self, message: &M) -> SpanSpec {
        let payload = message.payload().map_or(Payload::Tombstone, |payload| Payload::Bytes(payload.len()));
        let mut spec = self
            .names
            .onto_consumer(SpanSpec::new(Operation::Process, Some(self.topic.clone())))
            .partition(message.partition())
            .offset(message.offset())
            .payload(payload)
            .incoming(self.incoming.clone())
            .already_counted();
        if let Some(millis) = message.timestamp().to_millis() {
            spec = spec.record_timestamp(millis);
        }
        match message.key() {
            Some(key) => spec.key(key),
            None => spec,
        }
    }

    fn contribution<M: Message>(&self, message: &M) -> Contribution {
        Contribution {
            incoming: self.incoming.clone(),
            destination: Some((&self.topic).into()),
            partition: Some(message.partition()),
            offset: Some(message.offset()),
            key: message.key().map(<[u8]>::to_vec),
            record_timestamp: message.timestamp().to_millis(),
        }
    }
}

/// A message and what it carried. It dereferences to rdkafka's own message, so that `payload()`, `key()`, `detach()` and
/// the consumer's `commit_message(&message, …)` work as they did.
///
/// Handle it inside [`process`](Received::process): there the producer's trace, baggage and correlation id are the current
/// ones, and whatever is sent from it continues them.
pub struct Received<'a> {
    message: BorrowedMessage<'a>,
    origin: Origin,
}

impl<'a> Received<'a> {
    pub(super) fn new(message: BorrowedMessage<'a>, origin: Origin) -> Self {
        Received { message, origin }
    }

    pub(super) fn topic_name(&self) -> &Text {
        &self.origin.topic
    }

    /// What the message carried.
    #[must_use]
    pub fn incoming(&self) -> &Incoming {
        &self.origin.incoming
    }

    /// The process span to be, with all that is known of the message: to add attributes, to choose another
    /// [`ContextMode`](crate::ContextMode), or to have the span in hand (`spec().run(async |span| …)`).
    pub fn spec(&self) -> SpanSpec {
        self.origin.spec(&self.message)
    }

    /// Runs `handler` inside the message's process span, child of the span that sent it. Its result comes back as it is;
    /// an error, a panic or a drop before the end stands on the span.
    pub fn process<F>(&self, handler: F) -> impl Future<Output = F::Output> + use<'a, F>
    where
        F: Future<Output: Outcome>,
    {
        self.spec().instrument(handler)
    }

    /// The message and what it carried, detached from the consumer: for a task of its own. (`detach()` is rdkafka's: the
    /// bare message.) It copies key, payload and headers.
    #[must_use]
    pub fn to_owned(&self) -> ReceivedOwned {
        ReceivedOwned { message: self.message.detach(), origin: self.origin.clone() }
    }

    /// rdkafka's own message.
    #[must_use]
    pub fn into_message(self) -> BorrowedMessage<'a> {
        self.message
    }
}

impl<'a> Deref for Received<'a> {
    type Target = BorrowedMessage<'a>;

    fn deref(&self) -> &BorrowedMessage<'a> {
        &self.message
    }
}

impl Contributor for Received<'_> {
    fn contribution(&self) -> Contribution {
        self.origin.contribution(&self.message)
    }
}

impl Contributor for &Received<'_> {
    fn contribution(&self) -> Contribution {
        (**self).contribution()
    }
}

/// A [`Received`] that owns its message: `Send`, `'static`.
#[derive(Clone)]
pub struct ReceivedOwned {
    message: OwnedMessage,
    origin: Origin,
}

impl ReceivedOwned {
    /// What the message carried.
    #[must_use]
    pub fn incoming(&self) -> &Incoming {
        &self.origin.incoming
    }

    /// As [`Received::spec`].
    pub fn spec(&self) -> SpanSpec {
        self.origin.spec(&self.message)
    }

    /// As [`Received::process`].
    pub fn process<F>(&self, handler: F) -> impl Future<Output = F::Output> + use<F>
    where
        F: Future<Output: Outcome>,
    {
        self.spec().instrument(handler)
    }

    /// rdkafka's own message.
    #[must_use]
    pub fn into_message(self) -> OwnedMessage {
        self.message
    }
}

impl Deref for ReceivedOwned {
    type Target = OwnedMessage;

    fn deref(&self) -> &OwnedMessage {
        &self.message
    }
}

impl Contributor for ReceivedOwned {
    fn contribution(&self) -> Contribution {
        self.origin.contribution(&self.message)
    }
}

impl Contributor for &ReceivedOwned {
    fn contribution(&self) -> Contribution {
        (**self).contribution()
    }
}

impl fmt::Debug for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, "Received", &self.message, &self.origin)
    }
}

impl fmt::Debug for ReceivedOwned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, "ReceivedOwned", &self.message, &self.origin)
    }
}

/// Where it came from and what it carried; never its payload.
fn describe(f: &mut fmt::Formatter<'_>, name: &str, message: &impl Message, origin: &Origin) -> fmt::Result {
    f.debug_struct(name)
        .field("topic", &origin.topic)
        .field("partition", &message.partition())
        .field("offset", &message.offset())
        .field("incoming", &origin.incoming)
        .finish_non_exhaustive()
}
