//! Event streams: one trace as it grows, and arrivals as such. A stream holds one of [`crate::app::MAX_FOLLOWERS`] places;
//! one more is refused with 503. A stream that lags behind the broadcast reads the store again and misses nothing. What waits
//! for a client is bounded: past [`MAX_QUEUED`] the stream says `behind`, and goes on when the client has taken it.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde_json::{Value as Json, json};
use throughline_otlp::{Span, SpanId, SpanKind, TraceId, UnixNanos};
use throughline_trace::{State as TraceState, Trace};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::Instant;

use super::JsonRefusal;
use crate::app::{App, Arrival};
use crate::load;
use crate::reply::{self, Failure};

/// How often a stream asks whether its trace has become quiet, when nothing arrives.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How long a stream waits for a trace of which nothing has come yet.
const PATIENCE: Duration = Duration::from_secs(30);
/// Arrivals are told at most this often.
const PACE: Duration = Duration::from_millis(500);

/// Bytes of events that wait for one client, counted among the answers that are on their way. Where those leave no room,
/// and always, [`QUEUED_UNCOUNTED`].
const MAX_QUEUED: usize = 4 * 1024 * 1024;
const QUEUED_UNCOUNTED: usize = 64 * 1024;

type Events<S> = Sse<axum::response::sse::KeepAliveStream<S>>;

/// `span` and `log` for everything there is and everything that comes, then `quiet`, then the end. `behind` says how many
/// spans and logs there are that have not been told yet; they follow. `waiting` says that there is nothing yet, and for how
/// many seconds it may stay so.
pub(super) async fn trace(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Events<impl Stream<Item = Result<Event, Infallible>>>, JsonRefusal> {
    let id = reply::trace_id(&id)?;
    let place = app.place()?;
    // Subscribed before the first look at the store, so that nothing falls in between.
    let arrivals = app.live().arrivals();
    let follower = Follower {
        app,
        id,
        arrivals,
        place,
        spans: HashSet::new(),
        logs: 0,
        ready: VecDeque::new(),
        room: None,
        begun: Instant::now(),
        phase: Phase::Begin,
    };
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// `arrived` with the number of traces something came for, at most twice a second; it never ends.
pub(super) async fn arrivals(
    State(app): State<App>,
) -> Result<Events<impl Stream<Item = Result<Event, Infallible>>>, JsonRefusal> {
    let place = app.place()?;
    let arrivals = app.live().arrivals();
    let events = stream::unfold((arrivals, place), |(mut arrivals, place)| async move {
        let mut traces = HashSet::new();
        match arrivals.recv().await {
            Ok(arrival) => traces.extend(arrival.traces.iter().copied()),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
        tokio::time::sleep(PACE).await;
        while let Ok(arrival) = arrivals.try_recv() {
            traces.extend(arrival.traces.iter().copied());
        }
        Some((Ok(event("arrived", &json!({ "traces": traces.len() }))), (arrivals, place)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// One stream over one trace.
struct Follower {
    app: App,
    id: TraceId,
    arrivals: Receiver<Arc<Arrival>>,
    /// Given back when the stream is dropped.
    #[expect(dead_code, reason = "held, never read: dropping it frees the place")]
    place: OwnedSemaphorePermit,
    /// Spans told, by what makes a span one (the store folds duplicates likewise).
    spans: HashSet<(SpanId, SpanKind, UnixNanos)>,
    /// Logs told; the store's list of them only grows.
    logs: usize,
    ready: VecDeque<Event>,
    /// For what is ready, if that is more than [`QUEUED_UNCOUNTED`].
    room: Option<OwnedSemaphorePermit>,
    begun: Instant,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Begin,
    Following,
    /// More is known than was told.
    Behind,
    Done,
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            self.room = None;
            match self.phase {
                Phase::Done => return None,
                Phase::Begin | Phase::Behind => {}
                Phase::Following => self.wait().await,
            }
            self.look().await;
        }
    }

    /// Until something came for this trace, or it is time to ask again whether it is quiet.
    async fn wait(&mut self) {
        let until = Instant::now() + CHECK_EVERY;
        loop {
            tokio::select! {
                arrival = self.arrivals.recv() => match arrival {
                    Ok(arrival) if !arrival.traces.contains(&self.id) => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => return,
                    Err(RecvError::Closed) => {
                        self.phase = Phase::Done;
                        return;
                    }
                },
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    /// Reads the trace and tells what is new of it.
    async fn look(&mut self) {
        let (id, now) = (self.id, self.app.now());
        let before = self.phase;
        if before != Phase::Done {
            self.phase = Phase::Following;
        }
        match self.app.read(move |reader| load::load_alone(reader, id, now)).await {
            // Its turn did not come: the next look is soon.
            Err(Failure::Busy(_)) => {}
            Err(failure) => {
                self.ready.push_back(event("failed", &json!({ "error": failure.to_string() })));
                self.phase = Phase::Done;
            }
            Ok(Some(trace)) => {
                let untold = self.tell(&trace);
                if untold > 0 {
                    self.ready.push_back(event("behind", &json!({ "untold": untold })));
                    self.phase = Phase::Behind;
                } else if trace.state == TraceState::Quiet || self.phase == Phase::Done {
                    self.end(trace.span_count());
                }
            }
            Ok(None) if self.begun.elapsed() >= PATIENCE || self.phase == Phase::Done => self.end(0),
            Ok(None) if before == Phase::Begin => {
                self.ready.push_back(event("waiting", &json!({ "seconds": PATIENCE.as_secs() })));
            }
            Ok(None) => {}
        }
    }

    /// Tells what is new, as much as may wait; how much more there is.
    fn tell(&mut self, trace: &Trace) -> usize {
        let mut queued = 0;
        for span in trace.spans() {
            if self.spans.contains(&key(span)) {
                continue;
            }
            if !self.has_room(queued) {
                let spans = trace.span_count().saturating_sub(self.spans.len());
                return spans + trace.logs.len().saturating_sub(self.logs);
            }
            self.spans.insert(key(span));
            queued += self.push("span", &throughline_trace::json::span(span));
        }
        for log in trace.logs.iter().skip(self.logs) {
            if !self.has_room(queued) {
                break;
            }
            self.logs += 1;
            queued += self.push("log", &throughline_trace::json::log(log));
        }
        trace.logs.len().saturating_sub(self.logs)
    }

    fn push(&mut self, name: &str, data: &Json) -> usize {
        let text = data.to_string();
        let bytes = text.len();
        self.ready.push_back(Event::default().event(name).data(text));
        bytes
    }

    /// Whether one more event may wait beside so many bytes.
    fn has_room(&mut self, queued: usize) -> bool {
        if queued >= QUEUED_UNCOUNTED && self.room.is_none() {
            self.room = self.app.reads().outgoing().room(MAX_QUEUED).ok();
        }
        queued < if self.room.is_some() { MAX_QUEUED } else { QUEUED_UNCOUNTED }
    }

    fn end(&mut self, spans: usize) {
        self.ready.push_back(event("quiet", &json!({ "spans": spans })));
        self.phase = Phase::Done;
    }
}

fn key(span: &Span) -> (SpanId, SpanKind, UnixNanos) {
    (span.span_id, span.kind, span.start)
}

fn event(name: &str, data: &Json) -> Event {
    Event::default().event(name).data(data.to_string())
}
