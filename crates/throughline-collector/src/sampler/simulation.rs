//! Power loss in the middle of everything, simulated: requests come, traces are decided, an exporter sends to a sink that
//! is down half of the time, and the power fails; again and again over the same disk, of which only what was synced, and
//! arbitrary torn parts of the rest, survive. The pieces are the real ones, driven by one thread with a simulated clock.
//!
//! Held against a model that remembers every acknowledged span: with `sync` each span of a trace that has an acknowledged
//! error must reach the sink, and no trace may be decided twice differently. With `none` the same check must fail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use throughline_journal::sim::{Random, SimFs, Tear};
use throughline_journal::{Durability, Journal, Options, Position, Record, RecordKind};
use throughline_otlp::json::to_protobuf;
use throughline_otlp::{Signal, SpanId, TraceId, UnixNanos, decode_traces};
use throughline_sampling::decision::Verdict;
use throughline_sampling::facts::Now;
use throughline_sampling::settings::{
    DecisionCache, FirstMatch, Overflow, Policy, Rule, Settings, Shutdown, StatusCode, Strategy,
};
use throughline_sampling::{Plan, Shard};

use super::desk::Desk;
use super::keys;
use super::record::Decided;
use super::{Build, Form, Sampler};
use crate::build::restore;
use crate::delivery::queue::Unit;
use crate::delivery::read_back::{self, Full, Reasons, Source, read_back};
use crate::delivery::{self, Delivery};
use crate::export::retry::RetrySettings;
use crate::lines::Lines;
use crate::outlet::Outlet;
use crate::topology::Wait;

const PIPELINE: &str = "traces";
const WAIT: Duration = Duration::from_secs(2);
const TRACES: u64 = 24;
const LIVES: u32 = 4;

type SpanKey = (TraceId, SpanId);

/// What an observer outside knows.
#[derive(Default)]
struct Model {
    acknowledged: BTreeSet<SpanKey>,
    /// Traces with an acknowledged span that failed: they must be kept.
    failed: BTreeSet<TraceId>,
    sink: BTreeMap<SpanKey, u32>,
    /// Every decision that was durable, as the journal told it at the time.
    decided: BTreeMap<TraceId, Verdict>,
    fell: Vec<TraceId>,
}

struct Outcome {
    lost: usize,
    acknowledged: usize,
    duplicates: u32,
    fell: usize,
    cuts: u32,
}

fn plan() -> Arc<Plan> {
    let errors =
        Policy { name: "errors".to_owned(), rule: Rule::StatusCode { codes: vec![StatusCode::Error] } };
    let settings = Settings {
        decision_wait: WAIT,
        decision_wait_after_root: None,
        num_traces: 16.try_into().unwrap(),
        overflow: Overflow::DecideOldest,
        decision_cache: DecisionCache { sampled: None, non_sampled: None },
        strategy: Strategy::TraceComplete,
        first_match: FirstMatch::AskAll,
        maximum_trace_size_bytes: None,
        shutdown: Shutdown::Resume,
        policies: vec![errors],
    };
    Arc::new(Plan::compile(settings).unwrap())
}

fn options(durability: Durability) -> Options {
    Options {
        segment_bytes: 64 << 10,
        // Everything ever written stays readable: what a late span brings back may lie far behind.
        cap_bytes: 4 << 20,
        look_back_bytes: 4 << 20,
        reserve_segments: 1,
        durability,
        group_wait: Duration::ZERO,
        consumers: vec!["store".to_owned()],
        ..Options::default()
    }
}

fn settings() -> delivery::Settings {
    delivery::Settings {
        name: "traces/otlp".to_owned(),
        source: Source::Kept { pipeline: PIPELINE.to_owned(), reasons: Reasons::Unsaid },
        batch_items: 10,
        most_items: u64::MAX,
        batch_bytes: 1 << 20,
        batch_wait: Wait::Always(Duration::ZERO),
        in_flight: 1,
        retry: RetrySettings::default(),
    }
}

/// The process between two losses of power.
struct Life {
    journal: Journal,
    sampler: Arc<Sampler>,
    delivery: Arc<Delivery>,
    lines: Lines,
    desk: Desk,
    consumers: BTreeMap<String, throughline_journal::Consumer>,
    checkpoint: Option<u64>,
    began: Duration,
}

impl Life {
    fn begin(fs: &SimFs, durability: Durability, clock: Duration) -> Option<Self> {
        let (journal, _) =
            Journal::open(Arc::new(fs.clone()), Path::new("/journal"), options(durability)).ok()?;
        let delivery = Delivery::new(settings(), journal.clone());
        let build = Build {
            // Its arrivals are not of today.
            look_back: Duration::MAX,
            ask_wait: Duration::ZERO,
            pipeline: PIPELINE.to_owned(),
            intakes: vec![0],
            budgets: Arc::new(plan().budgets()),
            plan: plan(),
            outlets: vec![Outlet::Exporter(Arc::clone(&delivery))],
            form: Form::Shards(1),
            before: None,
            grace: Duration::from_secs(1),
        };
        let (sampler, shards) = Sampler::new(build, journal.clone());
        let lines = Lines {
            samplers: vec![Arc::clone(&sampler)],
            deliveries: vec![Arc::clone(&delivery)],
            keep: None,
            reach: Mutex::default(),
        };
        let mut shards = vec![shards];
        let next = restore(now(clock, clock), &lines, &journal, &mut shards).next;
        let shard: Shard = shards.pop().and_then(|mut shards| shards.pop())?;
        let desk = Desk::new(shard, PIPELINE, next);
        let names = lines.claims().into_iter().map(|(name, _)| name);
        let consumers = names.map(|name| (name.clone(), journal.consumer(&name, None))).collect();
        let (checkpoint, began) = (None, clock);
        Some(Self { journal, sampler, delivery, lines, desk, consumers, checkpoint, began })
    }

    fn now(&self, clock: Duration) -> Now {
        now(clock, self.began)
    }

    /// A request comes; whether it was acknowledged.
    fn accept(&mut self, clock: Duration, request: Vec<u8>) -> bool {
        let survey = self.sampler.survey(&request).unwrap();
        let record = Record {
            keys: keys::of_survey(&survey),
            ..Record::new(RecordKind::Spans, nanos(clock).0, request)
        };
        let Ok(Position(position)) = self.journal.append_wait(record) else { return false };
        self.desk.arrived(self.now(clock), position, &survey.facts);
        self.delivery.pass(position);
        true
    }

    fn decide(&mut self, clock: Duration, model: &mut Model) {
        let now = self.now(clock);
        self.desk.decide(now, &mut self.sampler.history());
        while let Some(write) = self.desk.next_write() {
            let record = Record {
                keys: write.keys.clone(),
                ..Record::new(RecordKind::Decisions, nanos(clock).0, write.decided.encode())
            };
            match self.journal.append_wait(record) {
                Ok(Position(position)) => {
                    model.see(&write.decided);
                    let needs_from = write.decided.needs_from().unwrap_or(position);
                    self.delivery.push(Unit { position, needs_from, items: write.decided.spans() });
                    self.desk.durable(write.number);
                }
                Err(_) => return self.desk.refused(&write),
            }
        }
    }

    /// The exporter sends one batch; a sink that is down leaves it for later.
    fn export(&mut self, sink_is_up: bool, model: &mut Model) {
        let units = self.delivery.take_now();
        let mut requests = Vec::new();
        let full = Full { items: 10, bytes: 1 << 20, most_items: u64::MAX };
        let mut emit = |request| requests.push(request);
        let mut journal = self.journal.reader(0);
        let mut outcome = read_back::Outcome::default();
        let read = read_back(&mut journal, PIPELINE, Reasons::Unsaid, &units, full, &mut outcome, &mut emit);
        if !sink_is_up || read.is_err() {
            return self.delivery.put_back(&units);
        }
        for request in requests {
            for span in decode_traces(&request.body).unwrap() {
                *model.sink.entry((span.trace_id, span.span_id)).or_default() += 1;
            }
        }
        self.delivery.acknowledge(&units);
    }

    fn check_point(&mut self, clock: Duration) {
        let payload = self.lines.checkpoint().encode();
        let record = Record::new(RecordKind::ExporterAcknowledgement, nanos(clock).0, payload);
        if let Ok(Position(position)) = self.journal.append_wait(record) {
            self.checkpoint = Some(position);
        }
    }

    /// As the ledger does it: claims, then a checkpoint, then what was claimed before it.
    fn look(&mut self, clock: Duration) {
        // Its thread would have.
        self.sampler.seats.iter().for_each(|seat| seat.publish(&self.desk));
        let claims = self.lines.claims();
        self.check_point(clock);
        self.release(claims);
    }

    fn release(&self, claims: Vec<(String, u64)>) {
        let checkpoint = self.checkpoint.unwrap_or(0);
        for (name, from) in claims {
            if let (Some(consumer), Some(through)) =
                (self.consumers.get(&name), from.min(checkpoint).checked_sub(1))
            {
                self.journal.release(consumer, Position(through));
            }
        }
    }
}

impl Model {
    fn see(&mut self, decided: &Decided) {
        for decision in &decided.decisions {
            let before = self.decided.insert(decision.trace, decision.verdict);
            if before.is_some_and(|before| before > decision.verdict) {
                self.fell.push(decision.trace);
            }
        }
    }
}

fn nanos(clock: Duration) -> UnixNanos {
    UnixNanos(u64::try_from(clock.as_nanos()).unwrap())
}

fn now(clock: Duration, began: Duration) -> Now {
    Now { wall: nanos(clock), mono: clock.saturating_sub(began) }
}

/// Some spans of some traces; one in six failed.
fn request(random: &mut Random, number: u64) -> (Vec<u8>, Vec<SpanKey>, Vec<TraceId>) {
    let (mut spans, mut ids, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..1 + random.below(4) {
        let trace = TraceId::from_hex(&format!("{:032x}", 1 + random.below(TRACES))).unwrap();
        let span = SpanId::from_hex(&format!("{:016x}", number * 8 + at + 1)).unwrap();
        let code = if random.chance(16) { 2 } else { 1 };
        if code == 2 {
            failed.push(trace);
        }
        spans.push(format!(
            r#"{{"traceId":"{trace}","spanId":"{span}","name":"{}","status":{{"code":{code}}}}}"#,
            "x".repeat(usize::try_from(random.below(3000)).unwrap())
        ));
        ids.push((trace, span));
    }
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, spans.join(","));
    (to_protobuf(Signal::Traces, json.as_bytes()).unwrap(), ids, failed)
}

fn run(seed: u64, durability: Durability) -> Outcome {
    let mut random = Random::new(seed);
    let mut fs = SimFs::new(seed);
    let mut model = Model::default();
    let mut world = World { clock: Duration::from_secs(1_000_000), number: 0, sink_is_up: true };
    let mut cuts = 0;
    for life in 0..=LIVES {
        if let Some(mut process) = Life::begin(&fs, durability, world.clock) {
            if life == LIVES {
                finish(&mut process, &mut world.clock, &mut model);
            } else {
                fs.cut_power_after(5 + random.below(120));
                let mut steps = 0..60;
                while !fs.is_off() && steps.next().is_some() {
                    world.step(&mut process, &mut model, &mut random);
                }
            }
        }
        fs.cut_power();
        cuts += 1;
        fs = fs.restart(Tear::Bytes);
    }
    model.outcome(cuts)
}

/// What goes on while processes come and go.
struct World {
    clock: Duration,
    /// Requests made so far.
    number: u64,
    sink_is_up: bool,
}

impl World {
    fn step(&mut self, process: &mut Life, model: &mut Model, random: &mut Random) {
        match random.below(10) {
            0..=4 => {
                let (request, ids, failed) = request(random, self.number);
                self.number += 1;
                if process.accept(self.clock, request) {
                    model.acknowledged.extend(ids);
                    model.failed.extend(failed);
                }
            }
            5 => self.clock += Duration::from_millis(random.below(2500)),
            6 => process.decide(self.clock, model),
            7 => process.export(self.sink_is_up, model),
            8 => self.sink_is_up = random.chance(50),
            _ => process.look(self.clock),
        }
    }
}

/// Nothing fails any more: everything is decided and sent.
fn finish(process: &mut Life, clock: &mut Duration, model: &mut Model) {
    for _ in 0..200 {
        *clock += Duration::from_millis(500);
        process.decide(*clock, model);
        process.export(true, model);
        process.look(*clock);
    }
}

impl Model {
    fn outcome(&self, cuts: u32) -> Outcome {
        let kept = self.acknowledged.iter().filter(|(trace, _)| self.failed.contains(trace));
        Outcome {
            lost: kept.filter(|span| !self.sink.contains_key(span)).count(),
            acknowledged: self.acknowledged.len(),
            duplicates: self.sink.values().map(|times| times - 1).sum(),
            fell: self.fell.len(),
            cuts,
        }
    }
}

fn seeds(default: u64) -> u64 {
    std::env::var("THROUGHLINE_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn synced_spans_of_kept_traces_survive_any_loss_of_power() {
    let (mut acknowledged, mut cuts, mut duplicates) = (0, 0, 0);
    for seed in 0..seeds(500) {
        let outcome = run(seed, Durability::Sync);
        assert_eq!(outcome.lost, 0, "seed {seed}: acknowledged spans of kept traces did not arrive");
        assert_eq!(outcome.fell, 0, "seed {seed}: a decision fell");
        acknowledged += outcome.acknowledged;
        cuts += outcome.cuts;
        duplicates += outcome.duplicates;
    }
    println!("{cuts} losses of power, {acknowledged} acknowledged spans, 0 lost, {duplicates} sent twice");
}

#[test]
fn without_sync_the_same_test_finds_losses() {
    let lost: usize = (0..seeds(500)).map(|seed| run(seed, Durability::None).lost).sum();
    println!("{lost} lost without sync");
    assert!(lost > 0, "a test that cannot fail");
}
