//! What a search found: traces with the spans that match, and logs. As data, as JSON, as text.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde_json::json;
use throughline_otlp::{LogRecord, Span, UnixNanos};
use throughline_store::{Hit, Search};
use throughline_trace::time;

use super::{JsonRefusal, TextRefusal};
use crate::answer::{Answer, Bounds, List, cut_note};
use crate::app::App;
use crate::asked::{Asked, Matching};
use crate::load::Source;
use crate::params::Params;
use crate::query::{Query, parse_query};
use crate::reads::Reader;
use crate::reply::{self, Failure};
use crate::summary::Summary;
use crate::units::counted;

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
pub(crate) fn find(
    reader: &Reader<'_>,
    asked: &Asked,
    now: UnixNanos,
    bounds: Bounds,
) -> Result<Found, Failure> {
    let search = &asked.search;
    let hits = hits(reader, asked)?;
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
        match Summary::load(reader, hit.trace_id, asked, now) {
            Ok(Some(trace)) => {
                listed += trace.matching.len();
                traces.push(FoundTrace { trace, matched: hit.matched });
            }
            // Retention may drop a trace between the two questions; it is then simply not in the list.
            Ok(None) => {}
            Err(Failure::TooLarge(why)) => notes.push(why),
            Err(failure) => return Err(failure),
        }
    }
    let logs = if search.attributes.is_empty() && search.service.is_none() {
        Vec::new()
    } else {
        reader.store().search_logs(&Search { limit: LOG_LIMIT, ..search.clone() })?
    };
    Ok(Found { traces, logs, cut, notes })
}

fn hits(reader: &Reader<'_>, asked: &Asked) -> Result<Vec<Hit>, Failure> {
    let Some(trace_id) = asked.trace else { return Ok(reader.store().search(&asked.search)?) };
    let spans = reader.trace(trace_id)?.spans;
    let matching: Vec<&Span> = spans.iter().filter(|span| asked.matches(span)).collect();
    let newest = matching.iter().map(|span| span.start).max();
    Ok(newest.map(|start| Hit { trace_id, matched: matching.len(), start }).into_iter().collect())
}

pub(super) async fn json(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, JsonRefusal> {
    let bounds = app.bounds();
    let write = move |query: &Query, found: &Found, answer| {
        let mut list = List::begin(answer, r#"{"traces":["#, bounds)?;
        for one in &found.traces {
            list.push(0, |answer| trace_json(one, answer))?;
        }
        let rest = json!({
            "query": query.to_string(),
            "logs": found.logs.iter().map(throughline_trace::json::log).collect::<Vec<_>>(),
            "cut": found.cut == Cut::AtLimit,
            "notes": found.notes,
        });
        list.end(&format!("],{}", rest.to_string().trim_start_matches('{')))
    };
    Ok(answer(&app, &Params::read(query.as_deref())?, write).await?)
}

pub(super) async fn text(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, TextRefusal> {
    let params = Params::read(query.as_deref())?;
    let width = params.number("width")?;
    let now = app.now();
    let write = move |query: &Query, found: &Found, _| Ok(reply::text(render(query, found, now, width)));
    Ok(answer(&app, &params, write).await?)
}

/// What `write` makes of the query as it was understood, and of what it found.
async fn answer(
    app: &App,
    params: &Params,
    write: impl FnOnce(&Query, &Found, Answer) -> Result<Response, Failure> + Send + 'static,
) -> Result<Response, Failure> {
    let query = parse_query(params.one("q").unwrap_or_default())?;
    let (now, bounds) = (app.now(), app.bounds());
    let asked = Asked::of(&query, params, now, Matching::Listed)?;
    app.read(move |reader| write(&query, &find(reader, &asked, now, bounds)?, reader.answer())).await
}

fn trace_json(found: &FoundTrace, answer: &mut Answer) -> Result<(), Failure> {
    let trace = &found.trace;
    let fields = json!({
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
    });
    answer.json(&fields)
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
