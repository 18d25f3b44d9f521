//! A span recorder for a service's own tests. It keeps what is traced while it lives, hands spans out one by one, and
//! fails the test if it is left with a span nobody asked for or one that never ended: a trace is asserted whole, or not.
//!
//! ```
//! use throughline::{opentelemetry::trace::SpanKind, testing::Recorder};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let recorder = Recorder::install();
//! throughline::send("orders").run(async |_span| Ok::<_, std::io::Error>(())).await.unwrap();
//!
//! let send = recorder.claim("send orders");
//! send.assert_kind(SpanKind::Producer).assert_attribute("messaging.destination.name", "orders").assert_ok();
//! // Dropped here: any other span would fail the test.
//! # });
//! ```
//!
//! [`Recorder::install`] records what the process traces; there is one process, so tests that use it wait for each other.
//! [`Recorder::local`] has a provider of its own, and tests that use it run side by side.
//!
//! It samples as services do by default: what stands below a parent that is not sampled is not recorded. A claim that finds
//! nothing names what was left out for that reason.

mod span;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use opentelemetry::{
    Context, KeyValue, global,
    trace::{Link, Span as _, SpanId, SpanKind, TraceId},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{
        IdGenerator, RandomIdGenerator, Sampler, SamplingDecision, SamplingResult, SdkTracerProvider,
        ShouldSample, Span, SpanData, SpanProcessor,
    },
};

pub use self::span::RecordedSpan;

/// How trace and span ids are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ids {
    /// At random, as in production.
    #[default]
    Random,
    /// 1, 2, 3, …: the same in each run, for snapshots. Only deterministic if the code under test is.
    Sequential,
}

/// Keeps the spans of one test. See the [module](self).
#[derive(Debug)]
#[must_use = "a recorder that is dropped at once has recorded nothing"]
pub struct Recorder {
    sink: Arc<Sink>,
    provider: SdkTracerProvider,
    /// Holds other tests off while this one uses the process's provider.
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Recorder {
    /// Records everything the process traces until it is dropped. Waits if another test does so right now.
    pub fn install() -> Recorder {
        Recorder::install_with(Ids::Random)
    }

    /// As [`install`](Self::install), with a say on ids.
    pub fn install_with(ids: Ids) -> Recorder {
        static TURN: Mutex<()> = Mutex::new(());
        static SHARED: OnceLock<(Arc<Sink>, SdkTracerProvider)> = OnceLock::new();
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // One provider for all tests: a tracer that somebody has kept since an earlier one still records.
        let (sink, provider) = SHARED.get_or_init(|| {
            let sink = Arc::new(Sink::default());
            let provider = provider(&sink);
            (sink, provider)
        });
        sink.restart(ids);
        // Each time, for the test before may have set another one.
        global::set_tracer_provider(provider.clone());
        global::set_text_map_propagator(crate::Propagator::all());
        crate::providers_are_set();
        Recorder { sink: Arc::clone(sink), provider: provider.clone(), _turn: Some(turn) }
    }

    /// A recorder beside the process's provider: for tests that run side by side, in [`context`](Self::context).
    pub fn local(ids: Ids) -> Recorder {
        let sink = Arc::new(Sink::default());
        sink.restart(ids);
        Recorder { provider: provider(&sink), sink, _turn: None }
    }

    /// A context in which everything is traced by this recorder, and so is what becomes of the messages sent from it.
    ///
    /// ```
    /// use throughline::testing::{Ids, Recorder};
    ///
    /// let recorder = Recorder::local(Ids::Sequential);
    /// let _active = recorder.context().attach();
    /// throughline::send("orders").run_sync(|_span| ());
    /// assert_eq!(recorder.claim("send orders").span_id().to_string(), "0000000000000001");
    /// ```
    #[must_use]
    pub fn context(&self) -> Context {
        crate::with_tracer_provider(&Context::current(), &self.provider)
    }

    /// For code that takes a provider.
    #[must_use]
    pub fn provider(&self) -> &SdkTracerProvider {
        &self.provider
    }

    /// Takes the one span of this name that has ended.
    ///
    /// # Panics
    /// If there is none, or more than one: [`claim_all`](Self::claim_all) and [`claim_where`](Self::claim_where) are for
    /// those.
    #[track_caller]
    pub fn claim(&self, name: &str) -> RecordedSpan {
        self.claim_where(name, |_| true)
    }

    /// Takes the one ended span of this name for which `wanted` holds.
    ///
    /// # Panics
    /// If there is none, or more than one.
    #[track_caller]
    pub fn claim_where(&self, name: &str, wanted: impl Fn(&RecordedSpan) -> bool) -> RecordedSpan {
        let mut state = self.sink.state();
        let found = state.take(|span| span.name() == name && wanted(span));
        let count = found.len();
        match <[RecordedSpan; 1]>::try_from(found) {
            Ok([span]) => span,
            Err(found) => {
                state.ended.extend(found);
                let rest = state.describe();
                drop(state);
                panic!("{count} spans {name:?} to claim, expected one; there are:{rest}");
            }
        }
    }

    /// Takes all ended spans of this name, in the order in which they ended.
    pub fn claim_all(&self, name: &str) -> Vec<RecordedSpan> {
        self.sink.state().take(|span| span.name() == name)
    }

    /// Takes the first span of this name as soon as it has ended: for spans that end on another thread, such as at a
    /// delivery report. Blocks the thread, so the code under test needs another one (`flavor = "multi_thread"`).
    ///
    /// # Panics
    /// If none has ended in time.
    #[track_caller]
    pub fn claim_within(&self, name: &str, patience: Duration) -> RecordedSpan {
        self.claim_where_within(name, |_| true, patience)
    }

    /// As [`claim_within`](Self::claim_within), for the first one for which `wanted` holds.
    ///
    /// # Panics
    /// If none has ended in time.
    #[track_caller]
    pub fn claim_where_within(
        &self,
        name: &str,
        wanted: impl Fn(&RecordedSpan) -> bool,
        patience: Duration,
    ) -> RecordedSpan {
        let deadline = Instant::now() + patience;
        let mut state = self.sink.state();
        loop {
            if let Some(at) = state.ended.iter().position(|span| span.name() == name && wanted(span)) {
                return state.ended.remove(at);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let rest = state.describe();
                drop(state);
                panic!("no such span {name:?} ended within {patience:?}; there are:{rest}");
            }
            let woken = self.sink.ended.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes everything that has ended: for tests that are about something else.
    pub fn claim_rest(&self) -> Vec<RecordedSpan> {
        self.sink.state().take(|_| true)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let mut state = self.sink.state();
        let left =
            if state.ended.is_empty() && state.open.is_empty() { None } else { Some(state.describe()) };
        state.ended.clear();
        state.open.clear();
        drop(state);
        if let Some(left) = left
            && !std::thread::panicking()
        {
            panic!("spans were left over; claim them, or find out why they are there:{left}");
        }
    }
}

fn provider(sink: &Arc<Sink>) -> SdkTracerProvider {
    SdkTracerProvider::builder()
        .with_span_processor(Keep(Arc::clone(sink)))
        .with_id_generator(Numbered(Arc::clone(sink)))
        .with_sampler(Followed {
            sampler: Sampler::ParentBased(Box::new(Sampler::AlwaysOn)),
            sink: Arc::clone(sink),
        })
        .with_max_links_per_span(1_000)
        .build()
}

/// What has been traced since the recorder started.
#[derive(Debug, Default)]
struct State {
    ids: Ids,
    open: BTreeMap<[u8; 8], String>,
    ended: Vec<RecordedSpan>,
    /// Names of spans that nobody will ever see, because their parent is not sampled.
    unsampled: BTreeSet<String>,
}

impl State {
    fn take(&mut self, wanted: impl Fn(&RecordedSpan) -> bool) -> Vec<RecordedSpan> {
        let (taken, kept) = std::mem::take(&mut self.ended).into_iter().partition(wanted);
        self.ended = kept;
        taken
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for span in &self.ended {
            let _infallible = write!(text, "\n  unclaimed   {span}");
        }
        for name in self.open.values() {
            let _infallible = write!(text, "\n  unfinished  {name}");
        }
        for name in &self.unsampled {
            let _infallible = write!(text, "\n  unsampled   {name} (its parent is not sampled)");
        }
        if text.is_empty() { "\n  none".to_owned() } else { text }
    }
}

#[derive(Debug, Default)]
struct Sink {
    state: Mutex<State>,
    ended: Condvar,
    traces: AtomicU64,
    spans: AtomicU64,
}

impl Sink {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn restart(&self, ids: Ids) {
        *self.state() = State { ids, ..State::default() };
        self.traces.store(0, Ordering::Relaxed);
        self.spans.store(0, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Keep(Arc<Sink>);

impl SpanProcessor for Keep {
    fn on_start(&self, span: &mut Span, _context: &Context) {
        let name = span.exported_data().map(|data| data.name.into_owned()).unwrap_or_default();
        self.0.state().open.insert(span.span_context().span_id().to_bytes(), name);
    }

    fn on_end(&self, span: SpanData) {
        let mut state = self.0.state();
        // A span that started before this recorder did belongs to another test.
        if state.open.remove(&span.span_context.span_id().to_bytes()).is_some() {
            state.ended.push(RecordedSpan::new(span));
            self.0.ended.notify_all();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Samples as its sampler says, and remembers what it left out.
#[derive(Clone, Debug)]
struct Followed {
    sampler: Sampler,
    sink: Arc<Sink>,
}

impl ShouldSample for Followed {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let result = self.sampler.should_sample(parent, trace_id, name, kind, attributes, links);
        if result.decision == SamplingDecision::Drop {
            self.sink.state().unsampled.insert(name.to_owned());
        }
        result
    }
}

#[derive(Debug)]
struct Numbered(Arc<Sink>);

impl Numbered {
    fn next(&self, counter: &AtomicU64) -> Option<u64> {
        let sequential = self.0.state().ids == Ids::Sequential;
        sequential.then(|| counter.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl IdGenerator for Numbered {
    fn new_trace_id(&self) -> TraceId {
        let id = self.next(&self.0.traces);
        id.map_or_else(|| RandomIdGenerator::default().new_trace_id(), |id| TraceId::from(u128::from(id)))
    }

    fn new_span_id(&self) -> SpanId {
        let id = self.next(&self.0.spans);
        id.map_or_else(|| RandomIdGenerator::default().new_span_id(), SpanId::from)
    }
}

#[cfg(test)]
mod tests;
