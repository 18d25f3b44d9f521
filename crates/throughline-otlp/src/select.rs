//! A request cut down to some of its spans or log records, without decoding: what is kept is copied byte for byte, in
//! order, with its resource, its scope, both schema URLs and every unknown field. A group none of whose items is kept is
//! left out, whatever else is in it.
//!
//! Neighbours that stay are copied as one run, so keeping everything costs one copy and keeping little costs little.

use throughline_semconv::attribute::SERVICE_NAME;

use crate::Signal;
use crate::ids::TraceId;
use crate::view::{key_values, merged};
use crate::wire::{Fields, WireError, put_bytes, put_tag, put_varint, varint_len};

/// What becomes of one item.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'n> {
    /// Left out.
    Drop,
    /// Copied as it stands.
    Keep,
    /// Copied, with these attributes behind its own.
    KeepWith(&'n Attributes),
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
    select_items(
        request,
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
    let mut cut = Cut { pieces: Vec::new(), items: 0, kept: 0, choose };
    let length = cut.group(request, Level::Request)?;
    out.reserve(length);
    for piece in &cut.pieces {
        match *piece {
            Piece::Run(bytes) => out.extend_from_slice(bytes),
            Piece::Head { number, length } => put_head(out, number, length),
        }
    }
    Ok(cut.kept)
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
/// all else that is done for a span that is not kept. So of two ids, which no encoder writes, the first counts if it is
/// the span's first field; else the last one does, as protobuf has it. Who selects by trace must have learned the trace here.
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

/// A request holds resource groups, these hold scope groups, these hold items.
#[derive(Clone, Copy)]
enum Level {
    Request,
    Resource,
    Scope,
}

impl Level {
    /// The field in which the children stand.
    fn children(self) -> u32 {
        match self {
            Self::Request => 1,
            Self::Resource | Self::Scope => 2,
        }
    }
}

/// What the output is put together from.
enum Piece<'a> {
    /// Bytes as they stand in the request, or attributes to add.
    Run(&'a [u8]),
    /// Tag and length of a group or item that became longer or shorter.
    Head { number: u32, length: usize },
}

/// One field of a group.
struct Part<'a> {
    number: u32,
    /// Tag and value.
    raw: &'a [u8],
    /// The value, if it is length-delimited.
    bytes: Option<&'a [u8]>,
}

impl<'a> Part<'a> {
    /// The field that `rest` begins with. Of spans of the usual size this is nearly all there is to do.
    #[inline]
    fn first_of(rest: &'a [u8]) -> Result<Self, WireError> {
        let (head, length) = match *rest {
            [tag @ 8..0x80, length @ ..0x80, ..] if tag & 7 == 2 => (2, usize::from(length)),
            [tag @ 8..0x80, low, high @ ..0x80, ..] if tag & 7 == 2 => {
                (3, usize::from(low & 0x7f) | usize::from(high) << 7)
            }
            _ => return Self::any_first_of(rest),
        };
        match (rest.first(), rest.get(..head + length), rest.get(head..head + length)) {
            (Some(tag), Some(raw), bytes @ Some(_)) => Ok(Self { number: u32::from(tag >> 3), raw, bytes }),
            _ => Err(WireError::Truncated { at: 0 }),
        }
    }

    fn any_first_of(rest: &'a [u8]) -> Result<Self, WireError> {
        let field = Fields::new(rest).next().ok_or(WireError::Truncated { at: 0 })??;
        Ok(Self { number: field.number, raw: field.raw, bytes: field.bytes().ok() })
    }
}

struct Cut<'a, 'c, 'n> {
    pieces: Vec<Piece<'a>>,
    items: usize,
    kept: usize,
    choose: Choose<'c, 'n>,
}

impl<'a, 'n: 'a> Cut<'a, '_, 'n> {
    /// Adds the pieces of what is kept of `group` and says how long they are; no pieces if no item is kept.
    fn group(&mut self, group: &'a [u8], level: Level) -> Result<usize, WireError> {
        let (first_piece, kept_before) = (self.pieces.len(), self.kept);
        let mut run = Run { bytes: group, from: 0, to: 0 };
        let (mut at, mut length) = (0, 0);
        while let Some(rest) = group.get(at..).filter(|rest| !rest.is_empty()) {
            let field = Part::first_of(rest)?;
            let from = at;
            at += field.raw.len();
            let stays = match field.bytes {
                _ if field.number != level.children() => true,
                Some(bytes) => self.child(&field, bytes, level, &mut run, &mut length)?,
                None => return Err(WireError::WireType { number: field.number }),
            };
            if stays {
                length += field.raw.len();
                run.extend(from, at, &mut self.pieces);
            }
        }
        run.flush(&mut self.pieces);
        if self.kept == kept_before {
            self.pieces.truncate(first_piece);
            return Ok(0);
        }
        Ok(length)
    }

    /// Whether the child stays as it is. If not, what is left of it has been added.
    fn child(
        &mut self,
        field: &Part<'a>,
        bytes: &'a [u8],
        level: Level,
        run: &mut Run<'a>,
        length: &mut usize,
    ) -> Result<bool, WireError> {
        let inner = match level {
            Level::Scope => return self.item(field, bytes, run, length),
            Level::Request => Level::Resource,
            Level::Resource => Level::Scope,
        };
        // The run so far ends before the child's own pieces; a child that comes back whole goes on with it.
        let (first_piece, run_before) = (self.pieces.len(), *run);
        run.flush(&mut self.pieces);
        let head = self.pieces.len();
        self.pieces.push(Piece::Head { number: field.number, length: 0 });
        let inner_length = self.group(bytes, inner)?;
        if inner_length == bytes.len() && self.is_one_run_from(head + 1) {
            self.pieces.truncate(first_piece);
            *run = run_before;
            return Ok(true);
        }
        if inner_length == 0 {
            self.pieces.truncate(first_piece);
            *run = run_before;
            return Ok(false);
        }
        if let Some(Piece::Head { length, .. }) = self.pieces.get_mut(head) {
            *length = inner_length;
        }
        *length += head_len(field.number, inner_length) + inner_length;
        Ok(false)
    }

    fn item(
        &mut self,
        field: &Part<'a>,
        span: &'a [u8],
        run: &mut Run<'a>,
        length: &mut usize,
    ) -> Result<bool, WireError> {
        let choice = (self.choose)(self.items, span)?;
        self.items += 1;
        let added = match choice {
            Choice::Drop => return Ok(false),
            Choice::Keep => {
                self.kept += 1;
                return Ok(true);
            }
            Choice::KeepWith(Attributes(added)) => added,
        };
        self.kept += 1;
        run.flush(&mut self.pieces);
        let item_length = span.len() + added.len();
        self.pieces.push(Piece::Head { number: field.number, length: item_length });
        self.pieces.push(Piece::Run(span));
        self.pieces.push(Piece::Run(added));
        *length += head_len(field.number, item_length) + item_length;
        Ok(false)
    }

    fn is_one_run_from(&self, at: usize) -> bool {
        matches!(self.pieces.get(at..), Some([Piece::Run(_)]))
    }
}

/// Neighbouring bytes of a group that all stay.
#[derive(Clone, Copy)]
struct Run<'a> {
    bytes: &'a [u8],
    from: usize,
    to: usize,
}

impl<'a> Run<'a> {
    fn extend(&mut self, from: usize, to: usize, pieces: &mut Vec<Piece<'a>>) {
        if from != self.to {
            self.flush(pieces);
            self.from = from;
        }
        self.to = to;
    }

    fn flush(&mut self, pieces: &mut Vec<Piece<'a>>) {
        if let Some(run) = self.bytes.get(self.from..self.to).filter(|run| !run.is_empty()) {
            pieces.push(Piece::Run(run));
        }
        self.from = self.to;
    }
}

fn put_head(out: &mut Vec<u8>, number: u32, length: usize) {
    put_tag(out, number, 2);
    put_varint(out, length as u64);
}

fn head_len(number: u32, length: usize) -> usize {
    varint_len(u64::from(number) << 3 | 2) + varint_len(length as u64)
}

#[cfg(test)]
mod tests;
