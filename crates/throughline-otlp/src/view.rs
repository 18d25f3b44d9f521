//! Zero-copy views of OTLP requests: they borrow the wire and read a field when it is asked for.
//!
//! Protobuf lets a singular field occur twice: the last scalar wins, messages merge. The views follow that, so that a
//! full scan equals a full decode (property tests against prost hold them to it). They never allocate.

use crate::ids::{SpanId, TraceId, UnixNanos};
use crate::wire::{Field, Fields, WireError};

/// An `ExportTraceServiceRequest`.
#[derive(Clone, Copy, Debug)]
pub struct TracesView<'a>(&'a [u8]);

/// An `ExportLogsServiceRequest`.
#[derive(Clone, Copy, Debug)]
pub struct LogsView<'a>(&'a [u8]);

/// A `ResourceSpans` or `ResourceLogs` (field 1 resource, 3 schema URL) or a `ScopeSpans` or `ScopeLogs` (field 1
/// scope, 3 schema URL): the two have the same form, children in field 2.
#[derive(Clone, Copy, Debug)]
pub struct GroupView<'a>(&'a [u8]);

/// A span: scalars read once, the rest on demand.
#[derive(Clone, Copy, Debug)]
pub struct SpanView<'a> {
    raw: &'a [u8],
    /// Trace id as on the wire; see [`SpanView::ids`].
    pub trace_id: &'a [u8],
    /// Span id as on the wire.
    pub span_id: &'a [u8],
    /// Parent span id as on the wire; empty for a root.
    pub parent_span_id: &'a [u8],
    /// W3C tracestate.
    pub trace_state: &'a str,
    /// W3C flags and OTLP's remote bits.
    pub flags: u32,
    /// Name.
    pub name: &'a str,
    /// OTLP's number of the kind.
    pub kind: i32,
    /// Start time.
    pub start: UnixNanos,
    /// End time.
    pub end: UnixNanos,
    /// OTLP's number of the status code.
    pub status_code: i32,
    /// Status message.
    pub status_message: &'a str,
    /// Attributes, events and links the SDK dropped.
    pub dropped: [u32; 3],
}

/// A log record: scalars read once, the rest on demand.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogView<'a> {
    raw: &'a [u8],
    /// When it happened.
    pub time: UnixNanos,
    /// When it was seen.
    pub observed: UnixNanos,
    /// Severity number.
    pub severity: i32,
    /// Severity text.
    pub severity_text: &'a str,
    /// Trace id as on the wire.
    pub trace_id: &'a [u8],
    /// Span id as on the wire.
    pub span_id: &'a [u8],
    /// Event name.
    pub event_name: &'a str,
}

/// A `KeyValue`.
#[derive(Clone, Copy, Debug)]
pub struct KeyValueView<'a> {
    raw: &'a [u8],
    /// Key.
    pub key: &'a str,
}

/// Calls back for each leaf with the views of its two groups; an error stops the walk.
pub type Visit<'v, 'a, T> = &'v mut dyn FnMut(GroupView<'a>, GroupView<'a>, T) -> Result<(), WireError>;

impl<'a> TracesView<'a> {
    /// A view of `request`; nothing is read yet.
    #[must_use]
    pub fn new(request: &'a [u8]) -> Self {
        Self(request)
    }

    /// Every span with its resource and scope group, in wire order.
    ///
    /// # Errors
    /// The first [`WireError`] of the wire or of `visit`.
    pub fn for_each(self, visit: Visit<'_, 'a, SpanView<'a>>) -> Result<(), WireError> {
        walk(self.0, &mut |resource, scope, raw| visit(resource, scope, SpanView::parse(raw)?))
    }
}

impl<'a> LogsView<'a> {
    /// A view of `request`; nothing is read yet.
    #[must_use]
    pub fn new(request: &'a [u8]) -> Self {
        Self(request)
    }

    /// Every log record with its resource and scope group, in wire order.
    ///
    /// # Errors
    /// The first [`WireError`] of the wire or of `visit`.
    pub fn for_each(self, visit: Visit<'_, 'a, LogView<'a>>) -> Result<(), WireError> {
        walk(self.0, &mut |resource, scope, raw| visit(resource, scope, LogView::parse(raw)?))
    }
}

/// The two-level nesting that traces, logs and metrics share.
pub(crate) fn walk<'a>(
    request: &'a [u8],
    visit: &mut dyn FnMut(GroupView<'a>, GroupView<'a>, &'a [u8]) -> Result<(), WireError>,
) -> Result<(), WireError> {
    for resource in messages(request, 1) {
        let resource = resource?;
        for scope in messages(resource, 2) {
            let scope = scope?;
            for leaf in messages(scope, 2) {
                visit(GroupView(resource), GroupView(scope), leaf?)?;
            }
        }
    }
    Ok(())
}

impl<'a> GroupView<'a> {
    /// The group's own bytes.
    #[must_use]
    pub fn raw(self) -> &'a [u8] {
        self.0
    }

    /// Fields of the resource or scope in it, merged over its occurrences.
    pub fn head(self) -> impl Iterator<Item = Result<Field<'a>, WireError>> {
        merged(self.0, 1)
    }

    /// Schema URL.
    ///
    /// # Errors
    /// [`WireError`] of the group's bytes.
    pub fn schema_url(self) -> Result<&'a str, WireError> {
        let mut url = "";
        for field in Fields::new(self.0) {
            let field = field?;
            if field.number == 3 {
                url = field.text()?;
            }
        }
        Ok(url)
    }

    /// Every field of the group but its children (field 2), raw: what a splice copies, unknown fields included.
    pub fn frame(self) -> impl Iterator<Item = Result<&'a [u8], WireError>> {
        Fields::new(self.0).filter_map(|field| match field {
            Ok(field) if field.number == 2 => None,
            other => Some(other.map(|field| field.raw)),
        })
    }
}

impl<'a> SpanView<'a> {
    /// Reads the scalars of a span.
    ///
    /// # Errors
    /// [`WireError`] if the span is not wire-valid at its own level; attributes, events and links are not looked into.
    pub fn parse(raw: &'a [u8]) -> Result<Self, WireError> {
        let mut span = Self {
            raw,
            trace_id: &[],
            span_id: &[],
            parent_span_id: &[],
            trace_state: "",
            flags: 0,
            name: "",
            kind: 0,
            start: UnixNanos(0),
            end: UnixNanos(0),
            status_code: 0,
            status_message: "",
            dropped: [0; 3],
        };
        Fields::new(raw).try_for_each(|field| span.take(field?))?;
        Ok(span)
    }

    fn take(&mut self, field: Field<'a>) -> Result<(), WireError> {
        let [dropped_attributes, dropped_events, dropped_links] = &mut self.dropped;
        match field.number {
            1 => self.trace_id = field.bytes()?,
            2 => self.span_id = field.bytes()?,
            3 => self.trace_state = field.text()?,
            4 => self.parent_span_id = field.bytes()?,
            5 => self.name = field.text()?,
            6 => self.kind = field.varint32()?.cast_signed(),
            7 => self.start = UnixNanos(field.fixed64()?),
            8 => self.end = UnixNanos(field.fixed64()?),
            10 => *dropped_attributes = field.varint32()?,
            12 => *dropped_events = field.varint32()?,
            14 => *dropped_links = field.varint32()?,
            15 => self.take_status(field.bytes()?)?,
            16 => self.flags = field.fixed32()?,
            _ => {}
        }
        Ok(())
    }

    fn take_status(&mut self, status: &'a [u8]) -> Result<(), WireError> {
        for field in Fields::new(status) {
            let field = field?;
            match field.number {
                2 => self.status_message = field.text()?,
                3 => self.status_code = field.varint32()?.cast_signed(),
                _ => {}
            }
        }
        Ok(())
    }

    /// Trace and span id, `None` unless both are valid.
    #[must_use]
    pub fn ids(&self) -> Option<(TraceId, SpanId)> {
        Some((TraceId::from_slice(self.trace_id)?, SpanId::from_slice(self.span_id)?))
    }

    /// The span's own bytes.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Attributes in wire order.
    pub fn attributes(&self) -> impl Iterator<Item = Result<KeyValueView<'a>, WireError>> + use<'a> {
        key_values(Fields::new(self.raw), 9)
    }

    /// Raw events in wire order.
    pub fn events(&self) -> impl Iterator<Item = Result<&'a [u8], WireError>> + use<'a> {
        messages(self.raw, 11)
    }

    /// Raw links in wire order.
    pub fn links(&self) -> impl Iterator<Item = Result<&'a [u8], WireError>> + use<'a> {
        messages(self.raw, 13)
    }
}

impl<'a> LogView<'a> {
    /// Reads the scalars of a log record.
    ///
    /// # Errors
    /// [`WireError`] if the record is not wire-valid at its own level; body and attributes are not looked into.
    pub fn parse(raw: &'a [u8]) -> Result<Self, WireError> {
        let mut log = Self { raw, ..Self::default() };
        for field in Fields::new(raw) {
            let field = field?;
            match field.number {
                1 => log.time = UnixNanos(field.fixed64()?),
                2 => log.severity = field.varint32()?.cast_signed(),
                3 => log.severity_text = field.text()?,
                9 => log.trace_id = field.bytes()?,
                10 => log.span_id = field.bytes()?,
                11 => log.observed = UnixNanos(field.fixed64()?),
                12 => log.event_name = field.text()?,
                _ => {}
            }
        }
        Ok(log)
    }

    /// The record's own bytes.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Attributes in wire order.
    pub fn attributes(&self) -> impl Iterator<Item = Result<KeyValueView<'a>, WireError>> + use<'a> {
        key_values(Fields::new(self.raw), 6)
    }

    /// Fields of the body (an `AnyValue`), merged over its occurrences.
    pub fn body(&self) -> impl Iterator<Item = Result<Field<'a>, WireError>> + use<'a> {
        merged(self.raw, 5)
    }
}

impl<'a> KeyValueView<'a> {
    /// Reads the key.
    ///
    /// # Errors
    /// [`WireError`] if the pair is not wire-valid at its own level.
    pub fn parse(raw: &'a [u8]) -> Result<Self, WireError> {
        let mut key = "";
        for field in Fields::new(raw) {
            let field = field?;
            if field.number == 1 {
                key = field.text()?;
            }
        }
        Ok(Self { raw, key })
    }

    /// Fields of the value (an `AnyValue`), merged over its occurrences; the last one counts.
    pub fn value(&self) -> impl Iterator<Item = Result<Field<'a>, WireError>> + use<'a> {
        merged(self.raw, 2)
    }
}

/// The sub-messages in field `number`, raw, in wire order.
pub fn messages(message: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8], WireError>> {
    Fields::new(message).filter_map(move |field| match field {
        Ok(field) if field.number == number => Some(field.bytes()),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

/// The fields of the singular sub-message in field `number`; its occurrences merge, as protobuf has it.
pub(crate) fn merged(message: &[u8], number: u32) -> impl Iterator<Item = Result<Field<'_>, WireError>> {
    messages(message, number).flat_map(|occurrence| {
        let (fields, error) = match occurrence {
            Ok(bytes) => (Some(Fields::new(bytes)), None),
            Err(error) => (None, Some(Err(error))),
        };
        fields.into_iter().flatten().chain(error)
    })
}

/// The `KeyValue`s in field `number` of a stream of fields.
pub(crate) fn key_values<'a>(
    fields: impl Iterator<Item = Result<Field<'a>, WireError>>,
    number: u32,
) -> impl Iterator<Item = Result<KeyValueView<'a>, WireError>> {
    fields.filter_map(move |field| match field {
        Ok(field) if field.number == number => Some(field.bytes().and_then(KeyValueView::parse)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}
