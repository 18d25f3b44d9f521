//! Measures the store by hand: CPU and disk a span for ingest with every attribute searchable, commits and background
//! merges included, then the time to answer. `cargo run --release --example ingest -p throughline-store -- [spans]`

use std::error::Error;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use throughline_otlp::{Signal, TraceId, UnixNanos};
use throughline_store::{Ingest, Search, Store, StoreOptions};

const SPANS_A_REQUEST: u64 = 512;
const SPANS_A_TRACE: u64 = 8;
const REQUESTS_A_COMMIT: u64 = 40;
/// When the first span starts and the first request arrives.
const STARTED: u64 = 1_700_000_000_000_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let spans: u64 = std::env::args().nth(1).map_or(Ok(200_000), |text| text.parse())?;
    let requests: Vec<Vec<u8>> = (0..spans.div_ceil(SPANS_A_REQUEST)).map(request).collect();
    let bytes: usize = requests.iter().map(Vec::len).sum();
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path(), StoreOptions::default())?;
    let (cpu, wall) = (cpu()?, Instant::now());
    for (position, otlp) in (0..).zip(&requests) {
        store.ingest(Ingest {
            position,
            arrived: UnixNanos(STARTED + position),
            signal: Signal::Traces,
            otlp,
        })?;
        if position % REQUESTS_A_COMMIT == REQUESTS_A_COMMIT - 1 {
            store.commit()?;
        }
    }
    store.commit()?;
    report("ingest and commit", cpu, wall, spans)?;
    settle(&store, spans)?;
    report("the same and merged", cpu, wall, spans)?;
    let stats = store.stats();
    say(&format!(
        "{} blocks, {} segments, {:.0} bytes a span on disk, {:.0} on the wire",
        stats.blocks,
        stats.segments,
        stats.disk_bytes as f64 / spans as f64,
        bytes as f64 / spans as f64,
    ));
    answer(&store, spans)
}

/// Waits for the merges of closed blocks, which only commits and retention collect.
fn settle(store: &Store, spans: u64) -> Result<(), Box<dyn Error>> {
    let closed = spans / StoreOptions::default().block_documents;
    let deadline = Instant::now() + Duration::from_secs(60);
    while store.stats().segments > 64 && closed > 0 && Instant::now() < deadline {
        store.commit()?;
        // tidy: sleeps, because merges tell nobody when they are over, and this is no test.
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn answer(store: &Store, spans: u64) -> Result<(), Box<dyn Error>> {
    let traces = spans / SPANS_A_TRACE;
    let mut times = Vec::new();
    for n in 0..2_000 {
        let id = TraceId::new(trace_id(n * 7919 % traces)).ok_or("zero id")?;
        let start = Instant::now();
        let found = store.trace(id)?.spans.len();
        times.push(start.elapsed());
        assert_eq!(found as u64, SPANS_A_TRACE);
    }
    quantiles("trace by id", times);
    let mut times = Vec::new();
    for n in 0..500 {
        let attributes = vec![("correlation_id".to_owned(), format!("order-{}", n * 7919 % traces))];
        let start = Instant::now();
        let found = store.search(&Search { attributes, ..Search::default() })?;
        times.push(start.elapsed());
        assert_eq!(found.len(), 1);
    }
    quantiles("search by correlation id", times);
    let mut times = Vec::new();
    for _ in 0..50 {
        let search = Search { service: Some("payment-worker".to_owned()), ..Search::default() };
        let start = Instant::now();
        assert_eq!(store.search(&search)?.len(), 20);
        times.push(start.elapsed());
    }
    quantiles("newest 20 of a service", times);
    Ok(())
}

fn quantiles(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default();
    say(&format!("{what}: p50 {:?}, p99 {:?}", at(0.5), at(0.99)));
}

fn report(what: &str, cpu_before: Duration, wall: Instant, spans: u64) -> Result<(), Box<dyn Error>> {
    let cpu = cpu()?.saturating_sub(cpu_before);
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / spans as f64;
    say(&format!("{what}: {:.2} us CPU a span, {:.2} us elapsed", micros(cpu), micros(wall.elapsed())));
    Ok(())
}

/// User and system time of the whole process. Linux only, in hundredths of a second.
fn cpu() -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(str::parse::<u64>).sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

#[expect(clippy::print_stdout, reason = "an example's output is its purpose")]
fn say(line: &str) {
    println!("{line}");
}

/// The spans of many traces side by side, as a collector sees them.
fn request(number: u64) -> Vec<u8> {
    let service = pick(&["api", "payment-worker", "email-worker", "batcher"], number);
    let spans = (0..SPANS_A_REQUEST).map(|n| span(number * SPANS_A_REQUEST + n)).collect();
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
