//! Tail sampling of one pipeline: a thread for each shard, around the [`Desk`] that decides.
//!
//! Durable requests come in from the journal's thread, each shard's part to its inbox. Decisions go back into the journal
//! as records, and once durable to the pipeline's outlets, on the journal's thread again: so an outlet hears of them in
//! the order of their positions, and never of one that a crash could take back.
//!
//! A wish for a trace goes to the shard that owns it, or to [`Elsewhere`] if another process does.
//!
//! An inbox holds what its shard has not seen. [`Sampler::has_room`] says when that is too much: the receiver then refuses,
//! before the journal has the request.

pub(crate) mod desk;
pub(crate) mod elsewhere;
pub(crate) mod group;
pub(crate) mod history;
pub(crate) mod keys;
pub(crate) mod record;
mod seat;
#[cfg(test)]
mod simulation;
#[cfg(test)]
pub(crate) mod tests;

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, iter};

use throughline_journal::Journal;
use throughline_otlp::{Counts, TraceId, WireError};
use throughline_sampling::decision::{Decision, Heard, Wish};
use throughline_sampling::facts::{Now, TraceFacts};
use throughline_sampling::shard::{Before, ShardOptions};
use throughline_sampling::{Budgets, Plan, Shard, Survey};

use self::desk::Desk;
use self::elsewhere::Elsewhere;
use self::group::Group;
use self::history::JournalHistory;
pub(crate) use self::seat::Answer;
use self::seat::{Message, Seat};
use crate::intake::wall_clock;
use crate::look_back;
use crate::outlet::Outlet;

pub(crate) use self::seat::{Figures, Stop};

/// Facts (one for each trace in a request) that wait for their shards, over all shards, before the receiver is told to
/// wait. About 100 bytes each.
const WAITING_FACTS: usize = 1_000_000;

/// A pipeline's sampler.
pub(crate) struct Sampler {
    pub(crate) pipeline: String,
    /// Which receivers' requests feed it.
    pub(crate) intakes: Vec<u16>,
    plan: Arc<Plan>,
    /// What is older is not brought back.
    pub(crate) look_back: Duration,
    journal: Journal,
    outlets: Vec<Outlet>,
    seats: Vec<Seat>,
    /// In place of seats.
    group: Option<Arc<Group>>,
    waiting: AtomicUsize,
    /// Wishes told and not yet followed by whatever follows from them, and shards that have yet to decide what a shutdown
    /// decides: until it is zero, such a shutdown waits.
    unsettled: AtomicUsize,
    elsewhere: OnceLock<Arc<dyn Elsewhere>>,
    plan_mark: u64,
    opened: Instant,
}

/// The facts of a request, each with its shard.
pub(crate) struct Parts(pub(crate) Vec<Vec<TraceFacts>>);

/// The running threads of a sampler.
pub(crate) struct Threads {
    sampler: Arc<Sampler>,
    handles: Vec<JoinHandle<()>>,
}

/// What a sampler is built of.
pub(crate) struct Build {
    pub(crate) pipeline: String,
    pub(crate) intakes: Vec<u16>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) outlets: Vec<Outlet>,
    pub(crate) form: Form,
    /// What the shards are never handed, though the journal may have it.
    pub(crate) before: Option<Before>,
    pub(crate) grace: Duration,
    pub(crate) look_back: Duration,
    /// How long a trace that is due waits for what other processes hold of it.
    pub(crate) ask_wait: Duration,
}

/// Who the traces of a pipeline are divided among.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// So many shards, by the trace id.
    Shards(usize),
    /// The partitions that are this process's, as they come and go.
    Partitions,
}

impl Sampler {
    /// A sampler that has seen nothing, and its shards, to be restored before [`Sampler::start`].
    pub(crate) fn new(build: Build, journal: Journal) -> (Arc<Self>, Vec<Shard>) {
        let group = (build.form == Form::Partitions).then(|| Group::new(&build, journal.clone()));
        let Build { pipeline, intakes, plan, budgets, outlets, form, before, grace, look_back, ask_wait } =
            build;
        let count = match form {
            Form::Shards(count) => count.max(1),
            Form::Partitions => 0,
        };
        let seed = RandomState::new().hash_one(0_u8);
        let divided = NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        let options =
            || ShardOptions { seed, shards: divided, grace, before, ask_wait, ..ShardOptions::default() };
        let shards =
            iter::repeat_with(|| Shard::new(Arc::clone(&plan), Arc::clone(&budgets), options())).take(count);
        let shards = shards.collect();
        let seats = iter::repeat_with(Seat::default).take(count).collect();
        let plan_mark = mark_of(&plan);
        let sampler = Self {
            pipeline,
            intakes,
            plan,
            look_back,
            journal,
            outlets,
            seats,
            group,
            waiting: AtomicUsize::new(0),
            unsettled: AtomicUsize::new(count),
            elsewhere: OnceLock::new(),
            plan_mark,
            opened: Instant::now(),
        };
        (Arc::new(sampler), shards)
    }

    /// Says who owns what is not this process's: once, before [`Sampler::start`].
    pub(crate) fn connect(&self, elsewhere: Arc<dyn Elsewhere>) {
        // A second one would be a mistake of this crate; the first stays.
        let _ = self.elsewhere.set(elsewhere);
    }

    /// Starts a thread for each shard, which have seen everything before position `next`.
    pub(crate) fn start(self: &Arc<Self>, shards: Vec<Shard>, next: u64) -> io::Result<Threads> {
        if let (Some(group), Some(last)) = (&self.group, next.checked_sub(1)) {
            group.passed(last);
        }
        let mut threads = Threads { sampler: Arc::clone(self), handles: Vec::new() };
        for (at, shard) in shards.into_iter().enumerate() {
            let sampler = Arc::clone(self);
            let desk = Desk::new(shard, &self.pipeline, next);
            // Before its thread does it again: what it needs of the journal is asked for at once.
            self.seats.get(at).into_iter().for_each(|seat| seat.publish(&desk));
            let named = thread::Builder::new().name(format!("shard-{at}"));
            threads.handles.push(named.spawn(move || {
                let _leaving = Leaving(&sampler);
                if let Some(seat) = sampler.seats.get(at) {
                    seat.run(&sampler, desk);
                }
            })?);
        }
        Ok(threads)
    }

    /// What the policies ask of a request.
    pub(crate) fn scan(&self, request: &[u8]) -> Result<Vec<TraceFacts>, WireError> {
        self.plan.scan(request)
    }

    /// The same, with where in the request each trace stands.
    pub(crate) fn survey(&self, request: &[u8]) -> Result<Survey, WireError> {
        self.plan.survey(request)
    }

    /// The same of a request that has not been checked yet, and is on the way.
    pub(crate) fn check(&self, request: &[u8]) -> Result<(Counts, Survey), WireError> {
        self.plan.check(request)
    }

    /// Sorts facts by the shard that owns their trace.
    pub(crate) fn split(&self, facts: Vec<TraceFacts>) -> Parts {
        if self.seats.len() == 1 || self.group.is_some() {
            return Parts(vec![facts]);
        }
        // Their shares are nearly equal.
        let share = facts.len() / self.seats.len() + facts.len() / 8 + 8;
        let mut parts: Vec<Vec<TraceFacts>> = self.seats.iter().map(|_| Vec::with_capacity(share)).collect();
        for fact in facts {
            if let Some(part) = parts.get_mut(self.owner(fact.trace)) {
                part.push(fact);
            }
        }
        Parts(parts)
    }

    /// The samplers of partitions, if it is divided so.
    pub(crate) fn group(&self) -> Option<&Arc<Group>> {
        self.group.as_ref()
    }

    /// Where kept traces go.
    pub(crate) fn outlets(&self) -> &[Outlet] {
        &self.outlets
    }

    /// Which shard owns a trace.
    pub(crate) fn owner(&self, trace: TraceId) -> usize {
        owner(trace, self.seats.len())
    }

    /// Whether more may come: else the client is to try again later.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < WAITING_FACTS
            && !self.seats.iter().any(Seat::is_full)
            && self.group.as_ref().is_none_or(|group| group.has_room())
    }

    /// Whether so many wishes wait that no more are to be taken from other processes now: what was taken is not refused later.
    pub(crate) fn is_behind(&self) -> bool {
        self.seats.iter().any(Seat::is_behind)
    }

    /// Called by the journal's thread, in order of position.
    pub(crate) fn arrived(&self, position: u64, parts: Parts) {
        for (seat, facts) in self.seats.iter().zip(parts.0) {
            self.waiting.fetch_add(facts.len(), Ordering::Relaxed);
            seat.tell(Message::Arrived { position, facts });
        }
    }

    /// As [`Sampler::arrived`], of a request that came from a partition.
    pub(crate) fn arrived_from(&self, partition: Option<u32>, position: u64, parts: Parts) {
        match &self.group {
            Some(group) => group.arrived(position, partition, parts),
            None => self.arrived(position, parts),
        }
    }

    /// A request that is not this pipeline's: noted, so that the journal is not held for its sake.
    pub(crate) fn passed(&self, position: u64) {
        self.group.iter().for_each(|group| group.passed(position));
        for seat in &self.seats {
            seat.tell(Message::Arrived { position, facts: Vec::new() });
        }
    }

    /// Sends wishes to whoever owns their traces.
    fn route(&self, wishes: Vec<Wish>) {
        for wish in wishes {
            let ours = match self.elsewhere.get() {
                Some(elsewhere) => elsewhere.take(&self.pipeline, wish),
                None => Some(wish),
            };
            ours.into_iter().for_each(|wish| self.wish(wish, Duration::ZERO));
        }
    }

    /// Sends on which traces other processes are to be asked about.
    fn ask(self: &Arc<Self>, traces: Vec<TraceId>) {
        if let Some(elsewhere) = self.elsewhere.get().filter(|_| !traces.is_empty()) {
            elsewhere.ask(self, traces);
        }
    }

    /// What other processes say of a trace.
    pub(crate) fn told(&self, trace: TraceId, heard: Heard) {
        if let Some(seat) = self.seats.get(self.owner(trace)) {
            seat.tell(Message::Told(trace, Box::new(heard)));
        }
    }

    /// What is held of traces here: each shard answers for its own, to `answer`.
    pub(crate) fn holds(&self, traces: &[TraceId], answer: &Answer) {
        for (at, seat) in self.seats.iter().enumerate() {
            let own: Vec<TraceId> = traces.iter().copied().filter(|trace| self.owner(*trace) == at).collect();
            if !own.is_empty() {
                seat.tell(Message::Asked(own, Arc::clone(answer)));
            }
        }
    }

    /// Says what plan facts are of: those of another plan mean something else.
    pub(crate) fn plan_mark(&self) -> u64 {
        self.plan_mark
    }

    /// Takes a wish for a trace of this process, made so long ago.
    pub(crate) fn wish(&self, wish: Wish, age: Duration) {
        if let Some(seat) = self.seats.get(self.owner(wish.trace())) {
            self.unsettled.fetch_add(1, Ordering::AcqRel);
            seat.tell(Message::Keep(wish, age));
        }
    }

    /// What follows from so many wishes, or first passes of a shutdown, has been told.
    fn settle(&self, count: usize) {
        if count > 0 && self.unsettled.fetch_sub(count, Ordering::AcqRel) == count {
            self.seats.iter().for_each(|seat| seat.tell(Message::Settled));
        }
    }

    fn is_settled(&self) -> bool {
        self.unsettled.load(Ordering::Acquire) == 0
    }

    /// Lowest position whose record must stay readable for undecided traces.
    pub(crate) fn needs_from(&self) -> u64 {
        match &self.group {
            Some(group) => group.needs_from(),
            None => self.seats.iter().map(Seat::needs_from).min().unwrap_or(u64::MAX),
        }
    }

    /// Figures of each shard.
    pub(crate) fn figures(&self) -> Vec<Figures> {
        match &self.group {
            Some(group) => group.figures(),
            None => self.seats.iter().map(Seat::figures).collect(),
        }
    }

    /// The last decision on a trace, as far back as the journal reaches.
    pub(crate) fn decision(&self, trace: TraceId) -> Option<Decision> {
        self.history().last_decision(trace)
    }

    /// How far back linked traces reach; `None` if links are not followed.
    pub(crate) fn look_back(&self) -> Option<Duration> {
        self.plan.links().map(|links| links.look_back)
    }

    pub(crate) fn history(&self) -> JournalHistory<'_> {
        let Self { journal, plan, pipeline, intakes, .. } = self;
        let since = look_back::since(wall_clock(), self.look_back);
        let elsewhere = self.elsewhere.get().map(|elsewhere| &**elsewhere);
        JournalHistory { journal, plan, pipeline, intakes, since, needed_from: self.needs_from(), elsewhere }
    }

    /// The first position that the journal still has.
    pub(crate) fn first(&self) -> u64 {
        self.journal.stats().first.map_or(0, |first| first.0)
    }

    pub(crate) fn now(&self) -> Now {
        Now { wall: wall_clock(), mono: self.opened.elapsed() }
    }
}

/// The policies of a plan as a number: FNV-1a of how they print. Another build may print them otherwise; then nodes do not
/// share facts.
fn mark_of(plan: &Plan) -> u64 {
    let text = format!("{} {:?}", env!("CARGO_PKG_VERSION"), plan.settings().policies);
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Which of `shards` owns a trace: any function of the id will do, as long as all parts of a process agree.
pub(crate) fn owner(trace: TraceId, shards: usize) -> usize {
    let [.., a, b, c, d, e, f, g, h] = trace.bytes();
    // The low half is random where the high half may hold a clock; mixed, since some generators leave its low bits flat.
    let mixed = u64::from_le_bytes([a, b, c, d, e, f, g, h]).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from((u128::from(mixed) * shards.max(1) as u128) >> 64).unwrap_or_default()
}

impl Threads {
    /// Stops the shards: what is undecided stays in the journal for the next start, or is decided now.
    pub(crate) fn stop(mut self, how: Stop) {
        self.end(how);
    }

    fn end(&mut self, how: Stop) {
        self.sampler.seats.iter().for_each(|seat| seat.stop(how));
        self.sampler.group.iter().for_each(|group| group.close_all(how));
        for handle in self.handles.drain(..) {
            if handle.join().is_err() {
                tracing::error!(pipeline = self.sampler.pipeline, "a shard's thread panicked");
            }
        }
    }
}

/// Held by a shard's thread. If that panics nobody waits for what it would have settled.
struct Leaving<'a>(&'a Sampler);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.unsettled.store(0, Ordering::Release);
            self.0.seats.iter().for_each(|seat| seat.tell(Message::Settled));
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.end(Stop::Resume);
    }
}
