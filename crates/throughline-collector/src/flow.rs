//! What samplers and exporters say of themselves at `/metrics`: the peer's names where the meaning is the same.

use throughline_sampling::shard::Stats;

use crate::exposition::{Exposition, Kind, Labels};
use crate::intake::wall_clock;
use crate::lines::Lines;
use crate::look_back::{Bound, Reach};
use crate::picture::{ExporterFigures, SamplerFigures, exporter_figures, sampler_figures};

const NANOS_A_SECOND: u64 = 1_000_000_000;

/// A figure of a pipeline's shards.
type Figure = (&'static str, Kind, &'static str, fn(&Stats) -> u64);

/// Of a pipeline's shards together.
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
    (
        "throughline_sampling_asked_elsewhere_total",
        Kind::Counter,
        "Traces about which other nodes were asked, because they may hold a part.",
        |s| s.asked_elsewhere,
    ),
    (
        "throughline_sampling_unanswered_total",
        Kind::Counter,
        "Traces decided on what was here, because another node that may hold a part did not answer in time.",
        |s| s.unanswered,
    ),
    (
        "throughline_sampling_kept_elsewhere_total",
        Kind::Counter,
        "Traces kept because another node keeps a part of them.",
        |s| s.kept_elsewhere,
    ),
];

/// A counter of an exporter.
type Count = (&'static str, &'static str, fn(&ExporterFigures) -> u64);

const EXPORTERS: &[Count] = &[
    ("otelcol_exporter_sent_spans", "Spans and log records that the backend has acknowledged.", |d| d.sent),
    ("otelcol_exporter_send_failed_spans", "Spans and log records that the backend refused for good.", |d| {
        d.refused
    }),
    ("throughline_exporter_failed_attempts_total", "Requests that failed and are sent again.", |d| {
        d.failed_attempts
    }),
    (
        "throughline_exporter_unreadable_records_total",
        "Records that could not be read back from the journal.",
        |d| d.gone,
    ),
];

impl Lines {
    /// Samplers and exporters.
    pub(crate) fn write(&self, page: &mut Exposition) {
        self.samplers.iter().for_each(|sampler| write_sampler(&sampler_figures(sampler), page));
        if let Some(reach) = self.reach() {
            write_reach(reach, page);
        }
        self.deliveries.iter().for_each(|delivery| write_exporter(&exporter_figures(delivery), page));
    }
}

/// Labels as they stand in a line.
fn labels(pairs: &[(&str, &str)]) -> String {
    let mut labels = Labels::default();
    pairs.iter().for_each(|(key, value)| labels.add(key, value));
    labels.finish()
}

fn write_sampler(sampler: &SamplerFigures, page: &mut Exposition) {
    let pipeline = ("pipeline", sampler.pipeline.as_str());
    for (name, kind, help, of) in SHARDS {
        if let Some(family) = page.family(name, *kind, help) {
            family.sample("", &labels(&[pipeline]), of(&sampler.stats));
        }
    }
    let help = "Decisions by verdict and reason: the policy that decided, or why none did.";
    if let Some(family) = page.family("throughline_sampling_decisions_total", Kind::Counter, help) {
        for (verdict, reason, count) in &sampler.decisions {
            family.sample("", &labels(&[pipeline, ("verdict", verdict), ("reason", reason)]), *count);
        }
    }
    let help = "Spans of kept traces.";
    if let Some(family) = page.family("throughline_sampling_kept_spans_total", Kind::Counter, help) {
        family.sample("", &labels(&[pipeline]), sampler.kept_spans);
    }
}

fn write_reach(reach: Reach, page: &mut Exposition) {
    let back = wall_clock().0.saturating_sub(reach.since.0) / NANOS_A_SECOND;
    let shortened = u8::from(reach.bound == Bound::JournalSize);
    page.single(
        "throughline_sampling_look_back_seconds",
        Kind::Gauge,
        "How far back late spans and links reach.",
        back,
    );
    page.single(
        "throughline_sampling_look_back_limit_seconds",
        Kind::Gauge,
        "How far back they may reach: look_back.",
        reach.look_back.as_secs(),
    );
    page.single(
        "throughline_sampling_look_back_shortened",
        Kind::Gauge,
        "1 if journal_size has no room for all of look_back.",
        shortened,
    );
}

fn write_exporter(exporter: &ExporterFigures, page: &mut Exposition) {
    let labels = labels(&[("exporter", exporter.name.as_str())]);
    for (name, help, of) in EXPORTERS {
        if let Some(family) = page.family(name, Kind::Counter, help) {
            family.sample("", &labels, of(exporter));
        }
    }
    let help = "Records of the journal that wait for this exporter.";
    if let Some(family) = page.family("otelcol_exporter_queue_size", Kind::Gauge, help) {
        family.sample("", &labels, exporter.waiting_records);
    }
    let help = "Spans and log records in them.";
    if let Some(family) = page.family("throughline_exporter_queue_items", Kind::Gauge, help) {
        family.sample("", &labels, exporter.waiting_items);
    }
}
