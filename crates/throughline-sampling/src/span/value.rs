//! An attribute's value as far as conditions ask: scalars decoded, lists and maps only counted.

use throughline_otlp::WireError;
use throughline_otlp::view::messages;
use throughline_otlp::wire::{Field, Fields};

/// An OTLP `AnyValue`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    /// No value on the wire.
    Empty,
    /// String.
    Text(&'a str),
    /// Boolean.
    Bool(bool),
    /// Signed integer.
    Int(i64),
    /// Double.
    Double(f64),
    /// Bytes.
    Bytes(&'a [u8]),
    /// An array of so many elements.
    List(usize),
    /// A key-value list of so many entries.
    Map(usize),
}

impl<'a> Scalar<'a> {
    /// The value of a raw `KeyValue`: the last variant on the wire counts, repeated arrays and maps are one longer one.
    pub(crate) fn of_pair(pair: &'a [u8]) -> Result<Self, WireError> {
        if let Some((_, [0x0a, length, text @ ..])) = short_pair(pair)
            && text.len() == usize::from(*length)
        {
            let text = std::str::from_utf8(text).map_err(|_| WireError::Utf8 { number: 1 })?;
            return Ok(Self::Text(text));
        }
        let mut value = Self::Empty;
        for occurrence in messages(pair, 2) {
            for field in Fields::new(occurrence?) {
                value = value.then(field?)?;
            }
        }
        Ok(value)
    }

    fn then(self, field: Field<'a>) -> Result<Self, WireError> {
        Ok(match (field.number, self) {
            (1, _) => Self::Text(field.text()?),
            (2, _) => Self::Bool(field.varint()? != 0),
            (3, _) => Self::Int(field.varint()?.cast_signed()),
            (4, _) => Self::Double(f64::from_bits(field.fixed64()?)),
            (5, Self::List(before)) => Self::List(before + count(field)?),
            (5, _) => Self::List(count(field)?),
            (6, Self::Map(before)) => Self::Map(before + count(field)?),
            (6, _) => Self::Map(count(field)?),
            (7, _) => Self::Bytes(field.bytes()?),
            // An index into a profile's string table (field 8) has no meaning in traces.
            (8, _) => Self::Empty,
            (_, before) => before,
        })
    }
}

/// Key and raw value of a `KeyValue` that is nothing but a key and a value in this order, both short: nearly every one.
#[inline]
pub(super) fn short_pair(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x0a, length @ 0..0x80, rest @ ..] = pair else { return None };
    match rest.split_at_checked(usize::from(*length))? {
        (key, [0x12, length @ 0..0x80, value @ ..]) if value.len() == usize::from(*length) => {
            Some((key, value))
        }
        _ => None,
    }
}

/// Elements of an `ArrayValue` or entries of a `KeyValueList`.
fn count(list: Field<'_>) -> Result<usize, WireError> {
    messages(list.bytes()?, 1).try_fold(0, |count, item| item.map(|_| count + 1))
}
