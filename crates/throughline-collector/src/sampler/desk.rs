//! One shard, what it has decided and not yet written, and how far it has read: without threads or files, so that a
//! simulation can drive it. The order that makes a crash harmless is kept here: a decision is handed out to be written
//! first, and only what is durable is told to the exporters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use throughline_journal::Keys;
use throughline_otlp::{TraceId, UnixNanos};
use throughline_sampling::Shard;
use throughline_sampling::decision::{Decision, Heard, Held, History, Past, Verdict, Wish};
use throughline_sampling::facts::{Now, TraceFacts};
use throughline_sampling::shard::{Ending, Output};

use super::keys;
use super::record::Decided;

/// Decisions in one record at most: a few hundred kilobytes.
const DECISIONS_A_RECORD: usize = 8_192;

/// And so many positions, unless a single decision names more: it has to fit into a segment of the smallest journal.
const POSITIONS_A_RECORD: usize = 65_536;

/// A shard at work.
pub(crate) struct Desk {
    shard: Shard,
    pipeline: String,
    output: Output,
    /// Decided and not durable yet, by number: in the order in which it was decided.
    undurable: BTreeMap<u64, Arc<Decided>>,
    /// Which of those are to be handed out. Lowest first: a full journal gets room from the oldest traces.
    unwritten: BTreeSet<u64>,
    /// The next number.
    decided: u64,
    /// First position that the shard has not seen.
    next: u64,
    /// First position that the journal still has.
    first: u64,
}

/// A record of decisions to append.
#[derive(Debug)]
pub(crate) struct Write {
    /// To be given back to [`Desk::durable`] or [`Desk::refused`].
    pub(crate) number: u64,
    pub(crate) decided: Arc<Decided>,
    pub(crate) keys: Keys,
}

impl Desk {
    /// A desk whose shard has seen everything before position `next`.
    pub(crate) fn new(shard: Shard, pipeline: &str, next: u64) -> Self {
        Self {
            shard,
            pipeline: pipeline.to_owned(),
            output: Output::default(),
            undurable: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            decided: 0,
            next,
            first: 0,
        }
    }

    /// The shard, to read its figures or to restore it.
    pub(crate) fn shard(&self) -> &Shard {
        &self.shard
    }

    /// The shard's part of a durable request; none of it may be this shard's.
    pub(crate) fn arrived(&mut self, now: Now, position: u64, facts: &[TraceFacts]) {
        if !facts.is_empty() {
            self.shard.handle(now, position, facts);
        }
        self.next = self.next.max(position.saturating_add(1));
    }

    /// A link from a trace that is kept.
    pub(crate) fn keep(&mut self, now: Now, wish: Wish) {
        self.shard.keep(now, wish);
    }

    /// What other nodes say of a trace.
    pub(crate) fn told(&mut self, trace: TraceId, heard: Heard) {
        self.shard.told(trace, heard);
    }

    /// What is held here of traces.
    pub(crate) fn holds(&self, traces: &[TraceId], history: &mut dyn History) -> Vec<(TraceId, Held)> {
        let pending = self.undurable.values().cloned().collect();
        let mut history = WithPending { history, pending, index: None };
        traces.iter().map(|trace| (*trace, self.shard.holds(*trace, &mut history))).collect()
    }

    /// Traces about which other nodes are to be asked.
    pub(crate) fn take_questions(&mut self) -> Vec<TraceId> {
        std::mem::take(&mut self.output.questions)
    }

    /// The journal begins here now: what a shard remembers of before is gone, and no decision names it.
    pub(crate) fn reaches_back_to(&mut self, first: u64) {
        self.first = first;
    }

    /// When there is something to decide, in the monotone time of [`Now`].
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.shard.deadline()
    }

    /// Decides what is due. Returns the wishes that follow from it, for the shards that own their traces.
    pub(crate) fn decide(&mut self, now: Now, history: &mut dyn History) -> Vec<Wish> {
        let pending = self.undurable.values().cloned().collect();
        self.shard.poll(now, &mut WithPending { history, pending, index: None }, &mut self.output);
        self.hand_out()
    }

    /// Sorts what came out of the shard: decisions to be written, wishes for the caller.
    fn hand_out(&mut self) -> Vec<Wish> {
        let mut decisions: Vec<Decision> = std::mem::take(&mut self.output.decisions);
        let first = self.first;
        for decision in &mut decisions {
            if decision.records.first().is_some_and(|record| *record < first) {
                decision.records.retain(|record| *record >= first);
            }
        }
        while !decisions.is_empty() {
            let rest = decisions.split_off(some_of(&decisions));
            let pipeline = self.pipeline.clone();
            self.undurable.insert(self.decided, Arc::new(Decided { pipeline, decisions }));
            self.unwritten.insert(self.decided);
            self.decided += 1;
            decisions = rest;
        }
        std::mem::take(&mut self.output.wishes)
    }

    /// The next record to append.
    pub(crate) fn next_write(&mut self) -> Option<Write> {
        let number = self.unwritten.pop_first()?;
        let decided = Arc::clone(self.undurable.get(&number)?);
        let keys = keys::of_decisions(&decided.decisions);
        Some(Write { number, decided, keys })
    }

    /// The record is durable, and its exporters have been told.
    pub(crate) fn durable(&mut self, number: u64) {
        self.undurable.remove(&number);
    }

    /// The record was not appended: it comes again from [`Desk::next_write`].
    pub(crate) fn refused(&mut self, write: &Write) {
        self.unwritten.insert(write.number);
    }

    /// Lowest position whose record must stay readable for this shard's sake.
    pub(crate) fn needs_from(&self) -> u64 {
        let undurable = self.undurable.values().map(|decided| decided.needs_from());
        let undecided = std::iter::once(self.shard.oldest_undecided());
        undurable.chain(undecided).flatten().fold(self.next, u64::min)
    }

    /// Whether decisions wait to be handed out, because the journal refused them.
    pub(crate) fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Whether every decision made is durable.
    pub(crate) fn is_clear(&self) -> bool {
        self.undurable.is_empty()
    }

    /// Decides what is left at a shutdown that does not resume.
    pub(crate) fn shut_down(&mut self, now: Now, history: &mut dyn History) -> Vec<Wish> {
        let pending = self.undurable.values().cloned().collect();
        let mut history = WithPending { history, pending, index: None };
        self.shard.shutdown(now, Ending::Final, &mut history, &mut self.output);
        self.hand_out()
    }
}

/// How many of the decisions fit into one record; one at least.
fn some_of(decisions: &[Decision]) -> usize {
    let mut positions = 0;
    let fits = |decision: &&Decision| {
        positions += decision.records.len();
        positions <= POSITIONS_A_RECORD
    };
    decisions.iter().take(DECISIONS_A_RECORD).take_while(fits).count().clamp(1, decisions.len().max(1))
}

/// History with the decisions that are made and not durable yet, which the journal cannot know.
struct WithPending<'a> {
    history: &'a mut dyn History,
    pending: Vec<Arc<Decided>>,
    /// Where in `pending` a trace's decisions stand: made at the first question, as there is seldom one.
    index: Option<BTreeMap<TraceId, Vec<(usize, usize)>>>,
}

impl WithPending<'_> {
    fn of(&mut self, trace: TraceId) -> Vec<&Decision> {
        let pending = &self.pending;
        let index = self.index.get_or_insert_with(|| {
            let mut index: BTreeMap<TraceId, Vec<(usize, usize)>> = BTreeMap::new();
            for (at, decided) in pending.iter().enumerate() {
                for (of, decision) in decided.decisions.iter().enumerate() {
                    index.entry(decision.trace).or_default().push((at, of));
                }
            }
            index
        });
        let places = index.get(&trace).into_iter().flatten();
        places.filter_map(|(at, of)| pending.get(*at)?.decisions.get(*of)).collect()
    }
}

impl History for WithPending<'_> {
    fn past(&mut self, trace: TraceId) -> Option<Past> {
        let mut past = self.history.past(trace)?;
        for decision in self.of(trace) {
            if decision.verdict == Verdict::Sampled {
                past.sent_through = past.sent_through.max(decision.records.last().copied());
            }
            past.decided = Some((decision.verdict, decision.reason.clone(), decision.hops));
        }
        Some(past)
    }

    fn lies_before(&mut self, trace: TraceId, first: u64) -> bool {
        self.history.lies_before(trace, first)
    }

    fn dependants(&mut self, trace: TraceId, limit: usize) -> Vec<TraceId> {
        self.history.dependants(trace, limit)
    }

    fn elsewhere(&mut self, trace: TraceId) -> Option<UnixNanos> {
        self.history.elsewhere(trace)
    }
}

#[cfg(test)]
mod tests {
    use throughline_otlp::UnixNanos;
    use throughline_sampling::decision::{Reason, Trigger};
    use throughline_sampling::shard::ShardOptions;

    use super::super::tests::{facts, plan};
    use super::*;

    fn check(positions: &[usize], expected: usize) {
        let decision = |count: &usize| Decision {
            trace: TraceId::from_hex(&format!("{:032x}", 1)).unwrap(),
            verdict: Verdict::Sampled,
            reason: Reason::NoPolicy,
            trigger: Trigger::Wait,
            hops: None,
            records: vec![1; *count],
            spans: 1,
            through: 1,
            left_out: 0,
        };
        let decisions: Vec<_> = positions.iter().map(decision).collect();
        assert_eq!(some_of(&decisions), expected, "{} of {positions:?}", decisions.len());
    }

    #[test]
    fn a_record_holds_so_many_decisions_and_positions_and_one_at_least() {
        check(&[1; 3], 3);
        check(&vec![1; DECISIONS_A_RECORD + 1], DECISIONS_A_RECORD);
        check(&[POSITIONS_A_RECORD / 2; 3], 2);
        check(&[POSITIONS_A_RECORD + 1, 1], 1);
    }

    struct Nothing;

    impl History for Nothing {
        fn past(&mut self, _: TraceId) -> Option<Past> {
            None
        }

        fn dependants(&mut self, _: TraceId, _: usize) -> Vec<TraceId> {
            Vec::new()
        }
    }

    /// The records of the late decision on a trace that came at 10 and 30, when the journal begins at `first` by then.
    fn named(first: u64) -> Vec<u64> {
        let plan = plan();
        let budgets = Arc::new(plan.budgets());
        let mut desk = Desk::new(Shard::new(plan, budgets, ShardOptions::default()), "traces", 0);
        let at = |seconds: u64| Now {
            wall: UnixNanos(seconds * 1_000_000_000),
            mono: Duration::from_secs(seconds),
        };
        desk.arrived(at(1), 10, &[facts(1, 1, &[])]);
        desk.decide(at(7200), &mut Nothing);
        let early = desk.next_write().unwrap();
        assert_eq!(early.decided.decisions[0].verdict, Verdict::NotSampled);
        desk.durable(early.number);
        desk.reaches_back_to(first);
        desk.arrived(at(7201), 30, &[facts(1, 1, &[])]);
        desk.decide(at(7202), &mut Nothing);
        let late = desk.next_write().unwrap();
        assert_eq!(late.decided.decisions[0].verdict, Verdict::Sampled);
        late.decided.decisions[0].records.clone()
    }

    #[test]
    fn what_the_journal_refused_comes_again_oldest_first() {
        let plan = plan();
        let budgets = Arc::new(plan.budgets());
        let mut desk = Desk::new(Shard::new(plan, budgets, ShardOptions::default()), "traces", 0);
        for number in 1..=3 {
            let at = |seconds| Now {
                wall: UnixNanos(seconds * 1_000_000_000),
                mono: Duration::from_secs(seconds),
            };
            let arrived = u64::from(number) * 10_000;
            desk.arrived(at(arrived), u64::from(number) * 10, &[facts(number, 2, &[])]);
            desk.decide(at(arrived + 7200), &mut Nothing);
        }
        let numbers = |desk: &mut Desk| std::iter::from_fn(|| desk.next_write()).collect::<Vec<_>>();
        let writes = numbers(&mut desk);
        assert_eq!(writes.len(), 3);
        writes.iter().for_each(|write| desk.refused(write));
        assert!(desk.has_unwritten());
        let again: Vec<_> = numbers(&mut desk).iter().map(|write| write.number).collect();
        assert_eq!(again, [0, 1, 2]);
        assert_eq!(desk.needs_from(), 10);
        desk.durable(0);
        assert_eq!(desk.needs_from(), 20);
    }

    #[test]
    fn no_decision_names_what_the_journal_has_let_go_of() {
        assert_eq!(named(10), [10, 30]);
        assert_eq!(named(11), [30]);
    }
}
