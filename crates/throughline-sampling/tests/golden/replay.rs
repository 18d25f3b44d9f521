//! A scenario in virtual time: a shard, a journal that is a list, an exporter that is a map.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use throughline_otlp::{Signal, TraceId, UnixNanos, decode_traces};
use throughline_sampling::decision::{History, Past, Verdict};
use throughline_sampling::facts::TraceFacts;
use throughline_sampling::shard::{Output, ShardOptions};
use throughline_sampling::{Now, Plan, Shard};

use super::Kept;

const PROB: &str = include_str!("prob2000.txt");
const FIRST_MOMENT: u64 = 1_790_000_100_000_000_000;

/// What was accepted, and what went out.
struct Journal {
    plan: Arc<Plan>,
    requests: Vec<Vec<u8>>,
    arrivals: Vec<UnixNanos>,
    /// Record and trace.
    sent: BTreeSet<(u64, TraceId)>,
    decided: BTreeMap<TraceId, (Verdict, throughline_sampling::decision::Reason, Option<u8>)>,
}

impl History for Journal {
    fn past(&mut self, trace: TraceId) -> Option<Past> {
        let mut facts: Option<TraceFacts> = None;
        let mut records: Vec<u64> = Vec::new();
        for (position, request) in (1..).zip(&self.requests) {
            let found = self.plan.scan(request).unwrap().into_iter().find(|facts| facts.trace == trace);
            let Some(found) = found else { continue };
            records.push(position);
            match &mut facts {
                Some(facts) => facts.merge(&found),
                None => facts = Some(found),
            }
        }
        let last = usize::try_from(*records.last()?).unwrap() - 1;
        let sent = self.sent.iter().filter(|(_, sent)| *sent == trace).map(|(record, _)| *record);
        Some(Past {
            decided: self.decided.get(&trace).cloned(),
            records,
            sent_through: sent.max(),
            last_arrival: self.arrivals[last],
            facts: facts?,
        })
    }

    fn dependants(&mut self, _: TraceId, _: usize) -> Vec<TraceId> {
        Vec::new()
    }
}

struct World {
    shard: Shard,
    journal: Journal,
    mono: Duration,
}

/// Plays the steps; what was kept at the end and at each look, as text.
pub fn replay(plan: Plan, scenario: &Value) -> String {
    let plan = Arc::new(plan);
    let budgets = Arc::new(plan.budgets());
    let shard = Shard::new(Arc::clone(&plan), budgets, ShardOptions::default());
    let journal = Journal {
        plan,
        requests: Vec::new(),
        arrivals: Vec::new(),
        sent: BTreeSet::new(),
        decided: BTreeMap::new(),
    };
    let mut world = World { shard, journal, mono: Duration::ZERO };
    let labels: BTreeMap<String, String> = (scenario["labels"].as_object().into_iter().flatten())
        .map(|(label, id)| (id.as_str().unwrap().to_owned(), label.clone()))
        .collect();
    let mut looks = BTreeMap::new();
    for step in scenario["steps"].as_array().unwrap() {
        match step.as_str().unwrap().split_once(' ').unwrap() {
            ("post", file) => world.post(request(scenario, file)),
            ("sleep", seconds) => world.sleep(Duration::from_secs_f64(seconds.parse().unwrap())),
            ("check", name) => {
                looks.insert(name.to_owned(), world.kept(&labels).0);
            }
            (other, _) => panic!("step {other}"),
        }
    }
    let (kept, prob) = world.kept(&labels);
    if scenario["mode"] == "count" {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for label in kept.keys() {
            *counts.entry(label.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()).or_default() += 1;
        }
        return format!("counts {}", json!(counts));
    }
    shown(&kept, &looks, &prob)
}

pub fn shown(kept: &Kept, looks: &BTreeMap<String, Kept>, prob: &str) -> String {
    format!("{}{}{}", json!(kept), json!(looks), prob)
}

/// The labels of what was kept at the end, out of [`shown`].
pub fn labels(shown: &str) -> String {
    let first = serde_json::Deserializer::from_str(shown).into_iter::<Value>().next();
    match first {
        Some(Ok(Value::Object(kept))) => kept.keys().cloned().collect::<Vec<_>>().join(" "),
        _ => shown.to_owned(),
    }
}

fn request(scenario: &Value, file: &str) -> Vec<u8> {
    let json = match scenario["inputs"].get(file) {
        Some(input) => input.clone(),
        None => {
            assert_eq!(file, "../_shared/prob2000.json");
            let span = |id: &str| {
                json!({"traceId": id, "spanId": "00f067aa0ba902b7", "name": "p",
                    "startTimeUnixNano": "1790000000000000000", "endTimeUnixNano": "1790000000000000001"})
            };
            let spans: Vec<Value> = PROB.lines().map(span).collect();
            json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})
        }
    };
    throughline_otlp::json::to_protobuf(Signal::Traces, json.to_string().as_bytes()).unwrap()
}

impl World {
    fn now(&self) -> Now {
        let nanos = u64::try_from(self.mono.as_nanos()).unwrap();
        Now { wall: UnixNanos(FIRST_MOMENT + nanos), mono: self.mono }
    }

    fn post(&mut self, request: Vec<u8>) {
        while self.shard.is_full() {
            let deadline = self.shard.deadline().unwrap();
            self.sleep(deadline.saturating_sub(self.mono));
        }
        let facts = self.journal.plan.scan(&request).unwrap();
        self.journal.requests.push(request);
        self.journal.arrivals.push(self.now().wall);
        self.shard.handle(self.now(), self.journal.requests.len() as u64, &facts);
        self.sleep(Duration::ZERO);
    }

    fn sleep(&mut self, time: Duration) {
        let until = self.mono + time;
        while let Some(deadline) = self.shard.deadline().filter(|deadline| *deadline <= until) {
            self.mono = self.mono.max(deadline);
            let mut output = Output::default();
            self.shard.poll(self.now(), &mut self.journal, &mut output);
            for decision in output.decisions {
                let outcome = (decision.verdict, decision.reason, decision.hops);
                self.journal.decided.insert(decision.trace, outcome);
                for record in decision.records {
                    assert!(self.journal.sent.insert((record, decision.trace)), "sent twice: {record}");
                }
            }
        }
        self.mono = until;
    }

    /// By label, and the bits of the 2,000.
    fn kept(&self, labels: &BTreeMap<String, String>) -> (Kept, String) {
        let mut kept = Kept::new();
        for (record, trace) in &self.journal.sent {
            let Some(label) = labels.get(&trace.to_string()) else { continue };
            let request = &self.journal.requests[usize::try_from(record - 1).unwrap()];
            for span in decode_traces(request).unwrap().iter().filter(|span| span.trace_id == *trace) {
                kept.entry(label.clone()).or_default().push(span.span_id.to_string());
            }
        }
        kept.values_mut().for_each(|spans| spans.sort());
        (kept, self.bits())
    }

    fn bits(&self) -> String {
        if self.journal.requests.iter().all(|request| request.len() < 100_000) {
            return String::new();
        }
        let sent: BTreeSet<String> = self.journal.sent.iter().map(|(_, trace)| trace.to_string()).collect();
        let bits: Vec<bool> = PROB.lines().map(|id| sent.contains(id)).collect();
        let nibble = |four: &[bool]| (0..4).map(|bit| u32::from(four[bit]) << bit).sum();
        let digits = bits.chunks(4).rev().map(|four| char::from_digit(nibble(four), 16).unwrap());
        digits.collect()
    }
}
