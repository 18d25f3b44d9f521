//! One question, compiled: the terms that find candidates in the index, and the exact check every candidate passes.
//! The check alone decides; terms only spare reading what cannot match.

use std::time::Duration;

use throughline_otlp::{LogRecord, Signal, Span, SpanId, SpanKind, TraceId, UnixNanos};
use throughline_semconv::attribute::SERVICE_NAME;

use crate::attribute::{self, Renderer};
use crate::hop::Hop;
use crate::schema::{Column, Terms, kind_byte, number};
use crate::search::{Errors, Search};

/// What is looked for. All conditions hold on one span or record.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) signal: Signal,
    pub(crate) trace: Option<TraceId>,
    span: Option<SpanId>,
    parent: Option<SpanId>,
    service: Option<String>,
    name: Option<String>,
    kind: Option<SpanKind>,
    errors: Errors,
    durations: (Option<u64>, Option<u64>),
    times: (Option<UnixNanos>, Option<UnixNanos>),
    /// Canonical key and text.
    attributes: Vec<(String, String)>,
    link: Option<TraceId>,
    hop: Option<Hop>,
    /// Conditions nothing can meet: an id that is none, two different ids at once.
    contradiction: bool,
}

impl Query {
    fn everything(signal: Signal) -> Self {
        Self {
            signal,
            trace: None,
            span: None,
            parent: None,
            service: None,
            name: None,
            kind: None,
            errors: Errors::Any,
            durations: (None, None),
            times: (None, None),
            attributes: Vec::new(),
            link: None,
            hop: None,
            contradiction: false,
        }
    }

    /// Everything of one trace.
    pub(crate) fn trace(signal: Signal, id: TraceId) -> Self {
        Self { trace: Some(id), ..Self::everything(signal) }
    }

    /// Spans of other traces that link to this one.
    pub(crate) fn linking_to(id: TraceId) -> Self {
        Self { link: Some(id), ..Self::everything(Signal::Traces) }
    }

    /// Spans on either side of a hop.
    pub(crate) fn hop(hop: &Hop) -> Self {
        Self { hop: Some(hop.clone()), ..Self::everything(Signal::Traces) }
    }

    /// A user's search.
    pub(crate) fn search(signal: Signal, search: &Search) -> Self {
        let mut query = Self {
            service: search.service.clone(),
            name: search.operation.clone(),
            kind: search.kind,
            errors: search.errors,
            durations: (search.min_duration.map(nanos), search.max_duration.map(nanos)),
            times: (search.start, search.end),
            ..Self::everything(signal)
        };
        for (key, value) in &search.attributes {
            match key.as_str() {
                "trace_id" => query.contradiction |= !narrow(&mut query.trace, TraceId::from_hex(value)),
                "span_id" => query.contradiction |= !narrow(&mut query.span, SpanId::from_hex(value)),
                "parent_span_id" => {
                    query.contradiction |= !narrow(&mut query.parent, SpanId::from_hex(value))
                }
                key => query.attributes.push((attribute::canonical(key).to_owned(), value.clone())),
            }
        }
        if signal == Signal::Logs {
            query.contradiction |= query.name.is_some()
                || query.kind.is_some()
                || query.parent.is_some()
                || query.durations != (None, None);
        }
        query
    }

    /// The same within one trace.
    pub(crate) fn within(&self, trace: TraceId) -> Self {
        let mut query = self.clone();
        query.contradiction |= !narrow(&mut query.trace, Some(trace));
        query
    }

    /// Whether nothing can match.
    pub(crate) fn is_contradiction(&self) -> bool {
        self.contradiction
    }

    /// Whether a document between these times (inclusive) can match.
    pub(crate) fn overlaps(&self, earliest: u64, latest: u64) -> bool {
        self.times.0.is_none_or(|from| from.0 <= latest)
            && self.times.1.is_none_or(|until| earliest <= until.0)
    }

    /// Whether an item with these columns can match. Ids are only asked for if the question has one.
    pub(crate) fn admits(
        &self,
        time: u64,
        duration: Option<u64>,
        span: impl FnOnce() -> Option<u64>,
        parent: impl FnOnce() -> Option<u64>,
    ) -> bool {
        let fits = match (self.signal, duration) {
            (Signal::Traces, Some(duration)) => self.covers_duration(duration),
            (Signal::Logs, None) => true,
            _ => false,
        };
        self.covers_time(time)
            && fits
            && self.span.is_none_or(|id| span() == Some(number(id)))
            && self.parent.is_none_or(|id| parent() == Some(number(id)))
    }

    fn covers_time(&self, time: u64) -> bool {
        self.times.0.is_none_or(|from| from.0 <= time) && self.times.1.is_none_or(|until| time <= until.0)
    }

    fn covers_duration(&self, duration: u64) -> bool {
        self.durations.0.is_none_or(|min| min <= duration)
            && self.durations.1.is_none_or(|max| duration <= max)
    }

    /// Terms that every match has; none if only columns tell.
    pub(crate) fn terms(&self) -> Terms {
        let mut terms = Terms::default();
        let mut push = |column, part: &[u8]| terms.push(self.signal, column, &[part]);
        if let Some(id) = self.trace {
            push(Column::Trace, &id.bytes());
        }
        if let Some(id) = self.link {
            push(Column::Link, &id.bytes());
        }
        if let Some(name) = &self.name {
            push(Column::Name, name.as_bytes());
        }
        if let Some(kind) = self.kind {
            push(Column::Kind, &[kind_byte(kind)]);
        }
        if self.errors == Errors::Only {
            push(Column::Error, &[]);
        }
        let mut push = |key: &str, value: &str| terms.push_attribute(self.signal, key, value.as_bytes());
        self.service.iter().for_each(|name| push(SERVICE_NAME, name));
        self.attributes.iter().for_each(|(key, value)| push(key, value));
        // No term of its own: there are few spans of one offset, whatever the topic.
        self.hop.iter().flat_map(Hop::attributes).for_each(|(key, value)| push(key, value));
        terms
    }

    /// Whether the span meets every condition.
    pub(crate) fn matches_span(&self, span: &Span) -> bool {
        !self.contradiction
            && self.trace.is_none_or(|id| id == span.trace_id)
            && self.span.is_none_or(|id| id == span.span_id)
            && self.parent.is_none_or(|id| Some(id) == span.parent)
            && self.service.as_ref().is_none_or(|name| name == span.service())
            && self.name.as_ref().is_none_or(|name| *name == span.name)
            && self.kind.is_none_or(|kind| kind == span.kind)
            && (self.errors == Errors::Any || span.is_error())
            && self.covers_time(span.start.0)
            && self.covers_duration(duration(span))
            && self.link.is_none_or(|id| links_to(span, id))
            && self.hop.as_ref().is_none_or(|hop| Hop::all_of(span).any(|of_span| of_span == *hop))
            && self.attributes.iter().all(|(key, value)| {
                let own = attribute::of_span(span).chain(&span.resource.attributes);
                has(own, key, value)
            })
    }

    /// Whether the record meets every condition.
    pub(crate) fn matches_log(&self, log: &LogRecord) -> bool {
        !self.contradiction
            && self.trace.is_none_or(|id| Some(id) == log.trace_id)
            && self.span.is_none_or(|id| Some(id) == log.span_id)
            && self.service.as_ref().is_none_or(|name| name == log.resource.service())
            && (self.errors == Errors::Any || attribute::is_error(log.severity))
            && self.covers_time(log.time.0)
            && self.attributes.iter().all(|(key, value)| {
                let mut found = has(log.attributes.iter().chain(&log.resource.attributes), key, value);
                attribute::of_record(&log.severity_text, &log.event_name, &log.body, |own, text| {
                    found |= own == key && text == value;
                });
                found
            })
    }
}

impl Search {
    /// Whether a span meets every condition: which spans of a found trace it was found by.
    #[must_use]
    pub fn matches(&self, span: &Span) -> bool {
        Query::search(Signal::Traces, self).matches_span(span)
    }
}

/// Whether the span has a link to a trace that is not its own (a process span links the message it also has as parent).
fn links_to(span: &Span, id: TraceId) -> bool {
    span.trace_id != id && span.links.iter().any(|link| link.trace_id == id)
}

/// End minus start; nothing if the clock went backwards.
fn duration(span: &Span) -> u64 {
    span.end.0.saturating_sub(span.start.0)
}

fn has<'a>(
    mut attributes: impl Iterator<Item = &'a throughline_otlp::model::KeyValue>,
    key: &str,
    value: &str,
) -> bool {
    let mut renderer = Renderer::default();
    attributes.any(|entry| attribute::canonical(&entry.key) == key && renderer.text(&entry.value) == value)
}

/// Sets the condition; `false` if there is no such id or another one is asked for already.
fn narrow<T: Copy + PartialEq>(condition: &mut Option<T>, wanted: Option<T>) -> bool {
    let Some(wanted) = wanted else { return false };
    *condition.get_or_insert(wanted) == wanted
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
