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

/// In front of the queue: admits a span or counts it as dropped.
#[derive(Debug)]
pub(super) struct CountedSpans<P> {
    pub(super) next: P,
    pub(super) ledger: Arc<Ledger>,
}

impl<P: SpanProcessor> SpanProcessor for CountedSpans<P> {
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
        self.ledger.close();
        let result = self.next.shutdown_with_timeout(timeout);
        self.ledger.write_off();
        result
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// Behind the queue: settles the account of each batch.
#[derive(Debug)]
pub(super) struct CountedSpanExporter<E> {
    pub(super) next: E,
    pub(super) ledger: Arc<Ledger>,
}

impl<E: SpanExporter> SpanExporter for CountedSpanExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let items = batch.len();
        let result = self.next.export(batch).await;
        self.ledger.settled(items, failure(&result).as_deref());
        result
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
#[derive(Debug)]
pub(super) struct CorrelatedLogs<P> {
    pub(super) next: P,
    pub(super) ledger: Arc<Ledger>,
}

impl<P: LogProcessor> LogProcessor for CorrelatedLogs<P> {
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
        self.ledger.close();
        let result = self.next.shutdown_with_timeout(timeout);
        self.ledger.write_off();
        result
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// Behind the log queue.
#[derive(Debug)]
pub(super) struct CountedLogExporter<E> {
    pub(super) next: E,
    pub(super) ledger: Arc<Ledger>,
}

impl<E: LogExporter> LogExporter for CountedLogExporter<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let items = batch.iter().count();
        let result = self.next.export(batch).await;
        self.ledger.settled(items, failure(&result).as_deref());
        result
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
