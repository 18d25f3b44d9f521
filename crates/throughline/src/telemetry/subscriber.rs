//! What `tracing` feeds: spans to OpenTelemetry, events to the log exporter and to standard error, behind **one** filter.
//! That no event goes both ways is [`super::tracing_spans`]'s.
//!
//! One, because a filter per layer loses spans without a word once a library logs through the `log` crate (rdkafka does):
//! its records reach layers whose filter never saw them, and take the layer's enablement with them.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use tracing::Subscriber as TracingSubscriber;
use tracing_log::AsLog as _;
use tracing_subscriber::{
    EnvFilter, Layer,
    layer::{Identity, SubscriberExt as _},
    registry::LookupSpan,
};

use super::{
    Console, TelemetryError,
    pipeline::Pipeline,
    settings::Settings,
    tracing_spans::{Said, TracingSpans},
};

/// Crates below the exporters. At `debug` they would report on each export, and over gRPC that report would be exported
/// in turn. Said first, so that a directive of the user's that names one of them wins.
const QUIET: &str = "h2=warn,hyper=warn,hyper_util=warn,tonic=warn,tower=warn,ureq=warn,ureq_proto=warn,rustls=warn,\
                     opentelemetry=warn,opentelemetry_sdk=warn,opentelemetry_otlp=warn,opentelemetry_http=warn";

/// Two layers in one: tracing spans become OpenTelemetry spans, events become log records with the trace they belong to, and
/// nothing is said twice.
pub(super) fn layer<S>(pipeline: &Pipeline) -> Box<dyn Layer<S> + Send + Sync + 'static>
where
    S: TracingSubscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let said = if pipeline.loggers.is_some() { Said::InLogs } else { Said::OnSpan };
    let spans = pipeline.tracers.as_ref().map(|tracers| {
        tracing_opentelemetry::layer()
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_tracer(TracingSpans { tracer: tracers.tracer("tracing"), said })
    });
    let logs = pipeline.loggers.as_ref().map(OpenTelemetryTracingBridge::new);
    // Not as `Option`s: a layer that is `None` asks for nothing, and where no filter says otherwise its neighbour gets that.
    match (spans, logs) {
        (Some(spans), Some(logs)) => spans.and_then(logs).boxed(),
        (Some(spans), None) => spans.boxed(),
        (None, Some(logs)) => logs.boxed(),
        (None, None) => Identity::new().boxed(),
    }
}

/// The filter that stands before everything.
pub(super) fn filter(directives: &str) -> Result<EnvFilter, TelemetryError> {
    // Checked on its own first: an error shall show the user's text, not ours in front of it.
    EnvFilter::try_new(directives)
        .and_then(|_| EnvFilter::try_new(format!("{QUIET},{directives}")))
        .map_err(|source| TelemetryError::Filter { directives: directives.to_owned(), source })
}

/// Makes it the process's subscriber, `log` records included.
pub(super) fn install(
    pipeline: &Pipeline,
    settings: &Settings,
    console: Console,
) -> Result<(), TelemetryError> {
    let stderr = (console == Console::Stderr).then(|| {
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours)
    });
    let subscriber =
        tracing_subscriber::registry().with(filter(&settings.filter)?).with(layer(pipeline)).with(stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::SubscriberInstalled)?;
    // Somebody else's `log` logger is no reason to fail: its records go where they went before.
    let level = tracing::level_filters::LevelFilter::current().as_log();
    let _kept = tracing_log::LogTracer::builder().with_max_level(level).init();
    Ok(())
}
