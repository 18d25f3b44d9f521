//! What a shard costs: nanoseconds a span and bytes a pending trace, 8-span traces interleaved, one span of a trace per
//! request. `cargo run --release -p throughline-sampling --example shard [traces pending]`
//!
//! First all traces grow side by side, each arrival far from the last of its trace. Then as traces come in practice: a
//! trace's spans are 8 requests apart, and it is decided when its wait is over, while others arrive.

#![expect(clippy::print_stdout, reason = "an example that is run for what it prints")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use throughline_otlp::{TraceId, UnixNanos};
use throughline_sampling::decision::{History, Past};
use throughline_sampling::facts::{Met, Root, TraceFacts};
use throughline_sampling::settings::{
    DecisionCache, FirstMatch, Overflow, Policy, Rule, Settings, Shutdown, Strategy,
};
use throughline_sampling::shard::{Output, ShardOptions};
use throughline_sampling::{Now, Plan, Shard};

const SPANS: usize = 8;
const REQUEST: usize = 512;

struct Nothing;

impl History for Nothing {
    fn past(&mut self, _: TraceId) -> Option<Past> {
        None
    }
    fn dependants(&mut self, _: TraceId, _: usize) -> Vec<TraceId> {
        Vec::new()
    }
}

fn settings(num_traces: usize) -> Settings {
    let rule = Rule::Latency { above: Duration::from_millis(500), up_to: None };
    let rare = Rule::Probabilistic { salt: None, percentage: 5.0 };
    Settings {
        decision_wait: Duration::from_secs(30),
        decision_wait_after_root: None,
        num_traces: NonZeroUsize::new(num_traces).expect("more than none"),
        overflow: Overflow::DecideOldest,
        decision_cache: DecisionCache { sampled: None, non_sampled: None },
        strategy: Strategy::TraceComplete,
        first_match: FirstMatch::AskAll,
        maximum_trace_size_bytes: None,
        shutdown: Shutdown::Resume,
        policies: vec![Policy { name: "slow".into(), rule }, Policy { name: "rare".into(), rule: rare }],
    }
}

fn facts(number: u64, span: usize) -> TraceFacts {
    // Random ids, as the SDKs make them.
    let low = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5555_5555;
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&low.to_be_bytes());
    bytes[8..].copy_from_slice(&low.rotate_left(17).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes());
    TraceFacts {
        trace: TraceId::new(bytes).expect("not zero"),
        met: Met::default(),
        start: UnixNanos(1_000_000),
        end: UnixNanos(2_000_000 + span as u64),
        spans: 1,
        bytes: 460,
        root: if span == 0 { Root::Seen } else { Root::Unseen },
        links: Vec::new(),
        links_left_out: 0,
    }
}

/// Nanoseconds an item, of each call: the median, which other work on the machine does not move, and the mean.
#[derive(Default)]
struct Cost {
    calls: Vec<f64>,
    nanos: f64,
    items: usize,
}

impl Cost {
    fn measure(&mut self, call: impl FnOnce() -> usize) {
        let begun = Instant::now();
        let items = call();
        let nanos = begun.elapsed().as_nanos() as f64;
        self.calls.push(nanos / items.max(1) as f64);
        self.nanos += nanos;
        self.items += items;
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut calls = self.calls.clone();
        calls.sort_by(f64::total_cmp);
        let median = calls.get(calls.len() / 2).copied().unwrap_or_default();
        write!(f, "{median:.1} ns (mean {:.1})", self.nanos / self.items.max(1) as f64)
    }
}

/// Requests in which 64 traces begin and 64 others end, until `num_traces` have been decided three times over.
fn stream(pending: usize) {
    const APART: usize = 8;
    const BEGIN: usize = REQUEST / SPANS;
    let plan = Arc::new(Plan::compile(settings(2 * pending)).expect("these settings are right"));
    let mut shard = Shard::new(plan.clone(), Arc::new(plan.budgets()), ShardOptions::default());
    let wait = pending / BEGIN;
    let mut now = Now { wall: UnixNanos(1), mono: Duration::ZERO };
    let (mut handle, mut decide) = (Cost::default(), Cost::default());
    for number in 0..8 * wait {
        let begun = |ago: usize| (number + APART * SPANS - ago * APART) * BEGIN;
        let of = |span: usize| (begun(span)..begun(span) + BEGIN).map(move |at| facts(at as u64 + 1, span));
        let request: Vec<TraceFacts> = (0..SPANS).flat_map(of).collect();
        now.mono += Duration::from_secs(30) / u32::try_from(wait).expect("not so many");
        if number == 5 * wait {
            (handle, decide) = (Cost::default(), Cost::default());
        }
        handle.measure(|| {
            shard.handle(now, number as u64 + 1, &request);
            request.len()
        });
        let is_tick = number % (wait / 100).max(1) == 0;
        while is_tick && shard.deadline().is_some_and(|deadline| deadline <= now.mono) {
            decide.measure(|| {
                let mut out = Output::default();
                shard.poll(now, &mut Nothing, &mut out);
                out.decisions.len()
            });
        }
    }
    println!("a stream of them, {} bytes a pending trace and a decided one", shard.stats().bytes / pending);
    println!("  handle: {handle} a span");
    println!("  decide: {decide} a trace");
}

fn main() {
    let pending: usize =
        std::env::args().nth(1).map_or(1_000_000, |text| text.parse().expect("a number of traces"));
    let plan = Arc::new(Plan::compile(settings(pending)).expect("these settings are right"));
    let mut shard = Shard::new(plan.clone(), Arc::new(plan.budgets()), ShardOptions::default());
    let mut now = Now { wall: UnixNanos(1), mono: Duration::ZERO };
    let mut position = 0;
    // The first round fills fresh memory, the others use it again, with all decisions remembered.
    for round in 0..3 {
        let (mut handle, mut decide) = (Cost::default(), Cost::default());
        for span in 0..SPANS {
            for first in (0..pending).step_by(REQUEST) {
                let traces = first..(first + REQUEST).min(pending);
                let request: Vec<TraceFacts> =
                    traces.map(|at| facts((round * pending + at + 1) as u64, span)).collect();
                position += 1;
                handle.measure(|| {
                    shard.handle(now, position, &request);
                    request.len()
                });
            }
        }
        println!(
            "{pending} traces of {SPANS} spans pending: {} bytes a trace",
            shard.stats().bytes / pending
        );
        println!("  handle: {handle} a span");
        now.mono += Duration::from_secs(30);
        while shard.deadline().is_some_and(|deadline| deadline <= now.mono) {
            decide.measure(|| {
                let mut out = Output::default();
                shard.poll(now, &mut Nothing, &mut out);
                out.decisions.len()
            });
        }
        println!("  decide: {decide} a trace");
    }
    println!("{:#?}", shard.stats());
    drop(shard);
    stream(pending);
}
