//! The order of work: logs, neighbours, tree, waits, linked traces, findings, summary.

use std::collections::HashMap;

use throughline_otlp::{LogRecord, Span, SpanId, UnixNanos, Value};
use throughline_semconv::{attribute, own};

use crate::finding;
use crate::hop::{self, Known};
use crate::linked;
use crate::model::{Input, Neighbour, Node, NodeKind, State, Trace};
use crate::tree;

/// Nothing new for this long and a trace is quiet. Longer than the exporters' usual batch delay and a batch's
/// two-second window.
const QUIET_AFTER_NANOS: u128 = 5_000_000_000;
/// The same while a parent is missing: a parent is sent only when it ends, after its children.
const QUIET_AFTER_WITH_A_PARENT_MISSING_NANOS: u128 = 60_000_000_000;

/// Assembles the picture of one trace. Total: any spans give a picture, and their order makes no difference.
#[must_use]
pub fn assemble(input: Input) -> Trace {
    let Input { trace_id: id, mut spans, logs, neighbours, now } = input;
    spans.retain(|span| span.trace_id == id);
    let logs = settle_logs(logs);
    let neighbours = linked::settle(neighbours);
    let tree::Tree { mut nodes, roots, cut } = tree::grow(spans, &logs);
    attach_logs(&mut nodes, &logs);
    attach_waits(&mut nodes, &neighbours);
    let known = known(&nodes, &neighbours);
    let linked = linked::linked(id, &nodes, &neighbours, &known);
    let (start, end) = extent(&nodes, &logs, now);
    let state = state(&nodes, end, now);
    let findings =
        finding::find(&finding::Scene { id, nodes: &nodes, cut: &cut, neighbours: &neighbours, state });
    Trace {
        id,
        services: services(&nodes),
        start,
        end,
        errors: nodes.iter().filter_map(Node::span).filter(|span| span.is_error()).count(),
        correlation_ids: correlation_ids(&nodes, &logs),
        tenant: tenant(&nodes),
        linked,
        findings,
        state,
        now,
        nodes,
        roots,
        logs,
    }
}

/// Logs by time, exact duplicates folded (an exporter's retry).
fn settle_logs(mut logs: Vec<LogRecord>) -> Vec<LogRecord> {
    logs.sort_by_cached_key(|log| (log.time, log.observed, log.span_id, format!("{log:?}")));
    logs.dedup();
    logs
}

fn attach_logs(nodes: &mut [Node], logs: &[LogRecord]) {
    let mut by_span: HashMap<SpanId, Vec<usize>> = HashMap::new();
    for (index, log) in logs.iter().enumerate() {
        if let Some(span_id) = log.span_id {
            by_span.entry(span_id).or_default().push(index);
        }
    }
    for node in nodes {
        // Removed, so that a log stands on one node even if a span id was used twice.
        node.logs = by_span.remove(&node.span_id()).unwrap_or_default();
    }
}

fn attach_waits(nodes: &mut [Node], neighbours: &[Neighbour]) {
    let known = known(nodes, neighbours);
    let waits: Vec<_> = nodes.iter().map(|node| node.span().and_then(|s| hop::wait(s, &known))).collect();
    for (node, wait) in nodes.iter_mut().zip(waits) {
        node.wait = wait;
    }
}

/// All spans at hand by id; of two with one id the first, as for parents.
fn known<'a>(nodes: &'a [Node], neighbours: &'a [Neighbour]) -> Known<'a> {
    let spans = nodes.iter().filter_map(Node::span).chain(neighbours.iter().flat_map(|n| &n.spans));
    let mut known = Known::new();
    for span in spans {
        known.entry((span.trace_id, span.span_id)).or_insert(span);
    }
    known
}

fn extent(nodes: &[Node], logs: &[LogRecord], now: UnixNanos) -> (UnixNanos, UnixNanos) {
    let spans = || nodes.iter().filter_map(Node::span);
    let start = spans().map(|s| s.start).min().or_else(|| logs.first().map(|log| log.time));
    let end = spans().map(|s| s.end).max().or_else(|| logs.last().map(|log| log.time));
    (start.unwrap_or(now), end.unwrap_or(now))
}

fn state(nodes: &[Node], end: UnixNanos, now: UnixNanos) -> State {
    let missing = nodes.iter().any(|node| matches!(node.what, NodeKind::Missing(_)));
    let quiet_after = if missing { QUIET_AFTER_WITH_A_PARENT_MISSING_NANOS } else { QUIET_AFTER_NANOS };
    // Distance either way: an end in the future is a clock that is ahead, not a trace that never ends.
    if now.since(end).unsigned_abs() < quiet_after { State::Arriving } else { State::Quiet }
}

fn services(nodes: &[Node]) -> Vec<String> {
    distinct(nodes.iter().filter_map(Node::span).map(|span| span.service().to_owned()))
}

fn correlation_ids(nodes: &[Node], logs: &[LogRecord]) -> Vec<String> {
    let of_span = |span: &Span| {
        let id = span.attribute(own::CORRELATION_ID);
        id.or_else(|| span.attribute(attribute::MESSAGING_MESSAGE_CONVERSATION_ID)).and_then(hop::text)
    };
    let of_log = |log: &LogRecord| log.attribute(own::CORRELATION_ID).and_then(hop::text);
    distinct(nodes.iter().filter_map(Node::span).filter_map(of_span).chain(logs.iter().filter_map(of_log)))
}

fn tenant(nodes: &[Node]) -> Option<String> {
    let of_span = |span: &Span| span.attribute(own::TENANT_ID).map(Value::to_text);
    let mut tenants = distinct(nodes.iter().filter_map(Node::span).filter_map(of_span));
    // Two tenants in one trace: neither is the trace's.
    if tenants.len() == 1 { tenants.pop() } else { None }
}

/// Each once, in order of first appearance.
fn distinct(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    items.filter(|item| seen.insert(item.clone())).collect()
}
