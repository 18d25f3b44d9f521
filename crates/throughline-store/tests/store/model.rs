//! The naive model: every accepted request in a list, every question answered by looking at all of them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use throughline_otlp::model::KeyValue;
use throughline_otlp::{
    LogRecord, Signal, Span, SpanId, SpanKind, TraceId, UnixNanos, decode_logs, decode_traces,
};
use throughline_semconv::current_name;
use throughline_store::{Errors, Hit, Search};

/// A journal: what was accepted, by position.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) requests: Vec<Request>,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) position: u64,
    pub(crate) arrived: UnixNanos,
    pub(crate) signal: Signal,
    pub(crate) otlp: Vec<u8>,
    /// Whether retention has taken it.
    pub(crate) gone: bool,
}

type Identity = (TraceId, SpanId, SpanKind, UnixNanos);

impl Model {
    fn kept(&self, signal: Signal) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(move |request| request.signal == signal && !request.gone)
    }

    /// Every copy of every span, and when it arrived. Copies of one span may differ in all but their identity.
    fn copies(&self) -> impl Iterator<Item = (Span, UnixNanos)> {
        self.kept(Signal::Traces).flat_map(|request| {
            let spans = decode_traces(&request.otlp).unwrap();
            spans.into_iter().map(|span| (span, request.arrived))
        })
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let mut seen = HashSet::new();
        self.copies().map(|(span, _)| span).filter(|span| seen.insert(identity(span))).collect()
    }

    pub(crate) fn records(&self) -> Vec<LogRecord> {
        self.records_where(|_, _| true)
    }

    fn records_where(&self, mut keep: impl FnMut(&LogRecord, UnixNanos) -> bool) -> Vec<LogRecord> {
        // By what they print: a NaN is not equal to itself, its record is.
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for request in self.kept(Signal::Logs) {
            let all = decode_logs(&request.otlp).unwrap();
            found.extend(
                all.into_iter()
                    .filter(|record| keep(record, request.arrived) && seen.insert(format!("{record:?}"))),
            );
        }
        found
    }

    /// All hits with the place of their newest matching span, newest first.
    pub(crate) fn search(&self, search: &Search) -> Vec<(u64, Hit)> {
        let mut by_trace: BTreeMap<TraceId, (HashSet<Identity>, (u64, UnixNanos))> = BTreeMap::new();
        for (span, arrived) in self.copies().filter(|(span, arrived)| span_matches(span, *arrived, search)) {
            let (matched, newest) =
                by_trace.entry(span.trace_id).or_insert((HashSet::new(), (0, UnixNanos(0))));
            matched.insert(identity(&span));
            *newest = (placed(span.start, arrived), span.start).max(*newest);
        }
        let hit = |(trace_id, (matched, (place, start))): (_, (HashSet<_>, _))| {
            (place, Hit { trace_id, matched: matched.len(), start })
        };
        let mut hits: Vec<(u64, Hit)> = by_trace.into_iter().map(hit).collect();
        hits.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
        hits
    }

    pub(crate) fn search_records(&self, search: &Search) -> Vec<LogRecord> {
        self.records_where(|record, arrived| record_matches(record, arrived, search))
    }

    pub(crate) fn linking_to(&self, id: TraceId) -> BTreeSet<TraceId> {
        let links = |span: &Span| span.trace_id != id && span.links.iter().any(|link| link.trace_id == id);
        self.copies().filter(|(span, _)| links(span)).map(|(span, _)| span.trace_id).collect()
    }

    pub(crate) fn services(&self) -> BTreeSet<String> {
        self.copies().map(|(span, _)| span.service().to_owned()).collect()
    }

    pub(crate) fn operations(&self, service: &str) -> BTreeSet<(String, &'static str)> {
        let of_service = self.copies().filter(|(span, _)| span.service() == service);
        of_service.map(|(span, _)| (span.name, span.kind.as_str())).collect()
    }
}

pub(crate) fn identity(span: &Span) -> Identity {
    (span.trace_id, span.span_id, span.kind, span.start)
}

fn span_matches(span: &Span, arrived: UnixNanos, search: &Search) -> bool {
    let nanos = u128::from(span.end.0 - span.start.0);
    let mut attributes: Vec<&KeyValue> = span.attributes.iter().chain(&span.resource.attributes).collect();
    attributes.extend(span.events.iter().flat_map(|event| &event.attributes));
    attributes.extend(span.links.iter().flat_map(|link| &link.attributes));
    search.service.as_ref().is_none_or(|service| service == span.service())
        && search.operation.as_ref().is_none_or(|name| *name == span.name)
        && search.kind.is_none_or(|kind| kind == span.kind)
        && (search.errors == Errors::Any || span.is_error())
        && search.min_duration.is_none_or(|min| min.as_nanos() <= nanos)
        && search.max_duration.is_none_or(|max| nanos <= max.as_nanos())
        && within(span.start, arrived, search)
        && search.attributes.iter().all(|(key, value)| {
            attributes.iter().any(|entry| today(&entry.key) == today(key) && entry.value.to_text() == *value)
        })
}

fn record_matches(record: &LogRecord, arrived: UnixNanos, search: &Search) -> bool {
    let unaskable = search.operation.is_some()
        || search.kind.is_some()
        || search.min_duration.is_some()
        || search.max_duration.is_some();
    !unaskable
        && search.service.as_ref().is_none_or(|service| service == record.resource.service())
        && (search.errors == Errors::Any || record.severity >= 17)
        && within(record.time, arrived, search)
        && search.attributes.iter().all(|(key, value)| {
            let mut all = record.attributes.iter().chain(&record.resource.attributes);
            all.any(|entry| today(&entry.key) == today(key) && entry.value.to_text() == *value)
        })
}

fn within(time: UnixNanos, arrived: UnixNanos, search: &Search) -> bool {
    search.start.is_none_or(|start| start.0 <= placed(time, arrived))
        && search.end.is_none_or(|end| time <= end)
}

/// Nothing is believed to be later than an hour after it arrived.
fn placed(time: UnixNanos, arrived: UnixNanos) -> u64 {
    time.0.min(arrived.0 + 3_600_000_000_000)
}

fn today(key: &str) -> &str {
    match current_name(key).unwrap_or(key) {
        "messaging.message.conversation_id" => "correlation_id",
        key => key,
    }
}
