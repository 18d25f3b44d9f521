//! What goes back: the export responses in protobuf and JSON, and a body that can end in gRPC trailers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use throughline_otlp::Signal;
use throughline_otlp::wire::put_bytes;

use crate::intake::Accepted;
use crate::refusal::put_number;

/// A body of at most one piece and at most one set of trailers, in memory already.
#[derive(Debug, Default)]
pub(super) struct Answer {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Answer {
    pub(super) fn data(data: impl Into<Bytes>) -> Self {
        Self { data: Some(data.into()).filter(|data| !data.is_empty()), trailers: None }
    }

    pub(super) fn with_trailers(self, trailers: HeaderMap) -> Self {
        Self { trailers: Some(trailers), ..self }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, Bytes::len) as u64)
    }
}

/// `Export*ServiceResponse`; empty if everything was accepted, as OTLP asks.
pub(super) fn export_response_proto(accepted: &Accepted) -> Vec<u8> {
    let mut response = Vec::new();
    if let Some(rejection) = &accepted.rejected {
        let mut partial = Vec::new();
        put_number(&mut partial, 1, rejection.items);
        put_bytes(&mut partial, 2, rejection.why.as_bytes());
        put_bytes(&mut response, 1, &partial);
    }
    response
}

/// The same as OTLP JSON: 64-bit numbers are strings there.
pub(super) fn export_response_json(signal: Signal, accepted: &Accepted) -> Vec<u8> {
    let Some(rejection) = &accepted.rejected else { return b"{}".to_vec() };
    let count = match signal {
        Signal::Traces => "rejectedSpans",
        Signal::Logs => "rejectedLogRecords",
        Signal::Metrics => "rejectedDataPoints",
    };
    let partial = serde_json::json!({ count: rejection.items.to_string(), "errorMessage": rejection.why });
    serde_json::json!({ "partialSuccess": partial }).to_string().into_bytes()
}
