//! A tree on one span, or on one of its events.

use std::borrow::Cow;

use throughline_otlp::WireError;
use throughline_otlp::wire::Fields;

use super::tree::{Call, Expression, Path, Term};
use super::value::{Value, compare, hex};
use crate::span::{Found, Keys, Scalar, Slot, Subject};

/// What a condition is evaluated on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'s, 'a> {
    pub(super) span: Subject<'s, 'a>,
    pub(super) event: Option<&'s Event<'a>>,
}

/// A span event as far as conditions ask.
#[derive(Debug, Default)]
pub(super) struct Event<'a> {
    name: &'a [u8],
    time: u64,
    attributes: Found<'a>,
}

impl<'a> Event<'a> {
    /// Reads it; `keys` are those asked for of events.
    pub(super) fn read(raw: &'a [u8], keys: &Keys) -> Result<Self, WireError> {
        let mut event = Self::default();
        keys.reset(&mut event.attributes);
        for field in Fields::new(raw) {
            let field = field?;
            match field.number {
                1 => event.time = field.fixed64()?,
                2 => event.name = field.bytes()?,
                3 => keys.take(field.bytes()?, &mut event.attributes)?,
                _ => {}
            }
        }
        Ok(event)
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The span's bytes are not OTLP.
    Wire(WireError),
    /// A function was given a value of a type it is not for.
    Value,
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl Expression {
    /// Whether it holds. `and` and `or` stop at the first part that decides.
    pub(super) fn holds(&self, scene: &Scene<'_, '_>) -> Result<bool, Fault> {
        match self {
            Self::Constant(constant) => Ok(*constant),
            Self::Not(inner) => Ok(!inner.holds(scene)?),
            Self::All(parts) => {
                for part in parts {
                    if !part.holds(scene)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Any(parts) => {
                for part in parts {
                    if part.holds(scene)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Compare(left, comparison, right) => {
                Ok(compare(&left.value(scene)?, *comparison, &right.value(scene)?))
            }
            Self::Call(call) => match call.value(scene)? {
                Value::Bool(holds) => Ok(holds),
                _ => Err(Fault::Value),
            },
        }
    }
}

impl Term {
    fn value<'v>(&'v self, scene: &Scene<'_, 'v>) -> Result<Value<'v>, Fault> {
        Ok(match self {
            Self::Nil => Value::Nil,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(number) => Value::Int(*number),
            Self::Double(number) => Value::Double(*number),
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::Id(id) => Value::Id(id),
            Self::Path(path) => path.value(scene)?,
            Self::Call(call) => call.value(scene)?,
        })
    }

    /// Its text, where a function takes nothing else.
    fn text<'v>(&'v self, scene: &Scene<'_, 'v>) -> Result<Cow<'v, str>, Fault> {
        match self.value(scene)? {
            Value::Text(text) => Ok(text),
            _ => Err(Fault::Value),
        }
    }
}

impl Call {
    fn value<'v>(&'v self, scene: &Scene<'_, 'v>) -> Result<Value<'v>, Fault> {
        let unfit = |()| Fault::Value;
        Ok(match self {
            Self::IsMatch(target, pattern) => {
                let text = target.value(scene)?.into_text().map_err(unfit)?;
                Value::Bool(text.is_some_and(|text| pattern.is_match(&text)))
            }
            Self::HasPrefix(target, prefix) => {
                Value::Bool(target.text(scene)?.starts_with(&*prefix.text(scene)?))
            }
            Self::HasSuffix(target, suffix) => {
                Value::Bool(target.text(scene)?.ends_with(&*suffix.text(scene)?))
            }
            Self::Is(wanted, target) => Value::Bool(target.value(scene)?.is(*wanted)),
            Self::IsRootSpan => Value::Bool(scene.span.head.is_root()),
            Self::Len(target) => Value::Int(target.value(scene)?.length().map_err(unfit)?),
            Self::Int(target) => target.value(scene)?.into_int().map_err(unfit)?,
            Self::Double(target) => target.value(scene)?.into_double().map_err(unfit)?,
            Self::Text(target) => {
                target.value(scene)?.into_text().map_err(unfit)?.map_or(Value::Nil, Value::Text)
            }
            Self::Concat(parts, between) => {
                let between = between.text(scene)?;
                let mut texts = Vec::with_capacity(parts.len());
                for part in parts {
                    let text = part.value(scene)?.into_text().map_err(unfit)?;
                    texts.push(text.unwrap_or(Cow::Borrowed("<nil>")));
                }
                Value::Text(Cow::Owned(texts.join(&*between)))
            }
        })
    }
}

impl Path {
    fn value<'v>(self, scene: &Scene<'_, 'v>) -> Result<Value<'v>, Fault> {
        let Scene { span: Subject { head, attributes, around }, event } = scene;
        Ok(match self {
            Self::SpanAttribute(slot) => attribute(slot, attributes)?,
            Self::ResourceAttribute(slot) => attribute(slot, &around.resource)?,
            Self::ScopeAttribute(slot) => attribute(slot, &around.scope)?,
            Self::EventAttribute(slot) => {
                event.map_or(Ok(Value::Nil), |event| attribute(slot, &event.attributes))?
            }
            Self::ScopeName => text(around.scope_name)?,
            Self::ScopeVersion => text(around.scope_version)?,
            Self::EventName => event.map_or(Ok(Value::Nil), |event| text(event.name))?,
            Self::EventTime => event.map_or(Value::Nil, |event| time(event.time)),
            Self::Name => text(head.name)?,
            Self::Kind => Value::Int(i64::from(head.kind)),
            Self::KindText => Value::Text(Cow::Borrowed(kind_text(head.kind))),
            Self::StatusCode => Value::Int(i64::from(head.status_code)),
            Self::StatusMessage => text(head.status_message)?,
            Self::Start => time(head.start),
            Self::End => time(head.end),
            Self::TraceState => text(head.trace_state)?,
            Self::Flags => Value::Int(i64::from(head.flags)),
            Self::TraceId => Value::Id(head.trace_id),
            Self::SpanId => Value::Id(head.span_id),
            Self::ParentSpanId if head.is_root() => Value::Id(&[0; 8]),
            Self::ParentSpanId => Value::Id(head.parent_span_id),
            Self::TraceIdText => Value::Text(Cow::Owned(hex(head.trace_id))),
            Self::SpanIdText => Value::Text(Cow::Owned(hex(head.span_id))),
            Self::ParentSpanIdText if head.is_root() => Value::Text(Cow::Borrowed("0000000000000000")),
            Self::ParentSpanIdText => Value::Text(Cow::Owned(hex(head.parent_span_id))),
            Self::DroppedAttributes | Self::DroppedEvents | Self::DroppedLinks => {
                let [dropped_attributes, dropped_events, dropped_links] = head.dropped;
                Value::Int(i64::from(match self {
                    Self::DroppedAttributes => dropped_attributes,
                    Self::DroppedEvents => dropped_events,
                    _ => dropped_links,
                }))
            }
        })
    }
}

/// An attribute that is not there is `nil`.
fn attribute<'v>(slot: Slot, found: &[Option<&'v [u8]>]) -> Result<Value<'v>, Fault> {
    match slot.of(found) {
        Some(pair) => Ok(Scalar::of_pair(pair)?.into()),
        None => Ok(Value::Nil),
    }
}

fn text(bytes: &[u8]) -> Result<Value<'_>, Fault> {
    std::str::from_utf8(bytes).map(|text| Value::Text(Cow::Borrowed(text))).map_err(|_| Fault::Value)
}

/// Nanoseconds since 1970 fit into 63 bits until 2262.
fn time(nanos: u64) -> Value<'static> {
    Value::Int(i64::try_from(nanos).unwrap_or(i64::MAX))
}

fn kind_text(kind: i32) -> &'static str {
    match kind {
        0 => "Unspecified",
        1 => "Internal",
        2 => "Server",
        3 => "Client",
        4 => "Producer",
        5 => "Consumer",
        _ => "",
    }
}
