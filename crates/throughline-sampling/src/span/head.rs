//! A span's own fields, read in one pass. Most fields on the wire have a one-byte tag and a short payload: these are told
//! apart by the tag alone; whatever else comes goes through the general reader, so that both read the same (a property
//! test holds them to the full view).

use throughline_otlp::wire::tag::{
    ATTRIBUTE, DROPPED_ATTRIBUTES, DROPPED_EVENTS, DROPPED_LINKS, END, EVENT, KIND, LINK, NAME,
    PARENT_SPAN_ID, SPAN_ID, START, STATUS, STATUS_CODE, TRACE_ID, TRACE_STATE,
};
use throughline_otlp::wire::{Field, Fields};
use throughline_otlp::{SpanId, WireError};

/// A span's own fields as they stand on the wire: text not yet checked, attributes, events and links left out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Head<'a> {
    pub(crate) raw: &'a [u8],
    pub(crate) trace_id: &'a [u8],
    pub(crate) span_id: &'a [u8],
    pub(crate) parent_span_id: &'a [u8],
    pub(crate) trace_state: &'a [u8],
    pub(crate) name: &'a [u8],
    pub(crate) kind: i32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) status_code: i32,
    pub(crate) status_message: &'a [u8],
    pub(crate) flags: u32,
    /// Attributes, events and links that the SDK dropped.
    pub(crate) dropped: [u32; 3],
}

/// What else a walk wants of a span.
pub(crate) trait Wants<'a> {
    /// An attribute, raw.
    fn attribute(&mut self, pair: &'a [u8]) -> Result<(), WireError>;
    /// A link, raw.
    fn link(&mut self, link: &'a [u8]);
}

impl<'a> Head<'a> {
    /// Reads a span; hands its attributes and links to `wants`.
    #[inline]
    pub(crate) fn read(raw: &'a [u8], wants: &mut impl Wants<'a>) -> Result<Self, WireError> {
        let mut head = Self { raw, ..Self::default() };
        let mut rest = raw;
        while let Some(tag) = rest.first() {
            if let Some((payload, after)) = short(*tag, rest)
                && head.take_short(*tag, payload, wants)?
            {
                rest = after;
                continue;
            }
            // The reader's errors say where in the span: it has to begin at its beginning.
            let Some(Ok(field)) = Fields::new(rest).next() else { return Err(first_error(raw)) };
            head.take(&field, wants)?;
            rest = rest.get(field.raw.len()..).unwrap_or_default();
        }
        Ok(head)
    }

    /// Whether the field was one of those told apart by their tag, which is one byte; the payload is as [`Visit::short`]
    /// has it.
    ///
    /// [`Visit::short`]: throughline_otlp::Visit::short
    #[inline]
    pub(crate) fn take_short(
        &mut self,
        tag: u8,
        payload: &'a [u8],
        wants: &mut impl Wants<'a>,
    ) -> Result<bool, WireError> {
        match tag {
            ATTRIBUTE => wants.attribute(payload)?,
            TRACE_ID => self.trace_id = payload,
            SPAN_ID => self.span_id = payload,
            TRACE_STATE => self.trace_state = payload,
            PARENT_SPAN_ID => self.parent_span_id = payload,
            NAME => self.name = payload,
            KIND => self.kind = payload.first().map_or(0, |kind| i32::from(*kind)),
            START => self.start = fixed64(payload),
            END => self.end = fixed64(payload),
            EVENT => {}
            LINK => wants.link(payload),
            STATUS => self.take_status(payload)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Counts of what was dropped, where they are short: seldom there, so not in the way of the others.
    pub(crate) fn take_dropped(&mut self, tag: u8, payload: &[u8]) {
        let [attributes, events, links] = &mut self.dropped;
        let count = payload.first().map_or(0, |count| u32::from(*count));
        match tag {
            DROPPED_ATTRIBUTES => *attributes = count,
            DROPPED_EVENTS => *events = count,
            DROPPED_LINKS => *links = count,
            _ => {}
        }
    }

    pub(crate) fn take(&mut self, field: &Field<'a>, wants: &mut impl Wants<'a>) -> Result<(), WireError> {
        let [dropped_attributes, dropped_events, dropped_links] = &mut self.dropped;
        match field.number {
            1 => self.trace_id = field.bytes()?,
            2 => self.span_id = field.bytes()?,
            3 => self.trace_state = field.bytes()?,
            4 => self.parent_span_id = field.bytes()?,
            5 => self.name = field.bytes()?,
            6 => self.kind = field.varint32()?.cast_signed(),
            7 => self.start = field.fixed64()?,
            8 => self.end = field.fixed64()?,
            9 => wants.attribute(field.bytes()?)?,
            10 => *dropped_attributes = field.varint32()?,
            12 => *dropped_events = field.varint32()?,
            13 => wants.link(field.bytes()?),
            14 => *dropped_links = field.varint32()?,
            15 => self.take_status(field.bytes()?)?,
            16 => self.flags = field.fixed32()?,
            _ => {}
        }
        Ok(())
    }

    #[inline]
    fn take_status(&mut self, status: &'a [u8]) -> Result<(), WireError> {
        // A code and nothing else.
        if let [STATUS_CODE, code @ 0..0x80] = status {
            self.status_code = i32::from(*code);
            return Ok(());
        }
        for field in Fields::new(status) {
            let field = field?;
            match field.number {
                2 => self.status_message = field.bytes()?,
                3 => self.status_code = field.varint32()?.cast_signed(),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the span has no parent.
    #[inline]
    pub(crate) fn is_root(&self) -> bool {
        SpanId::from_slice(self.parent_span_id).is_none()
    }
}

/// The payload of the field at the start of `rest` and what follows it, if its tag is one byte and it is eight bytes wide, a varint
/// of one byte, or has a length of one or two bytes.
#[inline]
fn short(tag: u8, rest: &[u8]) -> Option<(&[u8], &[u8])> {
    match (tag & 7, rest) {
        (2, [0..0x80, length @ 0..0x80, payload @ ..]) => payload.split_at_checked(usize::from(*length)),
        (2, [0..0x80, low, high @ 0..0x80, payload @ ..]) => {
            payload.split_at_checked(usize::from(*low & 0x7f) | usize::from(*high) << 7)
        }
        (1, [0..0x80, payload @ ..]) => payload.split_at_checked(8),
        (0, [0..0x80, payload @ ..]) if matches!(payload, [0..0x80, ..]) => payload.split_at_checked(1),
        _ => None,
    }
}

#[inline]
fn fixed64(payload: &[u8]) -> u64 {
    payload.try_into().map_or(0, u64::from_le_bytes)
}

#[cold]
fn first_error(raw: &[u8]) -> WireError {
    Fields::new(raw).find_map(Result::err).unwrap_or(WireError::Truncated { at: raw.len() })
}
