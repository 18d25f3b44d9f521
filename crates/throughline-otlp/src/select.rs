//! A request cut down to some of its spans or log records, without decoding: what is kept is copied byte for byte, in
//! order, with its resource, its scope, both schema URLs and every unknown field. A group none of whose items is kept is
//! left out, whatever else is in it.
//!
//! Neighbours that stay are copied as one run, so keeping everything costs one copy and keeping little costs little.

mod by_trace;
mod cut;
mod parts;

use std::ops::Range;

use throughline_semconv::attribute::SERVICE_NAME;

pub use self::by_trace::{OfTrace, split_by_trace};
use self::cut::Cut;
pub use self::parts::{OfPart, Parts, Unit};
use crate::Signal;
use crate::ids::TraceId;
use crate::view::{key_values, merged};
use crate::wire::{Fields, WireError, put_bytes};

/// What becomes of one item.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'n> {
    /// Left out.
    Drop,
    /// Copied as it stands.
    Keep,
    /// Copied, with these attributes behind its own.
    KeepWith(&'n Attributes),
    /// Left out, with this item in its place.
    Replace(&'n [u8]),
}

/// Attributes to add to spans, encoded once. Where a span has one of the keys already, readers see the span's own first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// Encodes text attributes for [`Choice::KeepWith`].
    #[must_use]
    pub fn of_text(attributes: &[(&str, &str)]) -> Self {
        let mut out = Vec::new();
        for (key, text) in attributes {
            let mut value = Vec::with_capacity(text.len() + 4);
            put_bytes(&mut value, 1, text.as_bytes());
            let mut pair = Vec::with_capacity(key.len() + value.len() + 8);
            put_bytes(&mut pair, 1, key.as_bytes());
            put_bytes(&mut pair, 2, &value);
            put_bytes(&mut out, SPAN_ATTRIBUTES, &pair);
        }
        Self(out)
    }
}

/// What becomes of an item, given its number in the request and its bytes.
pub type Choose<'c, 'n> = &'c mut dyn FnMut(usize, &[u8]) -> Result<Choice<'n>, WireError>;

/// Appends to `out` an `ExportTraceServiceRequest` with the spans whose trace is to be kept; says how many they are.
/// Spans without a valid trace id are left out. Nothing is appended if there are none.
///
/// # Errors
/// [`WireError`] if the request is not OTLP; `out` is as it was then.
pub fn select_traces(
    request: &[u8],
    keep: &mut dyn FnMut(TraceId) -> bool,
    out: &mut Vec<u8>,
) -> Result<usize, WireError> {
    select_traces_annotated(request, &mut |trace| if keep(trace) { Choice::Keep } else { Choice::Drop }, out)
}

/// As [`select_traces`], with attributes added to what is kept: why it was, say.
///
/// # Errors
/// As [`select_traces`].
pub fn select_traces_annotated<'n>(
    request: &[u8],
    choose: &mut dyn FnMut(TraceId) -> Choice<'n>,
    out: &mut Vec<u8>,
) -> Result<usize, WireError> {
    select_traces_around(request, &[], choose, out)
}

/// As [`select_traces_annotated`], of a request of which only a part is at hand. What stands in `holes`, which ascend and do
/// not meet, is not looked at: whole spans, each with tag and length, that are not to be kept.
///
/// # Errors
/// As [`select_traces`], and where a hole is not what it should be, as far as that shows.
pub fn select_traces_around<'n>(
    request: &[u8],
    holes: &[Range<usize>],
    choose: &mut dyn FnMut(TraceId) -> Choice<'n>,
    out: &mut Vec<u8>,
) -> Result<usize, WireError> {
    Cut::request(
        request,
        holes,
        &mut |_, span| Ok(trace_id(Signal::Traces, span)?.map_or(Choice::Drop, &mut *choose)),
        out,
    )
}

/// Chooses any items: `choose` is given each item's number in the request and its bytes. Spans and log records alike, as
/// the two requests have the same form; attributes can be added to spans only.
///
/// # Errors
/// As [`select_traces`], and what `choose` says.
pub fn select_items<'n>(
    request: &[u8],
    choose: Choose<'_, 'n>,
    out: &mut Vec<u8>,
) -> Result<usize, WireError> {
    Cut::request(request, &[], choose, out)
}

/// Chooses whole `ResourceSpans` or `ResourceLogs`, by their number and bytes; says how many items are in those kept. No
/// attributes are added to them.
///
/// # Errors
/// As [`select_items`].
pub fn select_resources(request: &[u8], keep: Choose<'_, '_>, out: &mut Vec<u8>) -> Result<usize, WireError> {
    let mut chosen = Vec::new();
    let (mut seen, mut items) = (0, 0);
    for field in Fields::new(request) {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        let group = field.bytes()?;
        if !matches!(keep(seen, group)?, Choice::Drop) {
            items += items_of(group)?;
            chosen.push(field.raw);
        }
        seen += 1;
    }
    chosen.into_iter().for_each(|raw| out.extend_from_slice(raw));
    Ok(items)
}

/// How many spans or log records a request has. Only what holds them is read.
///
/// # Errors
/// [`WireError`] if that is not OTLP.
pub fn count_items(request: &[u8]) -> Result<usize, WireError> {
    crate::view::messages(request, 1).map(|group| items_of(group?)).sum()
}

fn items_of(resource_group: &[u8]) -> Result<usize, WireError> {
    let mut items = 0;
    for scope in crate::view::messages(resource_group, 2) {
        for item in crate::view::messages(scope?, 2) {
            item?;
            items += 1;
        }
    }
    Ok(items)
}

/// The trace id of a span or log record; `None` if it has no valid one.
///
/// A span that begins with its id, as every encoder writes it, is not read further: the rest would cost twice as much as
/// all else that is done for a span that is not kept. Of two ids, which no encoder writes, protobuf says that the last one
/// counts; a request that has such spans is made [`sound`](crate::sound) at the door, and this is asked behind it.
///
/// # Errors
/// [`WireError`] if the item had to be read and is not wire-valid at its own level.
#[inline]
pub fn trace_id(signal: Signal, item: &[u8]) -> Result<Option<TraceId>, WireError> {
    match (signal, item.split_first_chunk::<18>()) {
        (Signal::Traces, Some(([0x0a, 16, id @ ..], _))) => Ok(TraceId::new(*id)),
        (Signal::Logs, _) => searched_trace_id(item, LOG_TRACE_ID),
        _ => searched_trace_id(item, SPAN_TRACE_ID),
    }
}

/// Whether [`trace_id`] finds `id`, the last one of this span and so the one that counts.
#[inline]
pub(crate) fn is_plain(span: &[u8], id: &[u8]) -> bool {
    match span.split_first_chunk::<18>() {
        Some(([0x0a, 16, first @ ..], _)) => first == id,
        _ => true,
    }
}

fn searched_trace_id(item: &[u8], number: u8) -> Result<Option<TraceId>, WireError> {
    let id = match plain_bytes_field(item, number) {
        Some(id) => id,
        None => bytes_field(item, number)?,
    };
    Ok(TraceId::from_slice(id))
}

/// `service.name` of a `ResourceSpans` or `ResourceLogs`, if it is a text.
///
/// # Errors
/// [`WireError`] if what had to be read is not OTLP.
pub fn service_name(resource_group: &[u8]) -> Result<Option<&str>, WireError> {
    for pair in key_values(merged(resource_group, 1), 1) {
        let pair = pair?;
        if pair.key != SERVICE_NAME {
            continue;
        }
        let mut name = None;
        for field in pair.value() {
            let field = field?;
            name = if field.number == 1 { Some(field.text()?) } else { None };
        }
        return Ok(name);
    }
    Ok(None)
}

/// The last occurrence of a field of bytes, empty if there is none.
fn bytes_field(message: &[u8], number: u8) -> Result<&[u8], WireError> {
    let mut found: &[u8] = &[];
    for field in Fields::new(message) {
        let field = field?;
        if field.number == u32::from(number) {
            found = field.bytes()?;
        }
    }
    Ok(found)
}

/// As [`bytes_field`] for messages written as every encoder writes them; `None` for any other, sound or not. It takes
/// a third of the time.
#[inline]
fn plain_bytes_field(message: &[u8], number: u8) -> Option<&[u8]> {
    let mut found: &[u8] = &[];
    let mut rest = message;
    loop {
        rest = match *rest {
            [] => return Some(found),
            [tag @ ..0x80, length @ ..0x80, ref tail @ ..] if tag & 7 == 2 && tag > 7 => {
                let (bytes, after) = tail.split_at_checked(usize::from(length))?;
                if tag >> 3 == number {
                    found = bytes;
                }
                after
            }
            [tag @ ..0x80, low, high @ ..0x80, ref tail @ ..] if tag & 7 == 2 && tag > 7 => {
                let (bytes, after) =
                    tail.split_at_checked(usize::from(low & 0x7f) | usize::from(high) << 7)?;
                if tag >> 3 == number {
                    found = bytes;
                }
                after
            }
            [tag @ ..0x80, ref tail @ ..] if tag >> 3 != number && tag > 7 => match (tag & 7, tail) {
                (1, _) => tail.get(8..)?,
                (5, _) => tail.get(4..)?,
                (0, [..0x80, after @ ..]) => after,
                _ => return None,
            },
            // Field 16 and those behind it, of which a span has its flags.
            [low @ 0x80..=0xff, 1..0x80, ref tail @ ..] if low & 7 == 5 => tail.get(4..)?,
            _ => return None,
        };
    }
}

const SPAN_TRACE_ID: u8 = 1;
const LOG_TRACE_ID: u8 = 9;
const SPAN_ATTRIBUTES: u32 = 9;

#[cfg(test)]
mod tests;
