//! The search page: box, fields, scatter, results, logs; and what to do next where there is nothing to show.

use axum::http::StatusCode;
use maud::{Markup, html};
use throughline_otlp::UnixNanos;
use throughline_store::{Operation, Store};

use super::frame::{self, Frame};
use super::hue::Hues;
use super::{fields, logs, results, scatter, url};
use crate::app::App;
use crate::asked::{Asked, MAX_LIMIT, Matching};
use crate::load::Source;
use crate::own::found::{self, Cut, Found};
use crate::params::Params;
use crate::query::{Query, QueryError, parse_query};
use crate::reply::Failure;
use crate::units::counted;

/// Up to so many logs are shown without being asked for.
const LOGS_OPEN: usize = 40;
const KEYS: &[(&str, &str)] =
    &[("/", "search"), ("↑ ↓", "row"), ("enter", "open"), ("drag", "over the scatter to narrow")];

/// Everything the page shows, read from the store at once.
struct Answer {
    services: Vec<String>,
    operations: Vec<Operation>,
    found: Found,
}

/// Where a query leads that names one trace and nothing else.
pub(super) fn to_trace(text: &str) -> Option<String> {
    let query = parse_query(text).ok()?;
    let (trace, span) = (query.trace?, query.span);
    let alone = Query { trace: None, span: None, ..query }.is_empty();
    alone.then(|| span.map_or_else(|| url::trace(trace), |span| url::span(trace, span)))
}

pub(super) async fn page(app: &App, params: &Params, text: &str) -> Result<(StatusCode, Markup), Failure> {
    match parse_query(text) {
        Ok(query) => Ok((StatusCode::OK, answered(app, params, query).await?)),
        Err(error) => Ok((StatusCode::BAD_REQUEST, unreadable(app, text, &error).await?)),
    }
}

async fn answered(app: &App, params: &Params, query: Query) -> Result<Markup, Failure> {
    let (now, bounds) = (app.now(), app.bounds());
    let asked = Asked::of(&query, params, now, Matching::Counted)?;
    let shown = app.clone();
    app.read(move |reader| {
        let (services, operations) = names(reader.store(), query.service.as_deref())?;
        let answer = Answer { services, operations, found: found::find(reader, &asked, now, bounds)? };
        Ok(results_page(&shown, &query, asked.search.limit, &answer, now))
    })
    .await
}

fn results_page(app: &App, query: &Query, limit: usize, answer: &Answer, now: UnixNanos) -> Markup {
    let text = query.to_string();
    let found = &answer.found;
    let hues = Hues::of(found.traces.iter().flat_map(|f| &f.trace.services).map(String::as_str));
    let content = html! {
        h1.quiet { "Search" }
        (fields::form(query, &answer.services, &answer.operations))
        (scatter::scatter(&found.traces, &without_bounds(query).to_string(), now))
        (tally(found, query, limit))
        @if found.traces.is_empty() { (empty(app, query, answer)) }
        @else { (results::list(&found.traces, query, &hues, now)) }
        (log_section(found, now))
    };
    let waiting = answer.services.is_empty().then_some(5);
    let title = if query.is_empty() { "Traces" } else { &text };
    frame::page(
        &Frame {
            title,
            kind: "search",
            query: &text,
            reload: waiting,
            samples: app.live().samples(),
            keys: KEYS,
        },
        &content,
    )
}

async fn unreadable(app: &App, text: &str, error: &QueryError) -> Result<Markup, Failure> {
    let (services, operations) = app.ask(|store| names(store, None)).await?;
    let caret = " ".repeat(error.column.saturating_sub(1)) + "^";
    let content = html! {
        h1.quiet { "Search" }
        (fields::form(&Query::default(), &services, &operations))
        section.unreadable role="alert" {
            pre { (text) "\n" (caret) }
            p { "Column " (error.column) ": " (error.problem) "." }
            p { "Allowed here: " (error.allowed) }
        }
    };
    Ok(frame::page(
        &Frame {
            title: "Search",
            kind: "search",
            query: text,
            reload: None,
            samples: app.live().samples(),
            keys: KEYS,
        },
        &content,
    ))
}

fn names(store: &Store, service: Option<&str>) -> Result<(Vec<String>, Vec<Operation>), Failure> {
    Ok((store.services()?, store.operations(service)?))
}

/// The query that dragging over the scatter adds new bounds to.
fn without_bounds(query: &Query) -> Query {
    Query { at_least: None, at_most: None, since: None, after: None, before: None, ..query.clone() }
}

fn tally(found: &Found, query: &Query, limit: usize) -> Markup {
    html! {
        p.tally {
            @if !found.traces.is_empty() {
                span { (counted(found.traces.len(), "trace")) @if found.cut == Cut::AtLimit { ", the newest" } }
                @if found.cut == Cut::AtLimit && limit < MAX_LIMIT {
                    a href={ (url::search(&query.to_string())) (if query.is_empty() { "?" } else { "&" }) "limit=" (limit.saturating_mul(4).min(MAX_LIMIT)) } { "show more" }
                }
            }
            @for note in &found.notes { span { (note) } }
            @if !found.logs.is_empty() { a href="#logs" { (counted(found.logs.len(), "log")) } }
            a #arrived href=(url::search(&query.to_string())) hidden {}
        }
    }
}

/// Nothing to show: why, and what to do.
fn empty(app: &App, query: &Query, answer: &Answer) -> Markup {
    html! {
        section.empty data-waiting[answer.services.is_empty()] {
            @if answer.services.is_empty() {
                h2 { "Nothing has arrived yet" }
                p { "Send OpenTelemetry here; this page fills itself when the first spans come." }
                pre { "OTEL_EXPORTER_OTLP_ENDPOINT=" (app.otlp()) }
                button.copy type="button" hidden data-copy={ "OTEL_EXPORTER_OTLP_ENDPOINT=" (app.otlp()) } { "copy" }
                p { "Any OpenTelemetry SDK reads that variable. No service at hand? " code { "throughline demo" } " runs four, with Kafka between them." }
            } @else {
                h2 { "Nothing matches" }
                p { "All conditions must hold on one span. Known services: "
                    @for (at, service) in answer.services.iter().take(20).enumerate() {
                        @if at > 0 { ", " } a href=(url::service(service)) { (service) }
                    } "."
                }
                @if query.since.is_some() || query.after.is_some() || query.before.is_some() {
                    @let any_time = Query { since: None, after: None, before: None, ..query.clone() };
                    p { a href=(url::search(&any_time.to_string())) { "The same at any time" } }
                }
                p { a href="/" { "All traces" } }
            }
        }
    }
}

fn log_section(found: &Found, now: UnixNanos) -> Markup {
    html! {
        @if !found.logs.is_empty() {
            details.logs-of #logs open[found.logs.len() <= LOGS_OPEN] {
                summary { h2 { "Logs " span.count { (counted(found.logs.len(), "record")) } } }
                (logs::across(&found.logs, now))
            }
        }
    }
}
