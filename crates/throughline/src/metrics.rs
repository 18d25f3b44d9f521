//! The four messaging metrics of v1.44 and the two of HTTP, through the global meter provider. Recorded whether or not a span
//! is sampled.
//!
//! Labels of messaging are system, operation, destination, consumer group, the server's address and port where they are known, and
//! `error.type`. The partition is left out on purpose: it multiplies every series by the number of partitions.

#[cfg(feature = "http")]
pub(crate) mod http;

use crate::settings::{self, Metrics};
use crate::span::Server;
use crate::span::tracer::generation;
use crate::text::Text;
use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::{KeyValue, Value, global};
use std::cell::RefCell;
use std::time::{Duration, Instant};
use throughline_semconv::{attribute, metric};

/// Instruments taken before the application has set its meter provider do nothing, for ever. Until somebody says that the
/// providers are final, they are taken anew this often.
const RETAKE: Duration = Duration::from_secs(5);

struct Instruments {
    operation: Histogram<f64>,
    process: Histogram<f64>,
    sent: Counter<u64>,
    consumed: Counter<u64>,
    #[cfg(feature = "http")]
    http_server: Histogram<f64>,
    #[cfg(feature = "http")]
    http_client: Histogram<f64>,
    events: Counter<u64>,
}

impl Instruments {
    fn take() -> Self {
        let meter = global::meter_with_scope(crate::span::tracer::scope());
        let seconds = |name, says| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(says);
            histogram.with_boundaries(metric::DURATION_BUCKETS.to_vec()).build()
        };
        let count = |name, unit, says| meter.u64_counter(name).with_unit(unit).with_description(says).build();
        Self {
            operation: seconds(metric::CLIENT_OPERATION_DURATION, "Duration of a messaging operation."),
            process: seconds(metric::PROCESS_DURATION, "Duration of processing a message or batch."),
            sent: count(metric::CLIENT_SENT_MESSAGES, "{message}", "Messages sent."),
            consumed: count(metric::CLIENT_CONSUMED_MESSAGES, "{message}", "Messages delivered."),
            #[cfg(feature = "http")]
            http_server: seconds(metric::HTTP_SERVER_REQUEST_DURATION, "Duration of HTTP server requests."),
            #[cfg(feature = "http")]
            http_client: seconds(metric::HTTP_CLIENT_REQUEST_DURATION, "Duration of HTTP client requests."),
            events: count(
                metric::THROUGHLINE_EVENTS,
                "{event}",
                "What the library left out, refused or found in conflict.",
            ),
        }
    }
}

struct Taken {
    instruments: Instruments,
    generation: usize,
    at: Instant,
}

thread_local! {
    static TAKEN: RefCell<Option<Taken>> = const { RefCell::new(None) };
}

fn with_instruments(record: impl FnOnce(&Instruments)) {
    // A meter that itself sends messages would come back here: its own measurements are left out rather than looped.
    let _ = TAKEN.try_with(|taken| {
        let Ok(mut taken) = taken.try_borrow_mut() else { return };
        let generation = generation();
        let fresh = taken.as_ref().is_some_and(|taken| {
            taken.generation == generation && (generation > 0 || taken.at.elapsed() < RETAKE)
        });
        if !fresh {
            *taken = Some(Taken { instruments: Instruments::take(), generation, at: Instant::now() });
        }
        if let Some(taken) = &*taken {
            record(&taken.instruments);
        }
    });
}

/// Which metrics an operation counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Duration, and `messages` sent.
    Send,
    /// Duration only.
    Client,
    /// Processing time, and `messages` consumed.
    Process,
    /// Nothing.
    Nothing,
}

/// What one span reports when it ends.
pub(crate) struct Measured {
    pub(crate) started: Instant,
    pub(crate) measure: Measure,
    pub(crate) operation: &'static str,
    pub(crate) system: Value,
    pub(crate) destination: Option<Text>,
    pub(crate) group: Option<Text>,
    pub(crate) server: Option<Server>,
    /// Messages that were not counted before.
    pub(crate) messages: u64,
}

impl Measured {
    pub(crate) fn finish(self, error_type: Option<&str>) {
        let mut labels = Labels::default();
        labels.put(attribute::MESSAGING_OPERATION_NAME, self.operation);
        labels.put(attribute::MESSAGING_SYSTEM, self.system);
        if let Some(destination) = &self.destination {
            labels.put(attribute::MESSAGING_DESTINATION_NAME, destination);
        }
        labels.put_client(self.group.as_ref(), self.server.as_ref());
        if let Some(error_type) = error_type {
            labels.put(attribute::ERROR_TYPE, error_type.to_owned());
        }
        let seconds = self.started.elapsed().as_secs_f64();
        with_instruments(|instruments| {
            let (duration, counter) = match self.measure {
                Measure::Send => (&instruments.operation, Some(&instruments.sent)),
                Measure::Client => (&instruments.operation, None),
                Measure::Process => (&instruments.process, Some(&instruments.consumed)),
                Measure::Nothing => return,
            };
            let labels = labels.as_slice();
            duration.record(seconds, labels);
            if let Some(counter) = counter.filter(|_| self.messages > 0) {
                counter.add(self.messages, labels);
            }
        });
    }
}

/// The labels of one measurement, on the stack: one is made for every message.
struct Labels {
    all: [KeyValue; Labels::MOST],
    count: usize,
}

impl Labels {
    const MOST: usize = 7;

    fn put(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(place) = self.all.get_mut(self.count) {
            *place = KeyValue::new(key, value);
            self.count += 1;
        }
    }

    fn put_client(&mut self, group: Option<&Text>, server: Option<&Server>) {
        if let Some(group) = group {
            self.put(attribute::MESSAGING_CONSUMER_GROUP_NAME, group);
        }
        if let Some(server) = server {
            self.put(attribute::SERVER_ADDRESS, &server.address);
            self.put(attribute::SERVER_PORT, i64::from(server.port));
        }
    }

    fn as_slice(&self) -> &[KeyValue] {
        self.all.get(..self.count).unwrap_or_default()
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self { all: std::array::from_fn(|_| KeyValue::new("", false)), count: 0 }
    }
}

/// Counts messages that a client has handed to the application, where no process span will: a delivery counts once, so the
/// process span of such a message is told with [`SpanSpec::already_counted`](crate::SpanSpec::already_counted).
pub fn count_delivered(system: &'static str, destination: &str, group: Option<&str>, messages: u64) {
    if settings::metrics() == Metrics::On {
        delivered(system, &Text::of(destination), group.map(Text::of).as_ref(), None, messages);
    }
}

/// The same, for a client of ours.
pub(crate) fn delivered(
    system: &'static str,
    destination: &Text,
    group: Option<&Text>,
    server: Option<&Server>,
    messages: u64,
) {
    if settings::metrics() == Metrics::Off {
        return;
    }
    let mut labels = Labels::default();
    labels.put(attribute::MESSAGING_OPERATION_NAME, "poll");
    labels.put(attribute::MESSAGING_SYSTEM, system);
    labels.put(attribute::MESSAGING_DESTINATION_NAME, destination);
    labels.put_client(group, server);
    with_instruments(|instruments| instruments.consumed.add(messages, labels.as_slice()));
}

/// An event of [`crate::counters`].
pub(crate) fn event(label: &'static str, n: u64) {
    if settings::metrics() == Metrics::On {
        with_instruments(|instruments| {
            instruments.events.add(n, &[KeyValue::new(metric::THROUGHLINE_EVENT, label)])
        });
    }
}
