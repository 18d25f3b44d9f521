//! What came in and what was refused, counted per listener of each receiver. Names are the OpenTelemetry Collector's
//! wherever the meaning is the same, so that existing dashboards and alerts work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use throughline_otlp::Signal;

use crate::exposition::{Exposition, Kind, Labels};
use crate::refusal::Refusal;

pub(crate) const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Logs, Signal::Metrics];

/// Counters of every listener.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    listeners: Mutex<Vec<Arc<PerListener>>>,
}

/// Counters of one listener.
#[derive(Debug)]
pub(crate) struct PerListener {
    receiver: String,
    transport: &'static str,
    spans: PerSignal,
    log_records: PerSignal,
    metric_points: PerSignal,
    refused_requests: BTreeMap<&'static str, AtomicU64>,
    failed_handshakes: AtomicU64,
    failed_reloads: AtomicU64,
}

/// Spans, log records or data points.
#[derive(Debug, Default)]
pub(crate) struct PerSignal {
    accepted: AtomicU64,
    refused: AtomicU64,
    rejected: AtomicU64,
}

/// A figure of a listener: its name, what it says, and where it stands.
type Figure = (&'static str, &'static str, fn(&PerListener) -> &AtomicU64);

const CONNECTIONS: [Figure; 2] = [
    (
        "throughline_receiver_failed_handshakes_total",
        "TLS handshakes that failed or took too long.",
        |counters| &counters.failed_handshakes,
    ),
    (
        "throughline_receiver_failed_reloads_total",
        "Times that certificates or tokens could not be read again; what was read before stays in use.",
        |counters| &counters.failed_reloads,
    ),
];

/// A figure of one kind of items: the metric's name, what it says, and where its value is.
type OfItems = (String, String, fn(&PerSignal) -> &AtomicU64);

impl Counters {
    /// Those of a new listener, on every page from now on.
    pub(crate) fn open(&self, receiver: &str, transport: &'static str) -> Arc<PerListener> {
        let counters = Arc::new(PerListener {
            receiver: receiver.to_owned(),
            transport,
            spans: PerSignal::default(),
            log_records: PerSignal::default(),
            metric_points: PerSignal::default(),
            refused_requests: Refusal::REASONS.map(|reason| (reason, AtomicU64::new(0))).into(),
            failed_handshakes: AtomicU64::new(0),
            failed_reloads: AtomicU64::new(0),
        });
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counters));
        counters
    }

    /// How many items of a signal were accepted, over all listeners.
    pub(crate) fn accepted(&self, signal: Signal) -> u64 {
        self.all().iter().map(|counters| counters.signal(signal).accepted.load(Ordering::Relaxed)).sum()
    }

    fn all(&self) -> Vec<Arc<PerListener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds all of them to a page, those at zero too: an alert on a rate needs the series from the start.
    pub(crate) fn write(&self, page: &mut Exposition) {
        let listeners = self.all();
        for signal in SIGNALS {
            let (plural, items) = names(signal);
            let figures: [OfItems; 3] = [
                (
                    format!("otelcol_receiver_accepted_{plural}"),
                    format!("Number of {items} accepted and acknowledged."),
                    |counters| &counters.accepted,
                ),
                (
                    format!("otelcol_receiver_refused_{plural}"),
                    format!("Number of {items} in well-formed requests that were refused, to be retried."),
                    |counters| &counters.refused,
                ),
                (
                    format!("throughline_receiver_rejected_{plural}_total"),
                    format!("Number of {items} that cannot be kept, answered as partial success."),
                    |counters| &counters.rejected,
                ),
            ];
            for (name, help, of) in figures {
                write(page, &listeners, &name, &help, |counters| of(counters.signal(signal)));
            }
        }
        for (name, help, of) in CONNECTIONS {
            write(page, &listeners, name, help, of);
        }
        write_refused(page, &listeners);
    }
}

/// How metrics' names and a person call what a signal consists of.
pub(crate) fn names(signal: Signal) -> (&'static str, &'static str) {
    match signal {
        Signal::Traces => ("spans", "spans"),
        Signal::Logs => ("log_records", "log records"),
        Signal::Metrics => ("metric_points", "metric data points"),
    }
}

fn write<'a>(
    page: &mut Exposition,
    listeners: &'a [Arc<PerListener>],
    name: &str,
    help: &str,
    count: impl Fn(&'a PerListener) -> &'a AtomicU64,
) {
    let Some(family) = page.family(name, Kind::Counter, help) else { return };
    for counters in listeners {
        family.sample("", &counters.labels(&[]), count(counters).load(Ordering::Relaxed));
    }
}

fn write_refused(page: &mut Exposition, listeners: &[Arc<PerListener>]) {
    let name = "throughline_receiver_refused_requests_total";
    let Some(family) = page.family(name, Kind::Counter, "Requests refused, by reason.") else { return };
    for counters in listeners {
        for (reason, count) in &counters.refused_requests {
            family.sample("", &counters.labels(&[("reason", reason)]), count.load(Ordering::Relaxed));
        }
    }
}

impl PerListener {
    /// Of the receiver and its transport, as labels have them.
    pub(crate) fn names(&self) -> (&str, &'static str) {
        (&self.receiver, self.transport)
    }

    /// A request was refused.
    pub(crate) fn refuse(&self, reason: &'static str) {
        if let Some(count) = self.refused_requests.get(reason) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection did not become one.
    pub(crate) fn fail_handshake(&self) {
        self.failed_handshakes.fetch_add(1, Ordering::Relaxed);
    }

    /// A file could not be read again.
    pub(crate) fn fail_reload(&self) {
        self.failed_reloads.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn signal(&self, signal: Signal) -> &PerSignal {
        match signal {
            Signal::Traces => &self.spans,
            Signal::Logs => &self.log_records,
            Signal::Metrics => &self.metric_points,
        }
    }

    fn labels(&self, more: &[(&str, &str)]) -> String {
        let mut labels = Labels::default();
        labels.add("receiver", &self.receiver);
        labels.add("transport", self.transport);
        for (name, value) in more {
            labels.add(name, value);
        }
        labels.finish()
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
