//! The answers handlers give, and the failures they give them for. A failure is told in the form its API speaks.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use throughline_otlp::TraceId;

use crate::query::QueryError;

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
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The failure as our own API tells it.
    pub(crate) fn json(&self) -> Response {
        json_with(self.status(), &json!({ "error": self.to_string() }))
    }

    /// The failure as a line of text.
    pub(crate) fn text(&self) -> Response {
        text_with(self.status(), format!("{self}\n"))
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
    with_type(status, "text/html; charset=utf-8", markup.into_string())
}

fn with_type(status: StatusCode, media: &'static str, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static(media))], body).into_response()
}
