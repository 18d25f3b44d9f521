//! From views to the owned model. Off the hot path.

use std::sync::Arc;

use crate::Signal;
use crate::check::check;
use crate::ids::{SpanId, TraceId, UnixNanos};
use crate::model::{
    Dropped, Event, KeyValue, Link, LogRecord, Resource, Scope, Span, SpanKind, Status, Value,
};
use crate::view::{GroupView, KeyValueView, LogView, LogsView, SpanView, TracesView, key_values, messages};
use crate::wire::{Field, Fields, WireError};

/// Every span of an `ExportTraceServiceRequest` that has valid ids, in wire order.
///
/// # Errors
/// [`WireError`] if the request is not OTLP.
pub fn decode_traces(request: &[u8]) -> Result<Vec<Span>, WireError> {
    check(Signal::Traces, request)?;
    let mut spans = Vec::new();
    let mut groups = Groups::default();
    TracesView::new(request).for_each(&mut |resource, scope, view| {
        if view.ids().is_some() {
            let (resource, scope) = groups.of(resource, scope)?;
            spans.extend(span(&view, resource, scope)?);
        }
        Ok(())
    })?;
    Ok(spans)
}

/// Every record of an `ExportLogsServiceRequest`, in wire order.
///
/// # Errors
/// [`WireError`] if the request is not OTLP.
pub fn decode_logs(request: &[u8]) -> Result<Vec<LogRecord>, WireError> {
    check(Signal::Logs, request)?;
    let mut logs = Vec::new();
    let mut groups = Groups::default();
    LogsView::new(request).for_each(&mut |resource, scope, view| {
        let (resource, scope) = groups.of(resource, scope)?;
        logs.push(log(&view, resource, scope)?);
        Ok(())
    })?;
    Ok(logs)
}

/// The last resource and scope decoded: neighbours in a request share them.
#[derive(Default)]
pub(crate) struct Groups<'a> {
    resource: Option<(&'a [u8], Arc<Resource>)>,
    scope: Option<(&'a [u8], Arc<Scope>)>,
}

impl<'a> Groups<'a> {
    /// Compares by address: a walk hands out the same slice for the children of one group.
    pub(crate) fn of(
        &mut self,
        resource: GroupView<'a>,
        scope: GroupView<'a>,
    ) -> Result<(Arc<Resource>, Arc<Scope>), WireError> {
        let resource = match &self.resource {
            Some((raw, known)) if std::ptr::eq(*raw, resource.raw()) => Arc::clone(known),
            _ => {
                let decoded = Arc::new(decode_resource(resource)?);
                self.resource = Some((resource.raw(), Arc::clone(&decoded)));
                decoded
            }
        };
        let scope = match &self.scope {
            Some((raw, known)) if std::ptr::eq(*raw, scope.raw()) => Arc::clone(known),
            _ => {
                let decoded = Arc::new(decode_scope(scope)?);
                self.scope = Some((scope.raw(), Arc::clone(&decoded)));
                decoded
            }
        };
        Ok((resource, scope))
    }
}

impl GroupView<'_> {
    /// The resource of a `ResourceSpans` or `ResourceLogs`, decoded.
    ///
    /// # Errors
    /// [`WireError`] of the group's bytes; so for what follows.
    pub fn resource(self) -> Result<Resource, WireError> {
        decode_resource(self)
    }
}

impl KeyValueView<'_> {
    /// The value, decoded. Only of requests that passed [`check`], which bounds the nesting.
    pub fn decoded(&self) -> Result<Value, WireError> {
        any_value(self.value())
    }
}

impl LogView<'_> {
    /// The body, decoded. Likewise.
    pub fn decoded_body(&self) -> Result<Value, WireError> {
        any_value(self.body())
    }
}

fn decode_resource(group: GroupView<'_>) -> Result<Resource, WireError> {
    Ok(Resource {
        attributes: attributes(key_values(group.head(), 1))?,
        schema_url: group.schema_url()?.to_owned(),
    })
}

fn decode_scope(group: GroupView<'_>) -> Result<Scope, WireError> {
    let mut scope = Scope { schema_url: group.schema_url()?.to_owned(), ..Scope::default() };
    for field in group.head() {
        let field = field?;
        match field.number {
            1 => scope.name = field.text()?.to_owned(),
            2 => scope.version = field.text()?.to_owned(),
            _ => {}
        }
    }
    scope.attributes = attributes(key_values(group.head(), 3))?;
    Ok(scope)
}

/// `None` if the ids are invalid.
fn span(view: &SpanView<'_>, resource: Arc<Resource>, scope: Arc<Scope>) -> Result<Option<Span>, WireError> {
    let Some((trace_id, span_id)) = view.ids() else { return Ok(None) };
    let [dropped_attributes, dropped_events, dropped_links] = view.dropped;
    Ok(Some(Span {
        trace_id,
        span_id,
        parent: SpanId::from_slice(view.parent_span_id),
        trace_state: view.trace_state.to_owned(),
        flags: view.flags,
        name: view.name.to_owned(),
        kind: SpanKind::from_otlp(view.kind),
        start: view.start,
        end: view.end,
        status: match view.status_code {
            1 => Status::Ok,
            2 => Status::Error(view.status_message.to_owned()),
            _ => Status::Unset,
        },
        attributes: attributes(view.attributes())?,
        events: view.events().map(|raw| event(raw?)).collect::<Result<_, _>>()?,
        links: view.links().filter_map(|raw| raw.and_then(link).transpose()).collect::<Result<_, _>>()?,
        dropped: Dropped { attributes: dropped_attributes, events: dropped_events, links: dropped_links },
        resource,
        scope,
    }))
}

fn event(raw: &[u8]) -> Result<Event, WireError> {
    let mut event = Event {
        time: UnixNanos(0),
        name: String::new(),
        attributes: attributes(key_values(Fields::new(raw), 3))?,
    };
    for field in Fields::new(raw) {
        let field = field?;
        match field.number {
            1 => event.time = UnixNanos(field.fixed64()?),
            2 => event.name = field.text()?.to_owned(),
            _ => {}
        }
    }
    Ok(event)
}

fn link(raw: &[u8]) -> Result<Option<Link>, WireError> {
    let (mut trace_id, mut span_id, mut trace_state, mut flags) = (None, None, "", 0);
    for field in Fields::new(raw) {
        let field = field?;
        match field.number {
            1 => trace_id = TraceId::from_slice(field.bytes()?),
            2 => span_id = SpanId::from_slice(field.bytes()?),
            3 => trace_state = field.text()?,
            6 => flags = field.fixed32()?,
            _ => {}
        }
    }
    let (Some(trace_id), Some(span_id)) = (trace_id, span_id) else { return Ok(None) };
    let attributes = attributes(key_values(Fields::new(raw), 4))?;
    Ok(Some(Link { trace_id, span_id, trace_state: trace_state.to_owned(), flags, attributes }))
}

fn log(view: &LogView<'_>, resource: Arc<Resource>, scope: Arc<Scope>) -> Result<LogRecord, WireError> {
    Ok(LogRecord {
        time: if view.time.0 == 0 { view.observed } else { view.time },
        observed: view.observed,
        severity: u8::try_from(view.severity).unwrap_or(0),
        severity_text: view.severity_text.to_owned(),
        body: any_value(view.body())?,
        attributes: attributes(view.attributes())?,
        trace_id: TraceId::from_slice(view.trace_id),
        span_id: SpanId::from_slice(view.span_id),
        event_name: view.event_name.to_owned(),
        resource,
        scope,
    })
}

pub(crate) fn attributes<'a>(
    views: impl Iterator<Item = Result<KeyValueView<'a>, WireError>>,
) -> Result<Vec<KeyValue>, WireError> {
    views
        .map(|view| {
            let view = view?;
            Ok(KeyValue { key: view.key.to_owned(), value: any_value(view.value())? })
        })
        .collect()
}

/// Folds an `AnyValue`'s fields: the last variant wins, a repeated array or map is one longer array or map.
/// Nesting is bounded because every caller has run [`check`] over the request.
fn any_value<'a>(fields: impl Iterator<Item = Result<Field<'a>, WireError>>) -> Result<Value, WireError> {
    let mut value = Value::Empty;
    for field in fields {
        let field = field?;
        value = match (field.number, value) {
            (1, _) => Value::Str(field.text()?.to_owned()),
            (2, _) => Value::Bool(field.varint()? != 0),
            (3, _) => Value::Int(field.varint()?.cast_signed()),
            (4, _) => Value::Double(f64::from_bits(field.fixed64()?)),
            (5, before) => {
                let mut items = if let Value::Array(items) = before { items } else { Vec::new() };
                for item in messages(field.bytes()?, 1) {
                    items.push(any_value(Fields::new(item?))?);
                }
                Value::Array(items)
            }
            (6, before) => {
                let mut entries = if let Value::Map(entries) = before { entries } else { Vec::new() };
                entries.extend(attributes(key_values(Fields::new(field.bytes()?), 1))?);
                Value::Map(entries)
            }
            (7, _) => Value::Bytes(field.bytes()?.to_vec()),
            // An index into a profile's string table (field 8) has no meaning in traces and logs.
            (8, _) => Value::Empty,
            (_, before) => before,
        };
    }
    Ok(value)
}
