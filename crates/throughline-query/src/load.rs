//! From the store to an assembled trace: its spans, its logs, and the neighbours at its edges.

use std::collections::BTreeSet;

use throughline_otlp::{Span, SpanId, TraceId, UnixNanos};
use throughline_store::{Hop, Store, StoreError, TraceData};
use throughline_trace::{Direction, Input, Neighbour, Trace, assemble, open_hops, other_halves};

/// How many traces of each direction are looked at. A batch may link to a thousand; past this many the page would be a
/// list of ids. The counts that the spans state are shown in full all the same.
pub const MAX_NEIGHBOURS: usize = 100;
/// How many spans of neighbours are held at once; past this many no further neighbour is looked at.
const MAX_NEIGHBOUR_SPANS: usize = 50_000;
/// How many messages without their other half are looked up, and how many spans of each. A trace of a thousand sends that
/// nobody consumes yet must not cost a thousand look-ups. An offset that is used again and again has many spans that are
/// of other messages.
const MAX_OPEN_HOPS: usize = 32;
const SPANS_PER_HOP: usize = 64;
/// How many traces with the other half of a message are looked at.
const MAX_BROKEN_OFF: usize = 256;

/// Where traces are read from: the store as it is, or as one question may use it.
pub(crate) trait Source {
    type Error: From<StoreError>;

    /// For what is not a whole trace.
    fn store(&self) -> &Store;

    /// Everything there is of a trace.
    fn trace(&self, id: TraceId) -> Result<TraceData, Self::Error>;

    /// The spans of a neighbour; `None` if there is no room for it, nor for others.
    fn neighbour(&self, id: TraceId) -> Result<Option<Vec<Span>>, Self::Error>;
}

impl Source for Store {
    type Error = StoreError;

    fn store(&self) -> &Store {
        self
    }

    fn trace(&self, id: TraceId) -> Result<TraceData, StoreError> {
        Self::trace(self, id)
    }

    fn neighbour(&self, id: TraceId) -> Result<Option<Vec<Span>>, StoreError> {
        Ok(Some(Self::trace(self, id)?.spans))
    }
}

/// The trace with this id, with what it came from and what it went into; `None` if the store has nothing of it.
///
/// # Errors
/// The store cannot be read.
pub fn load(store: &Store, id: TraceId, now: UnixNanos) -> Result<Option<Trace>, StoreError> {
    load_from(store, id, now)
}

/// Like [`load()`], from where the question reads.
pub(crate) fn load_from<S: Source>(
    source: &S,
    id: TraceId,
    now: UnixNanos,
) -> Result<Option<Trace>, S::Error> {
    load_with(source, id, now, |spans| neighbours(source, id, spans))
}

/// The trace by itself, for a row of a list: neighbours cost a look-up each.
pub(crate) fn load_alone<S: Source>(
    source: &S,
    id: TraceId,
    now: UnixNanos,
) -> Result<Option<Trace>, S::Error> {
    load_with(source, id, now, |_| Ok(Vec::new()))
}

fn load_with<S: Source>(
    source: &S,
    trace_id: TraceId,
    now: UnixNanos,
    neighbours: impl FnOnce(&[Span]) -> Result<Vec<Neighbour>, S::Error>,
) -> Result<Option<Trace>, S::Error> {
    let TraceData { spans, logs } = source.trace(trace_id)?;
    if spans.is_empty() && logs.is_empty() {
        return Ok(None);
    }
    let neighbours = neighbours(&spans)?;
    Ok(Some(assemble(Input { trace_id, spans, logs, neighbours, now })))
}

/// One span and everything below it, as a trace of its own; `None` if the trace has no such span.
pub(crate) fn part(whole: &Trace, top: SpanId) -> Option<Trace> {
    let top = whole.nodes.iter().find(|node| node.span_id() == top)?;
    let mut spans = Vec::new();
    let mut logs = Vec::new();
    let mut below = vec![top.id];
    while let Some(node) = below.pop().and_then(|id| whole.node(id)) {
        spans.extend(node.span().cloned());
        logs.extend(node.logs.iter().filter_map(|at| whole.logs.get(*at)).cloned());
        below.extend(&node.children);
    }
    // The top's parent is left out on purpose; it is not missing.
    spans.iter_mut().filter(|span| span.span_id == top.span_id()).for_each(|span| span.parent = None);
    Some(assemble(Input { trace_id: whole.id, spans, logs, neighbours: Vec::new(), now: whole.now }))
}

fn neighbours<S: Source>(source: &S, id: TraceId, spans: &[Span]) -> Result<Vec<Neighbour>, S::Error> {
    let contributors: BTreeSet<TraceId> = spans
        .iter()
        .flat_map(|span| &span.links)
        .map(|link| link.trace_id)
        .filter(|other| *other != id)
        .collect();
    let contributors = contributors.into_iter().take(MAX_NEIGHBOURS).map(|id| (id, Direction::Contributor));
    let dependants = source.store().linking_to(id, MAX_NEIGHBOURS)?.into_iter().filter(|other| *other != id);
    let mut neighbours = Vec::new();
    let mut held = 0;
    for (trace_id, direction) in contributors.chain(dependants.map(|id| (id, Direction::Dependant))) {
        if held >= MAX_NEIGHBOUR_SPANS {
            break;
        }
        let Some(spans) = source.neighbour(trace_id)? else { break };
        held += spans.len();
        neighbours.push(Neighbour { trace_id, direction, spans });
    }
    let broken_off = across_open_hops(source, id, spans, &neighbours)?;
    neighbours.extend(broken_off);
    Ok(neighbours)
}

/// The other halves of messages whose context was lost: sent here and processed in another trace, or the other way round.
fn across_open_hops<S: Source>(
    source: &S,
    id: TraceId,
    spans: &[Span],
    neighbours: &[Neighbour],
) -> Result<Vec<Neighbour>, S::Error> {
    let mut found = Vec::new();
    for key in open_hops(id, spans, neighbours).into_iter().take(MAX_OPEN_HOPS) {
        let hop = Hop {
            system: key.system,
            destination: key.destination,
            partition: key.partition,
            offset: key.offset.to_string(),
        };
        found.extend(source.store().spans_at(&hop, SPANS_PER_HOP)?);
    }
    let known: BTreeSet<TraceId> = neighbours.iter().map(|n| n.trace_id).collect();
    let halves = other_halves(id, spans, neighbours, &found);
    let mut broken_off = Vec::new();
    for trace_id in halves.into_iter().filter(|half| !known.contains(half)).take(MAX_BROKEN_OFF) {
        let Some(spans) = source.neighbour(trace_id)? else { break };
        broken_off.push(Neighbour { trace_id, direction: Direction::SameMessage, spans });
    }
    Ok(broken_off)
}
