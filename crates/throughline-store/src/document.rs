//! A span or record as the index takes it: terms, two columns and the stored OTLP bytes. Borrows the bytes from memory;
//! one document costs two allocations.

use std::sync::Arc;

use tantivy::schema::document::{
    DeserializeError, DocumentDeserialize, DocumentDeserializer, ReferenceValue, ReferenceValueLeaf, Value,
    ValueDeserialize, ValueDeserializer,
};
use tantivy::schema::{Document as TantivyDocument, Field};
use throughline_otlp::model::KeyValue;
use throughline_otlp::{LogRecord, OneLog, OneSpan, Signal, Span, SpanId};

use crate::attribute::{self, Renderer, canonical};
use crate::memory::{Chunk, Content};
use crate::query::{duration, kind_byte};
use crate::schema::{Column, Terms};

/// One document.
#[derive(Debug)]
pub(crate) struct Document {
    chunk: Arc<Chunk>,
    index: usize,
    columns: [Option<u64>; 4],
    terms: Terms,
}

/// The fields of [`Document::columns`].
const COLUMNS: [Column; 4] = [Column::Time, Column::Duration, Column::Span, Column::Parent];

/// Every item of a chunk.
pub(crate) fn of_chunk(chunk: &Arc<Chunk>) -> Vec<Document> {
    let mut renderer = Renderer::default();
    let document = |index, columns, terms| Document { chunk: Arc::clone(chunk), index, columns, terms };
    match &chunk.content {
        Content::Spans(spans) => (0..)
            .zip(spans)
            .map(|(index, OneSpan { span, .. })| {
                let ids = [Some(number(span.span_id)), span.parent.map(number)];
                let columns = [Some(chunk.placed(span.start)), Some(duration(span)), ids[0], ids[1]];
                document(index, columns, span_terms(span, &mut renderer))
            })
            .collect(),
        Content::Logs(logs) => (0..)
            .zip(logs)
            .map(|(index, OneLog { log, .. })| {
                let columns = [Some(chunk.placed(log.time)), None, log.span_id.map(number), None];
                document(index, columns, log_terms(log, &mut renderer))
            })
            .collect(),
    }
}

/// A span id as a column has it.
pub(crate) fn number(id: SpanId) -> u64 {
    u64::from_be_bytes(id.bytes())
}

/// In the order of the fields: the index sorts values by field, which is free if they are sorted.
fn span_terms(span: &Span, renderer: &mut Renderer) -> Terms {
    let mut terms = Terms::default();
    let mut push = |column, parts: &[&[u8]]| terms.push(Signal::Traces, column, parts);
    let service = span.service();
    let kind = kind_byte(span.kind);
    push(Column::Trace, &[&span.trace_id.bytes()]);
    push(Column::Service, &[service.as_bytes()]);
    terms.push_operation(service, kind, &span.name);
    let mut push = |column, parts: &[&[u8]]| terms.push(Signal::Traces, column, parts);
    push(Column::Name, &[span.name.as_bytes()]);
    push(Column::Kind, &[&[kind]]);
    if span.is_error() {
        push(Column::Error, &[]);
    }
    attributes(&mut terms, Signal::Traces, attribute::of_span(span), renderer);
    attributes(&mut terms, Signal::Traces, span.resource.attributes.iter(), renderer);
    for link in span.links.iter().filter(|link| link.trace_id != span.trace_id) {
        terms.push(Signal::Traces, Column::Link, &[&link.trace_id.bytes()]);
    }
    terms
}

fn log_terms(log: &LogRecord, renderer: &mut Renderer) -> Terms {
    let mut terms = Terms::default();
    let mut push = |column, parts: &[&[u8]]| terms.push(Signal::Logs, column, parts);
    if let Some(id) = log.trace_id {
        push(Column::Trace, &[&id.bytes()]);
    }
    push(Column::Service, &[log.resource.service().as_bytes()]);
    if attribute::is_error(log) {
        push(Column::Error, &[]);
    }
    attribute::of_record(log, |key, text| push(Column::Attribute, &[key.as_bytes(), b"\0", text.as_bytes()]));
    attributes(&mut terms, Signal::Logs, log.attributes.iter().chain(&log.resource.attributes), renderer);
    terms
}

fn attributes<'a>(
    terms: &mut Terms,
    signal: Signal,
    entries: impl Iterator<Item = &'a KeyValue>,
    renderer: &mut Renderer,
) {
    for entry in entries {
        let key = canonical(&entry.key).as_bytes();
        terms.push(signal, Column::Attribute, &[key, b"\0", renderer.text(&entry.value).as_bytes()]);
    }
}

/// A value of a document, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DocumentValue<'a> {
    Bytes(&'a [u8]),
    Number(u64),
}

/// Walks a document in the order of its fields.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    document: &'a Document,
    next: usize,
}

impl<'a> Iterator for Values<'a> {
    type Item = (Field, DocumentValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let Document { chunk, index, columns, terms } = self.document;
        loop {
            let at = self.next;
            self.next += 1;
            let Some(before_columns) = at.checked_sub(1) else {
                return Some((
                    Column::Otlp.field(),
                    DocumentValue::Bytes(chunk.otlp(*index).unwrap_or_default()),
                ));
            };
            match (COLUMNS.get(before_columns), columns.get(before_columns)) {
                (Some(column), Some(Some(value))) => {
                    return Some((column.field(), DocumentValue::Number(*value)));
                }
                (Some(_), _) => {}
                (None, _) => {
                    let (column, bytes) = terms.get(before_columns - COLUMNS.len())?;
                    return Some((column.field(), DocumentValue::Bytes(bytes)));
                }
            }
        }
    }
}

impl TantivyDocument for Document {
    type Value<'a> = DocumentValue<'a>;
    type FieldsValuesIter<'a> = Values<'a>;

    fn iter_fields_and_values(&self) -> Values<'_> {
        Values { document: self, next: 0 }
    }
}

impl<'a> Value<'a> for DocumentValue<'a> {
    type ArrayIter = std::iter::Empty<Self>;
    type ObjectIter = std::iter::Empty<(&'a str, Self)>;

    fn as_value(&self) -> ReferenceValue<'a, Self> {
        ReferenceValue::Leaf(match *self {
            Self::Bytes(bytes) => ReferenceValueLeaf::Bytes(bytes),
            Self::Number(number) => ReferenceValueLeaf::U64(number),
        })
    }
}

/// The OTLP bytes of a stored document.
#[derive(Debug)]
pub(crate) struct Stored(pub(crate) Vec<u8>);

struct StoredBytes(Vec<u8>);

impl ValueDeserialize for StoredBytes {
    fn deserialize<'de, D: ValueDeserializer<'de>>(deserializer: D) -> Result<Self, DeserializeError> {
        deserializer.deserialize_bytes().map(Self)
    }
}

impl DocumentDeserialize for Stored {
    fn deserialize<'de, D: DocumentDeserializer<'de>>(mut deserializer: D) -> Result<Self, DeserializeError> {
        match deserializer.next_field::<StoredBytes>()? {
            Some((_, StoredBytes(bytes))) => Ok(Self(bytes)),
            None => Err(DeserializeError::custom("document without stored bytes")),
        }
    }
}
