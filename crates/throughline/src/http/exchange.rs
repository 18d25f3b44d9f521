//! One request and its answer, seen from either side: a span and a measurement that begin together and end together. Knows
//! no bodies and no services.

use std::{borrow::Cow, fmt::Display};

use ::http::StatusCode;
use opentelemetry::{
    ContextGuard,
    trace::{Status, TraceContextExt as _},
};
use throughline_semconv::attribute;

use crate::{
    ActiveSpan, Span, SpanSpec,
    metrics::http::{Request, Side},
};

/// A request that is not over yet. Dropped, it is `cancelled`.
pub(super) struct Exchange {
    span: ActiveSpan,
    measured: Request,
    side: Side,
    /// The answer's status, if it says that the request failed.
    refused: Option<StatusCode>,
}

impl Exchange {
    pub(super) fn begin(side: Side, spec: SpanSpec, measured: Request) -> Self {
        Self { span: spec.start(), measured, side, refused: None }
    }

    pub(super) fn span(&self) -> &Span {
        self.span.span()
    }

    pub(super) fn enter(&self) -> ContextGuard {
        self.span.enter()
    }

    /// The answer's head is there. What the caller did wrong is no failure of the server's.
    pub(super) fn answered(&mut self, status: StatusCode) {
        let code = i64::from(status.as_u16());
        self.span().set(attribute::HTTP_RESPONSE_STATUS_CODE, code);
        self.measured.label(attribute::HTTP_RESPONSE_STATUS_CODE, code);
        let is_refused = status.is_server_error() || (self.side == Side::Client && status.is_client_error());
        self.refused = is_refused.then_some(status);
    }

    /// Ends it as its answer says. An answer that says of itself that it failed is no exception: none is recorded.
    pub(super) fn end(self) {
        if let Some(status) = &self.refused {
            self.span().set(attribute::ERROR_TYPE, status.as_str().to_owned());
            let reason = status.canonical_reason().unwrap_or("unknown status");
            let description = format!("{} {reason}", status.as_str());
            self.span().context().span().set_status(Status::error(description));
        }
        self.measured.finish(self.refused.as_ref().map(StatusCode::as_str));
        self.span.end();
    }

    /// Ends it with an error, whatever its answer said.
    pub(super) fn fail(self, error: &(impl Display + ?Sized), error_type: Cow<'static, str>) {
        self.measured.finish(Some(&error_type));
        self.span.fail(error, error_type);
    }
}
