//! Measures the store by hand: CPU and disk a span for ingest with every attribute searchable, commits and background
//! merges included, then the time to answer. CPU is that of the process without what making the load took.
//! `cargo run --release --example ingest -p throughline-store -- [spans]`

mod load;

use std::error::Error;
use std::time::{Duration, Instant};

use throughline_otlp::{Signal, TraceId, UnixNanos};
use throughline_store::{Hop, Ingest, Search, Store, StoreOptions};

use crate::load::{SPANS_A_REQUEST, SPANS_A_TRACE, STARTED, lineage, request, trace_id};

/// As many as fit into memory: a commit every second at some 20,000 spans a second.
const REQUESTS_A_COMMIT: u64 = 38;
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
