//! What waits to be told to one peer: a queue, and the courier that empties it. A wish waits until the peer has it or its
//! look-back is over; a peer that does not answer is called again, ever more seldom. Knows no HTTP.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::wire::{CALL_BYTES, Keep, MOST, Wanted, Wished};
use crate::delivery::random;
use crate::export::retry::{Backoff, Next, RetrySettings};
use crate::exposition::{Exposition, Kind, Labels};

/// Wishes that wait for one peer, at most: a few megabytes. Beyond it the newest are given up and counted; that peer has
/// been away for long, or this node keeps more linked traces than it can tell of.
pub(super) const WAITING: usize = 65_536;

const WAITING_HELP: &str = "Wishes that wait for a peer, or are under way to it.";
const WISHES_HELP: &str = "Wishes for traces of a peer: delivered, or given up because look-back was over, too many waited, or it refused.";
const CALLS_HELP: &str = "Calls of a peer that failed and are made again.";

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The peer has it, and will not forget.
    Taken,
    /// It may succeed later.
    Again(Failure, String),
    /// The peer will never take it.
    Never(String),
}

/// Why a call failed: a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failure {
    /// No connection, or no answer in time.
    Unreachable,
    /// It has another token.
    Unauthenticated,
    /// No pipeline of this name samples there.
    Unknown,
    /// It cannot take it now.
    Unavailable,
}

/// Whom the courier calls.
pub(super) trait Line: Send + Sync + 'static {
    fn keep(&self, call: Bytes) -> impl Future<Output = Delivery> + Send;
}

/// The queue.
pub(super) struct Outbox {
    node: Arc<str>,
    /// How long a wish is worth delivering.
    look_back: Duration,
    waiting: Mutex<VecDeque<Waiting>>,
    state: watch::Sender<State>,
    pub(super) counts: Counts,
}

#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) pipeline: Arc<str>,
    pub(super) wish: Wanted,
    pub(super) since: Instant,
}

impl Waiting {
    /// Whether both go in one call.
    fn goes_with(&self, other: &Self) -> bool {
        self.pipeline == other.pipeline && self.wish.is_link() == other.wish.is_link()
    }
}

/// What a drain, and the courier, wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    /// Queued and under way.
    waiting: usize,
    /// The last attempt failed.
    failing: bool,
}

/// Since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) delivered: AtomicU64,
    /// Look-back was over first.
    pub(super) expired: AtomicU64,
    /// Too many waited.
    pub(super) overflowed: AtomicU64,
    /// The peer will never take it.
    pub(super) refused: AtomicU64,
    pub(super) unreachable: AtomicU64,
    pub(super) unauthenticated: AtomicU64,
    pub(super) unknown: AtomicU64,
    pub(super) unavailable: AtomicU64,
}

impl Counts {
    /// Of wishes; delivered first, the others were given up.
    fn outcomes(&self) -> [(&'static str, u64); 4] {
        let Self { delivered, expired, overflowed, refused, .. } = self;
        [("delivered", delivered), ("expired", expired), ("overflowed", overflowed), ("refused", refused)]
            .map(|(outcome, count)| (outcome, count.load(Ordering::Relaxed)))
    }

    /// Of calls that are made again.
    fn failures(&self) -> [(&'static str, u64); 4] {
        [
            ("unreachable", Failure::Unreachable),
            ("unauthenticated", Failure::Unauthenticated),
            ("unknown", Failure::Unknown),
            ("unavailable", Failure::Unavailable),
        ]
        .map(|(reason, failure)| (reason, self.of(failure).load(Ordering::Relaxed)))
    }

    fn of(&self, failure: Failure) -> &AtomicU64 {
        match failure {
            Failure::Unreachable => &self.unreachable,
            Failure::Unauthenticated => &self.unauthenticated,
            Failure::Unknown => &self.unknown,
            Failure::Unavailable => &self.unavailable,
        }
    }
}

fn pauses() -> RetrySettings {
    RetrySettings {
        initial_interval: Duration::from_millis(200),
        multiplier: 2.0,
        max_interval: Duration::from_secs(5),
        max_elapsed_time: None,
        ..RetrySettings::default()
    }
}

impl Outbox {
    pub(super) fn new(node: Arc<str>, look_back: Duration) -> Arc<Self> {
        let (waiting, state) = (Mutex::default(), watch::Sender::default());
        Arc::new(Self { node, look_back, waiting, state, counts: Counts::default() })
    }

    pub(super) fn node(&self) -> &str {
        &self.node
    }

    pub(super) fn len(&self) -> usize {
        self.state.borrow().waiting
    }

    /// Wishes delivered, and given up.
    pub(super) fn outcomes(&self) -> (u64, u64) {
        let [(_, delivered), given_up @ ..] = self.counts.outcomes();
        (delivered, given_up.iter().map(|(_, count)| count).sum())
    }

    /// What it says of itself at `/metrics`.
    pub(super) fn write(&self, page: &mut Exposition) {
        let labels = |more: Option<(&str, &str)>| {
            let mut labels = Labels::default();
            labels.add("peer", &self.node);
            more.iter().for_each(|(key, value)| labels.add(key, value));
            labels.finish()
        };
        if let Some(family) = page.family("throughline_peers_waiting_wishes", Kind::Gauge, WAITING_HELP) {
            family.sample("", &labels(None), self.len());
        }
        let families = [
            ("throughline_peers_wishes_total", WISHES_HELP, "outcome", self.counts.outcomes()),
            ("throughline_peers_failed_calls_total", CALLS_HELP, "reason", self.counts.failures()),
        ];
        for (name, help, key, counts) in families {
            let Some(family) = page.family(name, Kind::Counter, help) else { continue };
            counts.iter().for_each(|(value, count)| family.sample("", &labels(Some((key, value))), count));
        }
    }

    /// Queues a wish; never blocks.
    pub(super) fn push(&self, item: Waiting) {
        let mut queue = self.queue();
        if queue.len() >= WAITING {
            self.counts.overflowed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.push_back(item);
        // Under the lock: the courier must not deliver what has not been counted.
        self.state.send_modify(|state| state.waiting += 1);
    }

    /// The peer never takes these.
    pub(super) fn refuse(&self, count: usize) {
        self.counts.refused.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Everything that waits and is not under way.
    pub(super) fn take_all(&self) -> VecDeque<Waiting> {
        let mut queue = self.queue();
        let taken = std::mem::take(&mut *queue);
        self.state.send_modify(|state| state.waiting -= taken.len());
        taken
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until nothing waits, or the peer does not take it.
    pub(super) async fn settled(&self) {
        // The sender is this outbox's own.
        let _ = self.state.subscribe().wait_for(|state| state.waiting == 0 || state.failing).await;
    }

    /// The wishes of one pipeline and kind, from the front, as many as fit in a call. Those whose look-back is over are given up.
    fn batch(&self) -> Vec<Waiting> {
        let mut queue = self.queue();
        let (mut batch, mut expired, mut bytes) = (Vec::<Waiting>::new(), 0, 0);
        while let Some(item) = queue.front().filter(|_| batch.len() < MOST) {
            if item.since.elapsed() > self.look_back {
                queue.pop_front();
                expired += 1;
                continue;
            }
            bytes += item.wish.bytes();
            let fits = match batch.first() {
                Some(first) => {
                    first.goes_with(item) && Keep::frame_bytes(&item.pipeline) + bytes <= CALL_BYTES
                }
                None => true,
            };
            if !fits {
                break;
            }
            batch.extend(queue.pop_front());
        }
        self.counts.expired.fetch_add(expired as u64, Ordering::Relaxed);
        self.state.send_modify(|state| state.waiting -= expired);
        batch
    }

    fn failed(&self, batch: Vec<Waiting>, failure: Failure) {
        self.counts.of(failure).fetch_add(1, Ordering::Relaxed);
        let mut queue = self.queue();
        match failure {
            // It may take those of other pipelines.
            Failure::Unknown => queue.extend(batch),
            _ => batch.into_iter().rev().for_each(|item| queue.push_front(item)),
        }
        self.state.send_modify(|state| state.failing = true);
    }

    fn done(&self, count: usize) {
        self.state.send_modify(|state| {
            state.waiting -= count;
            state.failing = false;
        });
    }
}

/// The courier: calls until it is dropped.
pub(super) async fn run<L: Line>(outbox: Arc<Outbox>, line: L) {
    let mut news = outbox.state.subscribe();
    let mut backoff = Backoff::new(pauses());
    let begun = Instant::now();
    // The sender lives as long as the outbox.
    while news.wait_for(|state| state.waiting > 0).await.is_ok() {
        let batch = outbox.batch();
        if batch.is_empty() {
            continue;
        }
        match line.keep(call(&batch)).await {
            Delivery::Taken => {
                outbox.counts.delivered.fetch_add(batch.len() as u64, Ordering::Relaxed);
                backoff = Backoff::new(pauses());
                outbox.done(batch.len());
            }
            Delivery::Never(why) => {
                tracing::error!(
                    peer = outbox.node(),
                    why,
                    wishes = batch.len(),
                    "a peer refuses wishes for good"
                );
                outbox.refuse(batch.len());
                outbox.done(batch.len());
            }
            Delivery::Again(failure, why) => {
                if backoff.failures() == 0 {
                    tracing::warn!(peer = outbox.node(), why, "a peer does not take wishes; they wait");
                }
                outbox.failed(batch, failure);
                if let Next::At(again) = backoff.failed(begun.elapsed(), random(), None) {
                    tokio::time::sleep_until(begun + again).await;
                }
            }
        }
    }
}

fn call(batch: &[Waiting]) -> Bytes {
    let wished = |item: &Waiting| Wished { wish: item.wish.clone(), age: item.since.elapsed() };
    let pipeline = batch.first().map(|item| item.pipeline.to_string()).unwrap_or_default();
    Bytes::from(Keep { pipeline, wishes: batch.iter().map(wished).collect() }.encode())
}

#[cfg(test)]
mod tests {
    use throughline_otlp::TraceId;
    use throughline_sampling::decision::{Reason, Wish};

    use super::super::wire::{Hand, Kept, What};
    use super::*;

    /// Answers as it is told, the last answer for ever; remembers what it was asked.
    #[derive(Clone)]
    struct Script {
        answers: Arc<Mutex<VecDeque<Delivery>>>,
        calls: Arc<Mutex<Vec<(Duration, Keep)>>>,
        begun: Instant,
    }

    impl Line for Script {
        async fn keep(&self, call: Bytes) -> Delivery {
            let keep = Keep::decode(&call).unwrap();
            self.calls.lock().unwrap().push((self.begun.elapsed(), keep));
            let mut answers = self.answers.lock().unwrap();
            if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() }
        }
    }

    fn trace(number: u8) -> TraceId {
        TraceId::new([number; 16]).unwrap()
    }

    fn item(pipeline: &str, number: u8) -> Waiting {
        let wish = Wanted::Link(Wish::Keep { trace: trace(number), from: trace(200), hops: 1 });
        Waiting { pipeline: Arc::from(pipeline), wish, since: Instant::now() }
    }

    fn again() -> Delivery {
        Delivery::Again(Failure::Unreachable, "down".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn what_nodes_of_before_refuse_goes_in_calls_of_its_own() {
        let outbox = Outbox::new(Arc::from("b"), Duration::from_secs(60));
        let (reason, by) = (Reason::NoPolicy, Arc::from("a"));
        let kept = Wanted::Kept(Kept {
            trace: trace(2),
            reason,
            hops: None,
            by,
            what: What::Spans,
            hand: Hand::First,
        });
        let kept = Waiting { wish: kept, ..item("traces", 2) };
        for item in [item("traces", 1), kept.clone(), kept, item("traces", 1)] {
            outbox.push(item);
        }
        assert_eq!([(); 3].map(|()| outbox.batch().len()), [1, 2, 1]);
    }

    /// Two wishes of one pipeline and one of another, then these answers; each call as `pipeline: traces`.
    async fn check(look_back: u64, answers: &[Delivery], expected: &[&str]) -> Arc<Outbox> {
        let outbox = Outbox::new(Arc::from("b:4317"), Duration::from_secs(look_back));
        for (pipeline, number) in [("traces", 1), ("traces", 2), ("traces/other", 3)] {
            outbox.push(item(pipeline, number));
        }
        let answers = Arc::new(Mutex::new(answers.iter().cloned().collect()));
        let script = Script { answers, calls: Arc::default(), begun: Instant::now() };
        let courier = tokio::spawn(run(Arc::clone(&outbox), script.clone()));
        let empty = async { outbox.state.subscribe().wait_for(|state| state.waiting == 0).await.map(|_| ()) };
        empty.await.unwrap();
        courier.abort();
        let calls = script.calls.lock().unwrap();
        let said = |(_, keep): &(Duration, Keep)| {
            let traces: Vec<_> =
                keep.wishes.iter().map(|it| it.wish.trace().bytes()[0].to_string()).collect();
            format!("{}: {}", keep.pipeline, traces.join(" "))
        };
        assert_eq!(calls.iter().map(said).collect::<Vec<_>>(), expected);
        let spent = calls.last().map(|(at, _)| *at).unwrap_or_default();
        let age = calls.last().and_then(|(_, keep)| keep.wishes.first().map(|it| it.age)).unwrap_or_default();
        assert_eq!(spent.as_millis(), age.as_millis(), "a wish says how old it is");
        drop(calls);
        outbox
    }

    fn counts(outbox: &Outbox) -> [u64; 4] {
        let Counts { delivered, expired, refused, unreachable, .. } = &outbox.counts;
        [delivered, expired, refused, unreachable].map(|count| count.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn a_wish_waits_until_the_peer_has_it_or_its_time_is_over() {
        let (one, other) = ("traces: 1 2", "traces/other: 3");
        let at_once = check(60, &[Delivery::Taken], &[one, other]).await;
        assert_eq!(counts(&at_once), [3, 0, 0, 0]);
        let later = check(60, &[again(), again(), Delivery::Taken], &[one, one, one, other]).await;
        assert_eq!(counts(&later), [3, 0, 0, 2]);
        let never = check(60, &[Delivery::Never("no such pipeline".to_owned())], &[one, other]).await;
        assert_eq!(counts(&never), [0, 0, 3, 0]);
        let half = check(60, &[Delivery::Never(String::new()), Delivery::Taken], &[one, other]).await;
        assert_eq!(counts(&half), [1, 0, 2, 0]);
        let outbox = Outbox::new(Arc::from("b"), Duration::from_secs(1));
        outbox.push(item("traces", 1));
        let answers = Arc::new(Mutex::new(VecDeque::from([again()])));
        let script = Script { answers, calls: Arc::default(), begun: Instant::now() };
        let courier = tokio::spawn(run(Arc::clone(&outbox), script));
        outbox.settled().await;
        assert_eq!(outbox.len(), 1, "settled, because the peer does not take it");
        outbox.state.subscribe().wait_for(|state| state.waiting == 0).await.map(|_| ()).unwrap();
        courier.abort();
        assert_eq!(counts(&outbox)[1], 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipeline_that_the_peer_does_not_know_does_not_hold_up_the_others() {
        let unknown = Delivery::Again(Failure::Unknown, "no pipeline".to_owned());
        let (one, other) = ("traces: 1 2", "traces/other: 3");
        let outbox = check(60, &[unknown, Delivery::Taken], &[one, other, one]).await;
        assert_eq!((counts(&outbox)[0], outbox.counts.unknown.load(Ordering::Relaxed)), (3, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_no_longer_than_is_taken_whatever_the_names() {
        let outbox = Outbox::new(Arc::from("b"), Duration::from_secs(60));
        let (reason, by) = (Reason::Policy("p".repeat(2_000).into()), Arc::from("n".repeat(253)));
        let (what, hand, hops) = (What::Spans, Hand::Second, Some(1));
        let kept = Wanted::Kept(Kept { trace: trace(2), reason, hops, by, what, hand });
        let pipeline = Arc::from("traces/".repeat(100));
        for _ in 0..MOST {
            outbox.push(Waiting { pipeline: Arc::clone(&pipeline), wish: kept.clone(), ..item("", 2) });
        }
        let mut sent = 0;
        while outbox.len() > 0 {
            let batch = outbox.batch();
            let length = call(&batch).len();
            assert!(length <= CALL_BYTES && (batch.len() + sent == MOST || length > CALL_BYTES * 9 / 10));
            sent += batch.len();
            outbox.done(batch.len());
        }
        assert_eq!(sent, MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_its_bound_the_newest_are_given_up_and_counted() {
        let outbox = Outbox::new(Arc::from("b"), Duration::from_secs(60));
        for _ in 0..WAITING + 3 {
            outbox.push(item("traces", 1));
        }
        assert_eq!((outbox.len(), outbox.counts.overflowed.load(Ordering::Relaxed)), (WAITING, 3));
        assert_eq!(outbox.batch().len(), MOST);
        assert_eq!(outbox.take_all().len(), WAITING - MOST);
    }
}
