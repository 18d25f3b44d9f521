//! The three providers and their accounts, built from [`Settings`] and not yet installed anywhere: what
//! [`install`](super::Builder::install) makes global and what the tests look at.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use opentelemetry::{KeyValue, metrics::MeterProvider as _};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    logs::{BatchConfigBuilder as LogBatchConfig, BatchLogProcessor, SdkLoggerProvider},
    metrics::{PeriodicReader, SdkMeterProvider},
    trace::{BatchConfigBuilder as SpanBatchConfig, BatchSpanProcessor, SdkTracerProvider},
};

use super::{
    TelemetryError,
    client::LastProblem,
    exporters,
    intake::{Item, Ledger},
    processors::{Counted, ReportedMetrics},
    settings::{Queue, Sdk, Settings, Target},
};

/// How long the last export may take when the process ends.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// What records and ships. A signal that is switched off has no provider.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) tracers: Option<SdkTracerProvider>,
    pub(super) meters: Option<SdkMeterProvider>,
    pub(super) loggers: Option<SdkLoggerProvider>,
    pub(super) spans: Option<Arc<Ledger>>,
    pub(super) log_records: Option<Arc<Ledger>>,
}

impl Pipeline {
    pub(super) fn build(settings: &Settings) -> Result<Pipeline, TelemetryError> {
        let mut pipeline =
            Pipeline { tracers: None, meters: None, loggers: None, spans: None, log_records: None };
        if settings.sdk == Sdk::Disabled {
            return Ok(pipeline);
        }
        let resource = resource(settings);
        if let Some(target) = &settings.traces {
            let (tracers, ledger) = tracers(settings, target, resource.clone())?;
            pipeline.tracers = Some(tracers);
            pipeline.spans = Some(ledger);
        }
        if let Some(target) = &settings.logs {
            let (loggers, ledger) = loggers(settings.log_records, target, resource.clone())?;
            pipeline.loggers = Some(loggers);
            pipeline.log_records = Some(ledger);
        }
        if let Some(target) = &settings.metrics {
            let meters = meters(settings.metric_interval, target, resource)?;
            for ledger in [&pipeline.spans, &pipeline.log_records].into_iter().flatten() {
                observe(&meters, ledger);
            }
            pipeline.meters = Some(meters);
        }
        Ok(pipeline)
    }

    /// Everything that has ended so far, out now.
    pub(super) fn flush(&self) -> OTelSdkResult {
        first_error([
            self.tracers.as_ref().map(SdkTracerProvider::force_flush),
            self.loggers.as_ref().map(SdkLoggerProvider::force_flush),
            self.meters.as_ref().map(SdkMeterProvider::force_flush),
        ])
    }

    /// Spans first, so that what they lost can still be logged; then logs and metrics side by side, so that a backend
    /// that is gone costs the process its five seconds once.
    pub(super) fn shutdown(&self) -> OTelSdkResult {
        let deadline = Instant::now() + SHUTDOWN;
        let lost_before = undelivered(self.spans.as_ref(), 0);
        let spans = self.tracers.as_ref().map(|tracers| tracers.shutdown_with_timeout(SHUTDOWN * 3 / 4));
        if let Some(ledger) = &self.spans {
            ledger.report_total();
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let (logs, metrics) = std::thread::scope(|scope| {
            let logs = scope.spawn(|| self.loggers.as_ref().map(|logs| logs.shutdown_with_timeout(left)));
            let metrics = self.meters.as_ref().map(|meters| meters.shutdown_with_timeout(left));
            let panicked =
                |_| Some(Err(OTelSdkError::InternalFailure("the log exporter panicked".to_owned())));
            (logs.join().unwrap_or_else(panicked), metrics)
        });
        first_error([spans, logs, metrics])?;
        // The SDK calls a shutdown successful whose last export failed.
        match undelivered(self.spans.as_ref(), lost_before) {
            0 => Ok(()),
            lost => {
                Err(OTelSdkError::InternalFailure(format!("the backend did not take the last {lost} spans")))
            }
        }
    }
}

fn undelivered(ledger: Option<&Arc<Ledger>>, before: u64) -> u64 {
    ledger.map_or(0, |ledger| ledger.counts().export_failed.saturating_sub(before))
}

fn first_error(results: [Option<OTelSdkResult>; 3]) -> OTelSdkResult {
    results.into_iter().flatten().find(Result::is_err).unwrap_or(Ok(()))
}

fn resource(settings: &Settings) -> Resource {
    let attributes = settings.resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder().with_attributes(attributes).build()
}

fn tracers(
    settings: &Settings,
    target: &Target,
    resource: Resource,
) -> Result<(SdkTracerProvider, Arc<Ledger>), TelemetryError> {
    let Queue { capacity, batch, delay } = settings.spans;
    let problem = LastProblem::default();
    let exporter = exporters::spans(target, &problem)?;
    let ledger = Arc::new(Ledger::new(Item::Span, capacity, target.endpoint.clone(), problem));
    let config = SpanBatchConfig::default()
        .with_max_queue_size(capacity)
        .with_max_export_batch_size(batch)
        .with_scheduled_delay(delay)
        .build();
    let queue =
        BatchSpanProcessor::builder(Counted::new(exporter, &ledger)).with_batch_config(config).build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(Counted::new(queue, &ledger))
        .with_sampler(settings.sampler.clone())
        .with_max_links_per_span(settings.limits.links)
        .with_max_events_per_span(settings.limits.events)
        .with_max_attributes_per_span(settings.limits.attributes)
        .with_resource(resource)
        .build();
    Ok((provider, ledger))
}

fn loggers(
    queue: Queue,
    target: &Target,
    resource: Resource,
) -> Result<(SdkLoggerProvider, Arc<Ledger>), TelemetryError> {
    let problem = LastProblem::default();
    let exporter = exporters::logs(target, &problem)?;
    let ledger = Arc::new(Ledger::new(Item::LogRecord, queue.capacity, target.endpoint.clone(), problem));
    let config = LogBatchConfig::default()
        .with_max_queue_size(queue.capacity)
        .with_max_export_batch_size(queue.batch)
        .with_scheduled_delay(queue.delay)
        .build();
    let queued =
        BatchLogProcessor::builder(Counted::new(exporter, &ledger)).with_batch_config(config).build();
    let provider = SdkLoggerProvider::builder()
        .with_log_processor(Counted::new(queued, &ledger))
        .with_resource(resource)
        .build();
    Ok((provider, ledger))
}

fn meters(
    interval: Duration,
    target: &Target,
    resource: Resource,
) -> Result<SdkMeterProvider, TelemetryError> {
    let problem = LastProblem::default();
    let exporter = ReportedMetrics {
        next: exporters::metrics(target, &problem)?,
        destination: target.endpoint.clone(),
        problem,
        failing: AtomicBool::new(false),
    };
    let reader = PeriodicReader::builder(exporter).with_interval(interval).build();
    Ok(SdkMeterProvider::builder().with_reader(reader).with_resource(resource).build())
}

/// The account as metrics, under the names the conventions give an SDK's own health.
fn observe(meters: &SdkMeterProvider, ledger: &Arc<Ledger>) {
    let meter = meters.meter("throughline");
    let item = ledger.item();
    let account = Arc::clone(ledger);
    let processed = format!("otel.sdk.processor.{}.processed", item.singular());
    let _registered = meter
        .u64_observable_counter(processed)
        .with_unit(format!("{{{}}}", item.unit()))
        .with_description("what became of what was recorded; error.type says why something was not kept")
        .with_callback(move |observer| {
            let counts = account.counts();
            observer.observe(counts.exported, &[]);
            for (count, reason) in [
                (counts.queue_full, "queue_full"),
                (counts.export_failed, "export_failed"),
                (counts.after_shutdown, "already_shutdown"),
            ] {
                observer.observe(count, &[KeyValue::new("error.type", reason)]);
            }
        })
        .build();
    let account = Arc::clone(ledger);
    let _registered = meter
        .u64_observable_gauge(format!("otel.sdk.processor.{}.queue.size", item.singular()))
        .with_unit(format!("{{{}}}", item.unit()))
        .with_callback(move |observer| observer.observe(account.counts().queued, &[]))
        .build();
}
