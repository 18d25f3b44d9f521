//! Measures the store by hand: CPU and disk a span for ingest with every attribute searchable, commits and background
//! merges included, then the time to answer. CPU is that of the process without what making the load took.
//! `cargo run --release --example ingest -p throughline-store -- [spans]`

use std::error::Error;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Link;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use throughline_otlp::{Signal, TraceId, UnixNanos};
use throughline_store::{Hop, Ingest, Search, Store, StoreOptions};

/// Beside these, each request has the span of a batch.
const SPANS_A_REQUEST: u64 = 512;
const SPANS_A_TRACE: u64 = 8;
/// Traces that a batch's span links to.
const TRACES_A_BATCH: u64 = 5;
/// As many as fit into memory: a commit every second at some 20,000 spans a second.
const REQUESTS_A_COMMIT: u64 = 38;
/// When the first span starts and the first request arrives.
const STARTED: u64 = 1_700_000_000_000_000_000;
/// How long the merges of closed blocks may take.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> Result<(), Box<dyn Error>> {
    let wanted: u64 = std::env::args().nth(1).map_or(Ok(200_000), |text| text.parse())?;
    let requests = wanted.div_ceil(SPANS_A_REQUEST + 1);
    let spans = requests * (SPANS_A_REQUEST + 1);
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path(), StoreOptions::default())?;
    let (mut wire, mut making) = (0, Duration::ZERO);
    let (before, wall) = (cpu("self")?, Instant::now());
    for first in (0..requests).step_by(REQUESTS_A_COMMIT as usize) {
        let made = cpu("thread-self")?;
        let batch: Vec<Vec<u8>> = (first..requests.min(first + REQUESTS_A_COMMIT)).map(request).collect();
        wire += batch.iter().map(Vec::len).sum::<usize>();
        making += cpu("thread-self")?.saturating_sub(made);
        for (position, otlp) in (first..).zip(&batch) {
            let arrived = UnixNanos(STARTED + position * SPANS_A_REQUEST * 1_000);
            store.ingest(Ingest { position, arrived, signal: Signal::Traces, otlp })?;
        }
        store.commit()?;
    }
    settle(&store)?;
    let took = cpu("self")?.saturating_sub(before + making).as_secs_f64();
    say(&format!("{spans} spans of {} bytes, {:.0} s", wire as u64 / spans, wall.elapsed().as_secs_f64()));
    say(&format!("CPU, commits and merges included: {:.2} us a span", took * 1e6 / spans as f64));
    let stats = store.stats();
    say(&format!(
        "disk: {:.0} bytes a span, {} blocks, {} segments; peak memory {}",
        stats.disk_bytes as f64 / spans as f64,
        stats.blocks,
        stats.segments,
        peak_memory()?,
    ));
    answer(&store, requests)
}

/// Waits for the merges of closed blocks, which only commits and retention collect.
fn settle(store: &Store) -> Result<(), Box<dyn Error>> {
    let deadline = Instant::now() + PATIENCE;
    // One segment a closed block, and what the open one has gathered so far.
    let open = StoreOptions::default().block_documents.div_ceil(REQUESTS_A_COMMIT * SPANS_A_REQUEST) as usize;
    while store.stats().segments > store.stats().blocks + open && Instant::now() < deadline {
        store.commit()?;
        // tidy: sleeps, because merges tell nobody when they are over, and this is no test.
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn answer(store: &Store, requests: u64) -> Result<(), Box<dyn Error>> {
    let traces = requests * SPANS_A_REQUEST / SPANS_A_TRACE;
    measure("trace by id", 2_000, |n| {
        let id = TraceId::new(trace_id(n * 7919 % traces)).ok_or("zero id")?;
        expect(store.trace(id)?.spans.len() as u64, SPANS_A_TRACE)
    })?;
    measure("search by correlation id", 1_000, |n| {
        let attributes = vec![("correlation_id".to_owned(), format!("order-{}", n * 7919 % traces))];
        expect(store.search(&Search { attributes, ..Search::default() })?.len() as u64, 1)
    })?;
    measure("search by lineage hash", 1_000, |n| {
        let attributes = vec![("linked_trace_id_hash".to_owned(), lineage(n * 7919 % requests))];
        expect(store.search(&Search { attributes, ..Search::default() })?.len() as u64, 1)
    })?;
    measure("who links to a trace", 1_000, |n| {
        let first = n * 7919 % requests * (SPANS_A_REQUEST / SPANS_A_TRACE);
        let id = TraceId::new(trace_id(first)).ok_or("zero id")?;
        expect(store.linking_to(id, 20)?.len() as u64, 1)
    })?;
    measure("spans at a hop", 1_000, |n| {
        let offset = n * 7919 % (traces * SPANS_A_TRACE);
        let hop = Hop {
            system: "kafka".to_owned(),
            destination: "orders".to_owned(),
            partition: (offset % 12).to_string(),
            offset: offset.to_string(),
        };
        expect(store.spans_at(&hop, 20)?.len() as u64, 1)
    })?;
    measure("newest 20 of a service", 200, |_| {
        let search = Search { service: Some("payment-worker".to_owned()), ..Search::default() };
        expect(store.search(&search)?.len() as u64, 20)
    })
}

fn expect(found: u64, wanted: u64) -> Result<(), Box<dyn Error>> {
    if found == wanted { Ok(()) } else { Err(format!("{found} found, not {wanted}").into()) }
}

fn measure(
    what: &str,
    times: u64,
    mut ask: impl FnMut(u64) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut took = Vec::new();
    for n in 0..times {
        let start = Instant::now();
        ask(n)?;
        took.push(start.elapsed());
    }
    took.sort();
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or_default();
    say(&format!("{what}: p50 {:.2?}, p99 {:.2?}", at(0.5), at(0.99)));
    Ok(())
}

/// User and system time of the process (`self`) or of this thread (`thread-self`). Linux only, in hundredths of a second.
fn cpu(whose: &str) -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string(format!("/proc/{whose}/stat"))?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(str::parse::<u64>).sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// What the operating system says, the mapped index included.
fn peak_memory() -> Result<String, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown");
    Ok(line.trim().to_owned())
}

#[expect(clippy::print_stdout, reason = "an example's output is its purpose")]
fn say(line: &str) {
    println!("{line}");
}

/// The spans of many traces side by side, as a collector sees them.
fn request(number: u64) -> Vec<u8> {
    let service = pick(&["api", "payment-worker", "email-worker", "batcher"], number);
    let spans =
        (0..SPANS_A_REQUEST).map(|n| span(number * SPANS_A_REQUEST + n)).chain([batch(number)]).collect();
    let scope = InstrumentationScope { name: "throughline".to_owned(), ..Default::default() };
    let resource = Resource {
        attributes: vec![
            text("service.name", service.to_owned()),
            text("service.version", "1.4.2".to_owned()),
            text("host.name", format!("node-{}", number % 16)),
            text("telemetry.sdk.language", "rust".to_owned()),
        ],
        ..Default::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..Default::default() }],
            ..Default::default()
        }],
    }
    .encode_to_vec()
}

fn span(number: u64) -> Span {
    let trace = number / SPANS_A_TRACE;
    let start = STARTED + number * 1_000;
    Span {
        trace_id: trace_id(trace).to_vec(),
        span_id: scramble(number).to_be_bytes().to_vec(),
        parent_span_id: if number.is_multiple_of(SPANS_A_TRACE) {
            vec![]
        } else {
            scramble(number - 1).to_be_bytes().to_vec()
        },
        name: pick(&["send orders", "process orders", "send payments", "process payments"], number)
            .to_owned(),
        kind: 4 + (number % 2) as i32,
        start_time_unix_nano: start,
        end_time_unix_nano: start + scramble(number) % 50_000_000,
        attributes: vec![
            text("messaging.system", "kafka".to_owned()),
            text("messaging.operation.name", "process".to_owned()),
            text("messaging.operation.type", "process".to_owned()),
            text("messaging.destination.name", "orders".to_owned()),
            text("messaging.destination.partition.id", (number % 12).to_string()),
            int("messaging.kafka.offset", number as i64),
            text("messaging.consumer.group.name", "payments".to_owned()),
            text("messaging.client.id", format!("client-{}", number % 8)),
            text("correlation_id", format!("order-{trace}")),
            int("messaging.message.body.size", (number % 900) as i64),
        ],
        ..Default::default()
    }
}

/// The batch of the first traces of request `number`.
fn batch(number: u64) -> Span {
    let first = number * (SPANS_A_REQUEST / SPANS_A_TRACE);
    let link = |trace| Link {
        trace_id: trace_id(trace).to_vec(),
        span_id: scramble(trace * SPANS_A_TRACE).to_be_bytes().to_vec(),
        attributes: vec![text("correlation_id", format!("batched-{trace}"))],
        ..Default::default()
    };
    let start = STARTED + (number + 1) * SPANS_A_REQUEST * 1_000;
    Span {
        trace_id: trace_id(u64::MAX - number).to_vec(),
        span_id: scramble(u64::MAX - number).to_be_bytes().to_vec(),
        name: "process notifications".to_owned(),
        kind: 5,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1_000_000,
        attributes: vec![
            int("linked_trace_id_count", TRACES_A_BATCH as i64),
            text("linked_trace_id_hash", lineage(number)),
        ],
        links: (first..first + TRACES_A_BATCH).map(link).collect(),
        ..Default::default()
    }
}

fn lineage(number: u64) -> String {
    format!("{:016x}", scramble(number ^ 0x5555_5555))
}

fn pick<'a>(names: &[&'a str], number: u64) -> &'a str {
    names.iter().cycle().nth(number as usize % names.len()).copied().unwrap_or_default()
}

fn trace_id(trace: u64) -> [u8; 16] {
    (u128::from(scramble(trace)) << 64 | u128::from(scramble(!trace))).to_be_bytes()
}

/// SplitMix64: ids that look random and are the same in every run.
fn scramble(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn text(key: &str, value: String) -> KeyValue {
    attribute(key, Value::StringValue(value))
}

fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}
