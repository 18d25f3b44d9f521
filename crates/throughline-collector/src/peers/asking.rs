//! Asking peers what they hold of traces that are due here. Each peer has a queue of questions and a courier that calls with as
//! many as there are. A trace's shard hears in any case, once: when all that were asked have answered, or have failed to. No
//! call is made twice: a peer that is away is done without, and asks in turn when it is back. Knows no HTTP.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use throughline_otlp::TraceId;
use throughline_sampling::decision::{Heard, Held};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::wire::{Answered, Holding, Holds, OTHERS_MOST};
use crate::exposition::{Exposition, Kind, Labels};

/// Traces in one call: the peer's shards answer them between two requests.
const AT_ONCE: usize = 512;

/// Questions that wait for one peer, at most. Beyond it the newest go unanswered.
pub(super) const WAITING: usize = 65_536;

const HELP: &str = "Traces that a peer was asked about: answered, or decided without it because it was not reached, refused, was too slow or too many waited.";

/// Who asks.
pub(crate) trait Asker: Send + Sync {
    /// Name of the pipeline.
    fn pipeline(&self) -> &str;
    /// Says what plan facts are of.
    fn plan_mark(&self) -> u64;
    fn told(&self, trace: TraceId, heard: Heard);
}

/// One trace's questions, to however many peers. Whoever lets go of it last has the shard told.
pub(super) struct Inquiry {
    asker: Arc<dyn Asker>,
    trace: TraceId,
    gathered: Mutex<Gathered>,
}

#[derive(Default)]
struct Gathered {
    asked: Vec<Arc<str>>,
    answered: usize,
    held: Held,
}

impl Inquiry {
    pub(super) fn new(asker: &Arc<dyn Asker>, trace: TraceId) -> Arc<Self> {
        Arc::new(Self { asker: Arc::clone(asker), trace, gathered: Mutex::default() })
    }

    pub(super) fn trace(&self) -> TraceId {
        self.trace
    }

    /// Whether `node` is still to be asked; from now on it has been.
    pub(super) fn asks(&self, node: &Arc<str>) -> bool {
        let mut gathered = self.gathered();
        let more = !gathered.asked.contains(node) && gathered.asked.len() < 2 * OTHERS_MOST;
        if more {
            gathered.asked.push(Arc::clone(node));
        }
        more
    }

    fn answered(&self, mut held: Held, plan: u64) {
        if plan != self.asker.plan_mark() {
            held.facts = None;
        }
        let mut gathered = self.gathered();
        gathered.answered += 1;
        gathered.held.join(held);
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        let gathered = std::mem::take(&mut *self.gathered());
        let heard = match gathered.answered < gathered.asked.len() {
            true => Heard::Partly(gathered.held),
            false => Heard::Answer(gathered.held),
        };
        self.asker.told(self.trace, heard);
    }
}

struct Question {
    inquiry: Arc<Inquiry>,
    since: Instant,
}

impl Question {
    /// Whether both are of one pipeline.
    fn goes_with(&self, other: &Self) -> bool {
        self.inquiry.asker.pipeline() == other.inquiry.asker.pipeline()
    }
}

/// Questions that wait for one peer.
pub(super) struct Questions {
    node: Arc<str>,
    /// A question that has waited longer goes unanswered.
    patience: Duration,
    waiting: Mutex<VecDeque<Question>>,
    news: Notify,
    counts: Counts,
}

/// Since the start.
#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    unreachable: AtomicU64,
    refused: AtomicU64,
    late: AtomicU64,
    overflowed: AtomicU64,
}

/// Why a call was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// No connection, or no answer in time.
    Unreachable,
    /// It has another token, no such pipeline, or does not know the call.
    Refused,
}

/// Whom the courier calls.
pub(super) trait Line: Send + Sync + 'static {
    fn holds(&self, call: Bytes) -> impl Future<Output = Result<Vec<u8>, (Silence, String)>> + Send;

    /// This node's name.
    fn from(&self) -> String;

    /// The peer does hold a part of the trace.
    fn holding(&self, inquiry: &Inquiry, node: &str);

    /// These may hold a part of the trace too, as a peer says.
    fn named(&self, inquiry: &Arc<Inquiry>, others: &[Arc<str>]);
}

impl Questions {
    pub(super) fn new(node: Arc<str>, patience: Duration) -> Arc<Self> {
        let (waiting, news, counts) = (Mutex::default(), Notify::new(), Counts::default());
        Arc::new(Self { node, patience, waiting, news, counts })
    }

    /// Queues a question; never blocks.
    pub(super) fn push(&self, inquiry: &Arc<Inquiry>) {
        let mut waiting = self.queue();
        if waiting.len() >= WAITING {
            self.counts.overflowed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.push_back(Question { inquiry: Arc::clone(inquiry), since: Instant::now() });
        drop(waiting);
        self.news.notify_one();
    }

    /// Traces it was asked about: those it answered for, and the others.
    pub(super) fn outcomes(&self) -> (u64, u64) {
        let Counts { answered, unreachable, refused, late, overflowed } = &self.counts;
        let without = [unreachable, refused, late, overflowed].map(|count| count.load(Ordering::Relaxed));
        (answered.load(Ordering::Relaxed), without.iter().sum())
    }

    /// What it says of itself at `/metrics`.
    pub(super) fn write(&self, page: &mut Exposition) {
        let Counts { answered, unreachable, refused, late, overflowed } = &self.counts;
        let outcomes = [
            ("answered", answered),
            ("unreachable", unreachable),
            ("refused", refused),
            ("late", late),
            ("overflowed", overflowed),
        ];
        let Some(family) = page.family("throughline_peers_questions_total", Kind::Counter, HELP) else {
            return;
        };
        for (outcome, count) in outcomes {
            let mut labels = Labels::default();
            labels.add("peer", &self.node);
            labels.add("outcome", outcome);
            family.sample("", &labels.finish(), count.load(Ordering::Relaxed));
        }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Question>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Questions of one pipeline, from the front. Those that nobody waits for any more are given up.
    fn batch(&self) -> Vec<Question> {
        let (mut batch, mut late): (Vec<Question>, Vec<Question>) = (Vec::new(), Vec::new());
        let mut queue = self.queue();
        while let Some(question) = queue.front().filter(|_| batch.len() < AT_ONCE) {
            if question.since.elapsed() > self.patience {
                late.extend(queue.pop_front());
            } else if batch.first().is_none_or(|first| first.goes_with(question)) {
                batch.extend(queue.pop_front());
            } else {
                break;
            }
        }
        drop(queue);
        self.counts.late.fetch_add(late.len() as u64, Ordering::Relaxed);
        batch
    }

    fn hear<L: Line>(&self, batch: &[Question], answered: Answered, line: &L) {
        self.counts.answered.fetch_add(batch.len() as u64, Ordering::Relaxed);
        for (Question { inquiry, .. }, Holding { held, others }) in batch.iter().zip(answered.holdings) {
            line.named(inquiry, &others);
            if held != Held::default() {
                line.holding(inquiry, &self.node);
            }
            inquiry.answered(held, answered.plan);
        }
    }

    /// The peer does not answer: what waits for it goes without. It may know other pipelines than the one it was asked about.
    fn give_up(&self, batch: Vec<Question>, silence: Silence) {
        let is_lost = |question: &Question| match silence {
            Silence::Unreachable => true,
            Silence::Refused => batch.first().is_some_and(|first| first.goes_with(question)),
        };
        let (lost, rest): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut *self.queue()).into_iter().partition(is_lost);
        // What came meanwhile came later.
        let mut queue = self.queue();
        let later = std::mem::replace(&mut *queue, rest);
        queue.extend(later);
        drop(queue);
        let count = match silence {
            Silence::Unreachable => &self.counts.unreachable,
            Silence::Refused => &self.counts.refused,
        };
        count.fetch_add((batch.len() + lost.len()) as u64, Ordering::Relaxed);
    }
}

/// The courier: calls until it is dropped.
pub(super) async fn run<L: Line>(questions: Arc<Questions>, line: L) {
    let mut silent = false;
    loop {
        let batch = questions.batch();
        if batch.is_empty() {
            questions.news.notified().await;
            continue;
        }
        match call(&batch, &line).await {
            Ok(answered) => {
                silent = false;
                questions.hear(&batch, answered, &line);
            }
            Err((silence, why)) => {
                if !std::mem::replace(&mut silent, true) {
                    let (peer, traces) = (&*questions.node, batch.len());
                    tracing::warn!(
                        peer,
                        why,
                        traces,
                        "a peer does not say what it holds; decided on what is here"
                    );
                }
                questions.give_up(batch, silence);
            }
        }
    }
}

async fn call<L: Line>(batch: &[Question], line: &L) -> Result<Answered, (Silence, String)> {
    let holds = Holds {
        pipeline: batch.first().map_or("", |first| first.inquiry.asker.pipeline()).to_owned(),
        from: line.from(),
        traces: batch.iter().map(|question| question.inquiry.trace).collect(),
    };
    let answer = line.holds(Bytes::from(holds.encode())).await?;
    Answered::decode(&answer, &holds.traces).map_err(|error| (Silence::Refused, error.to_string()))
}

#[cfg(test)]
mod tests;
