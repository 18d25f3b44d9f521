//! `cargo xtask bench hop`: CPU time and allocations of a traced hop: ours, hand-written OpenTelemetry, untraced.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use rdkafka::message::{Headers, OwnedHeaders};
use throughline::settings::{Metrics, set_metrics};
use throughline_bench::hand::ByHand;
use throughline_bench::hop::{Message, Row, ours, untraced};
use throughline_bench::pipeline::{self, Received};
use throughline_bench::rounds::{cpu_nanos, medians};

const HOUR: Duration = Duration::from_secs(3600);
const HOPS: u64 = 20_000;
const ROUNDS: usize = 7;
/// A round's spans fit, and each round flushes: none is dropped.
const QUEUE: usize = 1 << 16;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--only", who] => return for_a_profiler(who, Row::WithoutTracestate),
        ["--only", who, "unsampled"] => return for_a_profiler(who, Row::Unsampled),
        _ => {}
    }
    same_job();
    let (provider, received) = pipeline::stock(QUEUE);
    opentelemetry::global::set_tracer_provider(provider.clone());
    // Measurements are aggregated as in life; they are never collected, so that no exporter is in the figures.
    let reader = PeriodicReader::builder(InMemoryMetricExporter::default()).with_interval(HOUR).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    opentelemetry::global::set_meter_provider(meters.clone());
    throughline::providers_are_set();

    println!(
        "CPU of one hop (consume, handle, produce), stock batch pipeline with OTLP encoding, {HOPS} hops x {ROUNDS} rounds\n"
    );
    println!(
        "| row | metrics | untraced ns | by hand ns | ours ns | ours / by hand | allocations by hand | ours |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut created = 0;
    for metrics in [Metrics::Off, Metrics::On] {
        set_metrics(metrics);
        let meter = meters.meter("by-hand");
        let by_hand = ByHand::new((metrics == Metrics::On).then_some(&meter));
        for row in [Row::WithTracestate, Row::WithoutTracestate, Row::Unsampled, Row::UnsampledSamplerKnown] {
            created += measure(row, metrics, &by_hand, &provider);
        }
    }
    let _ = provider.force_flush();
    report_spans(created, &received);
}

/// One contender alone: `hop --only ours` (sampled, without a tracestate) or `hop --only ours unsampled`, under a profiler
/// that counts.
fn for_a_profiler(who: &str, row: Row) {
    let (provider, _) = pipeline::stock(QUEUE);
    opentelemetry::global::set_tracer_provider(provider.clone());
    row.declare_providers();
    set_metrics(Metrics::Off);
    let message = Message::new(row);
    let by_hand = ByHand::new(None);
    for _ in 0..HOPS {
        black_box(if who == "ours" { ours(&message) } else { by_hand.hop(&message) });
    }
    let _ = provider.force_flush();
}

fn measure(row: Row, metrics: Metrics, by_hand: &ByHand, provider: &SdkTracerProvider) -> u64 {
    row.declare_providers();
    let message = Message::new(row);
    let time = |hop: &dyn Fn(&Message) -> OwnedHeaders| {
        let before = cpu_nanos();
        for _ in 0..HOPS {
            black_box(hop(black_box(&message)));
        }
        let _ = provider.force_flush();
        (cpu_nanos() - before) as f64 / HOPS as f64
    };
    let figures = medians(
        ROUNDS,
        &mut [&mut || time(&untraced), &mut || time(&|m| by_hand.hop(m)), &mut || time(&ours)],
    );
    let allocations = |hop: &dyn Fn(&Message) -> OwnedHeaders| {
        // Counted on this thread only: what the exporter's thread allocates is in the CPU figure.
        allocation_counter::measure(|| drop(black_box(hop(&message)))).count_total
    };
    let counted = (allocations(&|m| by_hand.hop(m)), allocations(&ours));
    if let [untraced, hand, ours] = figures[..] {
        let ratio = ours / hand;
        println!(
            "| {row:?} | {metrics:?} | {untraced:.0} | {hand:.0} | {ours:.0} | {ratio:.2} | {} | {} |",
            counted.0, counted.1
        );
    }
    let spans = 2 * 2 * (HOPS * ROUNDS as u64 + 1);
    if row.is_sampled() { spans } else { 0 }
}

fn report_spans(created: u64, received: &Received) {
    let got = received.spans();
    println!(
        "\nspans created {created}, received by the exporter {got}, dropped {}",
        created.saturating_sub(got)
    );
    println!("encoded: {:.0} bytes a span", received.bytes() as f64 / got.max(1) as f64);
}

/// Both sides write the same spans and headers, or the comparison is worth nothing.
fn same_job() {
    let (provider, exporter) = pipeline::in_memory();
    opentelemetry::global::set_tracer_provider(provider);
    for row in [Row::WithTracestate, Row::WithoutTracestate] {
        let message = Message::new(row);
        let written = |hop: &dyn Fn(&Message) -> OwnedHeaders| {
            exporter.reset();
            let headers = hop(&message);
            let spans = exporter.get_finished_spans().expect("an in-memory exporter");
            (spans.iter().map(described).collect::<Vec<_>>(), names(&headers))
        };
        let by_hand = ByHand::new(None);
        assert_eq!(written(&ours), written(&|m| by_hand.hop(m)), "{row:?}: the contenders do different jobs");
    }
}

fn described(span: &SpanData) -> (String, BTreeMap<String, String>, usize) {
    let attributes = span.attributes.iter().map(|kv| (kv.key.to_string(), kv.value.to_string())).collect();
    (format!("{} {:?}", span.name, span.span_kind), attributes, span.links.len())
}

/// The SDK's propagator writes an empty `tracestate`, which W3C asks not to do and ours does not: it does not count.
fn names(headers: &OwnedHeaders) -> Vec<String> {
    let meant = headers.iter().filter(|h| h.value.is_some_and(|value| !value.is_empty()));
    let mut names: Vec<String> = meant.map(|h| h.key.to_owned()).collect();
    names.sort();
    names
}
