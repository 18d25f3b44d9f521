//! Load whose fate can be told: spans with known ids, times and statuses, and a book of what was acknowledged, which says
//! what three policies (status ERROR, longer than two seconds, five percent) must keep of it. It sends nothing.

use std::collections::HashMap;

use throughline_otlp::wire::{put_bytes, put_tag, put_varint};
use throughline_otlp::{SpanId, TraceId};

/// A trace longer than this is slow.
pub const SLOW_MILLIS: u64 = 2_000;
/// Of the rest, so many percent are kept.
pub const PERCENT: u64 = 5;
/// When spans begin, in nanoseconds since 1970: a time like any other.
pub const BEGAN: u64 = 1_768_485_802_000_000_000;

const MILLI: u64 = 1_000_000;

/// Numbers that look random and can be had again: splitmix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed, the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is not zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    /// A trace id that nobody else has.
    pub fn trace(&mut self) -> TraceId {
        let text = format!("{:016x}{:016x}", self.number(), self.number() | 1);
        TraceId::from_hex(&text).expect("an id")
    }

    /// A span id that nobody else has.
    pub fn span(&mut self) -> SpanId {
        SpanId::from_hex(&format!("{:016x}", self.number() | 1)).expect("an id")
    }
}

/// A span to send.
#[derive(Clone, Debug)]
pub struct Span {
    /// Of this trace.
    pub trace: TraceId,
    /// Its own id.
    pub id: SpanId,
    /// Milliseconds after [`BEGAN`].
    pub start: u64,
    /// Milliseconds after [`BEGAN`].
    pub end: u64,
    /// Whether its status is ERROR.
    pub failed: bool,
    /// Traces that it links to.
    pub links: Vec<TraceId>,
}

impl Span {
    /// A span of ten milliseconds that went well.
    pub fn new(trace: TraceId, random: &mut Random) -> Self {
        Self { trace, id: random.span(), start: 0, end: 10, failed: false, links: Vec::new() }
    }

    fn encode(&self) -> Vec<u8> {
        let mut span = Vec::with_capacity(400);
        put_bytes(&mut span, 1, &self.trace.bytes());
        put_bytes(&mut span, 2, &self.id.bytes());
        put_bytes(&mut span, 5, b"process orders");
        put_number(&mut span, 6, 5);
        for (field, millis) in [(7, self.start), (8, self.end)] {
            put_tag(&mut span, field, 1);
            span.extend_from_slice(&(BEGAN + millis * MILLI).to_le_bytes());
        }
        for key in ["messaging.system", "messaging.destination.name", "messaging.consumer.group.name"] {
            let mut text = Vec::new();
            put_bytes(&mut text, 1, b"orders-and-everything-that-follows-from-them");
            let mut attribute = Vec::new();
            put_bytes(&mut attribute, 1, key.as_bytes());
            put_bytes(&mut attribute, 2, &text);
            put_bytes(&mut span, 9, &attribute);
        }
        for linked in &self.links {
            let mut link = Vec::new();
            put_bytes(&mut link, 1, &linked.bytes());
            put_bytes(&mut link, 2, &[1; 8]);
            put_bytes(&mut span, 13, &link);
        }
        if self.failed {
            let mut status = Vec::new();
            put_number(&mut status, 3, 2);
            put_bytes(&mut span, 15, &status);
        }
        span
    }
}

fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    put_tag(out, field, 0);
    put_varint(out, value);
}

/// An `ExportTraceServiceRequest` of these spans.
#[must_use]
pub fn request<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Vec<u8> {
    let mut scope = Vec::new();
    spans.into_iter().for_each(|span| put_bytes(&mut scope, 2, &span.encode()));
    let mut resource = Vec::new();
    put_bytes(&mut resource, 2, &scope);
    let mut request = Vec::new();
    put_bytes(&mut request, 1, &resource);
    request
}

/// Whether five percent hold this trace, as the peer and we compute it: FNV-1a of salt and id, against the share of 2^64.
#[must_use]
pub fn in_share(trace: TraceId) -> bool {
    let bytes = b"default-hash-seed".iter().copied().chain(trace.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash <= u64::MAX / 100 * PERCENT
}

/// What was sent of a trace.
#[derive(Clone, Debug, Default)]
struct Sent {
    acknowledged: Part,
    /// With what was sent and never answered: it may or may not be there.
    all: Part,
}

#[derive(Clone, Debug, Default)]
struct Part {
    spans: Vec<SpanId>,
    failed: bool,
    /// Earliest start, latest end.
    lasted: Option<(u64, u64)>,
}

impl Part {
    fn add(&mut self, span: &Span) {
        self.spans.push(span.id);
        self.failed |= span.failed;
        let (start, end) = self.lasted.unwrap_or((span.start, span.end));
        self.lasted = Some((start.min(span.start), end.max(span.end)));
    }

    fn is_kept(&self, trace: TraceId) -> bool {
        let slow = self.lasted.is_some_and(|(start, end)| end - start > SLOW_MILLIS);
        !self.spans.is_empty() && (self.failed || slow || in_share(trace))
    }
}

/// Every span that was sent, and what became of its request.
#[derive(Clone, Debug, Default)]
pub struct Book {
    traces: HashMap<TraceId, Sent>,
}

/// What came of it all.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Spans that were acknowledged.
    pub acknowledged: usize,
    /// Spans that were sent and never answered.
    pub unanswered: usize,
    /// Acknowledged spans of traces that must be kept.
    pub must_keep: usize,
    /// Traces that must be kept.
    pub must_keep_traces: usize,
    /// Of the spans that must be kept, those that arrived.
    pub arrived: usize,
    /// Of the traces that must be kept, those of which something is missing.
    pub lost_traces: Vec<TraceId>,
    /// Spans that arrived again.
    pub duplicates: usize,
    /// Traces that no policy keeps, and that arrived all the same.
    pub unwanted: Vec<TraceId>,
    /// Traces that may be kept, because of what was never answered, and of which only a part of what was acknowledged arrived.
    pub torn: Vec<TraceId>,
}

impl Account {
    /// Spans that must be there and are not.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.must_keep - self.arrived
    }
}

impl Book {
    /// The request with these spans was acknowledged.
    pub fn acknowledged(&mut self, spans: &[Span]) {
        for span in spans {
            let sent = self.traces.entry(span.trace).or_default();
            sent.acknowledged.add(span);
            sent.all.add(span);
        }
    }

    /// The request with these spans failed: they may be there or not.
    pub fn unanswered(&mut self, spans: &[Span]) {
        spans.iter().for_each(|span| self.traces.entry(span.trace).or_default().all.add(span));
    }

    /// Whether this trace must be kept.
    #[must_use]
    pub fn must_keep(&self, trace: TraceId) -> bool {
        self.traces.get(&trace).is_some_and(|sent| sent.acknowledged.is_kept(trace))
    }

    /// Whether this trace may be kept.
    #[must_use]
    pub fn may_keep(&self, trace: TraceId) -> bool {
        self.traces.get(&trace).is_some_and(|sent| sent.all.is_kept(trace))
    }

    /// Every trace of which something was acknowledged.
    pub fn traces(&self) -> impl Iterator<Item = TraceId> {
        self.traces.iter().filter(|(_, sent)| !sent.acknowledged.spans.is_empty()).map(|(trace, _)| *trace)
    }

    /// Compares with what arrived.
    #[must_use]
    pub fn account(&self, arrived: &[(TraceId, usize, Vec<SpanId>)]) -> Account {
        let mut account = Account::default();
        let arrived: HashMap<TraceId, &Vec<SpanId>> =
            arrived.iter().map(|(trace, _, spans)| (*trace, spans)).collect();
        for (trace, sent) in &self.traces {
            let came = arrived.get(trace).map(|spans| spans.as_slice()).unwrap_or_default();
            let mut distinct = came.to_vec();
            distinct.sort_unstable();
            distinct.dedup();
            account.duplicates += came.len() - distinct.len();
            let acknowledged = sent.acknowledged.spans.len();
            let there =
                sent.acknowledged.spans.iter().filter(|span| distinct.binary_search(span).is_ok()).count();
            account.acknowledged += acknowledged;
            account.unanswered += sent.all.spans.len() - acknowledged;
            if sent.acknowledged.is_kept(*trace) {
                account.must_keep += acknowledged;
                account.must_keep_traces += 1;
                account.arrived += there;
                account.lost_traces.extend((there < acknowledged).then_some(*trace));
            } else if sent.all.is_kept(*trace) {
                account.torn.extend((there > 0 && there < acknowledged).then_some(*trace));
            } else {
                account.unwanted.extend((!came.is_empty()).then_some(*trace));
            }
        }
        account
    }
}

/// Traces that are being sent, a few spans of several at a time, as many services do.
#[derive(Debug)]
pub struct Traffic {
    random: Random,
    open: Vec<Vec<Span>>,
    late: Vec<(u64, Span)>,
    lateness: Lateness,
    requests: u64,
}

/// Whether spans come after their trace was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lateness {
    /// Of some traces the last one does.
    Some,
    /// None does.
    None,
}

/// Traces that are under way at one time.
const OPEN: usize = 40;
/// A late span comes so many requests after its trace's last.
const LATE: u64 = 150;

impl Traffic {
    /// The same seed, the same traffic.
    #[must_use]
    pub fn new(seed: u64, lateness: Lateness) -> Self {
        Self { random: Random::new(seed), open: Vec::new(), late: Vec::new(), lateness, requests: 0 }
    }

    /// The spans of the next request: of many traces, so that each trace comes in several requests.
    pub fn next_spans(&mut self, count: usize) -> Vec<Span> {
        self.requests += 1;
        let mut spans: Vec<Span> = Vec::with_capacity(count + 1);
        while spans.len() < count {
            while self.open.len() < OPEN {
                let begun = self.begin();
                self.open.push(begun);
            }
            let at = usize::try_from(self.random.below(OPEN as u64)).unwrap_or_default();
            if let Some(trace) = self.open.get_mut(at) {
                spans.extend(trace.pop());
                if trace.is_empty() {
                    self.open.swap_remove(at);
                }
            }
        }
        if self.late.first().is_some_and(|(at, _)| *at <= self.requests) {
            spans.push(self.late.remove(0).1);
        }
        spans
    }

    /// Four spans: one trace in ten failed, one in ten slow, of these some only as a whole; of one in twenty the last
    /// span comes late, and of half of these it is the one that failed.
    fn begin(&mut self) -> Vec<Span> {
        let random = &mut self.random;
        let trace = random.trace();
        let mut spans: [Span; 4] = std::array::from_fn(|_| Span::new(trace, random));
        if random.percent(10) {
            let at = usize::try_from(random.below(4)).unwrap_or_default();
            spans.iter_mut().skip(at).take(1).for_each(|span| span.failed = true);
        }
        let [first, .., last] = &mut spans;
        if random.percent(5) {
            first.end = SLOW_MILLIS + 500;
        } else if random.percent(5) {
            (last.start, last.end) = (SLOW_MILLIS, SLOW_MILLIS + 200);
        }
        let mut spans = Vec::from(spans);
        if self.lateness == Lateness::Some
            && random.percent(5)
            && let Some(mut late) = spans.pop()
        {
            late.failed |= random.percent(50);
            self.late.push((self.requests + LATE, late));
        }
        spans
    }
}
