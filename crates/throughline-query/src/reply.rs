//! The answers handlers give, and the failures they give them for. A failure is told in the form its API speaks.

use std::marker::PhantomData;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use throughline_otlp::TraceId;

use crate::query::QueryError;

/// Seconds after which a client that was refused for load may ask again.
const RETRY_AFTER: &str = "2";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The request asks for what cannot be asked.
    #[error("{0}")]
    Bad(String),
    /// There is nothing under this name.
    #[error("{0}")]
    Missing(String),
    /// Too many of these at once.
    #[error("{0}")]
    Busy(String),
    /// It is there, and is more than is read at once.
    #[error("{0}")]
    TooLarge(String),
    /// The store or this server failed.
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    pub(crate) fn internal(text: impl Into<String>) -> Self {
        Self::Internal(text.into())
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::Missing(_) => StatusCode::NOT_FOUND,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The form in which an API tells its failures.
pub(crate) trait Form: Send + Sync + 'static {
    fn tell(failure: &Failure) -> Response;
}

/// As our own API tells them: `{"error": …}`.
pub(crate) struct AsJson;

/// As a line of text: our own text forms, and Tempo.
pub(crate) struct AsText;

impl Form for AsJson {
    fn tell(failure: &Failure) -> Response {
        json_with(failure.status(), &json!({ "error": failure.to_string() }))
    }
}

impl Form for AsText {
    fn tell(failure: &Failure) -> Response {
        text_with(failure.status(), format!("{failure}\n"))
    }
}

/// A handler's failure, told in the form of its API.
pub(crate) struct Refused<F>(Failure, PhantomData<F>);

impl<F, E: Into<Failure>> From<E> for Refused<F> {
    fn from(error: E) -> Self {
        Self(error.into(), PhantomData)
    }
}

impl<F: Form> IntoResponse for Refused<F> {
    fn into_response(self) -> Response {
        F::tell(&self.0)
    }
}

impl From<throughline_store::StoreError> for Failure {
    fn from(error: throughline_store::StoreError) -> Self {
        Self::Internal(format!("the store could not answer: {error}"))
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::Bad(error.to_string())
    }
}

/// A trace id from a path: up to 32 hex digits, as Jaeger reads them.
pub(crate) fn trace_id(text: &str) -> Result<TraceId, Failure> {
    TraceId::from_hex(text).ok_or_else(|| {
        Failure::Bad(format!("{text:?} is no trace id; a trace id is up to 32 hex digits, not all zero"))
    })
}

pub(crate) fn json(value: &Value) -> Response {
    json_with(StatusCode::OK, value)
}

pub(crate) fn json_with(status: StatusCode, value: &Value) -> Response {
    with_type(status, "application/json", value.to_string())
}

pub(crate) fn text(body: String) -> Response {
    text_with(StatusCode::OK, body)
}

pub(crate) fn text_with(status: StatusCode, body: String) -> Response {
    with_type(status, "text/plain; charset=utf-8", body)
}

pub(crate) fn html(status: StatusCode, markup: maud::Markup) -> Response {
    with_type(status, "text/html; charset=utf-8", visible(markup.into_string()))
}

/// A part of a page, as [`html`] would send it.
pub(crate) fn shown(markup: maud::Markup) -> String {
    visible(markup.into_string())
}

/// Control characters and those that turn the direction of writing, escaped as the terminal shows them. Done to the whole
/// page, so that no name can be forgotten; our own markup has none of them but line ends and tabs.
fn visible(page: String) -> String {
    let hidden = |c: char| steers(c) && !matches!(c, '\n' | '\r' | '\t');
    if page.contains(hidden) { escaped(&page, hidden) } else { page }
}

/// Whether a character is not shown but changes how others are: a control character, or one that turns their direction.
pub(crate) fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with each `hidden` character as its escape.
pub(crate) fn escaped(text: &str, hidden: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        if hidden(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

fn with_type(status: StatusCode, media: &'static str, body: String) -> Response {
    let mut response =
        (status, [(header::CONTENT_TYPE, HeaderValue::from_static(media))], body).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    }
    response
}
