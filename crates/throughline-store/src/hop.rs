//! A message's hop through a broker, as the attributes of the spans on both its sides tell it. Owns which attributes those
//! are; finding the spans is [`crate::query`]'s.

use throughline_otlp::model::{KeyValue, Link};
use throughline_otlp::{Span, Value};
use throughline_semconv::attribute::{
    MESSAGING_DESTINATION_NAME, MESSAGING_DESTINATION_PARTITION_ID, MESSAGING_KAFKA_OFFSET, MESSAGING_SYSTEM,
};

use crate::attribute::canonical;

/// One message on its way through a broker: what the spans on both sides of the hop have in common even if the trace
/// context between them was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// `messaging.system`
    pub system: String,
    /// `messaging.destination.name`
    pub destination: String,
    /// `messaging.destination.partition.id`
    pub partition: String,
    /// `messaging.kafka.offset`
    pub offset: String,
}

impl Hop {
    /// The attributes that make up a hop; a span at it has all of them, on itself or on its links.
    pub(crate) fn attributes(&self) -> [(&'static str, &str); 4] {
        [
            (MESSAGING_SYSTEM, &self.system),
            (MESSAGING_DESTINATION_NAME, &self.destination),
            (MESSAGING_DESTINATION_PARTITION_ID, &self.partition),
            (MESSAGING_KAFKA_OFFSET, &self.offset),
        ]
    }

    /// Every hop a span speaks of: its own, and those of the messages it links to. A link that does not name system or
    /// destination is about the span's.
    pub(crate) fn all_of(span: &Span) -> impl Iterator<Item = Self> {
        let own = Parts::of(&span.attributes);
        let links =
            span.links.iter().map(move |link: &Link| Parts::of(&link.attributes).with_defaults_of(own));
        std::iter::once(own).chain(links).filter_map(Parts::complete)
    }
}

#[derive(Clone, Copy, Default)]
struct Parts<'a> {
    system: Option<&'a Value>,
    destination: Option<&'a Value>,
    partition: Option<&'a Value>,
    offset: Option<&'a Value>,
}

impl<'a> Parts<'a> {
    fn of(attributes: &'a [KeyValue]) -> Self {
        let mut parts = Self::default();
        for entry in attributes.iter().filter(|entry| entry.key.starts_with("messaging.")) {
            let part = match canonical(&entry.key) {
                MESSAGING_SYSTEM => &mut parts.system,
                MESSAGING_DESTINATION_NAME => &mut parts.destination,
                MESSAGING_DESTINATION_PARTITION_ID => &mut parts.partition,
                MESSAGING_KAFKA_OFFSET => &mut parts.offset,
                _ => continue,
            };
            part.get_or_insert(&entry.value);
        }
        parts
    }

    fn with_defaults_of(self, span: Self) -> Self {
        Self {
            system: self.system.or(span.system),
            destination: self.destination.or(span.destination),
            ..self
        }
    }

    fn complete(self) -> Option<Hop> {
        Some(Hop {
            system: self.system?.to_text(),
            destination: self.destination?.to_text(),
            partition: self.partition?.to_text(),
            offset: self.offset?.to_text(),
        })
    }
}
