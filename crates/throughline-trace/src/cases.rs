//! Spans as data, for tests: one line a span.
//!
//! `trace id parent service kind start-end name ; key=value … ; >trace/id key=value …`
//!
//! Ids are short hex, `-` for no parent; times are milliseconds; a value is an integer, `true`, or text (`_` for a
//! blank). The keys `!` (status error, its message) and `flags` are the span's own fields.

use std::sync::Arc;

use throughline_otlp::model::{KeyValue, Link, Resource};
use throughline_otlp::{LogRecord, Span, SpanId, SpanKind, Status, TraceId, UnixNanos, Value};

use crate::{Direction, Input, Neighbour, Trace, assemble};

/// All spans of a text, in its order.
pub(crate) fn spans(text: &str) -> Vec<Span> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(span).collect()
}

/// Assembles the trace `1` from the text; spans of other traces become neighbours, by `directions`.
pub(crate) fn trace(text: &str, directions: &[(&str, Direction)]) -> Trace {
    assemble(input(spans(text), directions))
}

pub(crate) fn input(spans: Vec<Span>, directions: &[(&str, Direction)]) -> Input {
    let neighbour = |(id, direction): &(&str, Direction)| {
        let trace_id = TraceId::from_hex(id).unwrap();
        let spans = spans.iter().filter(|span| span.trace_id == trace_id).cloned().collect();
        Neighbour { trace_id, direction: *direction, spans }
    };
    let neighbours = directions.iter().map(neighbour).collect();
    Input {
        trace_id: TraceId::from_hex("1").unwrap(),
        spans,
        logs: Vec::new(),
        neighbours,
        now: millis(600_000),
    }
}

pub(crate) fn millis(millis: u64) -> UnixNanos {
    UnixNanos(millis * 1_000_000)
}

/// A log line of trace `1`.
pub(crate) fn log(service: &str, span: &str, at: u64, body: &str) -> LogRecord {
    LogRecord {
        time: millis(at),
        observed: millis(at),
        severity: 9,
        severity_text: "INFO".to_owned(),
        body: Value::Str(body.to_owned()),
        attributes: Vec::new(),
        trace_id: TraceId::from_hex("1"),
        span_id: SpanId::from_hex(span),
        event_name: String::new(),
        resource: resource(service),
        scope: Arc::default(),
    }
}

fn resource(service: &str) -> Arc<Resource> {
    let attributes = vec![KeyValue { key: "service.name".to_owned(), value: Value::Str(service.to_owned()) }];
    Arc::new(Resource { attributes, schema_url: String::new() })
}

fn span(line: &str) -> Span {
    let mut parts = line.split(" ; ");
    let mut head = parts.next().unwrap().splitn(7, ' ');
    let mut word = || head.next().unwrap_or_else(|| panic!("too short: {line}"));
    let (trace, id, parent, service, kind, times) = (word(), word(), word(), word(), word(), word());
    let (start, end) = times.split_once('-').unwrap();
    let mut span = Span {
        trace_id: TraceId::from_hex(trace).unwrap(),
        span_id: SpanId::from_hex(id).unwrap(),
        parent: SpanId::from_hex(parent),
        trace_state: String::new(),
        flags: 1,
        name: word().to_owned(),
        kind: (0..=5).map(SpanKind::from_otlp).find(|k| k.as_str() == kind).unwrap(),
        start: millis(start.parse().unwrap()),
        end: millis(end.parse().unwrap()),
        status: Status::Unset,
        attributes: Vec::new(),
        events: Vec::new(),
        links: Vec::new(),
        dropped: Default::default(),
        resource: resource(service),
        scope: Arc::default(),
    };
    for part in parts {
        match part.strip_prefix('>') {
            Some(link) => span.links.push(self::link(link)),
            None => set(&mut span, part),
        }
    }
    span
}

fn set(span: &mut Span, part: &str) {
    for attribute in attributes(part) {
        match (attribute.key.as_str(), &attribute.value) {
            ("!", value) => span.status = Status::Error(value.to_text()),
            ("flags", Value::Int(flags)) => span.flags = u32::try_from(*flags).unwrap(),
            _ => span.attributes.push(attribute),
        }
    }
}

fn link(text: &str) -> Link {
    let (target, rest) = text.split_once(' ').unwrap_or((text, ""));
    let (trace, span) = target.split_once('/').unwrap();
    Link {
        trace_id: TraceId::from_hex(trace).unwrap(),
        span_id: SpanId::from_hex(span).unwrap(),
        trace_state: String::new(),
        flags: 1,
        attributes: attributes(rest),
    }
}

fn attributes(text: &str) -> Vec<KeyValue> {
    let attribute = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or_else(|| panic!("no = in {pair}"));
        let value = match (value.parse::<i64>(), value) {
            (Ok(int), _) => Value::Int(int),
            (_, "true") => Value::Bool(true),
            (_, text) => Value::Str(text.replace('_', " ")),
        };
        KeyValue { key: key.to_owned(), value }
    };
    text.split_whitespace().map(attribute).collect()
}
