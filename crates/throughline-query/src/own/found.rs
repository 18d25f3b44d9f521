//! What a search found: traces with the spans that match, and logs. As data, as JSON, as text.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde_json::{Value as Json, json};
use throughline_otlp::{LogRecord, Span, SpanId, TraceId, UnixNanos};
use throughline_store::{Hit, Search, Store};
use throughline_trace::time;

use super::{JsonRefusal, TextRefusal};
use crate::app::App;
use crate::params::Params;
use crate::query::{Query, parse_query};
use crate::reads::{Bounds, List, cut_note};
use crate::reply::{self, Failure};
use crate::summary::Summary;
use crate::units::counted;

/// Traces in one answer unless asked for otherwise, and at most.
pub(crate) const LIMIT: usize = 50;
pub(crate) const MAX_LIMIT: usize = 1_000;
/// Logs in one answer.
pub(crate) const LOG_LIMIT: usize = 200;

/// The answer to a search.
pub(crate) struct Found {
    pub(crate) traces: Vec<FoundTrace>,
    /// Newest first. None are looked for when the query has no attribute or service: every log would match.
    pub(crate) logs: Vec<LogRecord>,
    /// Whether there may be more traces than are listed.
    pub(crate) cut: Cut,
    /// What is to be said of the bounds that the answer met.
    pub(crate) notes: Vec<String>,
}

/// What is asked of the store.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) search: Search,
    /// Only this trace, and only this span of it.
    pub(crate) trace: Option<TraceId>,
    pub(crate) span: Option<SpanId>,
    pub(crate) matching: Matching,
    /// What there is to say of the limit.
    pub(crate) note: Option<String>,
}

/// What becomes of the spans that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matching {
    Listed,
    Counted,
}

/// One trace of it.
pub(crate) struct FoundTrace {
    pub(crate) trace: Summary,
    /// How many of its spans match.
    pub(crate) matched: usize,
}

/// Whether a list was cut at its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Whole,
    AtLimit,
}

impl Asked {
    /// Of a query and `limit=`.
    pub(crate) fn of(
        query: &Query,
        params: &Params,
        now: UnixNanos,
        matching: Matching,
    ) -> Result<Self, Failure> {
        let (limit, note) = params.limit(LIMIT, MAX_LIMIT)?;
        Ok(Self { search: query.search(now, limit), trace: query.trace, span: query.span, matching, note })
    }

    /// Whether a span meets every condition.
    pub(crate) fn matches(&self, span: &Span) -> bool {
        self.span.is_none_or(|id| span.span_id == id) && self.search.matches(span)
    }

    fn hits(&self, store: &Store) -> Result<Vec<Hit>, Failure> {
        let Some(trace_id) = self.trace else { return Ok(store.search(&self.search)?) };
        let spans = store.trace(trace_id)?.spans;
        let matching: Vec<&Span> = spans.iter().filter(|span| self.matches(span)).collect();
        let newest = matching.iter().map(|span| span.start).max();
        Ok(newest.map(|start| Hit { trace_id, matched: matching.len(), start }).into_iter().collect())
    }
}

/// Asks the store, newest first.
pub(crate) fn find(store: &Store, asked: &Asked, now: UnixNanos, bounds: Bounds) -> Result<Found, Failure> {
    let search = &asked.search;
    let hits = asked.hits(store)?;
    let mut cut = if hits.len() >= search.limit { Cut::AtLimit } else { Cut::Whole };
    let mut notes: Vec<String> = asked.note.iter().cloned().collect();
    let mut traces: Vec<FoundTrace> = Vec::new();
    let mut listed = 0;
    for hit in &hits {
        if listed >= bounds.listed {
            notes.push(cut_note(traces.len(), hits.len()));
            cut = Cut::AtLimit;
            break;
        }
        // Retention may drop a trace between the two questions; it is then simply not in the list.
        if let Some(trace) = Summary::load(store, hit.trace_id, asked, now)? {
            listed += trace.matching.len();
            traces.push(FoundTrace { trace, matched: hit.matched });
        }
    }
    let logs = if search.attributes.is_empty() && search.service.is_none() {
        Vec::new()
    } else {
        store.search_logs(&Search { limit: LOG_LIMIT, ..search.clone() })?
    };
    Ok(Found { traces, logs, cut, notes })
}

pub(super) async fn json(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, JsonRefusal> {
    let bounds = app.bounds();
    let write = move |query: &Query, found: &Found| {
        let mut list = List::begin(r#"{"traces":["#, bounds);
        for one in &found.traces {
            list.push(trace_json(one), 0);
        }
        let rest = json!({
            "query": query.to_string(),
            "logs": found.logs.iter().map(throughline_trace::json::log).collect::<Vec<_>>(),
            "cut": found.cut == Cut::AtLimit,
            "notes": found.notes,
        });
        reply::json_text(list.end(&format!("],{}", rest.to_string().trim_start_matches('{'))))
    };
    Ok(answer(&app, &Params::read(query.as_deref())?, write).await?)
}

pub(super) async fn text(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, TextRefusal> {
    let params = Params::read(query.as_deref())?;
    let width = params.number("width")?;
    let now = app.now();
    let write = move |query: &Query, found: &Found| reply::text(render(query, found, now, width));
    Ok(answer(&app, &params, write).await?)
}

/// What `write` makes of the query as it was understood, and of what it found.
async fn answer(
    app: &App,
    params: &Params,
    write: impl FnOnce(&Query, &Found) -> Response + Send + 'static,
) -> Result<Response, Failure> {
    let query = parse_query(params.one("q").unwrap_or_default())?;
    let (now, bounds) = (app.now(), app.bounds());
    let asked = Asked::of(&query, params, now, Matching::Listed)?;
    app.read(move |store| Ok(write(&query, &find(store, &asked, now, bounds)?))).await
}

fn trace_json(found: &FoundTrace) -> Json {
    let trace = &found.trace;
    json!({
        "traceID": trace.id.to_string(),
        "service": trace.root.as_ref().map(|root| root.service.as_str()),
        "operation": trace.root.as_ref().map(|root| root.operation.as_str()),
        "startTimeUnixNano": trace.start.0.to_string(),
        "durationNanos": i64::try_from(trace.nanos).unwrap_or(i64::MAX),
        "spanCount": trace.spans,
        "services": trace.services,
        "errors": trace.errors,
        "correlationIDs": trace.correlation_ids,
        "matched": found.matched,
        "spans": trace.matching.iter().map(throughline_trace::json::span).collect::<Vec<_>>(),
    })
}

fn render(query: &Query, found: &Found, now: UnixNanos, width: Option<usize>) -> String {
    let mut lines: Vec<String> = found.traces.iter().flat_map(|one| trace_lines(one, now)).collect();
    if !found.logs.is_empty() {
        lines.push(counted(found.logs.len(), "log"));
        lines.extend(found.logs.iter().map(log_line));
    }
    if found.cut == Cut::AtLimit {
        let listed = counted(found.traces.len(), "trace");
        lines.push(format!(
            "more may match: the list ends at {listed}; narrow it, or ask for more with a limit"
        ));
    }
    let found_none = lines.is_empty();
    lines.extend(found.notes.iter().cloned());
    if found_none {
        lines.push(match query.is_empty() {
            true => "no span has arrived yet".to_owned(),
            false => format!(
                "nothing matches {query}; widen the time, or search for correlation_id= or service= alone"
            ),
        });
    }
    let mut text = String::new();
    for line in lines {
        text.extend(line.chars().take(width.unwrap_or(usize::MAX)));
        text.push('\n');
    }
    text
}

fn trace_lines(found: &FoundTrace, now: UnixNanos) -> Vec<String> {
    let trace = &found.trace;
    let errors =
        if trace.errors > 0 { format!("  {}", counted(trace.errors, "error")) } else { String::new() };
    let mut lines = vec![format!(
        "trace {}  {}  {}  {}{errors}  {}",
        trace.id,
        time::duration(trace.nanos),
        counted(trace.spans, "span"),
        counted(trace.services.len(), "service"),
        time::age(trace.start, now),
    )];
    let column = |text: fn(&Span) -> &str| {
        trace.matching.iter().map(|span| text(span).chars().count()).max().unwrap_or(0).min(48)
    };
    let (services, names) = (column(|s| s.service()), column(|s| &s.name));
    for span in &trace.matching {
        let (service, name, kind) = (span.service(), &span.name, span.kind.as_str());
        let took = time::duration(span.end.since(span.start));
        let error = if span.is_error() { "  error" } else { "" };
        lines.push(printable(&format!("  {service:services$}  {name:names$}  {kind:8}  {took:>10}{error}")));
    }
    if found.matched > trace.matching.len() {
        lines
            .push(format!("  and {} that match", counted(found.matched - trace.matching.len(), "more span")));
    }
    lines.push(String::new());
    lines
}

fn log_line(log: &LogRecord) -> String {
    let severity = if log.severity_text.is_empty() { "-" } else { &log.severity_text };
    let trace = log.trace_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let body = log.body.to_text();
    printable(&format!(
        "  {}  {}  {severity:5}  {body}  trace {trace}",
        time::date_and_clock(log.time),
        log.resource.service()
    ))
}

/// Names come from strangers: control characters would let them write to a terminal what they like. Here in one line, so
/// line ends are escaped too.
pub(crate) fn printable(text: &str) -> String {
    reply::escaped(text, reply::steers)
}
