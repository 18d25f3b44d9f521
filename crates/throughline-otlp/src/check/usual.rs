//! What nearly every span looks like, read with little more than a comparison a field: one-byte tags, short lengths, text
//! that is ASCII. It only ever says "this is valid" or "I do not know": whatever it does not know, the tables decide, and
//! they say what is wrong with it. So it cannot let pass what they refuse (the property tests against prost cover both).

use super::Visit;
use crate::ids::{SpanId, TraceId};
use crate::schema;
use crate::select::is_plain as has_plain_id;
use crate::wire::tag::{
    ATTRIBUTE, BOOL, BYTES, DOUBLE, DROPPED_ATTRIBUTES, DROPPED_EVENTS, DROPPED_LINKS, END, INT, KEY, KIND,
    NAME, PARENT_SPAN_ID, SPAN_ID, START, STATUS, STATUS_CODE, STRING, TRACE_ID, TRACE_STATE, VALUE,
};
use crate::wire::{Fields, WireError};

/// Whether a span can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    /// Its trace and span id are valid.
    Plain,
    /// They are, and another trace id stands before the one that counts.
    Doubled,
    /// One of them is missing, all zero or of the wrong length.
    Invalid,
}

/// Reads every byte of a span, which the visitor knows of, that may nest `depth` levels more, as [`super::scan`] would with the span's table.
#[inline]
pub(super) fn span<'a>(raw: &'a [u8], depth: u32, visit: &mut impl Visit<'a>) -> Result<Ids, WireError> {
    let mut found = Found::default();
    let mut rest = raw;
    while let Some(tag) = rest.first() {
        rest = match field(*tag, rest) {
            Some((payload, after)) if found.take(*tag, payload, depth, visit)? => after,
            _ => found.take_any(raw, rest, depth, visit)?,
        };
    }
    let ids = TraceId::from_slice(found.trace).zip(SpanId::from_slice(found.span));
    visit.end(ids)?;
    Ok(match ids {
        Some(_) if has_plain_id(raw, found.trace) => Ids::Plain,
        Some(_) => Ids::Doubled,
        None => Ids::Invalid,
    })
}

/// What a span says last of its ids.
#[derive(Default)]
struct Found<'a> {
    trace: &'a [u8],
    span: &'a [u8],
}

impl<'a> Found<'a> {
    /// Whether the field is valid for sure.
    #[inline]
    fn take(
        &mut self,
        tag: u8,
        payload: &'a [u8],
        depth: u32,
        visit: &mut impl Visit<'a>,
    ) -> Result<bool, WireError> {
        let valid = match tag {
            ATTRIBUTE => depth > 1 && key_value(payload),
            TRACE_ID => {
                self.trace = payload;
                true
            }
            SPAN_ID => {
                self.span = payload;
                true
            }
            NAME | TRACE_STATE => is_text(payload),
            PARENT_SPAN_ID | START | END | KIND => true,
            DROPPED_ATTRIBUTES | DROPPED_EVENTS | DROPPED_LINKS => true,
            STATUS => depth > 0 && matches!(payload, [] | [STATUS_CODE, 0..0x80]),
            _ => false,
        };
        if valid {
            visit.short(tag, payload)?;
        }
        Ok(valid)
    }

    /// The field at the start of `rest`, as the table has it, and what follows it.
    fn take_any(
        &mut self,
        raw: &'a [u8],
        rest: &'a [u8],
        depth: u32,
        visit: &mut impl Visit<'a>,
    ) -> Result<&'a [u8], WireError> {
        // The table's errors say where in the span: they have to begin at its beginning.
        let Some(Ok(field)) = Fields::at_depth(rest, depth).next() else {
            return Err(first_error(raw, depth));
        };
        if super::scan_any(&schema::SPAN, &field, depth).is_err() {
            return Err(first_error(raw, depth));
        }
        match field.number {
            1 => self.trace = field.bytes()?,
            2 => self.span = field.bytes()?,
            _ => {}
        }
        visit.field(&field)?;
        Ok(rest.get(field.raw.len()..).unwrap_or_default())
    }
}

#[cold]
fn first_error(raw: &[u8], depth: u32) -> WireError {
    super::scan(&schema::SPAN, raw, depth).err().unwrap_or(WireError::Truncated { at: raw.len() })
}

/// Whether these are the bytes of a `KeyValue` with a key and a plain value, in this order and nothing else. It nests one
/// level.
#[inline]
pub(super) fn key_value(pair: &[u8]) -> bool {
    // One look at all of it is cheaper than one at each of two short texts.
    let ascii = is_ascii(pair);
    let Some((key, rest)) = delimited(KEY, pair) else { return false };
    let Some((value, [])) = delimited(VALUE, rest) else { return false };
    (ascii || is_text(key)) && is_plain(value, ascii)
}

/// Whether these are the bytes of an `AnyValue` that is empty, a text, a boolean, a number or bytes.
#[inline]
fn is_plain(value: &[u8], ascii: bool) -> bool {
    match value {
        [] => true,
        [STRING, ..] => matches!(delimited(STRING, value), Some((text, [])) if ascii || is_text(text)),
        [BOOL | INT, number @ ..] => is_short_varint(number),
        [DOUBLE, number @ ..] => number.len() == 8,
        [BYTES, ..] => matches!(delimited(BYTES, value), Some((_, []))),
        _ => false,
    }
}

/// A varint of at most nine bytes, which cannot be too large, and nothing else.
#[inline]
fn is_short_varint(bytes: &[u8]) -> bool {
    match bytes {
        [0..0x80] => true,
        [more @ .., 0..0x80] => more.len() < 9 && more.iter().all(|byte| *byte >= 0x80),
        _ => false,
    }
}

/// The field at the start of `rest` and what follows it, if its tag is this one byte and it is eight bytes wide, a varint of
/// one byte, or has a length of one or two bytes.
#[inline]
fn field(tag: u8, rest: &[u8]) -> Option<(&[u8], &[u8])> {
    match (tag & 7, rest) {
        (2, _) => delimited(tag, rest),
        (1, [0..0x80, payload @ ..]) => payload.split_at_checked(8),
        (0, [0..0x80, payload @ ..]) if matches!(payload, [0..0x80, ..]) => payload.split_at_checked(1),
        _ => None,
    }
}

#[inline]
fn delimited(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes {
        [first, length @ 0..0x80, rest @ ..] if *first == tag && tag < 0x80 => {
            rest.split_at_checked(usize::from(*length))
        }
        [first, low, high @ 0..0x80, rest @ ..] if *first == tag && tag < 0x80 => {
            rest.split_at_checked(usize::from(*low & 0x7f) | usize::from(*high) << 7)
        }
        _ => None,
    }
}

/// Whether these bytes are UTF-8.
#[inline]
pub(super) fn is_text(bytes: &[u8]) -> bool {
    is_ascii(bytes) || std::str::from_utf8(bytes).is_ok()
}

/// Whether no byte has its highest bit set; inlined, as most texts are shorter than a call is long.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().fold(0, |all, byte| all | byte) < 0x80;
    };
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().fold(word(last), |all, bytes| all | word(bytes)) & HIGH == 0
}
