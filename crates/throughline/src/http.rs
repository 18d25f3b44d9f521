//! HTTP on either side of a service, as tower layers: [`ServerLayer`] begins or continues a trace and names it in the
//! answer, [`ClientLayer`] carries it on. Works with axum, hyper and whatever else speaks tower and `http`
//! (with tonic too, but a gRPC status in the trailers is not read).
//!
//! ```
//! use throughline::http::{ServerLayer, Trust};
//!
//! let layer = ServerLayer::new(Trust::PublicEdge);
//! // With axum, so that spans are called `POST /orders/{id}`:
//! // Router::new().route(…).layer(layer.route(|extensions| {
//! //     extensions.get::<axum::extract::MatchedPath>().map(|path| path.as_str().to_owned())
//! // }))
//! # drop(layer);
//! ```
//!
//! # Whom to believe
//!
//! | what the caller sends | [`Trust::Internal`] | [`Trust::PublicEdge`] |
//! |---|---|---|
//! | `traceparent`, `tracestate` | its trace goes on | a new trace begins, the caller is linked |
//! | its sampling decision | is followed | is not: our own sampler decides |
//! | `baggage` | arrives, and goes on with each message | is dropped |
//! | `x-tenant-id` | adopted | is dropped: the tenant is what your authentication says it is |
//! | `x-correlation-id` | adopted | adopted: it is a label and grants nothing |
//!
//! A correlation id is adopted only if it is at most 128 bytes of visible ASCII, at either edge. Answers carry
//! `x-trace-id` (32 hex digits) and, if there is a span of ours to name, `traceresponse` (W3C).
//!
//! # When a span ends
//!
//! The server's span ends when the last byte of the answer's body has been handed on, so a stream is one long span. An
//! answer of 500 or above is an error; a handler or a body that is dropped before its end is `cancelled`; a panic in either
//! is recorded and goes on. The client's span ends at the head of the answer, whose body is the caller's to read or to drop;
//! 400 and above is an error there.
//!
//! Queries and credentials in URLs are never written on spans.
//!
//! # Metrics
//!
//! Each side records its stable histogram, in seconds, sampled or not, from the span's beginning to its end:
//!
//! | metric | labels |
//! |---|---|
//! | `http.server.request.duration` | `http.request.method`, `url.scheme`, `http.route` if it is known, `http.response.status_code`, `error.type` if it failed |
//! | `http.client.request.duration` | `http.request.method`, `server.address`, `server.port`, `http.response.status_code`, `error.type` if it failed |
//!
//! The route is the router's template and never a path; a method that is none of the known ones is `_OTHER`. With
//! [`set_metrics`](crate::settings::set_metrics) they are switched off.

mod body;
mod client;
mod exchange;
mod headers;
mod server;

pub use body::TracedBody;
pub use client::{Client, ClientFuture, ClientLayer};
pub use server::{Server, ServerFuture, ServerLayer};

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use ::http::{Method, Uri};

use self::exchange::Exchange;
use crate::outcome::panic_failure;

/// Whether callers are part of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Callers are services of our own: their trace goes on.
    Internal,
    /// Anybody may call: a new trace begins, and the caller's is linked.
    PublicEdge,
}

/// One step of a request's work, inside its span. A panic ends the exchange and goes on.
fn step<R>(exchange: &mut Option<Exchange>, work: impl FnOnce() -> R) -> R {
    let current = exchange.as_ref().map(Exchange::enter);
    // Unwind safe: nothing of the work is looked at after a panic, it goes straight on to the caller.
    let done = catch_unwind(AssertUnwindSafe(work));
    drop(current);
    done.unwrap_or_else(|payload| {
        if let Some(exchange) = exchange.take() {
            let failure = panic_failure(&*payload);
            exchange.fail(&failure.message, failure.error_type);
        }
        resume_unwind(payload)
    })
}

/// The method as conventions want it: one of the known ones, else `_OTHER`; whoever invents methods invents no names.
fn method_name(method: &Method) -> &'static str {
    const KNOWN: [&str; 10] =
        ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "QUERY"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

/// The scheme of a request to us; one that a caller has made up is none.
fn scheme(uri: &Uri) -> &'static str {
    if uri.scheme_str() == Some("https") { "https" } else { "http" }
}

/// `POST /orders/{id}` if the route is known, else `POST`: a path holds ids, and each would be a name of its own.
fn span_name(method: &'static str, route: Option<&str>) -> String {
    let verb = if method == "_OTHER" { "HTTP" } else { method };
    match route {
        Some(route) => format!("{verb} {route}"),
        None => verb.to_owned(),
    }
}

#[cfg(test)]
mod tests;
