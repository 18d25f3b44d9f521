//! One line that sets a service up: SDK, OTLP exporters, propagators, log bridge, one filter; and a guard that flushes
//! when it is dropped. Nothing else in the library needs it: whoever sets OpenTelemetry up by hand loses nothing but the
//! accounts below.
//!
//! ```no_run
//! # fn main() -> Result<(), throughline::telemetry::TelemetryError> {
//! let _telemetry = throughline::telemetry::init("payment-worker")?; // keep it until the process ends
//! tracing::info!("started");
//! # Ok(())
//! # }
//! ```
//!
//! # What it sets up
//!
//! - **Spans** over a batch processor with a queue of [`SPAN_QUEUE`] spans and up to [`SPAN_LINK_LIMIT`] links on a span,
//!   exported each second or as soon as a batch is full. What cannot be kept is counted: [`Telemetry::spans`],
//!   [`Telemetry::dropped_spans`], the metric `otel.sdk.processor.span.processed`, and a line in the log.
//! - **Logs**: each `tracing` event (and each record of the `log` crate) goes to standard error and to the backend, with
//!   the trace id, span id and correlation id it was written under, inside a `tracing` span or a handler alike.
//! - **Each line once**: a log record is not an event of its `tracing` span as well. Two things of it still show on the span:
//!   an event of level `ERROR` marks it as failed, and what `#[instrument(err)]` returns is its exception. (Without a log
//!   exporter, `OTEL_LOGS_EXPORTER=none`, all `tracing` events are events of their spans: they would be nowhere else.)
//! - **Metrics** each ten seconds.
//! - **Propagation**: [`Propagator`](crate::Propagator), throughline's own, as the process's global propagator.
//! - **One filter** for all of it. A filter per layer loses spans once a library logs through the `log` crate.
//!
//! # What the environment says
//!
//! The environment wins over the builder, which holds the service's defaults. An empty value counts as unset.
//!
//! | variable | default | if it cannot be used |
//! |---|---|---|
//! | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | the name given here | a part without `=` is reported |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT`, `…_{TRACES,METRICS,LOGS}_ENDPOINT` | `http://localhost:4318` (gRPC: 4317) | error |
//! | `OTEL_EXPORTER_OTLP[_SIGNAL]_PROTOCOL` | `http/protobuf`; `grpc` needs the feature `otlp-grpc` | error |
//! | `OTEL_EXPORTER_OTLP[_SIGNAL]_HEADERS`, `_TIMEOUT`, `_COMPRESSION` | none, 10,000 ms, `none` (or `gzip`) | reported, reported, error |
//! | `OTEL_{TRACES,METRICS,LOGS}_EXPORTER` | `otlp` (or `none`) | error |
//! | `OTEL_TRACES_SAMPLER`, `_ARG` | `parentbased_always_on` | error, reported |
//! | `OTEL_BSP_MAX_QUEUE_SIZE`, `_MAX_EXPORT_BATCH_SIZE`, `_SCHEDULE_DELAY` | 16,384, 512, 1,000 ms | reported |
//! | `OTEL_BLRP_…`, the same for logs | 8,192, 512, 1,000 ms | reported |
//! | `OTEL_METRIC_EXPORT_INTERVAL` | 10,000 ms | reported |
//! | `OTEL_SPAN_{LINK,EVENT,ATTRIBUTE}_COUNT_LIMIT` | 1,000, 128, 128 | reported |
//! | `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE` | `cumulative` | logged |
//! | `OTEL_SDK_DISABLED` | `false` | reported |
//! | `OTEL_PROPAGATORS` | `tracecontext,baggage` | others are reported |
//! | `OTEL_SEMCONV_STABILITY_OPT_IN` | v1.44 names; `messaging/dup` adds the older | see [`Profile`](crate::Profile) |
//! | `THROUGHLINE_PROFILE` | as above; `v1.44`, `dup` or `legacy` | error |
//! | `RUST_LOG` | `info` | error |
//!
//! *Reported*: the default is used and a warning names the variable ([`Telemetry::warnings`], and the log). An `https`
//! endpoint needs the feature `otlp-tls`. Variables of the specification that have no effect here are reported too:
//! certificates and keys of the exporters, limits on the length of values, configuration files.
//!
//! # What it costs to end
//!
//! Dropping the guard sends what is queued and waits up to five seconds if the backend does not answer. Drop it at the
//! end of `main`; with gRPC on a current-thread runtime, call [`Telemetry::shutdown`] through `spawn_blocking`.

mod client;
mod environment;
mod exporters;
mod intake;
mod pipeline;
mod processors;
mod settings;
mod subscriber;
mod tracing_spans;

use std::fmt;

use opentelemetry::global;
use opentelemetry_sdk::{error::OTelSdkError, trace::Sampler};
use tracing_subscriber::{Layer, registry::LookupSpan};

use self::{pipeline::Pipeline, settings::Defaults};

pub use self::intake::Counts;
pub use self::settings::{LOG_QUEUE, SPAN_LINK_LIMIT, SPAN_QUEUE, Warning};

/// Why telemetry could not be set up. Each says what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// A variable (or builder method) holds what cannot be used and must not be guessed at.
    #[error("{variable}={value:?} cannot be used: expected {expected}")]
    Environment {
        /// The variable, or the builder's method.
        variable: String,
        /// What stood in it.
        value: String,
        /// What may stand in it.
        expected: String,
    },
    /// A variable asks for what this build lacks.
    #[error(
        "{variable}={value:?} needs the feature {feature:?} of the crate throughline: enable it in Cargo.toml"
    )]
    Feature {
        /// The variable.
        variable: String,
        /// What stood in it.
        value: String,
        /// The feature to enable.
        feature: &'static str,
    },
    /// The log filter is not one.
    #[error(
        "the log filter {directives:?} (RUST_LOG, or telemetry::Builder::filter) cannot be read: {source}"
    )]
    Filter {
        /// The filter.
        directives: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// An exporter refused its configuration.
    #[error("the exporter of {signal} to {endpoint} cannot be built: {source}")]
    Exporter {
        /// `traces`, `metrics` or `logs`.
        signal: &'static str,
        /// Where it was to send.
        endpoint: String,
        /// Why not.
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// The process has a `tracing` subscriber already.
    #[error(
        "a global tracing subscriber is installed already: call telemetry::init first, or keep yours with \
         telemetry::builder(…).subscriber(Subscriber::Existing) and add Telemetry::layer to it"
    )]
    SubscriberInstalled,
    /// gRPC needs a runtime to live in.
    #[error("OTLP over gRPC needs a tokio runtime: call telemetry::init inside it, or use http/protobuf")]
    NoRuntime,
}

impl TelemetryError {
    fn environment(variable: impl Into<String>, value: String, expected: impl Into<String>) -> Self {
        TelemetryError::Environment { variable: variable.into(), value, expected: expected.into() }
    }
}

/// What was recorded could not be handed over.
#[derive(Debug, thiserror::Error)]
#[error("telemetry could not be delivered ({source}); {dropped} spans were dropped so far")]
pub struct DeliveryError {
    source: OTelSdkError,
    dropped: u64,
}

/// Where log lines go besides the backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Console {
    /// To standard error, in colours on a terminal.
    #[default]
    Stderr,
    /// Nowhere.
    Silent,
}

/// Whose `tracing` subscriber the process has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Subscriber {
    /// Ours: filter, OpenTelemetry, log bridge, console.
    #[default]
    Install,
    /// The application's own, to which it adds [`Telemetry::layer`].
    Existing,
}

/// Sets telemetry up for the service `service`, from the environment. Keep what it returns until the process ends.
///
/// # Errors
/// If the environment holds something that cannot be used and must not be guessed at, or a subscriber exists already.
pub fn init(service: impl Into<String>) -> Result<Telemetry, TelemetryError> {
    builder(service).install()
}

/// As [`init`], with defaults of the service's own.
pub fn builder(service: impl Into<String>) -> Builder {
    Builder {
        defaults: Defaults {
            service: service.into(),
            endpoint: None,
            attributes: Vec::new(),
            filter: "info".to_owned(),
            span_queue: SPAN_QUEUE,
        },
        console: Console::default(),
        subscriber: Subscriber::default(),
    }
}

/// A service's own defaults. The environment wins over each.
#[derive(Debug, Clone)]
#[must_use = "nothing is set up until install is called"]
pub struct Builder {
    defaults: Defaults,
    console: Console,
    subscriber: Subscriber,
}

impl Builder {
    /// The backend's base URL, as in `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(mut self, base: impl Into<String>) -> Self {
        self.defaults.endpoint = Some(base.into());
        self
    }

    /// A resource attribute, such as `deployment.environment.name`.
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.defaults.attributes.push((key.into(), value.into()));
        self
    }

    /// The log filter, as in `RUST_LOG`. Default: `info`.
    pub fn filter(mut self, directives: impl Into<String>) -> Self {
        self.defaults.filter = directives.into();
        self
    }

    /// Spans that may wait for the exporter, as in `OTEL_BSP_MAX_QUEUE_SIZE`. Beyond it spans are dropped and counted.
    pub fn span_queue(mut self, spans: usize) -> Self {
        self.defaults.span_queue = spans.max(1);
        self
    }

    /// Where log lines go besides the backend.
    pub fn console(mut self, console: Console) -> Self {
        self.console = console;
        self
    }

    /// Whose `tracing` subscriber the process has.
    pub fn subscriber(mut self, subscriber: Subscriber) -> Self {
        self.subscriber = subscriber;
        self
    }

    /// Builds everything and makes it the process's.
    ///
    /// # Errors
    /// As [`init`].
    pub fn install(self) -> Result<Telemetry, TelemetryError> {
        let settings = settings::Settings::read(&self.defaults, &|name| std::env::var(name).ok())?;
        let pipeline = Pipeline::build(&settings)?;
        // The subscriber first: it is what can fail, and then nothing global has changed.
        match self.subscriber {
            Subscriber::Install => subscriber::install(&pipeline, &settings, self.console)?,
            Subscriber::Existing => {}
        }
        if let Some(tracers) = &pipeline.tracers {
            global::set_tracer_provider(tracers.clone());
        }
        if let Some(meters) = &pipeline.meters {
            global::set_meter_provider(meters.clone());
        }
        global::set_text_map_propagator(crate::Propagator::all());
        tell_the_library(&settings, &pipeline);
        for warning in &settings.warnings {
            tracing::warn!(target: "throughline::telemetry", "{warning}");
        }
        Ok(Telemetry { pipeline, warnings: settings.warnings, state: State::Running })
    }
}

/// What the library may rely on, now that it is known which SDK is there.
fn tell_the_library(settings: &settings::Settings, pipeline: &Pipeline) {
    crate::settings::set_link_cap(usize::try_from(settings.limits.links).unwrap_or(usize::MAX));
    if let Some(profile) = settings.profile {
        crate::set_profile(profile);
    }
    match (&pipeline.tracers, &settings.sampler) {
        (Some(_), Sampler::ParentBased(_)) => crate::span::tracer::parent_based_providers_are_set(),
        _ => crate::providers_are_set(),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Running,
    Ended,
}

/// Keeps telemetry going. When it is dropped, what is queued is sent and everything ends.
#[must_use = "dropping it ends telemetry: keep it until the process ends"]
pub struct Telemetry {
    pipeline: Pipeline,
    warnings: Vec<Warning>,
    state: State,
}

impl Telemetry {
    /// Sends everything that has ended so far.
    ///
    /// # Errors
    /// If the backend did not take it.
    pub fn flush(&self) -> Result<(), DeliveryError> {
        self.delivered(self.pipeline.flush())
    }

    /// Sends what is queued and ends telemetry; what dropping does, with its result.
    ///
    /// # Errors
    /// If the backend did not take it within five seconds.
    pub fn shutdown(mut self) -> Result<Counts, DeliveryError> {
        self.state = State::Ended;
        self.delivered(self.pipeline.shutdown())?;
        Ok(self.spans())
    }

    /// The account of the process's spans.
    #[must_use]
    pub fn spans(&self) -> Counts {
        self.pipeline.spans.as_ref().map(|ledger| ledger.counts()).unwrap_or_default()
    }

    /// The account of the process's log records.
    #[must_use]
    pub fn log_records(&self) -> Counts {
        self.pipeline.log_records.as_ref().map(|ledger| ledger.counts()).unwrap_or_default()
    }

    /// Sampled spans that ended and were not kept.
    #[must_use]
    pub fn dropped_spans(&self) -> u64 {
        self.spans().dropped()
    }

    /// What stood in the environment and was not usable.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The two layers of ours, for a subscriber of the application's own. Put one `EnvFilter` before all layers; a filter
    /// on this layer alone loses spans once a library logs through the `log` crate. Your subscriber was not there yet when
    /// the [`warnings`](Self::warnings) came up.
    ///
    /// ```
    /// use throughline::telemetry::{self, Subscriber};
    /// use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _};
    ///
    /// # fn main() -> Result<(), telemetry::TelemetryError> {
    /// let telemetry = telemetry::builder("api").subscriber(Subscriber::Existing).install()?;
    /// let subscriber = tracing_subscriber::registry().with(EnvFilter::new("info")).with(telemetry.layer());
    /// # drop(subscriber);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn layer<S>(&self) -> Box<dyn Layer<S> + Send + Sync + 'static>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        subscriber::layer(&self.pipeline)
    }

    fn delivered(&self, result: Result<(), OTelSdkError>) -> Result<(), DeliveryError> {
        result.map_err(|source| DeliveryError { source, dropped: self.dropped_spans() })
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if self.state == State::Running {
            // Whoever wants the result calls `shutdown`; the losses are in the log either way.
            let _result = self.pipeline.shutdown();
        }
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("spans", &self.spans())
            .field("log_records", &self.log_records())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
