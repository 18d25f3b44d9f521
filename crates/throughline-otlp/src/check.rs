//! The whole-request scan at the door: is it OTLP, and how much is in it? Nothing that fails here is journalled.

use crate::Signal;
use crate::ids::{SpanId, TraceId};
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
        Signal::Traces => check_spans(request, &mut ()),
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

/// Is told what stands in a request of spans while [`check_spans`] reads it, so that a request need not be read twice.
/// It may be told of a part of a request that turns out not to be OTLP.
pub trait Visit<'a> {
    /// A `ResourceSpans` begins; none of it has been checked yet.
    ///
    /// # Errors
    /// Any ends the walk; so below.
    fn resource(&mut self, group: &'a [u8]) -> Result<(), WireError>;
    /// A `ScopeSpans` begins; none of it has been checked yet.
    ///
    /// # Errors
    /// As above.
    fn scope(&mut self, group: &'a [u8]) -> Result<(), WireError>;
    /// A span begins: its bytes, and those of the field that it stands in, tag and length included.
    fn span(&mut self, raw: &'a [u8], field: &'a [u8]);
    /// The span's next field, checked. Its tag is one byte, and its payload has 8 bytes, is a varint of one byte, or is
    /// length-delimited.
    ///
    /// # Errors
    /// As above.
    fn short(&mut self, tag: u8, payload: &'a [u8]) -> Result<(), WireError>;
    /// The span's next field, checked, whatever it looks like.
    ///
    /// # Errors
    /// As above.
    fn field(&mut self, field: &Field<'a>) -> Result<(), WireError>;
    /// The span is at its end; its ids, if it has valid ones.
    ///
    /// # Errors
    /// As above.
    fn end(&mut self, ids: Option<(TraceId, SpanId)>) -> Result<(), WireError>;
}

/// Nobody wants to know.
impl<'a> Visit<'a> for () {
    fn resource(&mut self, _: &'a [u8]) -> Result<(), WireError> {
        Ok(())
    }
    fn scope(&mut self, _: &'a [u8]) -> Result<(), WireError> {
        Ok(())
    }
    fn span(&mut self, _: &'a [u8], _: &'a [u8]) {}
    fn short(&mut self, _: u8, _: &'a [u8]) -> Result<(), WireError> {
        Ok(())
    }
    fn field(&mut self, _: &Field<'a>) -> Result<(), WireError> {
        Ok(())
    }
    fn end(&mut self, _: Option<(TraceId, SpanId)>) -> Result<(), WireError> {
        Ok(())
    }
}

/// As [`check`] of a request of spans, and tells `visit` what stands in it.
///
/// # Errors
/// As [`check`], and what `visit` says.
pub fn check_spans<'a>(request: &'a [u8], visit: &mut impl Visit<'a>) -> Result<Counts, WireError> {
    let mut counts = Counts::default();
    scan_spans(&schema::TRACES_REQUEST, request, MAX_DEPTH, &mut counts, visit)?;
    Ok(counts)
}

/// As [`scan`], of the messages that spans stand in; counts the spans as it goes.
fn scan_spans<'a>(
    schema: &Schema,
    message: &'a [u8],
    depth: u32,
    counts: &mut Counts,
    visit: &mut impl Visit<'a>,
) -> Result<(), WireError> {
    for field in Fields::at_depth(message, depth) {
        let field = field?;
        let inner = match schema.column(field.number).map(|column| column.kind) {
            Some(Kind::Message(inner)) => inner,
            _ => {
                scan_any(schema, &field, depth)?;
                continue;
            }
        };
        let below = || depth.checked_sub(1).ok_or(WireError::TooDeep);
        if std::ptr::eq(inner, &raw const schema::SPAN) {
            counts.items += 1;
            visit.span(field.bytes()?, field.raw);
            match usual::span(field.bytes()?, below()?, visit)? {
                Ids::Plain => {}
                Ids::Doubled => counts.doubled += 1,
                Ids::Invalid => counts.rejected += 1,
            }
        } else if std::ptr::eq(inner, &raw const schema::SCOPE_SPANS) {
            visit.scope(field.bytes()?)?;
            scan_spans(inner, field.bytes()?, below()?, counts, visit)?;
        } else if std::ptr::eq(inner, &raw const schema::RESOURCE_SPANS) {
            visit.resource(field.bytes()?)?;
            scan_spans(inner, field.bytes()?, below()?, counts, visit)?;
        } else {
            scan_any(schema, &field, depth)?;
        }
    }
    Ok(())
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
