//! The end of a send span: at the delivery report, on whatever thread brings it, whether or not anybody awaits it. It
//! sends nothing.
//!
//! rdkafka's own future only learns of a report when it is polled, and knows nothing once it is dropped. So the report is
//! awaited by [`Report`], which is its own waker: rdkafka's polling thread wakes it, it polls the future right there and
//! ends the span. There is no task, no thread and no queue: what is outstanding is what librdkafka holds, bounded by
//! `queue.buffering.max.messages` (100,000). A producer that is dropped purges its queue first, which reports each record.

use super::error::error_type;
use crate::ActiveSpan;
use rdkafka::error::KafkaError;
use rdkafka::producer::DeliveryFuture;
use rdkafka::producer::future_producer::Delivery;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// What rdkafka's own future gives.
type Reported = <DeliveryFuture as Future>::Output;

/// The result of a send, as [`DeliveryFuture`] gives it. Dropping it cancels nothing: the send span ends at the delivery
/// report all the same.
#[must_use = "dropping it is fire and forget; the record is sent and its span ends either way"]
pub struct TracedDelivery(Awaited);

enum Awaited {
    /// By the sender alone: the span is not sampled, and nothing is measured.
    BySender(DeliveryFuture),
    /// By the span as well.
    BySpan(Arc<Report>),
}

/// An open send span.
pub(super) struct Sending {
    pub(super) span: ActiveSpan,
    /// The partition the span has already: the sender chose it.
    pub(super) partition: Option<i32>,
}

impl Sending {
    /// The broker has the record.
    fn delivered(self, delivery: &Delivery) {
        // The SDK exports a key twice that is set twice.
        let partition = self.partition.is_none().then_some(delivery.partition);
        // Without acknowledgements (`acks=0`) nobody knows the offset.
        let offset = (delivery.offset >= 0).then_some(delivery.offset);
        self.span.span().delivered_to(partition, offset);
        self.span.end();
    }

    /// The record was not taken, or not delivered.
    pub(super) fn failed(self, error: &KafkaError) {
        self.span.fail(error, error_type(error));
    }

    fn end(self, reported: &Reported) {
        match reported {
            Ok(Ok(delivery)) => self.delivered(delivery),
            Ok(Err((error, _))) => self.failed(error),
            Err(_) => self.failed(&KafkaError::Canceled),
        }
    }
}

struct Report(Mutex<State>);

struct State {
    outstanding: Option<(DeliveryFuture, Sending)>,
    reported: Option<Reported>,
    waiting: Option<Waker>,
}

impl TracedDelivery {
    /// Takes over a record that librdkafka has accepted.
    pub(super) fn of(delivery: DeliveryFuture, mut sending: Sending) -> TracedDelivery {
        if !sending.span.awaits_its_end() {
            sending.span.end();
            return TracedDelivery(Awaited::BySender(delivery));
        }
        let state = State { outstanding: Some((delivery, sending)), reported: None, waiting: None };
        let report = Arc::new(Report(Mutex::new(state)));
        // The first poll leaves the waker with rdkafka; the report may be there already.
        Arc::clone(&report).wake();
        TracedDelivery(Awaited::BySpan(report))
    }
}

impl Report {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock, so a poisoned one still holds a whole state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The report and the send it ends, once.
    fn arrived(self: &Arc<Self>) -> Option<(Reported, Sending)> {
        let mut state = self.state();
        let (delivery, _) = state.outstanding.as_mut()?;
        let waker = Waker::from(Arc::clone(self));
        let Poll::Ready(reported) = Pin::new(delivery).poll(&mut Context::from_waker(&waker)) else {
            return None;
        };
        state.outstanding.take().map(|(_, sending)| (reported, sending))
    }
}

impl Wake for Report {
    fn wake(self: Arc<Self>) {
        let Some((reported, sending)) = self.arrived() else { return };
        // The span ends before the sender hears of it: who has awaited a send finds its span exported.
        sending.end(&reported);
        let waiting = {
            let mut state = self.state();
            state.reported = Some(reported);
            state.waiting.take()
        };
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

impl Future for TracedDelivery {
    type Output = Reported;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reported> {
        let mut state = match &mut self.0 {
            Awaited::BySender(delivery) => return Pin::new(delivery).poll(context),
            Awaited::BySpan(report) => report.state(),
        };
        if let Some(reported) = state.reported.take() {
            return Poll::Ready(reported);
        }
        state.waiting = Some(context.waker().clone());
        Poll::Pending
    }
}

impl std::fmt::Debug for TracedDelivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("TracedDelivery");
        match &self.0 {
            Awaited::BySender(_) => out.finish_non_exhaustive(),
            Awaited::BySpan(report) => out.field("reported", &report.state().outstanding.is_none()).finish(),
        }
    }
}
