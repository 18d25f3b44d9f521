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

    pub(crate) fn spans(&self) -> Vec<Span> {
        let mut seen = HashSet::new();
        let all = self.kept(Signal::Traces).flat_map(|request| decode_traces(&request.otlp).unwrap());
        all.filter(|span| seen.insert(identity(span))).collect()
    }

    pub(crate) fn records(&self) -> Vec<LogRecord> {
        // By what they print: a NaN is not equal to itself, its record is.
        let mut seen = HashSet::new();
        let all = self.kept(Signal::Logs).flat_map(|request| decode_logs(&request.otlp).unwrap());
        all.filter(|record| seen.insert(format!("{record:?}"))).collect()
    }

    /// All hits, newest first.
    pub(crate) fn search(&self, search: &Search) -> Vec<Hit> {
        let mut by_trace: BTreeMap<TraceId, (usize, UnixNanos)> = BTreeMap::new();
        for span in self.spans().iter().filter(|span| span_matches(span, search)) {
            let (matched, newest) = by_trace.entry(span.trace_id).or_insert((0, span.start));
            *matched += 1;
            *newest = span.start.max(*newest);
        }
        let hit = |(trace_id, (matched, start))| Hit { trace_id, matched, start };
        let mut hits: Vec<Hit> = by_trace.into_iter().map(hit).collect();
        hits.sort_by_key(|hit| std::cmp::Reverse(hit.start));
        hits
    }

    pub(crate) fn search_records(&self, search: &Search) -> Vec<LogRecord> {
        let mut found = self.records();
        found.retain(|record| record_matches(record, search));
        found.sort_by_key(|record| std::cmp::Reverse(record.time));
        found
    }

    pub(crate) fn linking_to(&self, id: TraceId) -> BTreeSet<TraceId> {
        let links = |span: &Span| span.links.iter().any(|link| link.trace_id == id);
        let spans = self.spans();
        spans.iter().filter(|span| links(span) && span.trace_id != id).map(|span| span.trace_id).collect()
    }

    pub(crate) fn services(&self) -> BTreeSet<String> {
        self.spans().iter().map(|span| span.service().to_owned()).collect()
    }

    pub(crate) fn operations(&self, service: &str) -> BTreeSet<(String, &'static str)> {
        let spans = self.spans();
        let of_service = spans.iter().filter(|span| span.service() == service);
        of_service.map(|span| (span.name.clone(), span.kind.as_str())).collect()
    }
}

pub(crate) fn identity(span: &Span) -> Identity {
    (span.trace_id, span.span_id, span.kind, span.start)
}

fn span_matches(span: &Span, search: &Search) -> bool {
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
        && within(span.start, search)
        && search.attributes.iter().all(|(key, value)| {
            attributes.iter().any(|entry| today(&entry.key) == today(key) && entry.value.to_text() == *value)
        })
}

fn record_matches(record: &LogRecord, search: &Search) -> bool {
    let unaskable = search.operation.is_some()
        || search.kind.is_some()
        || search.min_duration.is_some()
        || search.max_duration.is_some();
    !unaskable
        && search.service.as_ref().is_none_or(|service| service == record.resource.service())
        && (search.errors == Errors::Any || record.severity >= 17)
        && within(record.time, search)
        && search.attributes.iter().all(|(key, value)| {
            let mut all = record.attributes.iter().chain(&record.resource.attributes);
            all.any(|entry| today(&entry.key) == today(key) && entry.value.to_text() == *value)
        })
}

fn within(time: UnixNanos, search: &Search) -> bool {
    search.start.is_none_or(|start| start <= time) && search.end.is_none_or(|end| time <= end)
}

fn today(key: &str) -> &str {
    match current_name(key).unwrap_or(key) {
        "messaging.message.conversation_id" => "correlation_id",
        key => key,
    }
}
