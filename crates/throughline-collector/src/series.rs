//! Metrics in memory: the last value of each series, a bounded number of them, forgotten when their sender falls silent.
//!
//! Metrics are the stated exception to "acknowledged means on disk": a restart forgets them, and the next export brings
//! them back. A point that would make one series too many is refused and said so, never kept by pushing out another:
//! with more live series than room, pushing out would make every one of them flicker.

mod exponential;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use throughline_otlp::metrics::{Data, Exponential, Histogram, Metric, Number, Point, Summary, Temporality};
use throughline_otlp::model::{KeyValue, Resource, find};
use throughline_otlp::{UnixNanos, Value};
use throughline_semconv::attribute::SERVICE_NAME;

use crate::exposition::{Exposition, Float, Kind, Labels, metric_name, with_label};

const SERVICE_NAMESPACE: &str = "service.namespace";
const SERVICE_INSTANCE: &str = "service.instance.id";

/// Names of the backend itself: a sender's would stand among its own, under its own explanation.
const RESERVED: &str = "throughline_";
/// What the library counts in the services is the one thing that is sent under that prefix.
const OF_THE_LIBRARY: &str = "throughline_events_total";

/// The resource's own family, by OpenTelemetry's compatibility rules.
const TARGET_INFO: &str = "target_info";

/// Last values of many series.
#[derive(Debug)]
pub(crate) struct Series {
    limit: usize,
    age: Duration,
    count: usize,
    families: BTreeMap<String, Family>,
}

#[derive(Debug)]
struct Family {
    kind: Kind,
    help: String,
    series: BTreeMap<String, Kept>,
}

#[derive(Debug)]
struct Kept {
    value: Last,
    time: UnixNanos,
    seen: Instant,
}

#[derive(Clone, Debug, PartialEq)]
enum Last {
    Int(i64),
    Double(f64),
    Histogram(Histogram),
    Exponential(Exponential),
    Summary(Summary),
}

/// What a point recorded, as it is kept; `None` if it says that there is nothing.
trait Recorded {
    fn last(&self) -> Option<Last>;
}

/// How a new point meets the value that is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meets {
    Replaces,
    Adds,
}

/// Points of one request that were not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    /// One series too many.
    pub(crate) full: u64,
    /// The name already stands for another kind of metric.
    pub(crate) conflict: u64,
    /// The name is one of the backend's own.
    pub(crate) reserved: u64,
}

/// A point that cannot be kept.
enum NotKept {
    Full,
    Conflict,
}

impl Series {
    pub(crate) fn new(limit: usize, age: Duration) -> Self {
        Self { limit, age, count: 0, families: BTreeMap::new() }
    }

    /// How many series are held.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Takes the points of one request.
    pub(crate) fn record(&mut self, metrics: &[Metric], now: Instant) -> Refused {
        if self.count >= self.limit {
            self.forget_silent(now);
        }
        let mut refused = Refused::default();
        for metric in metrics {
            self.describe(&metric.resource, now);
            self.record_metric(metric, now, &mut refused);
        }
        refused
    }

    /// Adds every series to a page.
    pub(crate) fn write(&mut self, page: &mut Exposition, now: Instant) {
        self.forget_silent(now);
        for (name, family) in &self.families {
            // A name that the backend itself uses for another kind of metric is its own.
            let Some(text) = page.family(name, family.kind, &family.help) else { continue };
            for (labels, kept) in &family.series {
                kept.value.write(text, labels);
            }
        }
    }

    fn record_metric(&mut self, metric: &Metric, now: Instant, refused: &mut Refused) {
        match &metric.data {
            Data::Gauge(points) => self.points(metric, Kind::Gauge, Meets::Replaces, points, now, refused),
            Data::Sum { points, monotonic, temporality } => {
                let kind = if *monotonic { Kind::Counter } else { Kind::Gauge };
                self.points(metric, kind, meets(*temporality), points, now, refused);
            }
            Data::Histogram { points, temporality } => {
                self.points(metric, Kind::Histogram, meets(*temporality), points, now, refused);
            }
            Data::ExponentialHistogram { points, temporality } => {
                self.points(metric, Kind::Histogram, meets(*temporality), points, now, refused);
            }
            Data::Summary(points) => {
                self.points(metric, Kind::Summary, Meets::Replaces, points, now, refused);
            }
            Data::Unknown => {}
        }
    }

    fn points<T: Recorded>(
        &mut self,
        metric: &Metric,
        kind: Kind,
        meets: Meets,
        points: &[Point<T>],
        now: Instant,
        refused: &mut Refused,
    ) {
        let name = metric_name(&metric.name, &metric.unit, kind);
        if name.starts_with(RESERVED) && name != OF_THE_LIBRARY {
            refused.reserved += points.len() as u64;
            return;
        }
        for point in points {
            let labels = labels(metric, &point.attributes);
            let Some(value) = point.value.last() else {
                // "No recorded value": the sender says that the series has ended.
                self.forget(&name, &labels);
                continue;
            };
            match self.keep((&name, kind, &metric.description), labels, value, point.time, meets, now) {
                Ok(()) => {}
                Err(NotKept::Full) => refused.full += 1,
                Err(NotKept::Conflict) => refused.conflict += 1,
            }
        }
    }

    fn keep(
        &mut self,
        (name, kind, help): (&str, Kind, &str),
        labels: String,
        value: Last,
        time: UnixNanos,
        meets: Meets,
        now: Instant,
    ) -> Result<(), NotKept> {
        let full = self.count >= self.limit;
        if full && !self.families.contains_key(name) {
            return Err(NotKept::Full);
        }
        let family = self.families.entry(name.to_owned()).or_insert_with(|| Family {
            kind,
            help: help.to_owned(),
            series: BTreeMap::new(),
        });
        if family.kind != kind {
            return Err(NotKept::Conflict);
        }
        if let Some(kept) = family.series.get_mut(&labels) {
            kept.meet(value, time, meets, now);
            return Ok(());
        }
        if full {
            return Err(NotKept::Full);
        }
        family.series.insert(labels, Kept { value, time, seen: now });
        self.count += 1;
        Ok(())
    }

    /// `target_info`: what the resource says beyond job and instance. No room for it is no loss of a point.
    fn describe(&mut self, resource: &Resource, now: Instant) {
        let mut labels = identity(resource);
        let mut more = false;
        for KeyValue { key, value } in &resource.attributes {
            if ![SERVICE_NAME, SERVICE_NAMESPACE, SERVICE_INSTANCE].contains(&key.as_str()) {
                labels.add(key, &value.to_text());
                more = true;
            }
        }
        if more {
            let family = (TARGET_INFO, Kind::Gauge, "Target metadata");
            let _ = self.keep(family, labels.finish(), Last::Int(1), UnixNanos(0), Meets::Replaces, now);
        }
    }

    fn forget(&mut self, name: &str, labels: &str) {
        if let Some(family) = self.families.get_mut(name) {
            self.count -= usize::from(family.series.remove(labels).is_some());
        }
        self.families.retain(|_, family| !family.series.is_empty());
    }

    fn forget_silent(&mut self, now: Instant) {
        let age = self.age;
        self.families.retain(|_, family| {
            family.series.retain(|_, kept| now.saturating_duration_since(kept.seen) < age);
            !family.series.is_empty()
        });
        self.count = self.families.values().map(|family| family.series.len()).sum();
    }
}

impl Refused {
    pub(crate) fn total(self) -> u64 {
        self.full + self.conflict + self.reserved
    }

    /// For the sender, why some were refused: the reason that it can do most about.
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self { full: 1.., .. } => "too many metric series; raise the limit or send fewer",
            Self { conflict: 1.., .. } => "metric name is in use for another kind of metric",
            _ => "metric names that begin with throughline_ are the backend's own",
        }
    }
}

impl Kept {
    fn meet(&mut self, value: Last, time: UnixNanos, meets: Meets, now: Instant) {
        self.seen = now;
        match meets {
            Meets::Adds => self.value.add(value),
            // Requests overtake each other; an older point says nothing new.
            Meets::Replaces if time < self.time => return,
            Meets::Replaces => self.value = value,
        }
        self.time = self.time.max(time);
    }
}

impl Last {
    /// Delta to cumulative: Prometheus knows only the latter.
    fn add(&mut self, delta: Self) {
        match (&mut *self, delta) {
            (Self::Int(total), Self::Int(more)) => *total = total.saturating_add(more),
            (Self::Double(total), Self::Double(more)) => *total += more,
            (Self::Histogram(total), Self::Histogram(more)) if total.bounds == more.bounds => {
                total.count = total.count.saturating_add(more.count);
                total.sum = total.sum.zip(more.sum).map(|(total, more)| total + more);
                for (total, more) in total.buckets.iter_mut().zip(more.buckets) {
                    *total = total.saturating_add(more);
                }
            }
            (Self::Exponential(total), Self::Exponential(more)) => exponential::add(total, more),
            // The sender changed the number's type or the bounds: it starts again.
            (known, delta) => *known = delta,
        }
    }

    fn write(&self, family: &mut crate::exposition::Family, labels: &str) {
        match self {
            Self::Int(value) => family.sample("", labels, value),
            Self::Double(value) => family.sample("", labels, Float(*value)),
            Self::Histogram(histogram) => write_histogram(histogram, family, labels),
            Self::Exponential(histogram) => {
                write_histogram(&exponential::classic(histogram), family, labels);
            }
            Self::Summary(summary) => {
                for (quantile, value) in &summary.quantiles {
                    let labels = with_label(labels, "quantile", Float(*quantile));
                    family.sample("", &labels, Float(*value));
                }
                family.sample("_sum", labels, Float(summary.sum));
                family.sample("_count", labels, summary.count);
            }
        }
    }
}

fn write_histogram(histogram: &Histogram, family: &mut crate::exposition::Family, labels: &str) {
    let mut below: u64 = 0;
    for (bound, count) in histogram.bounds.iter().zip(&histogram.buckets) {
        below = below.saturating_add(*count);
        family.sample("_bucket", &with_label(labels, "le", Float(*bound)), below);
    }
    family.sample("_bucket", &with_label(labels, "le", "+Inf"), histogram.count);
    if let Some(sum) = histogram.sum {
        family.sample("_sum", labels, Float(sum));
    }
    family.sample("_count", labels, histogram.count);
}

impl Recorded for Number {
    fn last(&self) -> Option<Last> {
        match self {
            Self::Int(value) => Some(Last::Int(*value)),
            Self::Double(value) => Some(Last::Double(*value)),
            Self::Absent => None,
        }
    }
}

impl Recorded for Histogram {
    fn last(&self) -> Option<Last> {
        Some(Last::Histogram(self.clone()))
    }
}

impl Recorded for Exponential {
    fn last(&self) -> Option<Last> {
        Some(Last::Exponential(exponential::bounded(self.clone())))
    }
}

impl Recorded for Summary {
    fn last(&self) -> Option<Last> {
        Some(Last::Summary(self.clone()))
    }
}

fn meets(temporality: Temporality) -> Meets {
    match temporality {
        Temporality::Delta => Meets::Adds,
        Temporality::Cumulative | Temporality::Unspecified => Meets::Replaces,
    }
}

/// `job` and `instance`, by which Prometheus tells targets apart.
fn identity(resource: &Resource) -> Labels {
    let text = |key| find(&resource.attributes, key).map(Value::to_text);
    let mut labels = Labels::default();
    if let Some(name) = text(SERVICE_NAME) {
        let job = text(SERVICE_NAMESPACE).map_or_else(|| name.clone(), |space| format!("{space}/{name}"));
        labels.add("job", &job);
    }
    if let Some(instance) = text(SERVICE_INSTANCE) {
        labels.add("instance", &instance);
    }
    labels
}

fn labels(metric: &Metric, attributes: &[KeyValue]) -> String {
    let mut labels = identity(&metric.resource);
    for (key, value) in
        [("otel_scope_name", &metric.scope.name), ("otel_scope_version", &metric.scope.version)]
    {
        if !value.is_empty() {
            labels.add(key, value);
        }
    }
    let mut sorted: Vec<_> = attributes.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    for KeyValue { key, value } in sorted {
        labels.add(key, &value.to_text());
    }
    labels.finish()
}

#[cfg(test)]
mod tests;
