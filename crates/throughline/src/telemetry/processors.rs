//! The SDK's batch processors with a [`Ledger`] on either side, and the log processor that writes the correlation id
//! on each record. No queue, no thread and no retry of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::{Context, InstrumentationScope, Key, logs::AnyValue, logs::LogRecord as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{LogBatch, LogExporter, LogProcessor, SdkLogRecord},
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::{Span, SpanData, SpanExporter, SpanProcessor},
};
use throughline_semconv::own::CORRELATION_ID;

use super::{client::LastProblem, intake::Ledger};

/// A processor or an exporter of the SDK's, and the account of the queue that it stands before or behind.
#[derive(Debug)]
pub(super) struct Counted<T> {
    next: T,
    ledger: Arc<Ledger>,
}

impl<T> Counted<T> {
    pub(super) fn new(next: T, ledger: &Arc<Ledger>) -> Self {
        Self { next, ledger: Arc::clone(ledger) }
    }

    /// Nothing is taken from now on; what the queue still has when it has ended is lost.
    fn end(&self, shutdown: impl FnOnce(&T) -> OTelSdkResult) -> OTelSdkResult {
        self.ledger.close();
        let result = shutdown(&self.next);
        self.ledger.write_off();
        result
    }

    /// So many are out of the queue, well or not.
    fn settled(&self, items: usize, result: OTelSdkResult) -> OTelSdkResult {
        self.ledger.settled(items, failure(&result).as_deref());
        result
    }
}

/// In front of the queue: admits a span or counts it as dropped.
impl<P: SpanProcessor> SpanProcessor for Counted<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.ledger.admit() {
            self.next.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.end(|next| next.shutdown_with_timeout(timeout))
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// Behind the queue: settles the account of each batch.
impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let items = batch.len();
        self.settled(items, self.next.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// In front of the log queue. The SDK has put trace and span id on the record; the correlation id is ours.
impl<P: LogProcessor> LogProcessor for Counted<P> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if !self.ledger.admit() {
            return;
        }
        // A record that names its correlation id in a field of its own keeps it.
        let named = record.attributes_iter().any(|(key, _)| key.as_str() == CORRELATION_ID);
        if !named && let Some(id) = Context::map_current(crate::correlation_id) {
            record.add_attribute(Key::from_static_str(CORRELATION_ID), AnyValue::from(id.to_string()));
        }
        self.next.emit(record, scope);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.end(|next| next.shutdown_with_timeout(timeout))
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// Behind the log queue.
impl<E: LogExporter> LogExporter for Counted<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let items = batch.iter().count();
        self.settled(items, self.next.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// Says once when metrics stop arriving, and once when they arrive again. Nothing is lost in between but resolution:
/// each export carries the sums so far.
#[derive(Debug)]
pub(super) struct ReportedMetrics<E> {
    pub(super) next: E,
    pub(super) destination: String,
    pub(super) problem: LastProblem,
    pub(super) failing: AtomicBool,
}

impl<E: PushMetricExporter> PushMetricExporter for ReportedMetrics<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.next.export(metrics).await;
        let failure = failure(&result);
        let was_failing = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(failure) if !was_failing => tracing::warn!(
                target: "throughline::telemetry",
                destination = %self.destination,
                reason = self.problem.get().unwrap_or(failure),
                "metrics do not arrive; is the backend running?"
            ),
            None if was_failing => tracing::info!(
                target: "throughline::telemetry",
                destination = %self.destination,
                "metrics arrive again"
            ),
            Some(_) | None => {}
        }
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.next.temporality()
    }
}

fn failure(result: &OTelSdkResult) -> Option<String> {
    result.as_ref().err().map(ToString::to_string)
}
