//! What came in and what was refused, counted per listener. Names are the OpenTelemetry Collector's wherever the
//! meaning is the same, so that existing dashboards and alerts work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use throughline_otlp::Signal;

use crate::exposition::{Exposition, Kind, Labels};
use crate::receive::Listener;
use crate::refusal::Refusal;

const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Logs, Signal::Metrics];

/// Counters of both listeners.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    grpc: PerListener,
    http: PerListener,
}

#[derive(Debug)]
struct PerListener {
    spans: PerSignal,
    log_records: PerSignal,
    metric_points: PerSignal,
    refused_requests: BTreeMap<&'static str, AtomicU64>,
}

/// Spans, log records or data points.
#[derive(Debug, Default)]
pub(crate) struct PerSignal {
    accepted: AtomicU64,
    refused: AtomicU64,
    rejected: AtomicU64,
}

impl Default for PerListener {
    fn default() -> Self {
        Self {
            spans: PerSignal::default(),
            log_records: PerSignal::default(),
            metric_points: PerSignal::default(),
            refused_requests: Refusal::REASONS.map(|reason| (reason, AtomicU64::new(0))).into(),
        }
    }
}

impl Counters {
    /// A request was refused.
    pub(crate) fn refuse(&self, listener: Listener, reason: &'static str) {
        if let Some(count) = self.of(listener).refused_requests.get(reason) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn signal(&self, listener: Listener, signal: Signal) -> &PerSignal {
        let counters = self.of(listener);
        match signal {
            Signal::Traces => &counters.spans,
            Signal::Logs => &counters.log_records,
            Signal::Metrics => &counters.metric_points,
        }
    }

    /// How many items of a signal were accepted, over all listeners.
    pub(crate) fn accepted(&self, signal: Signal) -> u64 {
        let of = |listener| self.signal(listener, signal).accepted.load(Ordering::Relaxed);
        Listener::ALL.into_iter().map(of).sum()
    }

    /// Adds all of them to a page, those at zero too: an alert on a rate needs the series from the start.
    pub(crate) fn write(&self, page: &mut Exposition) {
        for signal in SIGNALS {
            let (plural, items) = match signal {
                Signal::Traces => ("spans", "spans"),
                Signal::Logs => ("log_records", "log records"),
                Signal::Metrics => ("metric_points", "metric data points"),
            };
            self.write_signal(
                page,
                &format!("otelcol_receiver_accepted_{plural}"),
                &format!("Number of {items} accepted and acknowledged."),
                |listener| &self.signal(listener, signal).accepted,
            );
            self.write_signal(
                page,
                &format!("otelcol_receiver_refused_{plural}"),
                &format!("Number of {items} in well-formed requests that were refused, to be retried."),
                |listener| &self.signal(listener, signal).refused,
            );
            self.write_signal(
                page,
                &format!("throughline_receiver_rejected_{plural}_total"),
                &format!("Number of {items} that cannot be kept, answered as partial success."),
                |listener| &self.signal(listener, signal).rejected,
            );
        }
        self.write_refused(page);
    }

    fn write_signal<'a>(
        &'a self,
        page: &mut Exposition,
        name: &str,
        help: &str,
        count: impl Fn(Listener) -> &'a AtomicU64,
    ) {
        let Some(family) = page.family(name, Kind::Counter, help) else { return };
        for listener in Listener::ALL {
            family.sample("", &labels(listener, &[]), count(listener).load(Ordering::Relaxed));
        }
    }

    fn write_refused(&self, page: &mut Exposition) {
        let name = "throughline_receiver_refused_requests_total";
        let Some(family) = page.family(name, Kind::Counter, "Requests refused, by reason.") else { return };
        for listener in Listener::ALL {
            for (reason, count) in &self.of(listener).refused_requests {
                let labels = labels(listener, &[("reason", reason)]);
                family.sample("", &labels, count.load(Ordering::Relaxed));
            }
        }
    }

    fn of(&self, listener: Listener) -> &PerListener {
        match listener {
            Listener::Grpc => &self.grpc,
            Listener::Http => &self.http,
        }
    }
}

impl PerSignal {
    pub(crate) fn accept(&self, items: u64) {
        self.accepted.fetch_add(items, Ordering::Relaxed);
    }

    pub(crate) fn refuse(&self, items: u64) {
        self.refused.fetch_add(items, Ordering::Relaxed);
    }

    pub(crate) fn reject(&self, items: u64) {
        self.rejected.fetch_add(items, Ordering::Relaxed);
    }
}

fn labels(listener: Listener, more: &[(&str, &str)]) -> String {
    let mut labels = Labels::default();
    labels.add("receiver", "otlp");
    labels.add("transport", listener.transport());
    for (name, value) in more {
        labels.add(name, value);
    }
    labels.finish()
}
