//! The paths of the subset, in both contexts, and the names of enums.

use super::cursor::Cursor;
use super::error::SyntaxError;
use super::tree::{Context, Path, Term};

const ON_SPAN: &str = "attributes[\"key\"], name, kind, kind.string, status.code, status.message, start_time_unix_nano, \
                       end_time_unix_nano, trace_state, flags, trace_id, span_id, parent_span_id (each also .string), \
                       dropped_attributes_count, dropped_events_count, dropped_links_count";
const ON_EVENT: &str = "name, time_unix_nano, attributes[\"key\"]";
const AROUND: &str = "resource.attributes[\"key\"], scope.name, scope.version, scope.attributes[\"key\"]";

/// The path or enum that begins with `name`.
pub(super) fn path_or_enum(parser: &mut Cursor<'_>, name: &str, column: usize) -> Result<Term, SyntaxError> {
    if let Some(number) = enum_value(name) {
        return Ok(Term::Int(number));
    }
    if name.starts_with(|c: char| c.is_ascii_uppercase()) {
        let message = format!(
            "unknown enum `{name}`; allowed: STATUS_CODE_UNSET, STATUS_CODE_OK, STATUS_CODE_ERROR, SPAN_KIND_UNSPECIFIED, \
             SPAN_KIND_INTERNAL, SPAN_KIND_SERVER, SPAN_KIND_CLIENT, SPAN_KIND_PRODUCER, SPAN_KIND_CONSUMER"
        );
        return Err(SyntaxError { column, message });
    }
    let path = match name {
        "resource" => around(parser, column, Around::Resource),
        "scope" | "instrumentation_scope" => around(parser, column, Around::Scope),
        "span" => prefixed(parser, column, on_span),
        "spanevent" if parser.context == Context::SpanEvent => prefixed(parser, column, on_event),
        _ if parser.context == Context::SpanEvent => on_event(parser, name, column),
        _ => on_span(parser, name, column),
    }?;
    if parser.peek_sign("[") || parser.peek_sign(".") {
        return Err(parser.unexpected("no further index: only a value itself can be compared"));
    }
    Ok(Term::Path(path))
}

fn enum_value(name: &str) -> Option<i64> {
    Some(match name {
        "STATUS_CODE_UNSET" | "SPAN_KIND_UNSPECIFIED" => 0,
        "STATUS_CODE_OK" | "SPAN_KIND_INTERNAL" => 1,
        "STATUS_CODE_ERROR" | "SPAN_KIND_SERVER" => 2,
        "SPAN_KIND_CLIENT" => 3,
        "SPAN_KIND_PRODUCER" => 4,
        "SPAN_KIND_CONSUMER" => 5,
        _ => return None,
    })
}

/// What is around a span.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Around {
    Resource,
    Scope,
}

type Read = fn(&mut Cursor<'_>, &str, usize) -> Result<Path, SyntaxError>;

/// A path after its context's name.
fn prefixed(parser: &mut Cursor<'_>, column: usize, read: Read) -> Result<Path, SyntaxError> {
    match field(parser)? {
        Some(name) => read(parser, name, column),
        None => Err(unknown(parser.context, column)),
    }
}

/// `.name`, if a dot comes next.
fn field<'t>(parser: &mut Cursor<'t>) -> Result<Option<&'t str>, SyntaxError> {
    if !parser.take_sign(".") {
        return Ok(None);
    }
    parser.take_any_name().map(Some).ok_or_else(|| parser.unexpected("a name"))
}

fn around(parser: &mut Cursor<'_>, column: usize, place: Around) -> Result<Path, SyntaxError> {
    match (field(parser)?, place) {
        (Some("attributes"), Around::Resource) => {
            let key = key(parser)?;
            Ok(Path::ResourceAttribute(parser.keys.resource.ask(key)))
        }
        (Some("attributes"), Around::Scope) => {
            let key = key(parser)?;
            Ok(Path::ScopeAttribute(parser.keys.scope.ask(key)))
        }
        (Some("name"), Around::Scope) => Ok(Path::ScopeName),
        (Some("version"), Around::Scope) => Ok(Path::ScopeVersion),
        _ => Err(unknown(parser.context, column)),
    }
}

fn on_event(parser: &mut Cursor<'_>, name: &str, column: usize) -> Result<Path, SyntaxError> {
    match name {
        "name" => Ok(Path::EventName),
        "time_unix_nano" => Ok(Path::EventTime),
        "attributes" => {
            let key = key(parser)?;
            Ok(Path::EventAttribute(parser.keys.event.ask(key)))
        }
        _ => Err(unknown(Context::SpanEvent, column)),
    }
}

fn on_span(parser: &mut Cursor<'_>, name: &str, column: usize) -> Result<Path, SyntaxError> {
    if name == "attributes" {
        let key = key(parser)?;
        return Ok(Path::SpanAttribute(parser.keys.span.ask(key)));
    }
    let path = match (name, field(parser)?) {
        ("name", None) => Path::Name,
        ("kind", None) => Path::Kind,
        ("kind", Some("string")) => Path::KindText,
        ("status", Some("code")) => Path::StatusCode,
        ("status", Some("message")) => Path::StatusMessage,
        ("start_time_unix_nano", None) => Path::Start,
        ("end_time_unix_nano", None) => Path::End,
        ("trace_state", None) => Path::TraceState,
        ("flags", None) => Path::Flags,
        ("trace_id", None) => Path::TraceId,
        ("span_id", None) => Path::SpanId,
        ("parent_span_id", None) => Path::ParentSpanId,
        ("trace_id", Some("string")) => Path::TraceIdText,
        ("span_id", Some("string")) => Path::SpanIdText,
        ("parent_span_id", Some("string")) => Path::ParentSpanIdText,
        ("dropped_attributes_count", None) => Path::DroppedAttributes,
        ("dropped_events_count", None) => Path::DroppedEvents,
        ("dropped_links_count", None) => Path::DroppedLinks,
        _ => return Err(unknown(parser.context, column)),
    };
    Ok(path)
}

/// `["key"]`
fn key<'t>(parser: &mut Cursor<'t>) -> Result<&'t str, SyntaxError> {
    const EXPECTED: &str = "a key in brackets: attributes[\"key\"]";
    if !parser.take_sign("[") {
        return Err(parser.unexpected(EXPECTED));
    }
    let key = parser.take_text().ok_or_else(|| parser.unexpected(EXPECTED))?;
    parser.expect_sign("]")?;
    Ok(key)
}

fn unknown(context: Context, column: usize) -> SyntaxError {
    let message = match context {
        Context::Span => format!("unknown path; allowed: {ON_SPAN}; {AROUND}"),
        Context::SpanEvent => {
            format!("unknown path; allowed: {ON_EVENT}; with the prefix `span.`: {ON_SPAN}; {AROUND}")
        }
    };
    SyntaxError { column, message }
}
