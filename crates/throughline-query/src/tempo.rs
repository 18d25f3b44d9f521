//! Tempo's query API: a trace by id, as JSON or protobuf, and a search by tags. Ids in JSON are hex and numbers of enums are
//! numbers, as OTLP/JSON has them (Tempo writes base64 and names; its clients ask for protobuf, which is the same bytes).

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value as Json, json};
use throughline_otlp::UnixNanos;
use throughline_store::Search;

use crate::answer::Answer;
use crate::app::App;
use crate::asked::{Asked, Matching};
use crate::load::Source;
use crate::params::Params;
use crate::query;
use crate::reads::Reader;
use crate::reply::{self, AsText, Failure, Form, Refused};
use crate::summary::Summary;

#[cfg(test)]
mod tests;

/// Traces in one answer to a search, unless asked for otherwise; Tempo's default.
const LIMIT: usize = 20;
const MAX_LIMIT: usize = 500;
const PROTOBUF: &str = "application/protobuf";
/// Spans that are JSON values at one time.
const STRETCH: usize = 500;

pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/ready", get(ready))
        .route("/api/echo", get(async || "echo"))
        .route("/api/traces/{id}", get(trace))
        .route("/api/v2/traces/{id}", get(trace_v2))
        .route("/api/search", get(search))
        .route("/api/search/tags", get(tags))
        .route("/api/search/tag/{tag}/values", get(tag_values))
}

/// A failure as a line of text, as Tempo gives it.
type Refusal = Refused<AsText>;

async fn ready(State(app): State<App>) -> Response {
    match app.live().readiness() {
        Ok(()) => reply::text("ready\n".to_owned()),
        Err(why) => AsText::tell(&Failure::Busy(format!("not ready: {why}"))),
    }
}

async fn trace(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let answer = match wants_protobuf(&headers) {
        true => answer(&app, &id, |requests, answer| protobuf(&[], requests, answer)),
        false => answer(&app, &id, |requests, answer| batches(r#"{"batches":["#, requests, "]}", answer)),
    };
    Ok(answer.await?)
}

/// The same trace one level deeper, as version 2 has it.
async fn trace_v2(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let answer = match wants_protobuf(&headers) {
        true => answer(&app, &id, |requests, answer| {
            let length = requests.iter().map(Vec::len).sum();
            protobuf(&field_one(length), requests, answer)
        }),
        false => answer(&app, &id, |requests, answer| {
            batches(r#"{"trace":{"resourceSpans":["#, requests, "]}}", answer)
        }),
    };
    Ok(answer.await?)
}

/// Makes an answer of a trace's one-span requests.
type Write = fn(&[Vec<u8>], Answer) -> Result<Response, Failure>;

/// Answers with each span of the trace as a request of its own.
async fn answer(app: &App, id: &str, write: Write) -> Result<Response, Failure> {
    let id = reply::trace_id(id)?;
    app.read(move |reader| match reader.trace_otlp(id)? {
        requests if requests.is_empty() => Err(Failure::Missing("trace not found".to_owned())),
        requests => write(&requests, reader.answer()),
    })
    .await
}

/// JSON, a stretch of spans at a time: as JSON values they take twenty times their bytes. Equal resources stand together
/// within a stretch; that one occurs again in the next is as good OTLP.
fn batches(
    opening: &str,
    requests: &[Vec<u8>],
    closing: &str,
    mut answer: Answer,
) -> Result<Response, Failure> {
    answer.text(opening)?;
    let mut first = true;
    for stretch in requests.chunks(STRETCH) {
        let mut traces = throughline_otlp::json::traces(stretch.iter().map(Vec::as_slice))
            .map_err(|e| Failure::internal(format!("a stored span is not OTLP: {e}")))?;
        let groups = traces.get_mut("resourceSpans").and_then(Json::as_array_mut);
        for group in groups.into_iter().flatten() {
            if !std::mem::take(&mut first) {
                answer.text(",")?;
            }
            answer.json(group)?;
        }
    }
    answer.text(closing)?;
    answer.into_response("application/json")
}

/// Requests one after the other are one request: their only field repeats.
fn protobuf(head: &[u8], requests: &[Vec<u8>], mut answer: Answer) -> Result<Response, Failure> {
    answer.bytes(head)?;
    for request in requests {
        answer.bytes(request)?;
    }
    answer.into_response(PROTOBUF)
}

fn wants_protobuf(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|media| media.split(';').next().map(str::trim) == Some(PROTOBUF))
}

/// What stands before a message of so many bytes that is field 1 of another.
fn field_one(mut length: usize) -> Vec<u8> {
    let mut head = vec![0x0a];
    while length >= 0x80 {
        head.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    head.push(length as u8);
    head
}

/// `tags=` in logfmt, which is our own query language's attributes; `q=` only as far as it says the same.
async fn search(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let params = Params::read(query.as_deref())?;
    let (search, note) = search_of(&params)?;
    let now = app.now();
    let rows = app.read(move |reader| rows(reader, search, now)).await?;
    let mut answer = json!({ "traces": rows, "metrics": {} });
    if let (Some(note), Some(fields)) = (note, answer.as_object_mut()) {
        fields.insert("notes".to_owned(), json!([note]));
    }
    Ok(reply::json(&answer))
}

/// The search, and what there is to say of its limit.
fn search_of(params: &Params) -> Result<(Search, Option<String>), Failure> {
    if params.one("q").is_some_and(|q| !matches!(q.trim(), "{}" | "{ }")) {
        let text =
            "TraceQL is not spoken here; search with tags=, minDuration=, maxDuration=, start=, end=, limit=";
        return Err(Failure::Bad(text.to_owned()));
    }
    let query = query::parse_query(params.one("tags").unwrap_or_default())?;
    if let Some(id) = query.trace {
        return Err(Failure::Bad(format!(
            "a trace is not searched by its id here; ask for /api/traces/{id}"
        )));
    }
    let (limit, note) = params.limit(LIMIT, MAX_LIMIT)?;
    let mut search = query.search(UnixNanos(0), limit);
    // Tempo's own name for what is a field here.
    let service = search.attributes.iter().position(|(key, _)| key == "service.name");
    let service = service.map(|at| search.attributes.remove(at).1);
    search.service = search.service.or(service);
    search.min_duration = params.duration("minDuration")?.or(search.min_duration);
    search.max_duration = params.duration("maxDuration")?.or(search.max_duration);
    search.start = seconds(params, "start")?.or(search.start);
    search.end = seconds(params, "end")?.or(search.end);
    Ok((search, note))
}

fn seconds(params: &Params, name: &str) -> Result<Option<UnixNanos>, Failure> {
    let seconds = params.number(name)?;
    Ok(seconds.map(|s| UnixNanos(u64::try_from(s).unwrap_or(u64::MAX).saturating_mul(1_000_000_000))))
}

fn rows(reader: &Reader<'_>, search: Search, now: UnixNanos) -> Result<Vec<Json>, Failure> {
    let asked = Asked { search, trace: None, span: None, matching: Matching::Counted, note: None };
    let mut rows = Vec::new();
    for hit in reader.store().search(&asked.search)? {
        match Summary::load(reader, hit.trace_id, &asked, now) {
            // Tempo's list has no place to say why one is not in it.
            Err(Failure::TooLarge(_)) => {}
            summary => rows.extend(summary?.as_ref().map(row)),
        }
    }
    Ok(rows)
}

fn row(trace: &Summary) -> Json {
    let root = trace.root.as_ref();
    json!({
        "traceID": trace.id.to_string(),
        "rootServiceName": root.map_or("", |root| &root.service),
        "rootTraceName": root.map_or("", |root| &root.operation),
        "startTimeUnixNano": trace.start.0.to_string(),
        "durationMs": trace.nanos.max(0) / 1_000_000,
    })
}

async fn tags() -> Response {
    reply::json(&json!({ "tagNames": ["service.name", "name"] }))
}

async fn tag_values(State(app): State<App>, Path(tag): Path<String>) -> Result<Response, Refusal> {
    let values = match tag.as_str() {
        "service.name" => app.ask(|store| Ok(store.services()?)).await?,
        "name" => app.ask(|store| Ok(store.operations(None)?)).await?.into_iter().map(|o| o.name).collect(),
        // Values of other attributes are searchable but not listed: there may be millions.
        _ => Vec::new(),
    };
    Ok(reply::json(&json!({ "tagValues": values })))
}
