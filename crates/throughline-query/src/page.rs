//! What a person sees. Rendered here, whole and readable without JavaScript; the modules in `assets` only add keys, live
//! growth and copying. Everything a stranger wrote goes through maud's escaping; URLs are made by [`url`] alone.

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use maud::{Markup, html};

use crate::app::App;
use crate::params::Params;
use crate::reply::{self, Failure, Form, Refused};

mod assets;
mod decision;
mod fields;
mod frame;
mod hue;
mod linked;
mod logs;
mod results;
mod sampler;
mod scatter;
mod search;
mod span;
#[cfg(test)]
mod tests;
mod trace;
mod url;
mod waterfall;

pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/", get(search_page))
        .route("/trace/{id}", get(trace_page))
        .route("/trace/{id}/span/{span}", get(span_fragment))
        .route("/sampler", get(sampler::page))
        .route("/sampler/follow", get(sampler::follow))
        .route("/search", get(async || redirect("/")))
        .route("/static/{version}/{file}", get(assets::serve))
}

/// A failure as a page.
pub(crate) struct Problem;

type PageRefusal = Refused<Problem>;

impl Form for Problem {
    fn tell(failure: &Failure) -> Response {
        problem(failure.status(), &failure.to_string())
    }
}

async fn search_page(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, PageRefusal> {
    let params = Params::read(query.as_deref())?;
    // The fields are a second way to write the query; the URL of a search is the query alone.
    if let Some(query) = fields::folded(&params) {
        return Ok(redirect(&url::search(&query)));
    }
    let text = params.one("q").unwrap_or_default().trim().to_owned();
    // A pasted id is not a condition, it is where the reader wants to go.
    if text.len() == 32 && reply::trace_id(&text).is_ok() {
        return Ok(redirect(&format!("/trace/{text}")));
    }
    if let Some(to) = search::to_trace(&text) {
        return Ok(redirect(&to));
    }
    let (status, page) = search::page(&app, &params, &text).await?;
    Ok(reply::html(status, page))
}

async fn trace_page(
    State(app): State<App>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageRefusal> {
    let id = reply::trace_id(&id)?;
    let (status, page) = trace::page(&app, id, &Params::read(query.as_deref())?).await?;
    Ok(reply::html(status, page))
}

async fn span_fragment(
    State(app): State<App>,
    Path((id, span)): Path<(String, String)>,
) -> Result<Response, PageRefusal> {
    let answer = crate::own::of_trace(&app, &id, move |found, _| {
        let node = found.nodes.iter().find(|node| node.span_id().to_string() == span);
        let missing = || Failure::Missing(format!("trace {} has no span {span:?}", found.id));
        Ok(reply::html(StatusCode::OK, span::body(&found, node.ok_or_else(missing)?)))
    });
    Ok(answer.await?)
}

/// The answer on a path that is none of ours.
pub(crate) async fn unknown(uri: Uri) -> Response {
    if uri.path().starts_with("/api/") || uri.path().starts_with("/tl/") {
        return reply::text_with(StatusCode::NOT_FOUND, "404 page not found\n".to_owned());
    }
    problem(StatusCode::NOT_FOUND, "there is no such page")
}

fn problem(status: StatusCode, text: &str) -> Response {
    let what = status.canonical_reason().unwrap_or("Error");
    let content: Markup = html! {
        section.empty {
            h1 { (what) }
            p { (text) "." }
            p { a href="/" { "All traces" } }
        }
    };
    let page = frame::page(
        &frame::Frame { title: what, kind: "problem", query: "", ..Default::default() },
        &content,
    );
    reply::html(status, page)
}

fn redirect(to: &str) -> Response {
    let location = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}
