//! Our own endpoints under `/tl/v1`, which the command line and the page use, and the ones every server has: health,
//! readiness, metrics. JSON for programs, text for terminals, events for what is still happening.

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use throughline_otlp::SpanId;
use throughline_trace::text::{Colour, Form, TextOptions};
use throughline_trace::{Trace, json, text};

use crate::answer::Answer;
use crate::app::App;
use crate::load;
use crate::params::Params;
use crate::reply::{self, AsJson, AsText, Failure, Refused};

mod follow;
pub(crate) mod found;
pub(crate) mod lineage;
pub(crate) mod sampled;
#[cfg(test)]
mod tests;

/// What refuses as JSON, event streams included.
pub(crate) fn json_router() -> Router<App> {
    Router::new()
        .route("/tl/v1/trace/{id}", get(trace_json))
        .route("/tl/v1/trace/{id}/follow", get(follow::trace))
        .route("/tl/v1/arrivals", get(follow::arrivals))
        .route("/tl/v1/trace/{id}/decision", get(sampled::decision))
        .route("/tl/v1/sampler", get(sampled::figures))
        .route("/tl/v1/search", get(found::json))
        .route("/tl/v1/lineage/{of}", get(lineage::json))
}

/// What refuses as a line of text.
pub(crate) fn text_router() -> Router<App> {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .route("/tl/v1/trace/{id}/text", get(trace_text))
        .route("/tl/v1/search/text", get(found::text))
        .route("/tl/v1/lineage/{of}/text", get(lineage::text))
}

/// `/metrics` and nothing else.
pub(crate) fn metrics_router() -> Router<App> {
    Router::new().route("/metrics", get(metrics))
}

type JsonRefusal = Refused<AsJson>;
type TextRefusal = Refused<AsText>;

async fn readiness(State(app): State<App>) -> Result<&'static str, TextRefusal> {
    app.live().readiness().map_err(|why| Failure::Busy(format!("not ready: {why}")))?;
    Ok("ready\n")
}

async fn metrics(State(app): State<App>) -> Result<Response, TextRefusal> {
    let media = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let off = || {
        Failure::Missing("metrics are switched off: service::telemetry::metrics::level is none".to_owned())
    };
    Ok(([(header::CONTENT_TYPE, media)], app.live().metrics().ok_or_else(off)?).into_response())
}

async fn trace_json(
    State(app): State<App>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, JsonRefusal> {
    let params = Params::read(query.as_deref())?;
    let write = move |whole, mut answer: Answer| {
        let part = asked_part(whole, &params)?;
        answer.with(|out| json::write(&part, out))?;
        answer.into_response("application/json")
    };
    Ok(of_trace(&app, &id, write).await?)
}

async fn trace_text(
    State(app): State<App>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, TextRefusal> {
    let params = Params::read(query.as_deref())?;
    let options = text_options(&params)?;
    let asked = app.clone();
    let write = move |whole: Trace, _| {
        let id = whole.id;
        let shown = text::render(&asked_part(whole, &params)?, &options);
        Ok(reply::text(shown + &sampled::lines(&asked.live().decisions(id), &options)))
    };
    Ok(of_trace(&app, &id, write).await?)
}

/// With `span=`, that span and what is below it; else the whole trace.
fn asked_part(whole: Trace, params: &Params) -> Result<Trace, Failure> {
    let Some(text) = params.one("span") else { return Ok(whole) };
    let id = SpanId::from_hex(text)
        .ok_or_else(|| Failure::Bad(format!("{text:?} is no span id; up to 16 hex digits")))?;
    load::part(&whole, id).ok_or_else(|| Failure::Missing(format!("trace {} has no span {id}", whole.id)))
}

/// What `write` makes of the assembled trace under an id as it stands in a path.
pub(crate) async fn of_trace<T: Send + 'static>(
    app: &App,
    id: &str,
    write: impl FnOnce(Trace, Answer) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let id = reply::trace_id(id)?;
    let (asked, now) = (app.clone(), app.now());
    app.read(move |reader| match load::load_from(reader, id, now)? {
        Some(trace) => write(trace, reader.answer()),
        None => Err(asked.missing(id)),
    })
    .await
}

/// `width=100&colour=always&form=hops`; without them as wide as the text is, plain, every span below its parent.
pub(crate) fn text_options(params: &Params) -> Result<TextOptions, Failure> {
    let colour = match params.one("colour") {
        None | Some("never") => Colour::Never,
        Some("always") => Colour::Always,
        Some(other) => return Err(Failure::Bad(format!("colour is always or never, not {other:?}"))),
    };
    let form = match params.one("form") {
        None | Some("nested") => Form::Nested,
        Some("hops") => Form::Hops,
        Some(other) => return Err(Failure::Bad(format!("form is nested or hops, not {other:?}"))),
    };
    Ok(TextOptions { width: params.number("width")?, colour, form })
}
