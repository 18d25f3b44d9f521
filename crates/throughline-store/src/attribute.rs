//! Which key and text an attribute is indexed and compared under. Index and verification both go through here, so they
//! cannot disagree. Refuses to know anything about terms or files.

use std::fmt::Write as _;

use throughline_otlp::model::{KeyValue, Link};
use throughline_otlp::{LogRecord, Span, Value};
use throughline_semconv::attribute::{
    MESSAGING_DESTINATION_NAME, MESSAGING_DESTINATION_PARTITION_ID, MESSAGING_KAFKA_OFFSET,
    MESSAGING_MESSAGE_CONVERSATION_ID, MESSAGING_SYSTEM,
};
use throughline_semconv::current_name;
use throughline_semconv::own::CORRELATION_ID;

use crate::search::Hop;

/// Log records at and above this OTLP severity number count as errors.
const SEVERITY_ERROR: u8 = 17;

/// Today's key. The correlation id stands on spans under two names with one value: here it has one.
pub(crate) fn canonical(key: &str) -> &str {
    match current_name(key).unwrap_or(key) {
        MESSAGING_MESSAGE_CONVERSATION_ID => CORRELATION_ID,
        current => current,
    }
}

/// Renders values as text, reusing one buffer.
#[derive(Default)]
pub(crate) struct Renderer(String);

impl Renderer {
    /// Equal to [`Value::to_text`], without its allocation for strings, integers and booleans.
    pub(crate) fn text<'a>(&'a mut self, value: &'a Value) -> &'a str {
        match value {
            Value::Str(text) => text,
            Value::Bool(true) => "true",
            Value::Bool(false) => "false",
            Value::Int(number) => {
                self.0.clear();
                // Writing to a String cannot fail.
                let _ = write!(self.0, "{number}");
                &self.0
            }
            other => {
                self.0 = other.to_text();
                &self.0
            }
        }
    }
}

/// Every attribute a search looks at on a span, except those of its resource: own, events', links'.
pub(crate) fn of_span(span: &Span) -> impl Iterator<Item = &KeyValue> {
    let events = span.events.iter().flat_map(|event| &event.attributes);
    let links = span.links.iter().flat_map(|link| &link.attributes);
    span.attributes.iter().chain(events).chain(links)
}

/// What a search sees as attributes of a record beside its real ones.
pub(crate) fn of_record<'a>(log: &'a LogRecord, mut each: impl FnMut(&'static str, &'a str)) {
    if !log.severity_text.is_empty() {
        each("severity", &log.severity_text);
    }
    if !log.event_name.is_empty() {
        each("event.name", &log.event_name);
    }
    if let Value::Str(body) = &log.body {
        each("body", body);
    }
}

/// Whether a record counts as an error.
pub(crate) fn is_error(log: &LogRecord) -> bool {
    log.severity >= SEVERITY_ERROR
}

/// The attributes that make up a hop; a span at it has all of them, on itself or on its links.
pub(crate) fn of_hop(hop: &Hop) -> [(&'static str, &str); 4] {
    [
        (MESSAGING_SYSTEM, &hop.system),
        (MESSAGING_DESTINATION_NAME, &hop.destination),
        (MESSAGING_DESTINATION_PARTITION_ID, &hop.partition),
        (MESSAGING_KAFKA_OFFSET, &hop.offset),
    ]
}

/// Every hop a span speaks of: its own, and those of the messages it links to. A link that does not name system or
/// destination is about the span's.
pub(crate) fn hops(span: &Span) -> impl Iterator<Item = Hop> {
    let own = HopParts::of(&span.attributes);
    let links =
        span.links.iter().map(move |link: &Link| HopParts::of(&link.attributes).with_defaults_of(own));
    std::iter::once(own).chain(links).filter_map(HopParts::complete)
}

#[derive(Clone, Copy, Default)]
struct HopParts<'a> {
    system: Option<&'a Value>,
    destination: Option<&'a Value>,
    partition: Option<&'a Value>,
    offset: Option<&'a Value>,
}

impl<'a> HopParts<'a> {
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
