//! What looking at a span costs: CPU nanoseconds a span, spans of about 460 bytes with 10 attributes, 512 in a request, traces
//! interleaved (each span of another trace) or whole.
//! `cargo run --release -p throughline-sampling --example scan`

#![expect(clippy::print_stdout, reason = "an example that is run for what it prints")]

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use throughline_otlp::wire::{put_bytes, put_tag, put_varint};
use throughline_otlp::{Signal, check};
use throughline_sampling::Plan;
use throughline_sampling::settings::{
    DecisionCache, Direction, ErrorMode, FirstMatch, Invert, LinkedTraces, Matching, Overflow, Policy, Rule,
    Settings, Shutdown, StatusCode, Strategy,
};

const SPANS: usize = 512;

fn pair(key: &str, value: &str) -> Vec<u8> {
    let (mut any, mut pair) = (Vec::new(), Vec::new());
    put_bytes(&mut any, 1, value.as_bytes());
    put_bytes(&mut pair, 1, key.as_bytes());
    put_bytes(&mut pair, 2, &any);
    pair
}

const ATTRIBUTES: [(&str, &str); 10] = [
    ("messaging.system", "kafka"),
    ("messaging.destination.name", "orders"),
    ("messaging.operation.type", "process"),
    ("messaging.consumer.group.name", "settlement"),
    ("messaging.client.id", "settlement-7"),
    ("messaging.kafka.offset", "184467"),
    ("messaging.destination.partition.id", "11"),
    ("messaging.message.id", "8a7b"),
    ("correlation_id", "4bf92f3577b34da6"),
    ("tenant.id", "acme"),
];

fn span(trace: u64, number: u64) -> Vec<u8> {
    let random = (trace + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let id = [random.to_be_bytes(), random.rotate_left(31).to_be_bytes()].concat();
    let mut span = Vec::new();
    put_bytes(&mut span, 1, &id);
    put_bytes(&mut span, 2, &(number + 1).to_be_bytes());
    put_bytes(&mut span, 4, &7_u64.to_be_bytes());
    put_bytes(&mut span, 5, b"orders process");
    put_tag(&mut span, 6, 0);
    put_varint(&mut span, 5);
    for (field, time) in [(7, 1_790_000_000_000_000_000_u64), (8, 1_790_000_000_010_000_000)] {
        put_tag(&mut span, field, 1);
        span.extend(time.to_le_bytes());
    }
    for (key, value) in ATTRIBUTES {
        put_bytes(&mut span, 9, &pair(key, value));
    }
    let mut status = Vec::new();
    put_tag(&mut status, 3, 0);
    put_varint(&mut status, 1);
    put_bytes(&mut span, 15, &status);
    span
}

/// A request whose span `i` belongs to trace `trace(i)`.
fn request(trace: impl Fn(u64) -> u64) -> Vec<u8> {
    let (mut resource, mut scope, mut group, mut request) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    put_bytes(&mut resource, 1, &pair("service.name", "settlement"));
    put_bytes(&mut scope, 1, &[]);
    for number in 0..SPANS as u64 {
        put_bytes(&mut scope, 2, &span(trace(number), number));
    }
    put_bytes(&mut group, 1, &resource);
    put_bytes(&mut group, 2, &scope);
    put_bytes(&mut request, 1, &group);
    request
}

fn settings(rules: Vec<Rule>) -> Settings {
    let policies = (0..).zip(rules).map(|(at, rule): (u32, Rule)| Policy { name: at.to_string(), rule });
    Settings {
        decision_wait: Duration::from_secs(30),
        decision_wait_after_root: None,
        num_traces: NonZeroUsize::MIN,
        overflow: Overflow::DecideOldest,
        decision_cache: DecisionCache { sampled: None, non_sampled: None },
        strategy: Strategy::TraceComplete,
        first_match: FirstMatch::AskAll,
        maximum_trace_size_bytes: None,
        shutdown: Shutdown::Resume,
        policies: policies.collect(),
    }
}

fn usual() -> Vec<Rule> {
    vec![
        Rule::StatusCode { codes: vec![StatusCode::Error] },
        Rule::Latency { above: Duration::from_secs(2), up_to: None },
        Rule::Probabilistic { salt: None, percentage: 5.0 },
    ]
}

fn plans() -> Vec<(&'static str, Vec<Rule>)> {
    let text = Rule::StringAttribute {
        key: "tenant.id".to_owned(),
        values: vec!["globex".to_owned()],
        matching: Matching::Exact,
        invert: Invert::No,
    };
    let ottl = Rule::OttlCondition {
        errors: ErrorMode::Ignore,
        spans: vec![r#"attributes["tenant.id"] == "globex" and IsMatch(name, "^payments")"#.to_owned()],
        span_events: Vec::new(),
    };
    let links = Rule::LinkedTraces(LinkedTraces {
        direction: Direction::Contributors,
        from_policies: None,
        max_hops: 3,
        max_traces: NonZeroUsize::MIN,
        look_back: Duration::from_secs(3600),
    });
    let with = |rule: Rule| usual().into_iter().chain([rule]).collect();
    vec![
        ("status, latency, probabilistic", usual()),
        ("and linked_traces", with(links)),
        ("and a text attribute", with(text)),
        ("and an OTTL condition", with(ottl)),
    ]
}

/// CPU time of this thread, where the system tells; else the time on the wall.
fn cpu(since: Instant) -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|told| told.split_whitespace().next()?.parse().ok());
    nanos.map_or_else(|| since.elapsed(), Duration::from_nanos)
}

/// CPU nanoseconds a span that `look` takes for a request.
fn nanos(began: Instant, look: impl Fn() -> usize) -> f64 {
    let rounds = 4000;
    let before = cpu(began);
    let seen: usize = (0..rounds).map(|_| std::hint::black_box(look())).sum();
    assert!(seen > 0, "nothing was looked at");
    cpu(began).saturating_sub(before).as_secs_f64() * 1e9 / (rounds * SPANS) as f64
}

fn main() {
    let interleaved = request(|number| number);
    let whole = request(|number| number / 8);
    println!("{} bytes a span", interleaved.len() / SPANS);
    let began = Instant::now();
    for (shape, request) in [("interleaved", &interleaved), ("whole", &whole)] {
        let nanos =
            self::nanos(began, || check(Signal::Traces, request).expect("a valid request").items as usize);
        println!("{nanos:6.1} ns a span, {shape:<11}: checked at the door");
    }
    for (name, rules) in plans() {
        let plan = Plan::compile(settings(rules)).expect("a plan that works");
        for (shape, request) in [("interleaved", &interleaved), ("whole", &whole)] {
            let traces = plan.scan(request).expect("a valid request").len();
            let nanos = self::nanos(began, || plan.scan(request).expect("a valid request").len());
            println!("{nanos:6.1} ns a span, {shape:<11}, {traces} traces a request: {name}");
            let nanos = self::nanos(began, || plan.check(request).expect("a valid request").1.facts.len());
            println!("{nanos:6.1} ns a span, {shape:<11}, checked on the way: {name}");
        }
    }
}
