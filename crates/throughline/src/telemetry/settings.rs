//! What telemetry is set up from, once [`environment`](super::environment) has read it. Plain data: no decisions here.

use std::{fmt, time::Duration};

use opentelemetry_sdk::trace::Sampler;

use crate::Profile;

/// Spans that may wait for the exporter. The SDK's own default, 2,048, loses four spans of five in a tight loop.
pub const SPAN_QUEUE: usize = 16_384;
/// Log records that may wait for the exporter.
pub const LOG_QUEUE: usize = 8_192;
/// Links a span may carry; the SDK's own default is 128, and it drops the newest without a word.
pub const SPAN_LINK_LIMIT: u32 = 1_000;

/// A value in the environment that was not usable; the default took its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The variable.
    pub variable: String,
    /// What stood in it.
    pub value: String,
    /// What may stand in it, and what is used instead.
    pub expected: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?} is ignored: {}", self.variable, self.value, self.expected)
    }
}

/// What the service itself says; the environment wins over each of these.
#[derive(Debug, Clone)]
pub(super) struct Defaults {
    pub(super) service: String,
    pub(super) endpoint: Option<String>,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) filter: String,
    pub(super) span_queue: usize,
}

/// Whether there is anything to export to at all (`OTEL_SDK_DISABLED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sdk {
    Enabled,
    Disabled,
}

/// One of the three signals, as it is spelled in variables and paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    pub(super) fn upper(self) -> &'static str {
        match self {
            Signal::Traces => "TRACES",
            Signal::Metrics => "METRICS",
            Signal::Logs => "LOGS",
        }
    }

    pub(super) fn lower(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
        }
    }
}

/// How OTLP travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    HttpProtobuf,
    Grpc,
}

/// Whether request bodies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
}

/// Where one signal goes. `endpoint` is complete: for HTTP it ends in the signal's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) endpoint: String,
    pub(super) protocol: Protocol,
    pub(super) timeout: Duration,
    pub(super) headers: Vec<(String, String)>,
    pub(super) compression: Compression,
}

/// A bounded queue in front of an exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Queue {
    pub(super) capacity: usize,
    pub(super) batch: usize,
    pub(super) delay: Duration,
}

/// Limits of one span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) links: u32,
    pub(super) events: u32,
    pub(super) attributes: u32,
}

/// Everything the set-up needs to know.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) sdk: Sdk,
    pub(super) resource: Vec<(String, String)>,
    pub(super) traces: Option<Target>,
    pub(super) metrics: Option<Target>,
    pub(super) logs: Option<Target>,
    pub(super) sampler: Sampler,
    pub(super) spans: Queue,
    pub(super) log_records: Queue,
    pub(super) metric_interval: Duration,
    pub(super) limits: Limits,
    pub(super) profile: Option<Profile>,
    pub(super) filter: String,
    pub(super) warnings: Vec<Warning>,
}
