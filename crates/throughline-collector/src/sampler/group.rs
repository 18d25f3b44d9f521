//! Tail sampling by partition: while a partition of a topic is this process's, it has a sampler of its own, whose traces are
//! forgotten with it: they are the next owner's then. What other processes have to know goes into a [`Book`] that all of them
//! read.
//!
//! It refuses to know what the book is written on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::Duration;

use throughline_journal::Journal;
use throughline_otlp::TraceId;
use throughline_sampling::decision::{Decision, Verdict, Wish};
use throughline_sampling::facts::TraceFacts;
use throughline_sampling::shard::{Before, Restored};
use throughline_sampling::{Budgets, Plan};

use super::elsewhere::Elsewhere;
use super::record::Decided;
use super::{Build, Figures, Form, Parts, Sampler, Stop, Threads};
use crate::intake::wall_clock;
use crate::outlet::Outlet;

/// What every process of a group is told.
pub(crate) trait Book: Send + Sync {
    /// Decisions about traces of a partition. Until they are in the book, everything from position `needs_from` of the journal
    /// on is needed. Does not block.
    fn decided(&self, partition: u32, decided: &Decided, needs_from: u64);
    /// A decision whose spans every outlet has. Does not block.
    fn delivered(&self, partition: u32, decision: &Decision);
    /// A wish for a trace that may be anybody's; as for `decided`. Does not block.
    fn wish(&self, wish: Wish, needs_from: u64);
    /// The partition a trace falls to.
    fn partition(&self, trace: TraceId) -> u32;
    /// The lowest position that is needed for what is on its way into the book; [`u64::MAX`] if nothing is.
    fn needs_from(&self) -> u64;
    /// Whether more may come.
    fn has_room(&self) -> bool;
}

/// The samplers of the partitions that are this process's.
pub(crate) struct Group {
    pipeline: String,
    intakes: Vec<u16>,
    plan: Arc<Plan>,
    budgets: Arc<Budgets>,
    journal: Journal,
    outlets: Vec<Outlet>,
    grace: Duration,
    look_back: Duration,
    members: RwLock<BTreeMap<u32, Member>>,
    /// What partitions that are gone have decided.
    retired: Mutex<Figures>,
    /// First position that nobody has been told of.
    next: AtomicU64,
    book: OnceLock<Arc<dyn Book>>,
    undelivered: Mutex<VecDeque<Undelivered>>,
    /// Lowest position that was needed when the process began to end.
    left: AtomicU64,
}

struct Member {
    sampler: Arc<Sampler>,
    /// `None` while it is being closed.
    threads: Option<Threads>,
}

/// Decisions that bring back what had been passed over: the next owner has to know whether their spans went out.
struct Undelivered {
    position: u64,
    partition: u32,
    decisions: Vec<Decision>,
}

impl Group {
    pub(super) fn new(build: &Build, journal: Journal) -> Arc<Self> {
        Arc::new(Self {
            pipeline: build.pipeline.clone(),
            intakes: build.intakes.clone(),
            plan: Arc::clone(&build.plan),
            budgets: Arc::clone(&build.budgets),
            journal,
            outlets: build.outlets.clone(),
            grace: build.grace,
            look_back: build.look_back,
            members: RwLock::default(),
            retired: Mutex::default(),
            next: AtomicU64::new(0),
            book: OnceLock::new(),
            undelivered: Mutex::default(),
            left: AtomicU64::new(u64::MAX),
        })
    }

    /// Name of the pipeline.
    pub(crate) fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// Says where the book is: once, before the first partition is opened.
    pub(crate) fn connect(&self, book: Arc<dyn Book>) {
        // A second one would be a mistake of this crate; the first stays.
        let _ = self.book.set(book);
    }

    /// A partition is this process's from now on, with what was decided about it before and what is wished of it. Whatever
    /// the journal holds of it is history.
    pub(crate) fn open(
        self: &Arc<Self>,
        partition: u32,
        decisions: Vec<Decision>,
        wishes: Vec<Wish>,
    ) -> io::Result<()> {
        let next = self.journal.stats().last.map_or(0, |last| last.0.saturating_add(1));
        let before = next.checked_sub(1).map(|position| Before { position, wall: wall_clock() });
        let build = Build {
            pipeline: self.pipeline.clone(),
            intakes: self.intakes.clone(),
            plan: Arc::clone(&self.plan),
            budgets: Arc::clone(&self.budgets),
            outlets: self.outlets.clone(),
            form: Form::Shards(1),
            before,
            grace: self.grace,
            look_back: self.look_back,
            ask_wait: Duration::ZERO,
        };
        let (sampler, mut shards) = Sampler::new(build, self.journal.clone());
        let border = Border {
            group: Arc::downgrade(self),
            sampler: Arc::downgrade(&sampler),
            partition,
            passed_over: Mutex::default(),
        };
        sampler.connect(Arc::new(border));
        let now = sampler.now();
        for decision in decisions {
            let restored = Restored::Decision(decision);
            shards.iter_mut().for_each(|shard| shard.restore(now, &restored));
        }
        let threads = Some(sampler.start(shards, next)?);
        wishes.into_iter().for_each(|wish| sampler.wish(wish, Duration::ZERO));
        self.write_members().insert(partition, Member { sampler, threads });
        Ok(())
    }

    /// A partition is another process's: nothing undecided of it is decided here any more, and what was decided still goes out.
    /// Returns the lowest position that was needed for its sake. Blocks until its thread has ended.
    pub(crate) fn close(&self, partition: u32, how: Stop) -> Option<u64> {
        self.end(partition, how, |_| ())
    }

    /// All of them, as the process ends. What was needed for their sake stays needed: nobody has given them back yet.
    pub(super) fn close_all(&self, how: Stop) {
        let partitions: Vec<u32> = self.members().keys().copied().collect();
        for partition in partitions {
            self.end(partition, how, |needed| {
                self.left.fetch_min(needed, Ordering::AcqRel);
            });
        }
    }

    /// `needed` is told the lowest position before anybody could miss it.
    fn end(&self, partition: u32, how: Stop, needed: impl FnOnce(u64)) -> Option<u64> {
        let (sampler, threads) = {
            let mut members = self.write_members();
            let member = members.get_mut(&partition)?;
            (Arc::clone(&member.sampler), member.threads.take())
        };
        self.tell_next(&sampler);
        // Its thread may want to know who else is here: not under the lock.
        threads.into_iter().for_each(|threads| threads.stop(how));
        let needs_from = sampler.needs_from();
        needed(needs_from);
        self.write_members().remove(&partition);
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        sampler.figures().iter().for_each(|figures| retired.absorb(figures));
        Some(needs_from)
    }

    /// A wish that stood in the book. `false`: the partition is not this process's.
    pub(crate) fn wish(&self, partition: u32, wish: Wish) -> bool {
        let members = self.members();
        let member = members.get(&partition);
        member.inspect(|member| member.sampler.wish(wish, Duration::ZERO)).is_some()
    }

    /// Notes in the book what has been delivered since.
    pub(crate) fn note_delivered(&self) {
        let delivered = self.outlets.iter().map(Outlet::resume_at).fold(u64::MAX, u64::min);
        loop {
            let mut undelivered = self.undelivered.lock().unwrap_or_else(PoisonError::into_inner);
            if undelivered.front().is_none_or(|first| first.position >= delivered) {
                return;
            }
            let first = undelivered.pop_front();
            drop(undelivered);
            if let (Some(book), Some(first)) = (self.book.get(), first) {
                for decision in &first.decisions {
                    book.delivered(first.partition, decision);
                }
            }
        }
    }

    pub(super) fn arrived(&self, position: u64, partition: Option<u32>, mut parts: Parts) {
        let facts: Vec<TraceFacts> = parts.0.pop().unwrap_or_default();
        if let Some(member) =
            partition.and_then(|partition| self.members().get(&partition).map(Member::sampler))
        {
            member.arrived(position, Parts(vec![facts]));
        }
        self.passed(position);
    }

    pub(super) fn passed(&self, position: u64) {
        self.next.fetch_max(position.saturating_add(1), Ordering::AcqRel);
    }

    /// Lowest position that must stay readable.
    pub(super) fn needs_from(&self) -> u64 {
        let next = self.next.load(Ordering::Acquire);
        let samplers: Vec<Arc<Sampler>> = self.members().values().map(Member::sampler).collect();
        let needed = |sampler: &Arc<Sampler>| {
            self.tell_next(sampler);
            sampler.needs_from()
        };
        let undecided = samplers.iter().map(needed).fold(next, u64::min);
        let written = self.book.get().map_or(u64::MAX, |book| book.needs_from());
        undecided.min(written).min(self.left.load(Ordering::Acquire))
    }

    /// A sampler hears of what is not its own only when somebody wants to know what it needs: waking each for every record
    /// would cost more than it is worth.
    fn tell_next(&self, sampler: &Sampler) {
        let last = self.next.load(Ordering::Acquire).checked_sub(1);
        last.into_iter().for_each(|last| sampler.passed(last));
    }

    pub(super) fn has_room(&self) -> bool {
        self.book.get().is_none_or(|book| book.has_room())
            && self.members().values().all(|member| member.sampler.has_room())
    }

    pub(super) fn figures(&self) -> Vec<Figures> {
        let retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut figures = vec![retired];
        self.members().values().for_each(|member| figures.extend(member.sampler.figures()));
        figures
    }

    fn members(&self) -> RwLockReadGuard<'_, BTreeMap<u32, Member>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_members(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<u32, Member>> {
        self.members.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    fn sampler(&self) -> Arc<Sampler> {
        Arc::clone(&self.sampler)
    }
}

/// Where one partition ends and the others begin.
struct Border {
    group: Weak<Group>,
    sampler: Weak<Sampler>,
    partition: u32,
    /// Traces of decisions under way whose spans had been passed over.
    passed_over: Mutex<BTreeSet<TraceId>>,
}

impl Border {
    fn passed_over(&self) -> MutexGuard<'_, BTreeSet<TraceId>> {
        self.passed_over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn needs_from(&self) -> u64 {
        self.sampler.upgrade().map_or(0, |sampler| sampler.needs_from())
    }
}

impl Elsewhere for Border {
    fn take(&self, _: &str, wish: Wish) -> Option<Wish> {
        let group = self.group.upgrade()?;
        let Some(book) = group.book.get() else { return Some(wish) };
        let partition = book.partition(wish.trace());
        if partition == self.partition {
            return Some(wish);
        }
        if !group.wish(partition, wish) {
            book.wish(wish, self.needs_from());
        }
        None
    }

    fn deciding(&self, decided: &Decided) {
        if let Some(group) = self.group.upgrade()
            && let Some(book) = group.book.get()
        {
            let needs_from = self.needs_from();
            let back = decided.decisions.iter().filter(|decision| passes_back(decision, needs_from));
            self.passed_over().extend(back.map(|decision| decision.trace));
            book.decided(self.partition, decided, needs_from);
        }
    }

    fn decided(&self, position: u64, decided: &Decided) {
        let Some(group) = self.group.upgrade() else { return };
        let mut passed_over = self.passed_over();
        let sampled = |decision: &&Decision| decision.verdict == Verdict::Sampled;
        let back = decided.decisions.iter().filter(sampled).filter(|it| passed_over.remove(&it.trace));
        let decisions: Vec<Decision> = back.cloned().collect();
        drop(passed_over);
        if !decisions.is_empty() {
            let undelivered = Undelivered { position, partition: self.partition, decisions };
            group.undelivered.lock().unwrap_or_else(PoisonError::into_inner).push_back(undelivered);
        }
    }
}

/// Whether spans of the trace go out that were passed over before, as nothing below `needs_from` was needed any more: the
/// committed offset does not wait for those.
pub(crate) fn passes_back(decision: &Decision, needs_from: u64) -> bool {
    decision.verdict == Verdict::Sampled && decision.records.first().is_some_and(|first| *first < needs_from)
}
