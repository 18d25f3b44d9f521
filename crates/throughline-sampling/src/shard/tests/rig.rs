//! Shards with everything around them: a journal that knows all, wishes that find their owner, time, crashes. Checks on
//! every step what holds for all settings.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use throughline_otlp::{TraceId, UnixNanos};

use crate::Plan;
use crate::decision::{Decision, History, Past, Trigger, Verdict, Wish};
use crate::facts::{Met, Now, Root, TraceFacts};
use crate::settings::{
    DecisionCache, Direction, FirstMatch, LinkedTraces, Overflow, Policy, Rule, Settings, Shutdown, Strategy,
};
use crate::shard::{Before, Ending, Output, Restored, Shard, ShardOptions};

/// Spans that make a trace kept on its own merit.
pub const MANY: u32 = 3;
/// Wall time at which everything begins.
pub const BASE: u64 = 1_700_000_000_000_000_000;

pub fn id(letter: u8) -> TraceId {
    let mut bytes = [7; 16];
    bytes[15] = letter;
    TraceId::new(bytes).unwrap()
}

pub fn letter(trace: TraceId) -> char {
    char::from(trace.bytes()[15])
}

pub fn policy(name: &str, rule: Rule) -> Policy {
    Policy { name: name.to_owned(), rule }
}

/// `many` gives merit of its own, `slow` does not.
pub fn settings() -> Settings {
    Settings {
        decision_wait: Duration::from_secs(30),
        decision_wait_after_root: None,
        num_traces: NonZeroUsize::new(1000).unwrap(),
        overflow: Overflow::DecideOldest,
        decision_cache: DecisionCache { sampled: None, non_sampled: None },
        strategy: Strategy::TraceComplete,
        first_match: FirstMatch::AskAll,
        maximum_trace_size_bytes: None,
        shutdown: Shutdown::Resume,
        policies: vec![
            policy("many", Rule::SpanCount { min: Some(u64::from(MANY)), max: None }),
            policy("slow", Rule::Latency { above: Duration::from_secs(1), up_to: None }),
        ],
    }
}

pub fn links(direction: Direction, max_hops: u8) -> LinkedTraces {
    LinkedTraces {
        direction,
        from_policies: Some(vec!["many".to_owned()]),
        max_hops,
        max_traces: NonZeroUsize::new(100).unwrap(),
        look_back: Duration::from_secs(3600),
    }
}

pub fn with_links(mut settings: Settings, links: LinkedTraces) -> Settings {
    settings.policies.push(policy("linked", Rule::LinkedTraces(links)));
    settings
}

/// `trace` is dropped once it has this many spans.
pub fn with_drop(mut settings: Settings, spans: u64) -> Settings {
    let sub = policy("huge", Rule::SpanCount { min: Some(spans), max: None });
    settings.policies.push(policy("drop", Rule::Drop(vec![sub])));
    settings
}

pub fn spans(trace: TraceId, spans: u32, links: &[TraceId]) -> TraceFacts {
    let mut facts = TraceFacts {
        trace,
        met: Met::default(),
        start: UnixNanos(BASE),
        end: UnixNanos(BASE + 1_000_000),
        spans,
        bytes: u64::from(spans) * 100,
        root: Root::Unseen,
        links: Vec::new(),
        links_left_out: 0,
    };
    for link in links {
        facts.link(*link);
    }
    facts
}

/// All that ever came and was decided, searched by walking it.
#[derive(Default)]
pub struct Journal {
    pub entries: Vec<Restored>,
    pub questions: usize,
    /// Questions that an index answers.
    pub looks: usize,
    /// Which traces another node may hold a part of.
    pub elsewhere: Option<Box<dyn Fn(TraceId) -> bool>>,
}

impl Journal {
    pub fn records(&self, trace: TraceId) -> impl Iterator<Item = (u64, UnixNanos, &TraceFacts)> {
        self.entries.iter().flat_map(move |entry| match entry {
            Restored::Arrival { position, arrived, facts } => facts
                .iter()
                .filter(|facts| facts.trace == trace)
                .map(|facts| (*position, *arrived, facts))
                .collect::<Vec<_>>(),
            Restored::Decision(_) => Vec::new(),
        })
    }

    pub fn decisions(&self, trace: TraceId) -> impl Iterator<Item = &Decision> {
        self.entries.iter().filter_map(move |entry| match entry {
            Restored::Decision(decision) if decision.trace == trace => Some(decision),
            _ => None,
        })
    }

    pub fn traces(&self) -> BTreeSet<TraceId> {
        self.entries
            .iter()
            .flat_map(|entry| match entry {
                Restored::Arrival { facts, .. } => facts.iter().map(|facts| facts.trace).collect(),
                Restored::Decision(_) => Vec::new(),
            })
            .collect()
    }

    /// Traces with spans whose last word is "sampled", as letters.
    pub fn kept(&self) -> String {
        let kept = |trace: &TraceId| {
            self.decisions(*trace).last().is_some_and(|last| last.verdict == Verdict::Sampled)
        };
        self.traces().into_iter().filter(kept).map(letter).collect()
    }
}

impl History for Journal {
    fn past(&mut self, trace: TraceId) -> Option<Past> {
        self.questions += 1;
        let last = self.decisions(trace).last();
        let decided = last.map(|last| (last.verdict, last.reason.clone(), last.hops));
        let sent_through = self.decisions(trace).flat_map(|decision| decision.records.clone()).max();
        let mut facts: Option<TraceFacts> = None;
        let mut records = Vec::new();
        let mut last_arrival = UnixNanos(0);
        for (position, arrived, more) in self.records(trace) {
            records.push(position);
            last_arrival = arrived;
            match &mut facts {
                Some(facts) => facts.merge(more),
                None => facts = Some(more.clone()),
            }
        }
        if decided.is_none() && facts.is_none() {
            return None;
        }
        let facts = facts.unwrap_or_else(|| TraceFacts { spans: 0, bytes: 0, ..spans(trace, 0, &[]) });
        Some(Past { decided, records, sent_through, last_arrival, facts })
    }

    fn lies_before(&mut self, trace: TraceId, first: u64) -> bool {
        self.looks += 1;
        self.decisions(trace).next().is_some() || self.records(trace).any(|(position, ..)| position < first)
    }

    fn dependants(&mut self, trace: TraceId, limit: usize) -> Vec<TraceId> {
        self.questions += 1;
        let links = |facts: &TraceFacts| facts.links.contains(&trace);
        let from = |other: &TraceId| self.records(*other).any(|(_, _, facts)| links(facts));
        self.traces().into_iter().filter(from).take(limit).collect()
    }

    fn elsewhere(&mut self, trace: TraceId) -> Option<UnixNanos> {
        let held = self.elsewhere.as_ref().is_some_and(|elsewhere| elsewhere(trace));
        held.then_some(UnixNanos(u64::MAX))
    }
}

/// Which records a restart begins with.
#[derive(Clone, Copy, Debug)]
pub enum Replay {
    /// All.
    Everything,
    /// From the oldest undecided one: the rest is History's.
    Undecided,
}

pub struct Rig {
    pub plan: Arc<Plan>,
    pub options: ShardOptions,
    pub shards: Vec<Shard>,
    pub journal: Journal,
    pub now: Now,
    pub position: u64,
    pub told: Vec<(Duration, Decision)>,
    /// For other nodes.
    pub questions: Vec<TraceId>,
    in_flight: Vec<Wish>,
    crashes: usize,
}

impl Rig {
    pub fn new(settings: Settings, options: ShardOptions, shards: usize) -> Self {
        let plan = Arc::new(Plan::compile(settings).expect("settings of a test compile"));
        let mut rig = Self {
            plan,
            options,
            shards: Vec::new(),
            journal: Journal::default(),
            now: Now { wall: UnixNanos(BASE), mono: Duration::ZERO },
            position: 0,
            told: Vec::new(),
            questions: Vec::new(),
            in_flight: Vec::new(),
            crashes: 0,
        };
        rig.boot(shards, rig.options.clone());
        rig
    }

    fn boot(&mut self, shards: usize, options: ShardOptions) {
        let budgets = Arc::new(self.plan.budgets());
        let shard = || Shard::new(Arc::clone(&self.plan), Arc::clone(&budgets), options.clone());
        self.shards = (0..shards).map(|_| shard()).collect();
    }

    pub fn owner(&self, trace: TraceId) -> usize {
        usize::from(trace.bytes()[15]) % self.shards.len()
    }

    /// One request.
    pub fn arrive(&mut self, facts: Vec<TraceFacts>) {
        self.position += 1;
        let shards = self.shards.len();
        for at in 0..shards {
            let share: Vec<TraceFacts> =
                facts.iter().filter(|facts| self.owner(facts.trace) == at).cloned().collect();
            if !share.is_empty() {
                self.shards[at].handle(self.now, self.position, &share);
            }
        }
        let arrived = self.now.wall;
        self.journal.entries.push(Restored::Arrival { position: self.position, arrived, facts });
    }

    /// Polls each shard once; wishes stay under way.
    pub fn poll(&mut self) {
        for at in 0..self.shards.len() {
            let mut out = Output::default();
            self.shards[at].poll(self.now, &mut self.journal, &mut out);
            self.take(out);
        }
    }

    fn take(&mut self, out: Output) {
        for decision in out.decisions {
            self.check(&decision);
            self.told.push((self.now.mono, decision.clone()));
            self.journal.entries.push(Restored::Decision(decision));
        }
        self.in_flight.extend(out.wishes);
        self.questions.extend(out.questions);
    }

    /// Those under way, for whoever delivers them elsewhere.
    pub fn take_wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.in_flight)
    }

    /// Time goes on, and nobody polls.
    pub fn pass(&mut self, time: Duration) {
        self.set_time(self.now.mono + time);
    }

    pub fn deliver(&mut self) {
        for wish in std::mem::take(&mut self.in_flight) {
            let owner = self.owner(wish.trace());
            self.shards[owner].keep(self.now, wish);
        }
    }

    pub fn is_busy(&self) -> bool {
        let busy = |shard: &Shard| shard.deadline().is_some_and(|deadline| deadline <= self.now.mono);
        !self.in_flight.is_empty() || self.shards.iter().any(busy)
    }

    /// Until nothing is left to do now.
    pub fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 1000, "wishes go round in circles: {:?}", self.in_flight);
            if !self.is_busy() {
                break;
            }
            self.poll();
            self.deliver();
        }
        for shard in &self.shards {
            shard.check_bounds();
        }
    }

    /// Lets time pass, polling at each deadline exactly.
    pub fn advance(&mut self, to: Duration) {
        self.settle();
        while let Some(deadline) = self.shards.iter().filter_map(Shard::deadline).min() {
            if deadline > to {
                break;
            }
            self.set_time(deadline);
            self.settle();
        }
        self.set_time(to);
    }

    fn set_time(&mut self, mono: Duration) {
        let mono = mono.max(self.now.mono);
        self.now = Now { wall: UnixNanos(BASE + mono.as_nanos() as u64), mono };
    }

    /// The process dies and comes back: what was not journalled is gone, wishes under way too.
    pub fn crash(&mut self, replay: Replay) {
        self.in_flight.clear();
        self.crashes += 1;
        let oldest = self.shards.iter().filter_map(Shard::oldest_undecided).min();
        let from = match replay {
            Replay::Everything => 0,
            Replay::Undecided => self
                .journal
                .entries
                .iter()
                .position(|entry| match (entry, oldest) {
                    (Restored::Arrival { position, .. }, Some(oldest)) => *position >= oldest,
                    _ => false,
                })
                .unwrap_or(self.journal.entries.len()),
        };
        let mut options = self.options.clone();
        if from > 0 {
            let position = oldest.map_or(self.position, |oldest| oldest - 1);
            options.before = Some(Before { position, wall: self.now.wall });
        }
        self.boot(self.shards.len(), options);
        let entries = std::mem::take(&mut self.journal.entries);
        for entry in &entries[from..] {
            for (at, share) in self.split(entry) {
                self.shards[at].restore(self.now, &share);
            }
        }
        self.journal.entries = entries;
    }

    fn split(&self, entry: &Restored) -> Vec<(usize, Restored)> {
        match entry {
            Restored::Decision(decision) => vec![(self.owner(decision.trace), entry.clone())],
            Restored::Arrival { position, arrived, facts } => (0..self.shards.len())
                .map(|at| {
                    let facts = facts.iter().filter(|facts| self.owner(facts.trace) == at).cloned().collect();
                    (at, Restored::Arrival { position: *position, arrived: *arrived, facts })
                })
                .collect(),
        }
    }

    /// All that came and was decided, a line each.
    pub fn story(&self) -> String {
        let line = |entry: &Restored| match entry {
            Restored::Arrival { position, arrived, facts } => {
                let one = |facts: &TraceFacts| {
                    let links: String = facts.links.iter().map(|link| letter(*link)).collect();
                    format!("{} {} ->{links}", letter(facts.trace), facts.spans)
                };
                let facts: Vec<String> = facts.iter().map(one).collect();
                format!("\n{} record {position}: {}", (arrived.0 - BASE) / 1_000_000_000, facts.join(" + "))
            }
            Restored::Decision(decision) => {
                let Decision { trace, verdict, reason, trigger, hops, records, .. } = decision;
                format!("\n    {} {verdict:?} {reason:?} {trigger:?} {hops:?} {records:?}", letter(*trace))
            }
        };
        self.journal.entries.iter().map(line).collect()
    }

    pub fn shutdown(&mut self, ending: Ending) {
        for at in 0..self.shards.len() {
            let mut out = Output::default();
            self.shards[at].shutdown(self.now, ending, &mut self.journal, &mut out);
            self.take(out);
        }
    }

    /// What holds for every decision under all settings.
    fn check(&self, decision: &Decision) {
        let before: Vec<&Decision> = self.journal.decisions(decision.trace).collect();
        if let Some(last) = before.last() {
            let promised = before.iter().all(|decision| decision.trigger == Trigger::Promise);
            assert!(
                last.verdict != Verdict::Dropped || decision.verdict == Verdict::Dropped,
                "{last:?} {decision:?}"
            );
            assert!(
                last.verdict != Verdict::Sampled || decision.verdict == Verdict::Sampled || promised,
                "{last:?} {decision:?}"
            );
        }
        let sent: BTreeSet<u64> =
            before.iter().flat_map(|decision| decision.records.iter().copied()).collect();
        let known: BTreeMap<u64, u32> = self
            .journal
            .records(decision.trace)
            .map(|(position, _, facts)| (position, facts.spans))
            .collect();
        assert!(decision.records.is_sorted_by(|one, next| one < next), "{decision:?}");
        for record in &decision.records {
            assert!(!sent.contains(record), "record {record} goes out twice: {decision:?}, sent {sent:?}");
            assert!(known.contains_key(record), "record {record} holds nothing of it: {decision:?}");
        }
        let spans: u32 = decision.records.iter().map(|record| known[record]).sum();
        let in_memory = self.crashes == 0 && self.shards.iter().all(|shard| shard.horizon().is_none());
        assert!(!in_memory || spans == decision.spans, "{spans} spans: {decision:?}");
        assert!(decision.verdict == Verdict::Sampled || decision.records.is_empty(), "{decision:?}");
    }

    /// What holds at the end under all settings: each record of a kept trace went out (once: `check`).
    pub fn check_sent(&self) {
        for trace in self.journal.traces() {
            let is_kept =
                self.journal.decisions(trace).last().is_some_and(|last| last.verdict == Verdict::Sampled);
            if !is_kept {
                continue;
            }
            let all: BTreeSet<u64> = self.journal.records(trace).map(|(position, _, _)| position).collect();
            let sent: BTreeSet<u64> =
                self.journal.decisions(trace).flat_map(|decision| decision.records.iter().copied()).collect();
            assert_eq!(
                all,
                sent,
                "{}: {:#?}",
                letter(trace),
                self.journal.decisions(trace).collect::<Vec<_>>()
            );
        }
    }
}

impl Shard {
    /// What holds whenever nothing waits.
    fn check_bounds(&self) {
        let stats = self.stats();
        let settings = (self.terms.num_traces, self.terms.overflow);
        if settings.1 == Overflow::DecideOldest {
            assert!(stats.undecided <= settings.0, "{stats:?}");
            // Rows of one request may be over, until the next trace comes.
            assert!(stats.undecided + stats.decided <= settings.0 + 32, "{stats:?}");
        }
        assert!(self.work.is_empty() && self.wishes.is_empty() && self.outgoing.is_empty());
        self.traces.check();
    }
}
