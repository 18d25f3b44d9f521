//! Owns traces from their first span to long after their decision: deadlines, late spans, linked traces. No clock, no I/O,
//! no randomness: what comes out depends only on what goes in, and in which order.
//!
//! ```text
//! handle, keep, told, restore -> queues -> poll -> Output { decisions, wishes, questions }
//! ```
//!
//! `handle`, `keep`, `told` and `restore` only note things down; [`Shard::poll`] decides. [`Shard::deadline`] says when it has to
//! be called: at once if something waits. A caller that polls after every `handle` keeps every bound below exactly.
//!
//! # The life of a trace
//!
//! *Undecided*: a row with merged facts and the numbers of the records that hold its spans, no bodies. It is decided at
//! `decision_wait` after its first span or `decision_wait_after_root_received` after its root, earlier if `num_traces` is
//! reached, if it grows too large, at arrival (`span-ingest`), or because a trace kept on its own merit is linked with it.
//!
//! *Aside*: due, but History says that other nodes may hold a part of it: they are asked, and it waits for the answer, as long
//! as `ask_wait` at most and not at all beyond `num_traces`. The submodule `elsewhere` has the rules.
//!
//! *Decided*: the row stays as long as there are no more than `num_traces` rows, so that a late span that makes a policy
//! say yes brings the whole trace without touching a disk. Then a memo (verdict, reason, hops) stays as long as the
//! decision cache allows; then it is forgotten, and [`Shard::horizon`] says that what arrived before may be known to
//! [`History`] only. A filter knows which traces those are, but for the oldest: History is asked when such a trace is decided,
//! never when its spans arrive, and once per row.
//!
//! A verdict only rises. `Dropped` is final; a late span of a sampled trace goes out, whatever it would have voted. No record
//! of a trace goes out twice in one process. One exception to "drop is stronger": what has been sampled stays sampled.
//!
//! # Memory
//!
//! `num_traces` and the decision caches are the pipeline's; a shard holds its part of them ([`ShardOptions::shards`]).
//!
//! | what | bytes | how many at most |
//! |---|---|---|
//! | row | 128 | `num_traces`, and those of requests handled since the last `poll` |
//! | five records, or some of five, beyond a trace's first | 32 | [`MAX_RECORDS`] records a row; beyond, History is asked if it is kept |
//! | memo | 36 | two decision caches |
//! | table | 10 to 15 a row or memo | |
//! | cell that is free again | 4 more | |
//! | forgotten trace: one bit in a filter, or several | 2 | 16 x `num_traces`; of older ones only their time is known |
//! | trace that waits for other nodes, or of which they hold facts | about 100, about 250 more | those that are asked about |
//! | link | 16, and about 120 for a trace that has some | `max_links` in all, [`MAX_LINKS`] a trace |
//! | trace kept because of another, or waiting for one | 16, and about 120 for each other | `max_links` each |
//!
//! So a trace of 8 spans in 8 requests takes 128 + 2 x 32 + 10 to 15: at most 207 bytes, whatever its spans weigh.
//!
//! # When the order of arrival matters
//!
//! The final set of kept traces is the same under any order of arrival, any split into requests and any number of shards,
//! as long as new facts can only turn a no into a yes, and within `look_back`. It is not with
//!
//! - budgets (`rate_limiting`, `bytes_limiting`, `composite`): who comes first uses them up;
//! - `drop`: it is final where it is seen first, and comes too late where the trace has been kept;
//! - upper bounds (`upper_threshold_ms`, `max_spans`, `maximum_trace_size_bytes`), `invert_match` and `not`: a trace that
//!   was kept before it grew out of them stays kept;
//! - `sample_on_first_match` together with `linked_traces`: another policy may come first, from which links do not spread;
//! - `max_traces` and [`MAX_LINKS`], where they are reached: the first ones win.
//!
//! Reasons and triggers depend on the order always: a trace kept by a link may later show merit of its own.
//!
//! # After a crash
//!
//! [`Shard::restore`] takes arrivals and decisions as the journal has them, from [`Shard::oldest_undecided`] or earlier.
//! Decisions that are in the journal are taken as they are. Wishes are not in the journal: each restored decision from
//! which links spread asks for them once more. A wish under way when the process died is found again if the decision from
//! which it came is among those restored: begin a few seconds before the oldest undecided record.

mod arrive;
mod aside;
mod decide;
mod elsewhere;
mod forgotten;
mod holds;
mod links;
mod options;
mod past;
mod reasons;
mod records;
mod restore;
mod row;
mod set_aside;
mod sets;
mod slab;
mod stats;
mod table;
#[cfg(test)]
mod tests;
mod traces;
mod warm;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

pub use options::{Before, Ending, ShardOptions};
pub use records::MAX_RECORDS;
pub use restore::Restored;
pub use stats::Stats;
use throughline_otlp::{TraceId, UnixNanos};

use crate::budget::Budgets;
use crate::decision::{Decision, Heard, History, Trigger, Wish};
use crate::facts::{MAX_LINKS, Now, TraceFacts};
use crate::judge::Judge;
use crate::plan::Plan;
use crate::settings::{LinkedTraces, Overflow, Settings, Shutdown, Strategy};
use decide::Words;
use reasons::Reasons;
use row::{Flags, State};
use sets::Sets;
use traces::{Bounds, Traces, seconds};
use warm::BLOCK;

/// What comes out of a shard: appended, never cleared, by [`Shard::poll`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// To be journalled, then acted on.
    pub decisions: Vec<Decision>,
    /// To be handed to the owner of [`Wish::trace`], which may be this shard: [`Shard::keep`].
    pub wishes: Vec<Wish>,
    /// Traces of which other nodes may hold a part, which are to be asked. The answer goes to [`Shard::told`]; one that is
    /// due waits for it, `ask_wait` at most.
    pub questions: Vec<TraceId>,
}

/// Owner of the traces whose ids fall to it. See the [module](self).
#[derive(Debug)]
pub struct Shard {
    judge: Judge,
    terms: Terms,
    links: Option<LinkedTraces>,
    options: ShardOptions,
    traces: Traces,
    /// Rows that have to be looked at before their time: late spans, size, `span-ingest`, a promise that comes true.
    work: VecDeque<Work>,
    /// With the time, in seconds, at which they came.
    wishes: VecDeque<(u32, Wish)>,
    /// What other nodes said.
    answers: VecDeque<(TraceId, Heard)>,
    outgoing: Vec<Wish>,
    /// Traces that link to a trace of this shard, kept or not.
    waiting: Sets,
    /// Traces asked for because of a trace of this shard that is kept on its own merit.
    granted: Sets,
    reasons: Reasons,
    /// The highest record handled: History may know later ones, which have yet to come.
    handled: u64,
    /// Deadlines handed out never go back, so that lists by arrival are lists by deadline.
    last_due: u64,
    last_root_due: u64,
    stats: Stats,
}

/// Settings as the shard uses them.
#[derive(Clone, Copy, Debug)]
struct Terms {
    wait: Duration,
    root_wait: Option<Duration>,
    /// This shard's part of them.
    num_traces: usize,
    max_bytes: u64,
    overflow: Overflow,
    strategy: Strategy,
    shutdown: Shutdown,
}

/// A row that is to be looked at.
#[derive(Clone, Copy, Debug)]
struct Work {
    slot: u32,
    position: u64,
}

/// One call of `poll`.
struct Turn<'a> {
    now: Now,
    history: &'a mut dyn History,
    out: &'a mut Output,
}

impl Shard {
    /// An empty shard that decides after `plan`, with `budgets` made for the same plan.
    #[must_use]
    pub fn new(plan: Arc<Plan>, budgets: Arc<Budgets>, options: ShardOptions) -> Self {
        let settings = plan.settings();
        let part = |all: std::num::NonZeroUsize| all.get().div_ceil(options.shards.get());
        let mut terms = Terms::of(settings, part(settings.num_traces));
        if plan.may_drop() {
            // A yes at a span's arrival would not be final: a span still to come may drop the trace.
            terms.strategy = Strategy::TraceComplete;
        }
        let cache = |size: Option<std::num::NonZeroUsize>| size.map_or(terms.num_traces, part);
        let bounds = Bounds {
            rows: terms.num_traces,
            sampled: cache(settings.decision_cache.sampled),
            not_sampled: cache(settings.decision_cache.non_sampled),
            links: options.max_links,
        };
        let links = plan.links().cloned();
        let max_traces = links.as_ref().map_or(0, |links| links.max_traces.get());
        let mut traces = Traces::new(options.seed, bounds);
        options.before.iter().for_each(|before| traces.forget_before(seconds(before.wall)));
        Self {
            judge: Judge::new(plan, budgets),
            terms,
            waiting: Sets::new(MAX_LINKS, options.max_links),
            granted: Sets::new(max_traces, options.max_links),
            links,
            handled: options.before.map_or(0, |before| before.position),
            options,
            traces,
            work: VecDeque::new(),
            wishes: VecDeque::new(),
            answers: VecDeque::new(),
            outgoing: Vec::new(),
            reasons: Reasons::default(),
            last_due: 0,
            last_root_due: 0,
            stats: Stats::default(),
        }
    }

    /// Takes what the record at `position` says of traces of this shard. Positions ascend from call to call; each trace
    /// stands in `facts` once.
    pub fn handle(&mut self, now: Now, position: u64, facts: &[TraceFacts]) {
        let arrival = self.arrival(now, position);
        for block in facts.chunks(BLOCK) {
            let numbers = self.traces.warm(block);
            for (facts, number) in block.iter().zip(numbers) {
                let known = self.traces.find_warm(number, facts.trace);
                self.arrive(known, &arrival, facts);
            }
        }
    }

    /// Takes what another shard or node, or this one, asks of a trace of this shard. The next [`Shard::poll`] acts on it.
    pub fn keep(&mut self, now: Now, wish: Wish) {
        if self.links.is_none() || self.wishes.len() >= self.options.max_wishes {
            self.stats.wishes_refused += 1;
            return;
        }
        self.wishes.push_back((seconds(now.wall), wish));
    }

    /// The monotone time at which [`Shard::poll`] is to be called: zero means at once. `None` if nothing is undecided.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        if self.is_busy() {
            return Some(Duration::ZERO);
        }
        let due = |slot: u32| self.traces.row(slot).due;
        let fronts = [self.traces.roots.front(), self.traces.arrivals.front()];
        let overdue = self.traces.aside.next().map(|(due, _)| due);
        fronts.into_iter().flatten().map(due).chain(overdue).min().map(Duration::from_nanos)
    }

    /// Decides what is due, and what waits because of spans or wishes that came: at most `options.slice` of each.
    pub fn poll(&mut self, now: Now, history: &mut dyn History, out: &mut Output) {
        self.traces.begin_turn();
        let mut turn = Turn { now, history, out };
        self.do_work(&mut turn);
        self.do_wishes(&mut turn);
        self.do_answers(&mut turn);
        self.do_due(&mut turn);
        self.traces.end_turn();
        out.wishes.append(&mut self.outgoing);
        self.waiting.expire(seconds(now.wall));
        self.granted.expire(seconds(now.wall));
    }

    /// The first record of the trace that has been undecided longest, or of late spans that wait for the next `poll`: what a
    /// restart has to restore from. `None` if nothing needs restoring.
    #[must_use]
    pub fn oldest_undecided(&self) -> Option<u64> {
        let oldest = self.traces.arrivals.front().map(|slot| self.traces.row(slot).first);
        let waiting = self.work.front().map(|work| work.position);
        oldest.into_iter().chain(waiting).chain(self.traces.aside.oldest()).min()
    }

    /// What arrived before this may be known to History only. `None`: nothing was forgotten.
    #[must_use]
    pub fn horizon(&self) -> Option<UnixNanos> {
        self.traces.horizon.map(|seconds| UnixNanos(u64::from(seconds) * 1_000_000_000))
    }

    /// From now on History is asked about traces that may have spans from before `wall`: another node owned some of them.
    pub fn forgotten_before(&mut self, wall: UnixNanos) {
        self.traces.forget_before(seconds(wall));
    }

    /// Whether `num_traces` undecided traces are held and `block_on_overflow` is set: take no new requests until this is
    /// false again.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.terms.overflow == Overflow::Block && self.traces.undecided() >= self.terms.num_traces
    }

    /// What it counted and holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats;
        self.traces.measure(&mut stats);
        stats.links += self.waiting.members() + self.granted.members();
        stats
    }

    /// Decides what a shutdown has to decide. Wishes that come out still have to be handed over, and `shutdown` called once
    /// more after them.
    pub fn shutdown(&mut self, now: Now, ending: Ending, history: &mut dyn History, out: &mut Output) {
        while self.is_busy() {
            self.poll(now, history, out);
        }
        self.traces.begin_turn();
        self.traces.bring_all_back();
        let mut turn = Turn { now, history, out };
        while let Some(slot) = self.traces.arrivals.front() {
            match (self.terms.shutdown, ending) {
                (Shutdown::Resume, Ending::Resumes) => break,
                (Shutdown::Resume, Ending::Final) => {
                    self.decide(slot, Trigger::Shutdown, Words::default(), &mut turn)
                }
                (Shutdown::Drop, _) => self.drop_pending(slot, &mut turn),
            }
        }
        self.traces.end_turn();
        out.wishes.append(&mut self.outgoing);
    }

    fn is_busy(&self) -> bool {
        !(self.work.is_empty()
            && self.wishes.is_empty()
            && self.answers.is_empty()
            && self.outgoing.is_empty())
            || self.overflows()
    }

    fn overflows(&self) -> bool {
        self.terms.overflow == Overflow::DecideOldest
            && self.traces.undecided() > self.terms.num_traces
            && self.traces.arrivals.len() > 0
    }

    fn do_work(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..self.options.slice {
            let Some(Work { slot, .. }) = self.work.pop_front() else { return };
            let row = self.traces.row_mut(slot);
            row.flags.clear(Flags::QUEUED);
            if row.flags.clear(Flags::SPREAD) {
                self.spread_again(slot, turn);
            }
            let row = self.traces.row(slot);
            let trigger = match row.state {
                State::Dropped => continue,
                State::NotSampled | State::Sampled => Trigger::Late,
                State::Undecided if row.hops.is_some() => Trigger::Link,
                State::Undecided if row.bytes > self.terms.max_bytes => Trigger::Size,
                State::Undecided => Trigger::Ingest,
            };
            self.decide(slot, trigger, Words::default(), turn);
        }
    }

    fn do_due(&mut self, turn: &mut Turn<'_>) {
        self.do_overdue(turn);
        for _ in 0..self.options.slice {
            let Some((slot, trigger)) = self.next_due(turn.now) else { return };
            self.decide(slot, trigger, Words::default(), turn);
        }
    }

    fn next_due(&self, now: Now) -> Option<(u32, Trigger)> {
        let oldest = self.traces.arrivals.front()?;
        if self.overflows() {
            return Some((oldest, Trigger::Evicted));
        }
        let fronts = [self.traces.roots.front(), Some(oldest)].into_iter().flatten();
        let slot =
            fronts.into_iter().find(|slot| Duration::from_nanos(self.traces.row(*slot).due) <= now.mono)?;
        let by_root = self.traces.row(slot).flags.has(Flags::IN_ROOTS);
        Some((slot, if by_root { Trigger::Root } else { Trigger::Wait }))
    }
}

impl Terms {
    fn of(settings: &Settings, num_traces: usize) -> Self {
        Self {
            wait: settings.decision_wait,
            root_wait: settings.decision_wait_after_root,
            num_traces,
            max_bytes: settings.maximum_trace_size_bytes.map_or(u64::MAX, std::num::NonZeroU64::get),
            overflow: settings.overflow,
            strategy: settings.strategy,
            shutdown: settings.shutdown,
        }
    }
}
