//! The whole-request scan at the door: is it OTLP, and how much is in it? Nothing that fails here is journalled.

use crate::Signal;
use crate::schema::{self, Column, Kind, Repeated, Schema};
use crate::view::{LogsView, messages, walk};
use crate::wire::{Field, Fields, MAX_DEPTH, Payload, WireError, packed_varints};

use self::usual::Ids;

mod usual;

/// What a request holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Spans, log records or data points.
    pub items: u64,
    /// Of these, how many cannot be kept: spans whose trace or span id is missing, all zero or of the wrong length.
    pub rejected: u64,
    /// Of the others, how many have their trace id more than once: the last one counts.
    pub doubled: u64,
}

impl Counts {
    /// Whether every span can stay as it is; else [`sound`](crate::sound) makes the request so.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.rejected == 0 && self.doubled == 0
    }
}

/// Reads every byte of a request as prost would and counts its items.
///
/// # Errors
/// [`WireError`] for exactly the requests that a full decode refuses.
pub fn check(signal: Signal, request: &[u8]) -> Result<Counts, WireError> {
    match signal {
        Signal::Traces => {
            let mut counts = Counts::default();
            scan_spans(&schema::TRACES_REQUEST, request, MAX_DEPTH, &mut counts)?;
            Ok(counts)
        }
        Signal::Logs => {
            scan(&schema::LOGS_REQUEST, request, MAX_DEPTH)?;
            let mut items = 0;
            LogsView::new(request).for_each(&mut |_, _, _| {
                items += 1;
                Ok(())
            })?;
            Ok(Counts { items, ..Counts::default() })
        }
        Signal::Metrics => {
            scan(&schema::METRICS_REQUEST, request, MAX_DEPTH)?;
            Ok(Counts { items: count_points(request)?, ..Counts::default() })
        }
    }
}

/// As [`scan`], of the messages that spans stand in; counts the spans as it goes.
fn scan_spans(schema: &Schema, message: &[u8], depth: u32, counts: &mut Counts) -> Result<(), WireError> {
    for field in Fields::at_depth(message, depth) {
        let field = field?;
        match schema.column(field.number).map(|column| column.kind) {
            Some(Kind::Message(inner)) if std::ptr::eq(inner, &raw const schema::SPAN) => {
                let depth = depth.checked_sub(1).ok_or(WireError::TooDeep)?;
                counts.items += 1;
                match usual::span(field.bytes()?, depth)? {
                    Ids::Plain => {}
                    Ids::Doubled => counts.doubled += 1,
                    Ids::Invalid => counts.rejected += 1,
                }
            }
            Some(Kind::Message(inner)) if is_around_spans(inner) => {
                let depth = depth.checked_sub(1).ok_or(WireError::TooDeep)?;
                scan_spans(inner, field.bytes()?, depth, counts)?;
            }
            _ => scan_any(schema, &field, depth)?,
        }
    }
    Ok(())
}

fn is_around_spans(schema: &Schema) -> bool {
    std::ptr::eq(schema, &raw const schema::RESOURCE_SPANS)
        || std::ptr::eq(schema, &raw const schema::SCOPE_SPANS)
}

/// How many data points a checked request holds.
fn count_points(request: &[u8]) -> Result<u64, WireError> {
    let mut points = 0;
    walk(request, &mut |_, _, raw| {
        for field in Fields::new(raw) {
            let field = field?;
            if matches!(field.number, 5 | 7 | 9 | 10 | 11) {
                points += messages(field.bytes()?, 1).count() as u64;
            }
        }
        Ok(())
    })?;
    Ok(points)
}

/// `depth`: how many levels may still nest below this message.
pub(crate) fn scan(schema: &Schema, message: &[u8], depth: u32) -> Result<(), WireError> {
    for field in Fields::at_depth(message, depth) {
        scan_any(schema, &field?, depth)?;
    }
    Ok(())
}

/// One field of a message that may nest `depth` levels more, whether or not its table knows it.
fn scan_any(schema: &Schema, field: &Field<'_>, depth: u32) -> Result<(), WireError> {
    match schema.column(field.number) {
        Some(column) => scan_field(column, field, depth),
        None if depth == 0 => Err(WireError::TooDeep),
        None => Ok(()),
    }
}

fn scan_field(column: &Column, field: &Field<'_>, depth: u32) -> Result<(), WireError> {
    match column.kind {
        Kind::Message(inner) => {
            let depth = depth.checked_sub(1).ok_or(WireError::TooDeep)?;
            let message = field.bytes()?;
            if depth > 0 && std::ptr::eq(inner, &raw const schema::KEY_VALUE) && usual::key_value(message) {
                return Ok(());
            }
            scan(inner, message, depth)
        }
        Kind::Text if usual::is_text(field.bytes()?) => Ok(()),
        Kind::Text => Err(WireError::Utf8 { number: field.number }),
        Kind::Hex | Kind::Base64 => field.bytes().map(drop),
        kind => match field.payload {
            Payload::Bytes(packed) if column.repeated == Repeated::Yes => {
                scan_packed(kind, packed, field.number)
            }
            Payload::Varint(_) if is_varint(kind) => Ok(()),
            Payload::Fixed64(_) if width(kind) == Some(8) => Ok(()),
            Payload::Fixed32(_) if width(kind) == Some(4) => Ok(()),
            _ => Err(WireError::WireType { number: field.number }),
        },
    }
}

fn scan_packed(kind: Kind, packed: &[u8], number: u32) -> Result<(), WireError> {
    match width(kind) {
        Some(width) if packed.len().is_multiple_of(width) => Ok(()),
        Some(_) => Err(WireError::WireType { number }),
        None => packed_varints(packed).try_for_each(|v| v.map(drop)),
    }
}

fn is_varint(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Bool | Kind::Uint32 | Kind::Uint64 | Kind::Int32 | Kind::Int64 | Kind::Sint32 | Kind::Enum(_)
    )
}

fn width(kind: Kind) -> Option<usize> {
    match kind {
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => Some(8),
        Kind::Fixed32 => Some(4),
        _ => None,
    }
}
