//! Waits until the checkouts are traced end to end: woken by arriving spans, never by a timer, until something is broken
//! for good or the time is up. Then says which hop it is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use throughline_otlp::{TraceId, UnixNanos};
use throughline_store::Store;
use throughline_trace::{State, Trace};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, timeout_at};

use super::checkouts::{self, Outcome, Placed};
use super::expect::{self, Lack};
use super::services::Services;
use crate::exit::Failure;
use crate::output::Output;
use crate::server::Server;

/// A trace that begins in the middle may be what an earlier demo left in the broker. If none of our checkouts gets any
/// further for this long after it was seen, it is ours.
const BENEFIT_OF_DOUBT: Duration = Duration::from_secs(3);

/// One checkout and what is traced of it.
pub(super) struct Traced {
    pub(super) placed: Placed,
    /// `None` if nothing has arrived.
    pub(super) trace: Option<Trace>,
    /// What it lacks, `None` if it is whole.
    pub(super) lack: Option<Lack>,
}

/// What came out.
pub(super) struct Run {
    pub(super) traced: Vec<Traced>,
    /// Everything that is not as it must be; empty if the run is good.
    pub(super) wrong: Vec<Lack>,
}

/// The wait.
pub(super) struct Watch<'a> {
    store: Arc<Store>,
    arrivals: broadcast::Receiver<Arc<Vec<TraceId>>>,
    services: &'a mut Services,
    deadline: Instant,
    output: Output,
    /// How many checkouts were whole when it was last told.
    told: Option<usize>,
    /// How many spans of the checkouts there are, and since when.
    spans: usize,
    since: Instant,
    /// A trace that is not a checkout's and is broken at one of the hops.
    stray: Option<Lack>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        server: &Server,
        services: &'a mut Services,
        deadline: Instant,
        output: Output,
    ) -> Self {
        let (store, arrivals) = (server.store(), server.arrivals());
        let (told, spans, since, stray) = (None, 0, Instant::now(), None);
        Self { store, arrivals, services, deadline, output, told, spans, since, stray }
    }

    /// Until every checkout is whole, or one cannot become it any more.
    pub(super) async fn until_traced(mut self, placed: Vec<Placed>) -> Run {
        loop {
            let traced = self.look(&placed).await;
            self.note(&traced);
            let broken = traced.iter().filter_map(|one| one.trace.as_ref()).find_map(expect::broken);
            if broken.is_some() || traced.iter().all(|one| one.lack.is_none()) {
                return Run::new(traced, broken);
            }
            match timeout_at(self.patience(), self.next()).await {
                Ok(Ok(arrived)) if self.stray.is_none() => {
                    self.stray = self.stray_among(arrived, &placed).await;
                    // From now on it counts how long nothing has moved.
                    self.since = Instant::now();
                }
                Ok(Ok(_)) => {}
                Ok(Err(died)) => return Run::new(traced, Some(Lack { hop: None, what: died })),
                Err(_) => {
                    let wrong = self.stray.take().or_else(|| late(&traced));
                    return Run::new(traced, wrong);
                }
            }
        }
    }

    /// Tells how far it is, and notes whether anything moved.
    fn note(&mut self, traced: &[Traced]) {
        let whole = traced.iter().filter(|one| one.lack.is_none()).count();
        if self.told.replace(whole) != Some(whole) {
            self.output.talk(&format!("{whole} of {} checkouts traced end to end", checkouts::total()));
        }
        let spans = traced.iter().filter_map(|one| one.trace.as_ref()).map(Trace::span_count).sum();
        if spans != self.spans {
            (self.spans, self.since) = (spans, Instant::now());
        }
    }

    /// How long to wait for the next arrival.
    fn patience(&self) -> Instant {
        match self.stray {
            Some(_) => self.deadline.min(self.since + BENEFIT_OF_DOUBT),
            None => self.deadline,
        }
    }

    /// The traces that got something new; everything that is at hand at once. `Err` if a service died for good.
    async fn next(&mut self) -> Result<BTreeSet<TraceId>, String> {
        let mut traces = BTreeSet::new();
        tokio::select! {
            arrived = self.arrivals.recv() => match arrived {
                Ok(arrived) => traces.extend(arrived.iter().copied()),
                // Missed some: the store has them.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err("the backend stopped".to_owned()),
            },
            died = self.services.next_death(&self.output) => return Err(died.to_string()),
        }
        while let Ok(arrived) = self.arrivals.try_recv() {
            traces.extend(arrived.iter().copied());
        }
        Ok(traces)
    }

    async fn look(&self, placed: &[Placed]) -> Vec<Traced> {
        let (store, placed) = (Arc::clone(&self.store), placed.to_vec());
        let look = move || placed.into_iter().map(|placed| traced(&store, placed)).collect();
        // A look that panics is a bug in it, not in what is looked at.
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }

    /// Among what arrived, a trace that is broken at one of our hops.
    async fn stray_among(&self, arrived: BTreeSet<TraceId>, placed: &[Placed]) -> Option<Lack> {
        let ours: BTreeSet<TraceId> = placed.iter().map(|one| one.trace_id).collect();
        let store = Arc::clone(&self.store);
        let look = move || {
            let mut others = arrived.difference(&ours);
            others.find_map(|id| expect::broken(&throughline_query::load(&store, *id, now()).ok()??))
        };
        tokio::task::spawn_blocking(look).await.ok()?
    }
}

/// What the time is up for.
fn late(traced: &[Traced]) -> Option<Lack> {
    let one = traced.iter().find_map(|one| one.lack.clone())?;
    Some(Lack { what: format!("the time is up, and {} is not there; see --timeout", one.what), ..one })
}

fn traced(store: &Store, placed: Placed) -> Traced {
    let (trace, lack) = match throughline_query::load(store, placed.trace_id, now()) {
        Ok(Some(trace)) => {
            let lack = expect::lack(&trace, placed.outcome);
            (Some(trace), lack)
        }
        Ok(None) => (None, Some(Lack { hop: None, what: "any span of the checkout".to_owned() })),
        Err(error) => (None, Some(Lack { hop: None, what: format!("an answer of the store: {error}") })),
    };
    Traced { placed, trace, lack }
}

fn now() -> UnixNanos {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
}

impl Run {
    fn new(traced: Vec<Traced>, wrong: Option<Lack>) -> Self {
        let mut run = Self { traced, wrong: wrong.into_iter().collect() };
        if run.wrong.is_empty() {
            run.wrong = run.check();
        }
        if run.wrong.is_empty() {
            run.settle();
        }
        run
    }

    /// Everything that was to come has: a trace of the run is not still arriving, however lately its last span did.
    fn settle(&mut self) {
        for trace in self.traced.iter_mut().filter_map(|one| one.trace.as_mut()) {
            trace.state = State::Quiet;
        }
    }

    /// What the traces say together: one batch of all that settled, and no problem anywhere.
    fn check(&self) -> Vec<Lack> {
        let mut wrong: Vec<Lack> = self.traced.iter().filter_map(|one| one.lack.clone()).collect();
        for trace in self.traced.iter().filter_map(|one| one.trace.as_ref()) {
            wrong.extend(expect::problems(trace));
        }
        let batches: BTreeSet<_> =
            self.settled().filter_map(|one| expect::batch(one.trace.as_ref()?)).map(|b| b.trace_id).collect();
        let stated = self.batch().and_then(|batch| batch.lineage.as_ref());
        let count = stated.map(|lineage| lineage.count);
        let expected = i64::try_from(checkouts::settled()).unwrap_or(i64::MAX);
        if batches.len() != 1
            || count != Some(expected)
            || stated.is_none_or(|lineage| lineage.hash.is_none())
        {
            let stated = stated.map_or("no lineage".to_owned(), |lineage| {
                let hash = lineage.hash.as_deref().unwrap_or("none");
                format!("the count {} and the hash {hash}", lineage.count)
            });
            let what = format!(
                "the {expected} checkouts that settled must be one batch of {expected} traces with a hash; they are in \
                 {} and the first states {stated}",
                batches.len()
            );
            wrong.push(Lack { hop: None, what });
        }
        wrong
    }

    fn settled(&self) -> impl Iterator<Item = &Traced> {
        self.traced.iter().filter(|one| one.placed.outcome == Outcome::Settled)
    }

    /// The checkout that is shown.
    pub(super) fn shown(&self) -> Option<&Traced> {
        self.settled().next()
    }

    /// The batch of the one that is shown.
    pub(super) fn batch(&self) -> Option<&throughline_trace::LinkedTrace> {
        expect::batch(self.shown()?.trace.as_ref()?)
    }

    /// Good, or everything that is wrong.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if self.wrong.is_empty() {
            return Ok(());
        }
        let said: Vec<String> = self.wrong.iter().map(|lack| format!("  {lack}")).collect();
        Err(Failure::Check(format!("the checkouts are not traced end to end:\n{}", said.join("\n"))))
    }
}
