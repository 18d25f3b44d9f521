//! What samplers and exporters say of themselves at `/metrics`: the peer's names where the meaning is the same.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use throughline_sampling::shard::Stats;

use crate::delivery::Delivery;
use crate::exposition::{Exposition, Kind, Labels};
use crate::lines::Lines;
use crate::sampler::Sampler;

/// A figure of a shard.
type Figure = (&'static str, Kind, &'static str, fn(&Stats) -> u64);

/// Summed over the shards of a pipeline.
const SHARDS: &[Figure] = &[
    (
        "otelcol_processor_tail_sampling_sampling_traces_on_memory",
        Kind::Gauge,
        "Traces in memory: undecided, and decided ones whose facts are still held.",
        |s| (s.undecided + s.decided) as u64,
    ),
    ("throughline_sampling_undecided_traces", Kind::Gauge, "Traces that wait for their decision.", |s| {
        s.undecided as u64
    }),
    (
        "throughline_sampling_remembered_decisions",
        Kind::Gauge,
        "Decisions remembered in memory, without facts.",
        |s| (s.remembered_sampled + s.remembered_not_sampled) as u64,
    ),
    (
        "throughline_sampling_memory_bytes",
        Kind::Gauge,
        "Memory of the tables of traces, in use or not.",
        |s| s.bytes as u64,
    ),
    (
        "throughline_sampling_evicted_traces_total",
        Kind::Counter,
        "Traces decided early because num_traces was reached.",
        |s| s.evicted,
    ),
    (
        "throughline_sampling_overturned_traces_total",
        Kind::Counter,
        "Traces not sampled first, and kept later.",
        |s| s.overturned,
    ),
    ("throughline_sampling_linked_traces_total", Kind::Counter, "Traces kept only because of a link.", |s| {
        s.linked
    }),
    (
        "throughline_sampling_late_spans_total",
        Kind::Counter,
        "Spans that came after the decision on their trace.",
        |s| s.late_sampled + s.late_not_sampled + s.late_dropped,
    ),
    (
        "throughline_sampling_failed_policies_total",
        Kind::Counter,
        "Policies that failed on a trace and were skipped.",
        |s| s.failed_policies,
    ),
    (
        "throughline_sampling_links_left_out_total",
        Kind::Counter,
        "Linked traces left out because of max_traces or the bound on links.",
        |s| s.links_left_out + s.wishes_refused,
    ),
    (
        "throughline_sampling_history_questions_total",
        Kind::Counter,
        "Questions to the journal about a trace.",
        |s| s.asked_past + s.asked_dependants,
    ),
];

/// A counter of an exporter.
type Count = (&'static str, &'static str, fn(&Delivery) -> &AtomicU64);

const EXPORTERS: &[Count] = &[
    ("otelcol_exporter_sent_spans", "Spans and log records that the backend has acknowledged.", |d| {
        &d.counts().sent
    }),
    ("otelcol_exporter_send_failed_spans", "Spans and log records that the backend refused for good.", |d| {
        &d.counts().refused
    }),
    ("throughline_exporter_failed_attempts_total", "Requests that failed and are sent again.", |d| {
        &d.counts().failed_attempts
    }),
    (
        "throughline_exporter_unreadable_records_total",
        "Records that could not be read back from the journal.",
        |d| &d.counts().gone,
    ),
];

impl Lines {
    /// Samplers and exporters.
    pub(crate) fn write(&self, page: &mut Exposition) {
        self.samplers.iter().for_each(|sampler| write_sampler(sampler, page));
        self.deliveries.iter().for_each(|delivery| write_exporter(delivery, page));
    }
}

/// Labels as they stand in a line.
fn labels(pairs: &[(&str, &str)]) -> String {
    let mut labels = Labels::default();
    pairs.iter().for_each(|(key, value)| labels.add(key, value));
    labels.finish()
}

fn write_sampler(sampler: &Sampler, page: &mut Exposition) {
    let pipeline = ("pipeline", sampler.pipeline.as_str());
    let shards = sampler.figures();
    for (name, kind, help, of) in SHARDS {
        let sum: u64 = shards.iter().map(|shard| of(&shard.stats)).sum();
        if let Some(family) = page.family(name, *kind, help) {
            family.sample("", &labels(&[pipeline]), sum);
        }
    }
    let mut decisions: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for ((verdict, reason), count) in shards.iter().flat_map(|shard| &shard.decisions) {
        *decisions.entry((verdict, reason)).or_default() += count;
    }
    let help = "Decisions by verdict and reason: the policy that decided, or why none did.";
    if let Some(family) = page.family("throughline_sampling_decisions_total", Kind::Counter, help) {
        for ((verdict, reason), count) in decisions {
            family.sample("", &labels(&[pipeline, ("verdict", verdict), ("reason", reason)]), count);
        }
    }
    let help = "Spans of kept traces.";
    if let Some(family) = page.family("throughline_sampling_kept_spans_total", Kind::Counter, help) {
        let kept: u64 = shards.iter().map(|shard| shard.kept_spans).sum();
        family.sample("", &labels(&[pipeline]), kept);
    }
}

fn write_exporter(delivery: &Delivery, page: &mut Exposition) {
    let labels = labels(&[("exporter", delivery.name())]);
    for (name, help, of) in EXPORTERS {
        if let Some(family) = page.family(name, Kind::Counter, help) {
            family.sample("", &labels, of(delivery).load(Ordering::Relaxed));
        }
    }
    let (units, items) = delivery.backlog();
    let help = "Records of the journal that wait for this exporter.";
    if let Some(family) = page.family("otelcol_exporter_queue_size", Kind::Gauge, help) {
        family.sample("", &labels, units);
    }
    let help = "Spans and log records in them.";
    if let Some(family) = page.family("throughline_exporter_queue_items", Kind::Gauge, help) {
        family.sample("", &labels, items);
    }
}
