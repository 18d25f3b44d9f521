//! What is sent: requests of 512 spans with ten messaging attributes, encoded once; ids, times and status are patched in
//! place. The same in every run: trace `n` has the same id, the same fate and the same spans.

use bytes::BytesMut;
use throughline_otlp::wire::{put_bytes, put_tag, put_varint};

/// Spans of a trace.
pub const SPANS_A_TRACE: u64 = 8;
/// Spans of a request.
pub const SPANS_A_REQUEST: u64 = 512;
/// Traces begun by a request, on average; exact where [`Requests::complete`] says so.
const TRACES_A_REQUEST: u64 = SPANS_A_REQUEST / SPANS_A_TRACE;
/// Traces that start in the same millisecond.
const TRACES_A_MILLISECOND: u64 = 4096;

const MILLISECOND: u64 = 1_000_000;

/// How traces lie in requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Each span of a request belongs to another trace.
    Interleaved {
        /// A trace's spans are this many requests apart, at least one: so many times 512 traces are under way at once.
        apart: u64,
    },
    /// A trace's spans stand together in one request.
    Whole,
}

/// What happens in a trace: what the policies of the source look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its seventh span fails: 3 % of the traces.
    Error,
    /// Its sixth span takes 2.5 s: 3 %.
    Slow,
    /// Neither: 155 ms.
    Ordinary,
}

/// The load.
#[derive(Debug)]
pub struct Requests {
    shape: Shape,
    /// Interleaved: one for each span of a trace.
    templates: Vec<Template>,
    /// When the first trace starts, Unix nanoseconds.
    started: u64,
}

/// A request as gRPC carries it, and where its spans are patched.
#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    spans: Vec<Slots>,
}

/// Where the fields of a span lie.
#[derive(Clone, Copy, Debug)]
struct Slots {
    trace: usize,
    span: usize,
    /// A root has none.
    parent: Option<usize>,
    start: usize,
    end: usize,
    status: usize,
}

impl Requests {
    /// A load whose traces start at `started`, Unix nanoseconds; each span carries `more` bytes in an eleventh attribute,
    /// none if it is 0.
    #[must_use]
    pub fn new(shape: Shape, started: u64, more: usize) -> Self {
        let templates = match shape {
            Shape::Interleaved { .. } => (0..SPANS_A_TRACE).map(|of| Template::new(|_| of, more)).collect(),
            Shape::Whole => vec![Template::new(|at| at % SPANS_A_TRACE, more)],
        };
        Self { shape, templates, started }
    }

    /// Bytes of a request, its frame included.
    #[must_use]
    pub fn request_bytes(&self) -> usize {
        self.templates.iter().map(|template| template.bytes.len()).max().unwrap_or_default()
    }

    /// Whether all traces that the requests before this one began are complete; there are
    /// [`traces_before`](Self::traces_before) of them.
    #[must_use]
    pub fn complete(&self, request: u64) -> bool {
        match self.shape {
            Shape::Interleaved { apart } => request.is_multiple_of(apart * SPANS_A_TRACE),
            Shape::Whole => true,
        }
    }

    /// How many traces the requests before this one have, if they are complete: those with the numbers below it.
    #[must_use]
    pub fn traces_before(request: u64) -> u64 {
        request * TRACES_A_REQUEST
    }

    /// Writes a request over what was in `into`, with gRPC's prefix.
    pub fn write(&self, request: u64, into: &mut BytesMut) {
        let (template, first) = match self.shape {
            Shape::Interleaved { apart } => {
                let (block, within) = (request / (apart * SPANS_A_TRACE), request % (apart * SPANS_A_TRACE));
                (within / apart, (block * apart + within % apart) * SPANS_A_REQUEST)
            }
            Shape::Whole => (0, request * TRACES_A_REQUEST),
        };
        let of = template;
        let Some(template) = self.templates.get(template as usize) else { return };
        into.clear();
        into.extend_from_slice(&template.bytes);
        for (at, slots) in (0..).zip(&template.spans) {
            let (trace, of) = match self.shape {
                Shape::Interleaved { .. } => (first + at, of),
                Shape::Whole => (first + at / SPANS_A_TRACE, at % SPANS_A_TRACE),
            };
            slots.patch(into, trace, of, self.started);
        }
    }
}

impl Slots {
    /// Makes this the span `of` of trace `trace`.
    fn patch(self, bytes: &mut [u8], trace: u64, of: u64, started: u64) {
        let fate = fate(trace);
        let start = started + (trace / TRACES_A_MILLISECOND + 20 * of) * MILLISECOND;
        let took = if fate == Fate::Slow && of == 5 { 2_500 } else { 15 } * MILLISECOND;
        put(bytes, self.trace, &trace_id(trace));
        put(bytes, self.span, &span_id(trace, of));
        if let Some(parent) = self.parent {
            put(bytes, parent, &span_id(trace, of.saturating_sub(1)));
        }
        put(bytes, self.start, &start.to_le_bytes());
        put(bytes, self.end, &(start + took).to_le_bytes());
        let failed = fate == Fate::Error && of == 6;
        put(bytes, self.status, &[if failed { 2 } else { 0 }]);
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

impl Template {
    /// `of(at)`: which span of its trace the request's span `at` is.
    fn new(of: impl Fn(u64) -> u64, more: usize) -> Self {
        let mut scope = Vec::new();
        put_bytes(&mut scope, 1, b"throughline");
        let mut scope_spans = Vec::new();
        put_bytes(&mut scope_spans, 1, &scope);
        let mut spans = Vec::new();
        for at in 0..SPANS_A_REQUEST {
            let (span, slots) = span(at, of(at), more);
            put_bytes(&mut scope_spans, 2, &span);
            spans.push(slots.moved(scope_spans.len() - span.len()));
        }
        let mut resource = Vec::new();
        for (key, value) in RESOURCE {
            put_bytes(&mut resource, 1, &attribute(key, value));
        }
        let mut resource_spans = Vec::new();
        put_bytes(&mut resource_spans, 1, &resource);
        put_bytes(&mut resource_spans, 2, &scope_spans);
        let mut request = Vec::new();
        put_bytes(&mut request, 1, &resource_spans);
        let length = u32::try_from(request.len()).unwrap_or(u32::MAX).to_be_bytes();
        let bytes = [&[0], length.as_slice(), &request].concat();
        // The scope's spans are the last field of the last field: they end where the request ends.
        let base = bytes.len() - scope_spans.len();
        Self { bytes, spans: spans.into_iter().map(|slots| slots.moved(base)).collect() }
    }
}

impl Slots {
    fn moved(self, by: usize) -> Self {
        let Self { trace, span, parent, start, end, status } = self;
        Self {
            trace: trace + by,
            span: span + by,
            parent: parent.map(|parent| parent + by),
            start: start + by,
            end: end + by,
            status: status + by,
        }
    }
}

const RESOURCE: [(&str, &str); 4] = [
    ("service.name", "payment-worker"),
    ("service.version", "1.4.2"),
    ("host.name", "node-7"),
    ("telemetry.sdk.language", "rust"),
];

/// A span with room for what is patched, and where that is.
fn span(at: u64, of: u64, more: usize) -> (Vec<u8>, Slots) {
    let mut span = Vec::new();
    let room = |span: &mut Vec<u8>, number: u32, bytes: usize| {
        put_bytes(span, number, &vec![0; bytes]);
        span.len() - bytes
    };
    let trace = room(&mut span, 1, 16);
    let id = room(&mut span, 2, 8);
    let parent = (of > 0).then(|| room(&mut span, 4, 8));
    put_bytes(&mut span, 5, if of.is_multiple_of(2) { b"send orders" } else { b"process orders" });
    put_tag(&mut span, 6, 0);
    put_varint(&mut span, 4 + of % 2);
    let [start, end] = [7, 8].map(|number| {
        put_tag(&mut span, number, 1);
        span.extend_from_slice(&[0; 8]);
        span.len() - 8
    });
    for (key, value) in attributes(at) {
        put_bytes(&mut span, 9, &attribute(key, &value));
    }
    if more > 0 {
        put_bytes(&mut span, 9, &attribute("messaging.payload", &"x".repeat(more)));
    }
    // Status { code }, written also where it is 0, so that it can be patched.
    put_bytes(&mut span, 15, &[3 << 3, 0]);
    let status = span.len() - 1;
    (span, Slots { trace, span: id, parent, start, end, status })
}

fn attributes(at: u64) -> [(&'static str, String); 10] {
    [
        ("messaging.system", "kafka".to_owned()),
        ("messaging.operation.name", "process".to_owned()),
        ("messaging.operation.type", "process".to_owned()),
        ("messaging.destination.name", format!("orders-{}", at % 5)),
        ("messaging.destination.partition.id", (at % 12).to_string()),
        ("messaging.kafka.offset", (184_467 + at).to_string()),
        ("messaging.consumer.group.name", "payments".to_owned()),
        ("messaging.client.id", format!("client-{}", at % 8)),
        ("correlation_id", format!("order-{:08x}", scramble(at) >> 32)),
        ("messaging.message.body.size", (at % 900).to_string()),
    ]
}

fn attribute(key: &str, value: &str) -> Vec<u8> {
    let (mut any, mut pair) = (Vec::new(), Vec::new());
    put_bytes(&mut any, 1, value.as_bytes());
    put_bytes(&mut pair, 1, key.as_bytes());
    put_bytes(&mut pair, 2, &any);
    pair
}

/// What happens in trace `trace`.
#[must_use]
pub fn fate(trace: u64) -> Fate {
    match scramble(trace ^ 0x5555_5555_5555_5555) % 100 {
        0..3 => Fate::Error,
        3..6 => Fate::Slow,
        _ => Fate::Ordinary,
    }
}

/// The id of trace `trace`: it looks random, and says which it is.
#[must_use]
pub fn trace_id(trace: u64) -> [u8; 16] {
    (u128::from(scramble(trace)) << 64 | u128::from(scramble(!trace))).to_be_bytes()
}

/// The trace that has this id; `None` if it is none of the load's.
#[must_use]
pub fn trace_of(id: &[u8]) -> Option<u64> {
    let id = u128::from_be_bytes(id.try_into().ok()?);
    let trace = unscramble((id >> 64) as u64);
    (id as u64 == scramble(!trace)).then_some(trace)
}

fn span_id(trace: u64, of: u64) -> [u8; 8] {
    // Never zero: no two numbers are scrambled to the same, and this one is not of a span.
    let id = scramble((trace * SPANS_A_TRACE + of) | 1 << 63);
    id.max(1).to_be_bytes()
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const FIRST: u64 = 0xbf58_476d_1ce4_e5b9;
const SECOND: u64 = 0x94d0_49bb_1331_11eb;

/// SplitMix64's mixing: one to one.
fn scramble(number: u64) -> u64 {
    let z = number.wrapping_add(STEP);
    let z = (z ^ (z >> 30)).wrapping_mul(FIRST);
    let z = (z ^ (z >> 27)).wrapping_mul(SECOND);
    z ^ (z >> 31)
}

/// And back.
fn unscramble(z: u64) -> u64 {
    let z = (z ^ (z >> 31) ^ (z >> 62)).wrapping_mul(inverse(SECOND));
    let z = (z ^ (z >> 27) ^ (z >> 54)).wrapping_mul(inverse(FIRST));
    (z ^ (z >> 30) ^ (z >> 60)).wrapping_sub(STEP)
}

/// Modulo 2^64, by Newton's iteration: each step doubles the bits that are right, three at the start.
const fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    let mut bits = 3;
    while bits < 64 {
        x = x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x)));
        bits *= 2;
    }
    x
}

#[cfg(test)]
mod tests;
