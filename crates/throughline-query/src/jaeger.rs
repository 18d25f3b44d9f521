//! Jaeger's query API, as far as its clients (Grafana, scripts, the source's `curl | jq`) use it: services, operations, traces.
//! Shapes and parameters are Jaeger's; a failure is told in Jaeger's envelope.

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value as Json, json};
use throughline_otlp::TraceId;
use throughline_store::Store;

use crate::app::App;
use crate::params::{Pairs, Params};
use crate::reply::{self, Failure};

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
struct Refusal(Failure);

impl<E: Into<Failure>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.0.status();
        let errors = json!([{ "code": status.as_u16(), "msg": self.0.to_string() }]);
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
fn traces(traces: Vec<Json>, errors: Vec<Json>) -> Response {
    let errors = if errors.is_empty() { Json::Null } else { Json::Array(errors) };
    reply::json(&envelope(Json::Array(traces), 0, errors))
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

async fn operations(State(app): State<App>, Query(pairs): Query<Pairs>) -> Result<Response, Refusal> {
    let params = Params(pairs);
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
    let found = app.ask(move |store| one(store, id)).await?;
    let found = found.ok_or_else(|| Failure::Missing("trace not found".to_owned()))?;
    Ok(traces(vec![found], Vec::new()))
}

async fn search(State(app): State<App>, Query(pairs): Query<Pairs>) -> Result<Response, Refusal> {
    let params = Params(pairs);
    let ids = params.trace_ids()?;
    if !ids.is_empty() {
        return by_ids(&app, ids).await;
    }
    let search = params.search(app.now())?;
    let found = app
        .ask(move |store| {
            let hits = store.search(&search)?;
            let traces: Result<Vec<_>, _> = hits.iter().map(|hit| one(store, hit.trace_id)).collect();
            Ok(traces?.into_iter().flatten().collect())
        })
        .await?;
    Ok(traces(found, Vec::new()))
}

/// The traces asked for by id; those that are not there are told beside the others.
async fn by_ids(app: &App, ids: Vec<TraceId>) -> Result<Response, Refusal> {
    let answers = app
        .ask(move |store| ids.into_iter().map(|id| Ok((id, one(store, id)?))).collect::<Result<Vec<_>, _>>())
        .await?;
    let missing = |id: &TraceId| json!({ "msg": "trace not found", "traceID": id.to_string() });
    let errors = answers.iter().filter(|(_, found)| found.is_none()).map(|(id, _)| missing(id)).collect();
    Ok(traces(answers.into_iter().filter_map(|(_, found)| found).collect(), errors))
}

fn one(store: &Store, id: TraceId) -> Result<Option<Json>, Failure> {
    let data = store.trace(id)?;
    Ok((!data.spans.is_empty()).then(|| shape::trace(id, &data.spans, &data.logs)))
}
