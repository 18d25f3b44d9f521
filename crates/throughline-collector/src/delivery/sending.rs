//! The sending half of an exporter: each request on its own until the backend has it, several at a time.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use throughline_otlp::Signal;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::{Delivery, read_back};
use crate::export::retry::{Backoff, Next};
use crate::export::{Body, Outcome, Rejected};
use crate::log::is_worth_a_line;

/// Where requests go.
pub(crate) trait Destination: Send + Sync + 'static {
    /// Sends one export request, once.
    fn send(&self, signal: Signal, request: Body) -> impl Future<Output = Outcome> + Send;
}

/// One request to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) signal: Signal,
    /// An export request, protobuf.
    pub(super) body: Body,
    /// Spans or log records in it.
    pub(super) items: u64,
}

impl From<read_back::Request> for Request {
    fn from(request: read_back::Request) -> Self {
        let read_back::Request { signal, body, items } = request;
        Self { signal, body: body.into(), items }
    }
}

/// The units that a few requests were read from: acknowledged together, when the last request is.
pub(crate) struct Job {
    positions: Vec<u64>,
    /// Requests under way, and the reader while it reads.
    holders: AtomicUsize,
}

/// A request, and the job it is part of.
pub(crate) struct Sending {
    request: Request,
    job: Arc<Job>,
}

impl Job {
    /// A job held by the reader.
    pub(super) fn new(positions: Vec<u64>) -> Arc<Self> {
        Arc::new(Self { positions, holders: AtomicUsize::new(1) })
    }

    /// A holder lets go; whether it was the last.
    pub(super) fn is_last(&self) -> bool {
        self.holders.fetch_sub(1, Ordering::AcqRel) == 1
    }

    pub(super) fn positions(&self) -> &[u64] {
        &self.positions
    }
}

impl Sending {
    pub(super) fn new(request: Request, job: &Arc<Job>) -> Self {
        job.holders.fetch_add(1, Ordering::AcqRel);
        Self { request, job: Arc::clone(job) }
    }
}

/// Sends what comes until nothing more does, then waits for what is under way.
pub(super) async fn run<D: Destination>(
    delivery: Arc<Delivery>,
    destination: Arc<D>,
    mut requests: mpsc::Receiver<Sending>,
) {
    let slots = Arc::new(Semaphore::new(delivery.settings.in_flight.max(1)));
    let mut under_way = JoinSet::new();
    while let Some(sending) = requests.recv().await {
        // Never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        while under_way.try_join_next().is_some() {}
        let (delivery, destination) = (Arc::clone(&delivery), Arc::clone(&destination));
        under_way.spawn(async move {
            send(&delivery, destination.as_ref(), sending.request).await;
            delivery.finish(&sending.job);
            drop(slot);
        });
    }
    while under_way.join_next().await.is_some() {}
}

/// Until the backend has the request, refuses it for good, or the time for it is over.
async fn send<D: Destination>(delivery: &Delivery, destination: &D, request: Request) {
    let Request { signal, mut body, items } = request;
    let begun = tokio::time::Instant::now();
    let mut backoff = Backoff::new(delivery.settings.retry.clone());
    loop {
        let (after, why) = match destination.send(signal, body.clone()).await {
            Outcome::Accepted { rejected } => return accepted(delivery, items, rejected.unwrap_or_default()),
            Outcome::Refused { why } => return lost(delivery, items, &why),
            Outcome::Retry { after, why, rest, .. } => {
                // What has arrived is not sent again.
                body = rest.unwrap_or(body);
                (after, why)
            }
        };
        delivery.counts().failed_attempts.fetch_add(1, Ordering::Relaxed);
        match backoff.failed(begun.elapsed(), random(), after) {
            Next::At(again) => {
                delivery.failing(&why, backoff.failures());
                tokio::time::sleep_until(begun + again).await;
            }
            Next::GiveUp { .. } => {
                return lost(delivery, items, &format!("given up after max_elapsed_time: {why}"));
            }
        }
    }
}

pub(super) fn accepted(delivery: &Delivery, items: u64, rejected: Rejected) {
    let Rejected { items: lost, why } = rejected;
    delivery.counts().sent.fetch_add(items.saturating_sub(lost), Ordering::Relaxed);
    if lost > 0 || !why.is_empty() {
        delivery.counts().refused.fetch_add(lost, Ordering::Relaxed);
        let before = delivery.counts().remarks.fetch_add(1, Ordering::Relaxed);
        if is_worth_a_line(before) {
            let (exporter, answers) = (delivery.name(), before + 1);
            tracing::warn!(exporter, rejected = lost, why, answers, "said by the backend");
        }
    }
}

pub(super) fn lost(delivery: &Delivery, items: u64, why: &str) {
    delivery.counts().refused.fetch_add(items, Ordering::Relaxed);
    let before = delivery.counts().dropped_requests.fetch_add(1, Ordering::Relaxed);
    if is_worth_a_line(before) {
        let (exporter, dropped) = (delivery.name(), before + 1);
        tracing::error!(exporter, items, why, dropped, "a request is dropped");
    }
}

/// A number in [0, 1) for the jitter, from the standard library's randomly seeded hasher.
pub(crate) fn random() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let bits = RandomState::new().hash_one(0_u8) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}
