//! The two stable HTTP metrics, `http.server.request.duration` and `http.client.request.duration`. Their labels are those the
//! conventions require and no more: nothing that a caller can make up (a path, a host it asks for, a method of its own)
//! becomes a series.

use super::with_instruments;
use crate::settings::{self, Metrics};
use opentelemetry::{KeyValue, Value};
use std::time::Instant;
use throughline_semconv::attribute;

/// Which end of a request is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

/// The measurement of one request. Dropped before its end, the request was cancelled.
pub(crate) struct Request(Option<Running>);

struct Running {
    began: Instant,
    side: Side,
    labels: Vec<KeyValue>,
}

impl Request {
    pub(crate) fn begin(side: Side, method: &'static str) -> Self {
        let running = || Running {
            began: Instant::now(),
            side,
            labels: vec![KeyValue::new(attribute::HTTP_REQUEST_METHOD, method)],
        };
        Self((settings::metrics() == Metrics::On).then(running))
    }

    /// One label more.
    pub(crate) fn label(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(running) = &mut self.0 {
            running.labels.push(KeyValue::new(key, value));
        }
    }

    pub(crate) fn finish(mut self, error_type: Option<&str>) {
        self.record(error_type);
    }

    fn record(&mut self, error_type: Option<&str>) {
        let Some(Running { began, side, mut labels }) = self.0.take() else { return };
        labels.extend(error_type.map(|error| KeyValue::new(attribute::ERROR_TYPE, error.to_owned())));
        let seconds = began.elapsed().as_secs_f64();
        with_instruments(|instruments| match side {
            Side::Server => instruments.http_server.record(seconds, &labels),
            Side::Client => instruments.http_client.record(seconds, &labels),
        });
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.record(Some("cancelled"));
    }
}
