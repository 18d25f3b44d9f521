//! What happens to a request once its bytes are here: traces and logs are checked, appended to the journal and
//! acknowledged when it says that they are durable; metrics go to the series in memory.
//!
//! Refuses what is not OTLP before the journal sees it. Never decodes a span.

pub(crate) mod origin;
pub(crate) mod records;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use throughline_journal::{AppendError, Full, Journal, Record, RecordKind, Refused};
use throughline_otlp::metrics::decode_metrics;
use throughline_otlp::{Counts, Signal, UnixNanos, WireError, check, sound};
use tokio::sync::oneshot;

use crate::budget::Budget;
use crate::config::Limits;
use crate::counters::{Counters, PerListener};
use crate::lines::{Lines, Scanned};
use crate::memory::Limiters;
use crate::pipeline::{Content, Durable};
use crate::refusal::Refusal;
use crate::series::Series;

/// How long a request waits for a sampler that can take no more, and how often it looks. Shorter than the 10 s after
/// which SDKs give up.
const ROOM_WAIT: Duration = Duration::from_secs(5);
const ROOM_LOOK: Duration = Duration::from_millis(10);

/// The way in, shared by all receivers.
pub(crate) struct Intake {
    journal: Journal,
    lines: Arc<Lines>,
    series: Mutex<Series>,
    counters: Counters,
    memory: Limiters,
    budget: Arc<Budget>,
}

/// Where requests come in.
pub(crate) struct Entrance {
    /// The receiver's number in the journal's records.
    pub(crate) number: u16,
    /// What is counted there.
    pub(crate) counters: Arc<PerListener>,
}

/// A request that was accepted, perhaps not all of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) rejected: Option<Rejected>,
}

/// The part of an accepted request that was not kept, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub(crate) items: u64,
    pub(crate) why: &'static str,
}

impl Intake {
    pub(crate) fn new(journal: Journal, lines: Arc<Lines>, memory: Limiters, limits: &Limits) -> Self {
        Self {
            journal,
            lines,
            series: Mutex::new(Series::new(limits.series, limits.series_age)),
            counters: Counters::default(),
            memory,
            budget: Budget::new(limits.in_flight_bytes),
        }
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn memory(&self) -> &Limiters {
        &self.memory
    }

    pub(crate) fn series(&self) -> &Mutex<Series> {
        &self.series
    }

    /// Takes one inflated protobuf request. When this returns, what it says is true and stays true.
    pub(crate) async fn take(
        &self,
        from: &Entrance,
        signal: Signal,
        request: Bytes,
    ) -> Result<Accepted, Refusal> {
        if !self.lines.wants(from.number, signal) {
            return Err(Refusal::NoPipeline(signal));
        }
        match signal {
            Signal::Metrics => self.measure(from, &request),
            Signal::Traces | Signal::Logs => self.journal(from, signal, request).await,
        }
    }

    async fn journal(&self, from: &Entrance, signal: Signal, request: Bytes) -> Result<Accepted, Refusal> {
        let checked = self.check(from.number, signal, &request);
        let (counts, mut scanned) = checked.map_err(|error| not_otlp(signal, error))?;
        let counter = from.counters.signal(signal);
        let kept = counts.items - counts.rejected;
        if kept > 0 {
            let request = if counts.is_sound() {
                request
            } else {
                scanned = None;
                Bytes::from(sound(&request).map_err(|error| not_otlp(signal, error))?)
            };
            let admitted = self.memory.admit(from.number, signal, kept);
            let appended = match admitted {
                Ok(()) => self.append(from.number, signal, kept, request, scanned).await,
                Err(refusal) => Err(refusal),
            };
            if let Err(refusal) = appended {
                counter.refuse(counts.items);
                return Err(refusal);
            }
            counter.accept(kept);
        }
        counter.reject(counts.rejected);
        let rejected = (counts.rejected > 0).then_some(Rejected {
            items: counts.rejected,
            why: "trace id or span id is missing, all zero or of the wrong length",
        });
        Ok(Accepted { rejected })
    }

    /// Checks a request, and scans it in the same reading where that can be done. Not while the samplers have no room: what
    /// was found would be held for nothing.
    fn check(
        &self,
        from: u16,
        signal: Signal,
        request: &[u8],
    ) -> Result<(Counts, Option<Scanned>), WireError> {
        match signal {
            Signal::Traces if self.lines.have_room(from) => self.lines.check(from, request),
            _ => Ok((check(signal, request)?, None)),
        }
    }

    /// Appends and waits until the record is durable. The pipelines are fed by the journal's own thread, so a client that
    /// goes away while waiting changes nothing: what is durable is kept.
    async fn append(
        &self,
        from: u16,
        signal: Signal,
        items: u64,
        request: Bytes,
        scanned: Option<Scanned>,
    ) -> Result<(), Refusal> {
        self.wait_for_room(from).await?;
        let scanned = scanned.map_or_else(|| self.scan(from, signal, &request), Ok);
        let mut scanned = scanned.map_err(|error| not_otlp(signal, error))?;
        let arrived = wall_clock();
        let kind = if signal == Signal::Logs { RecordKind::Logs } else { RecordKind::Spans };
        let keys = std::mem::take(&mut scanned.keys);
        let record = Record { keys, pipeline: from, ..Record::new(kind, arrived.0, request.clone()) };
        let (durable, wait) = oneshot::channel();
        let lines = Arc::clone(&self.lines);
        let appended = self.journal.append(record, move |result| {
            let result = result.map(|position| {
                let content = Content::Here(request);
                let request = Durable { position: position.0, signal, arrived, content };
                lines.durable(from, items, request, scanned);
            });
            // The client may be gone.
            let _ = durable.send(result);
        });
        let outcome = match appended {
            Ok(()) => wait.await.unwrap_or(Err(AppendError::Refused(Refused::Closed))),
            Err(refused) => Err(AppendError::Refused(refused)),
        };
        if let Err(AppendError::Refused(Refused::Full(Full::Disk(_)))) = outcome
            && let Some(keep) = &self.lines.keep
        {
            keep.disk_full();
        }
        outcome.map_err(|error| refusal(&error))
    }

    /// While the samplers behind a receiver can take no more, its senders wait, and only then are told to try again.
    async fn wait_for_room(&self, from: u16) -> Result<(), Refusal> {
        let begun = tokio::time::Instant::now();
        while !self.lines.have_room(from) {
            if begun.elapsed() >= ROOM_WAIT {
                return Err(Refusal::Unavailable(
                    "too many traces wait for their decision; try again".to_owned(),
                ));
            }
            tokio::time::sleep(ROOM_LOOK).await;
        }
        Ok(())
    }

    /// The keys a request is found by, and what samplers want to know of it. Only samplers look for traces in the journal: a
    /// request that goes past them has no keys.
    fn scan(&self, from: u16, signal: Signal, request: &[u8]) -> Result<Scanned, WireError> {
        match signal {
            Signal::Traces => self.lines.scan(from, request),
            Signal::Logs | Signal::Metrics => Ok(Scanned::default()),
        }
    }

    fn measure(&self, from: &Entrance, request: &[u8]) -> Result<Accepted, Refusal> {
        let counts = check(Signal::Metrics, request).map_err(|error| not_otlp(Signal::Metrics, error))?;
        let counter = from.counters.signal(Signal::Metrics);
        self.memory
            .admit(from.number, Signal::Metrics, counts.items)
            .inspect_err(|_| counter.refuse(counts.items))?;
        let metrics = decode_metrics(request).map_err(|error| not_otlp(Signal::Metrics, error))?;
        let refused =
            self.series.lock().unwrap_or_else(PoisonError::into_inner).record(&metrics, Instant::now());
        counter.accept(counts.items.saturating_sub(refused.total()));
        counter.reject(refused.total());
        let why = refused.why();
        Ok(Accepted { rejected: (refused.total() > 0).then_some(Rejected { items: refused.total(), why }) })
    }
}

fn not_otlp(signal: Signal, error: WireError) -> Refusal {
    let message = match signal {
        Signal::Traces => "ExportTraceServiceRequest",
        Signal::Logs => "ExportLogsServiceRequest",
        Signal::Metrics => "ExportMetricsServiceRequest",
    };
    Refusal::Malformed(format!("body is not an {message}: {error}"))
}

fn refusal(error: &AppendError) -> Refusal {
    match error {
        AppendError::Refused(Refused::TooLarge { limit, .. }) => {
            Refusal::TooLarge { limit: usize::try_from(*limit).unwrap_or(usize::MAX) }
        }
        other => Refusal::Unavailable(other.to_string()),
    }
}

/// Arrival time of a request.
pub(crate) fn wall_clock() -> UnixNanos {
    // Before 1970 or after 2554 there is no telemetry.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
