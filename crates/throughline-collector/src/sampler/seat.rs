//! The thread of one shard: its inbox, its loop, and what others may know of it without asking the thread.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use throughline_journal::{Record, RecordKind};
use throughline_otlp::{TraceId, UnixNanos};
use throughline_sampling::decision::{Decision, Heard, Held, Reason, Trigger, Verdict, Wish};
use throughline_sampling::facts::{Now, TraceFacts};
use throughline_sampling::shard::Stats;

use super::Sampler;
use super::desk::{Desk, Write};
use super::record::{self, Decided};
use crate::delivery::queue::Unit;
use crate::intake::wall_clock;

/// Decisions that fall within this go into one record: a record for each costs more than the wait.
const TICK: Duration = Duration::from_millis(50);

/// Between two attempts to write decisions that the journal refused.
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// What a shard is told.
pub(crate) enum Message {
    /// A durable request: this shard's part of it, perhaps nothing.
    Arrived { position: u64, facts: Vec<TraceFacts> },
    /// A link from a trace that is kept, and how long ago that was found.
    Keep(Wish, Duration),
    /// What other nodes say of a trace.
    Told(TraceId, Box<Heard>),
    /// Another node asks what is held of these.
    Asked(Vec<TraceId>, Answer),
    /// The record of this number is durable.
    Durable(u64),
    /// It was not appended.
    Refused(Box<Write>),
    /// No wish is under way any more: a shutdown that waits for that may go on.
    Settled,
}

/// Takes what a shard holds of traces that were asked about. It must not block.
pub(crate) type Answer = Arc<dyn Fn(Vec<(TraceId, Held)>) + Send + Sync>;

/// Beyond so many wishes no more are taken from other processes: a quarter of what a shard has room for, as several may call
/// at the same time.
const BEHIND: usize = 16_384;

/// Traces answered for in one go: each may have to be looked up in the journal.
const ANSWERS: usize = 64;

/// How a shard ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// It goes on.
    No,
    /// Undecided traces stay in the journal and are decided by the next process.
    Resume,
    /// Everything is decided now.
    Decide,
}

/// One shard's place.
#[derive(Default)]
pub(crate) struct Seat {
    inbox: Mutex<Inbox>,
    changed: Condvar,
    needs_from: AtomicU64,
    full: AtomicBool,
    /// Wishes and words of other processes that the shard has not acted on.
    unheeded: AtomicUsize,
    figures: Mutex<Figures>,
}

struct Inbox {
    messages: VecDeque<Message>,
    stop: Stop,
}

/// Figures of one shard, for metrics and the page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) stats: Stats,
    /// First decisions and those that rose, by verdict and reason.
    pub(crate) decisions: BTreeMap<(&'static str, String), u64>,
    /// Spans kept.
    pub(crate) kept_spans: u64,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { messages: VecDeque::new(), stop: Stop::No }
    }
}

/// So many different reasons of one record of decisions are counted together: a policy is one, a linked trace is one.
const REASONS: usize = 16;

impl Figures {
    /// Adds what another shard has decided; what it holds is not added, as it is gone.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.kept_spans += other.kept_spans;
        for (key, count) in &other.decisions {
            *self.decisions.entry(key.clone()).or_default() += count;
        }
    }

    fn count(&mut self, decided: &Decided) {
        self.kept_spans += decided.decisions.iter().map(|decision| u64::from(decision.spans)).sum::<u64>();
        // A late span that follows its trace's decision is not another decision.
        let counts =
            |decision: &&Decision| decision.trigger != Trigger::Late || decision.verdict != Verdict::Sampled;
        // Thousands of decisions have a handful of reasons.
        let mut found: Vec<(Verdict, &Reason, u64)> = Vec::new();
        for Decision { verdict, reason, .. } in decided.decisions.iter().filter(counts) {
            if let Some((.., count)) =
                found.iter_mut().find(|(known, why, _)| known == verdict && *why == reason)
            {
                *count += 1;
            } else if found.len() < REASONS {
                found.push((*verdict, reason, 1));
            } else {
                self.add(*verdict, reason, 1);
            }
        }
        found.into_iter().for_each(|(verdict, reason, count)| self.add(verdict, reason, count));
    }

    fn add(&mut self, verdict: Verdict, reason: &Reason, count: u64) {
        let key = (record::verdict_name(verdict), record::reason_name(reason));
        *self.decisions.entry(key).or_default() += count;
    }
}

impl Seat {
    /// Puts a message into the inbox.
    pub(crate) fn tell(&self, message: Message) {
        self.inbox().messages.push_back(message);
        self.changed.notify_one();
    }

    pub(crate) fn stop(&self, how: Stop) {
        let mut inbox = self.inbox();
        inbox.stop = inbox.stop.max(how);
        drop(inbox);
        self.changed.notify_one();
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether more wishes than that wait, in the inbox or with the shard.
    pub(crate) fn is_behind(&self) -> bool {
        self.unheeded.load(Ordering::Relaxed) + self.inbox().messages.len() >= BEHIND
    }

    pub(crate) fn needs_from(&self) -> u64 {
        self.needs_from.load(Ordering::Acquire)
    }

    pub(crate) fn figures(&self) -> Figures {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body of the thread.
    pub(crate) fn run(&self, sampler: &Arc<Sampler>, mut desk: Desk) {
        let at = sampler.seats.iter().position(|seat| std::ptr::eq(seat, self)).unwrap_or_default();
        let mut decide_at = Duration::ZERO;
        let mut stopping = Stop::No;
        // Wishes heard whose consequences are not settled, and this shard's own part of a shutdown.
        let mut unsettled = 1;
        self.publish(&desk);
        loop {
            let (messages, stop) = self.wait(sampler, &desk, decide_at, stopping);
            for message in messages {
                unsettled += usize::from(matches!(message, Message::Keep(..)));
                hear(sampler, &mut desk, message);
            }
            let now = sampler.now();
            desk.reaches_back_to(sampler.first());
            if stop == Stop::Decide && unsettled > 0 {
                sampler.route(desk.shut_down(now, &mut sampler.history()));
                sampler.settle(std::mem::take(&mut unsettled));
            } else if stop == Stop::No && now.mono >= decide_at && is_due(&desk, now.mono) {
                sampler.route(desk.decide(now, &mut sampler.history()));
                decide_at = sampler.now().mono + TICK;
            }
            sampler.ask(desk.take_questions());
            stopping = stop;
            self.write(sampler, at, &mut desk);
            self.publish(&desk);
            if stop == Stop::Resume || (stop == Stop::Decide && desk.is_clear() && sampler.is_settled()) {
                return;
            }
        }
    }

    /// Everything in the inbox, once there is something, or something is due.
    fn wait(
        &self,
        sampler: &Sampler,
        desk: &Desk,
        decide_at: Duration,
        known: Stop,
    ) -> (VecDeque<Message>, Stop) {
        let now = sampler.opened.elapsed();
        let due = desk.deadline().map(|deadline| deadline.max(decide_at));
        let retry = desk.has_unwritten().then_some(now + RETRY_EVERY);
        let wake = due.into_iter().chain(retry).min();
        let idle = |inbox: &mut Inbox| inbox.messages.is_empty() && inbox.stop == known;
        let inbox = self.inbox();
        let mut inbox = match wake {
            None => self.changed.wait_while(inbox, idle).unwrap_or_else(PoisonError::into_inner),
            Some(wake) => {
                let wait = wake.saturating_sub(now);
                let waited = self.changed.wait_timeout_while(inbox, wait, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        (std::mem::take(&mut inbox.messages), inbox.stop)
    }

    /// Appends what was decided. The journal's thread tells the outlets, then this one.
    fn write(&self, sampler: &Arc<Sampler>, at: usize, desk: &mut Desk) {
        while let Some(write) = desk.next_write() {
            let payload = write.decided.encode();
            let mut record = Record::new(RecordKind::Decisions, wall_clock().0, payload);
            record.keys = write.keys.clone();
            if let Some(elsewhere) = sampler.elsewhere.get() {
                elsewhere.deciding(&write.decided);
            }
            let write = Arc::new(Mutex::new(Some(write)));
            let (owner, kept) = (Arc::clone(sampler), Arc::clone(&write));
            let appended = sampler.journal.append(record, move |outcome| {
                let Some(seat) = owner.seats.get(at) else { return };
                let Some(write) = kept.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
                match outcome {
                    Ok(position) => seat.written(&owner, position.0, &write),
                    Err(_) => seat.tell(Message::Refused(Box::new(write))),
                }
            });
            if appended.is_err() {
                let write = write.lock().unwrap_or_else(PoisonError::into_inner).take();
                write.iter().for_each(|write| desk.refused(write));
                return;
            }
        }
    }

    /// Decisions are durable. On the journal's thread.
    fn written(&self, sampler: &Sampler, position: u64, write: &Write) {
        let decided = &write.decided;
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).count(decided);
        let needs_from = decided.needs_from().unwrap_or(position).min(position);
        let unit = Unit { position, needs_from, items: decided.spans() };
        sampler.outlets.iter().for_each(|outlet| outlet.decided(unit));
        if let Some(elsewhere) = sampler.elsewhere.get() {
            elsewhere.decided(position, decided);
        }
        self.tell(Message::Durable(write.number));
    }

    /// Says what others may know without asking the thread.
    pub(super) fn publish(&self, desk: &Desk) {
        self.needs_from.store(desk.needs_from(), Ordering::Release);
        self.full.store(desk.shard().is_full(), Ordering::Relaxed);
        self.unheeded.store(desk.shard().unheeded(), Ordering::Relaxed);
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).stats = desk.shard().stats();
    }
}

fn hear(sampler: &Sampler, desk: &mut Desk, message: Message) {
    match message {
        Message::Arrived { position, facts } => {
            desk.arrived(sampler.now(), position, &facts);
            sampler.waiting.fetch_sub(facts.len(), Ordering::Relaxed);
        }
        Message::Keep(wish, age) => {
            let now = sampler.now();
            let wished = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
            desk.keep(Now { wall: UnixNanos(now.wall.0.saturating_sub(wished)), ..now }, wish);
        }
        Message::Told(trace, heard) => desk.told(trace, *heard),
        Message::Asked(mut traces, answer) => {
            let rest = traces.split_off(ANSWERS.min(traces.len()));
            // Behind whatever else is to be done.
            sampler.holds(&rest, &answer);
            answer(desk.holds(&traces, &mut sampler.history()));
        }
        Message::Durable(number) => desk.durable(number),
        Message::Refused(write) => desk.refused(&write),
        Message::Settled => {}
    }
}

fn is_due(desk: &Desk, now: Duration) -> bool {
    desk.deadline().is_some_and(|deadline| deadline <= now)
}
