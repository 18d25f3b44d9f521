//! An item of a [`Chunk`] as the index takes it: terms, columns and the stored OTLP bytes, all borrowed from the chunk, so
//! that a document costs no allocation.

use std::array;
use std::sync::Arc;

use tantivy::schema::document::{
    DeserializeError, DocumentDeserialize, DocumentDeserializer, ReferenceValue, ReferenceValueLeaf, Value,
    ValueDeserialize, ValueDeserializer,
};
use tantivy::schema::{Document as TantivyDocument, Field};

use crate::chunk::Chunk;
use crate::schema::{Column, Slice};

/// One document.
#[derive(Debug)]
pub(crate) struct Document {
    chunk: Arc<Chunk>,
    index: usize,
}

/// Every item of a chunk.
pub(crate) fn of_chunk(chunk: &Arc<Chunk>) -> impl ExactSizeIterator<Item = Document> {
    (0..chunk.items().len()).map(|index| Document { chunk: Arc::clone(chunk), index })
}

/// A value of a document, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DocumentValue<'a> {
    Bytes(&'a [u8]),
    Number(u64),
}

/// Walks a document, nearly in the order of its fields: the index sorts values by field, which is free if they are sorted.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    otlp: Option<&'a [u8]>,
    columns: array::IntoIter<(Column, Option<u64>), 4>,
    terms: [Slice<'a>; 2],
}

impl<'a> Iterator for Values<'a> {
    type Item = (Field, DocumentValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(otlp) = self.otlp.take() {
            return Some((Column::Otlp.field(), DocumentValue::Bytes(otlp)));
        }
        for (column, value) in self.columns.by_ref() {
            if let Some(value) = value {
                return Some((column.field(), DocumentValue::Number(value)));
            }
        }
        let (column, term) = self.terms.iter_mut().find_map(Iterator::next)?;
        Some((column.field(), DocumentValue::Bytes(term)))
    }
}

impl TantivyDocument for Document {
    type Value<'a> = DocumentValue<'a>;
    type FieldsValuesIter<'a> = Values<'a>;

    fn iter_fields_and_values(&self) -> Values<'_> {
        let item = self.chunk.items().get(self.index);
        let column = |column, value: Option<u64>| (column, value);
        Values {
            otlp: self.chunk.otlp(self.index),
            columns: [
                column(Column::Time, item.map(|item| item.time)),
                column(Column::Duration, item.and_then(|item| item.duration)),
                column(Column::Span, item.and_then(|item| item.span)),
                column(Column::Parent, item.and_then(|item| item.parent)),
            ]
            .into_iter(),
            terms: self.chunk.terms(self.index),
        }
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
