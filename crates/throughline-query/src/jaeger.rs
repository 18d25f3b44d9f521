//! Jaeger's query API, as far as its clients (Grafana, scripts, the source's `curl | jq`) use it: services, operations, traces.
//! Shapes and parameters are Jaeger's; a failure is told in Jaeger's envelope.

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value as Json, json};
use throughline_otlp::TraceId;

use crate::answer::{Bounds, List};
use crate::app::App;
use crate::load::Source;
use crate::params::Params;
use crate::reads::Reader;
use crate::reply::{self, Failure, Form, Refused};

mod shape;
#[cfg(test)]
mod tests;

pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/api/services", get(services))
        .route("/api/services/{service}/operations", get(operation_names))
        .route("/api/operations", get(operations))
        .route("/api/traces", get(search))
        .route("/api/traces/{id}", get(trace))
}

/// A failure in Jaeger's envelope.
pub(crate) struct Envelope;

type Refusal = Refused<Envelope>;

impl Form for Envelope {
    fn tell(failure: &Failure) -> Response {
        let status = failure.status();
        let errors = json!([{ "code": status.as_u16(), "msg": failure.to_string() }]);
        reply::json_with(status, &envelope(Json::Null, 0, errors))
    }
}

fn envelope(data: Json, total: usize, errors: Json) -> Json {
    json!({ "data": data, "total": total, "limit": 0, "offset": 0, "errors": errors })
}

fn listed(items: Vec<Json>) -> Response {
    let total = items.len();
    reply::json(&envelope(Json::Array(items), total, Json::Null))
}

/// Jaeger counts services and operations, but not traces: `total` is 0 beside them.
fn traces(traces: List, errors: Vec<Json>) -> Result<Response, Failure> {
    let errors = if errors.is_empty() { Json::Null } else { Json::Array(errors) };
    traces.end(&format!(r#"],"total":0,"limit":0,"offset":0,"errors":{errors}}}"#))
}

async fn services(State(app): State<App>) -> Result<Response, Refusal> {
    let services = app.ask(|store| Ok(store.services()?)).await?;
    Ok(listed(services.into_iter().map(Json::from).collect()))
}

async fn operation_names(State(app): State<App>, Path(service): Path<String>) -> Result<Response, Refusal> {
    let operations = app.ask(move |store| Ok(store.operations(Some(&service))?)).await?;
    let mut names: Vec<String> = operations.into_iter().map(|o| o.name).collect();
    names.sort();
    names.dedup();
    Ok(listed(names.into_iter().map(Json::from).collect()))
}

async fn operations(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let params = Params::read(query.as_deref())?;
    let service = params.required("service")?.to_owned();
    let kind = params.one("spanKind").map(str::to_owned);
    let operations = app.ask(move |store| Ok(store.operations(Some(&service))?)).await?;
    let of_kind =
        operations.into_iter().filter(|o| kind.as_deref().is_none_or(|kind| o.kind.as_str() == kind));
    // Jaeger's kinds have no name for "unspecified"; it leaves the field empty.
    let name = |kind: &'static str| if kind == "unspecified" { "" } else { kind };
    Ok(listed(of_kind.map(|o| json!({ "name": o.name, "spanKind": name(o.kind.as_str()) })).collect()))
}

async fn trace(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let id = reply::trace_id(&id)?;
    let bounds = app.bounds();
    let answer = app.read(move |reader| {
        let gathered = gather(reader, &[id], bounds)?;
        if gathered.missing.is_empty() {
            traces(gathered.list, Vec::new())
        } else {
            Err(Failure::Missing("trace not found".to_owned()))
        }
    });
    Ok(answer.await?)
}

async fn search(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let params = Params::read(query.as_deref())?;
    let bounds = app.bounds();
    let ids = params.trace_ids()?;
    if !ids.is_empty() {
        return Ok(app.read(move |reader| gather(reader, &ids, bounds)?.answer(None)).await?);
    }
    let (search, note) = params.search(app.now())?;
    let answer = app.read(move |reader| {
        let ids: Vec<TraceId> = reader.store().search(&search)?.iter().map(|hit| hit.trace_id).collect();
        let gathered = gather(reader, &ids, bounds)?;
        // Retention may drop a trace between the two questions; it is then simply not in the list.
        Gathered { missing: Vec::new(), ..gathered }.answer(note)
    });
    Ok(answer.await?)
}

/// Traces by id, as many as one answer holds.
struct Gathered {
    list: List,
    missing: Vec<TraceId>,
    /// What is said if the answer ends early, or leaves one out.
    notes: Vec<String>,
}

impl Gathered {
    /// What is missing or left out is told beside the traces.
    fn answer(self, limit_note: Option<String>) -> Result<Response, Failure> {
        let missing =
            self.missing.iter().map(|id| json!({ "msg": "trace not found", "traceID": id.to_string() }));
        let notes = limit_note.into_iter().chain(self.notes).map(|note| json!({ "msg": note }));
        let errors = missing.chain(notes).collect();
        traces(self.list, errors)
    }
}

/// Reads and writes one trace after the other; none is kept.
fn gather(reader: &Reader<'_>, ids: &[TraceId], bounds: Bounds) -> Result<Gathered, Failure> {
    let mut list = List::begin(reader.answer(), r#"{"data":["#, bounds)?;
    let (mut missing, mut notes) = (Vec::new(), Vec::new());
    for id in ids {
        if list.is_full() {
            notes.push(list.cut_note(ids.len()));
            break;
        }
        reader.dropped();
        let data = match reader.trace(*id) {
            // Others are not refused for it.
            Err(Failure::TooLarge(why)) if ids.len() > 1 => {
                notes.push(why);
                continue;
            }
            data => data?,
        };
        if data.spans.is_empty() {
            missing.push(*id);
        } else {
            list.push(data.spans.len(), |answer| shape::trace(*id, &data.spans, &data.logs, answer))?;
        }
    }
    Ok(Gathered { list, missing, notes })
}
