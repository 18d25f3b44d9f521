//! Which key and text an attribute is indexed and compared under. Index and verification both go through here, so they
//! cannot disagree. Refuses to know anything about terms or files.

use std::fmt::Write as _;

use throughline_otlp::model::KeyValue;
use throughline_otlp::{Span, Value};
use throughline_semconv::attribute::MESSAGING_MESSAGE_CONVERSATION_ID;
use throughline_semconv::current_name;
use throughline_semconv::own::CORRELATION_ID;

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
pub(crate) fn of_record<'a>(
    severity_text: &'a str,
    event_name: &'a str,
    body: &'a Value,
    mut each: impl FnMut(&'static str, &'a str),
) {
    if !severity_text.is_empty() {
        each("severity", severity_text);
    }
    if !event_name.is_empty() {
        each("event.name", event_name);
    }
    if let Value::Str(body) = body {
        each("body", body);
    }
}

/// Whether a record of this severity counts as an error.
pub(crate) fn is_error(severity: u8) -> bool {
    severity >= SEVERITY_ERROR
}
