//! What a search found: traces with the spans that match, and logs. As data, as JSON, as text.

use axum::extract::{Query as UrlQuery, State};
use axum::response::Response;
use serde_json::{Value as Json, json};
use throughline_otlp::{LogRecord, Span, UnixNanos};
use throughline_store::{Search, Store};
use throughline_trace::time;

use super::{JsonRefusal, TextRefusal};
use crate::app::App;
use crate::params::{Pairs, Params};
use crate::query::{Query, parse_query};
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

/// Asks the store, newest first.
pub(crate) fn find(store: &Store, search: &Search, now: UnixNanos) -> Result<Found, Failure> {
    let mut traces = Vec::new();
    let hits = store.search(search)?;
    let cut = if hits.len() >= search.limit { Cut::AtLimit } else { Cut::Whole };
    for hit in hits {
        // Retention may drop a trace between the two questions; it is then simply not in the list.
        if let Some(trace) = Summary::load(store, hit.trace_id, search, now)? {
            traces.push(FoundTrace { trace, matched: hit.matched });
        }
    }
    let logs = if search.attributes.is_empty() && search.service.is_none() {
        Vec::new()
    } else {
        store.search_logs(&Search { limit: LOG_LIMIT, ..search.clone() })?
    };
    Ok(Found { traces, logs, cut })
}

/// `limit=`, bounded.
pub(crate) fn limit(params: &Params) -> Result<usize, Failure> {
    Ok(params.number("limit")?.unwrap_or(LIMIT).min(MAX_LIMIT))
}

pub(super) async fn json(
    State(app): State<App>,
    UrlQuery(pairs): UrlQuery<Pairs>,
) -> Result<Response, JsonRefusal> {
    let (query, found) = answer(&app, &Params(pairs)).await?;
    Ok(reply::json(&json!({
        "query": query.to_string(),
        "traces": found.traces.iter().map(trace_json).collect::<Vec<_>>(),
        "logs": found.logs.iter().map(throughline_trace::json::log).collect::<Vec<_>>(),
        "cut": found.cut == Cut::AtLimit,
    })))
}

pub(super) async fn text(
    State(app): State<App>,
    UrlQuery(pairs): UrlQuery<Pairs>,
) -> Result<Response, TextRefusal> {
    let params = Params(pairs);
    let width = params.number("width")?;
    let now = app.now();
    let (query, found) = answer(&app, &params).await?;
    Ok(reply::text(render(&query, &found, now, width)))
}

/// The query as it was understood, and what it found.
async fn answer(app: &App, params: &Params) -> Result<(Query, Found), Failure> {
    let query = parse_query(params.one("q").unwrap_or_default())?;
    let now = app.now();
    let search = query.search(now, limit(params)?);
    let found = app.ask(move |store| find(store, &search, now)).await?;
    Ok((query, found))
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
    if lines.is_empty() {
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

/// Names come from strangers: control characters would let them write to a terminal what they like.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
