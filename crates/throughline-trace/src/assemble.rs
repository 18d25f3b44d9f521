//! The order of work: logs, neighbours, tree, waits, linked traces, findings, summary.

use std::collections::HashMap;

use throughline_otlp::{LogRecord, Span, SpanId, UnixNanos, Value};
use throughline_semconv::{attribute, own};

use crate::finding;
use crate::hop::{self, Known};
use crate::linked;
use crate::message::Messages;
use crate::model::{Input, Neighbour, Node, NodeKind, State, Trace};
use crate::tree;

/// Nothing new for this long and a trace is quiet. Longer than the exporters' usual batch delay and a batch's
/// two-second window.
const QUIET_AFTER_NANOS: u128 = 5_000_000_000;
/// The same while a parent is missing that may still run: a parent is sent only when it ends, after its children.
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
    let spans = nodes.iter().filter_map(Node::span).chain(neighbours.iter().flat_map(|n| &n.spans));
    let messages = Messages::of(spans);
    let linked = linked::linked(&linked::Scene {
        id,
        nodes: &nodes,
        neighbours: &neighbours,
        known: &known,
        across: &messages.across(id),
    });
    let (start, end) = extent(&nodes, &logs, now);
    let state = state(&nodes, end, now);
    let scene =
        finding::Scene { id, nodes: &nodes, cut: &cut, neighbours: &neighbours, messages: &messages, state };
    let findings = finding::find(&scene);
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
    let awaited = nodes.iter().any(|node| is_awaited(nodes, node));
    let quiet_after = if awaited { QUIET_AFTER_WITH_A_PARENT_MISSING_NANOS } else { QUIET_AFTER_NANOS };
    // Distance either way: an end in the future is a clock that is ahead, not a trace that never ends.
    if now.since(end).unsigned_abs() < quiet_after { State::Arriving } else { State::Quiet }
}

/// Whether this is a missing parent that is likely to come yet: one whose own process works on below it. A caller that
/// its callees alone name (a gateway, a producer elsewhere) has ended when they have, or is not traced at all.
fn is_awaited(nodes: &[Node], node: &Node) -> bool {
    let children = || node.children.iter().filter_map(|id| nodes.get(id.0)?.span());
    matches!(node.what, NodeKind::Missing(_)) && !children().all(tree::enters_process)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;

    /// The state so many seconds after the one-second-long trace ended.
    fn check(text: &str, seconds: u64) -> State {
        let mut input = cases::input(cases::spans(text), &[]);
        input.now = cases::millis(2_000 + 1_000 * seconds);
        assemble(input).state
    }

    #[test]
    fn only_a_parent_that_may_still_run_keeps_a_trace_arriving() {
        let (remote, own) = ("flags=769", "flags=257");
        for (span, quiet_after) in [
            ("- api server 1000-2000 GET /".to_owned(), 5),
            // Behind a gateway, or sent by somebody who is not traced.
            ("0a api server 1000-2000 GET /".to_owned(), 5),
            ("0a api consumer 1000-2000 process".to_owned(), 5),
            (format!("0a api internal 1000-2000 call ; {remote}"), 5),
            // Within one process: the request still runs.
            ("0a api internal 1000-2000 validate".to_owned(), 60),
            ("0a api client 1000-2000 GET /".to_owned(), 60),
            (format!("0a api consumer 1000-2000 process ; {own}"), 60),
        ] {
            let text = format!("1 01 {span}\n1 02 01 api internal 1001-1002 validate");
            assert_eq!(check(&text, quiet_after - 1), State::Arriving, "{text}");
            assert_eq!(check(&text, quiet_after), State::Quiet, "{text}");
        }
        let both = "1 01 0a api server 1000-2000 GET /\n1 02 0a edge internal 1001-1002 render";
        assert_eq!(check(both, 59), State::Arriving, "the gateway itself works on");
    }

    #[test]
    fn a_real_root_comes_before_an_earlier_orphan() {
        let text = "
            1 01 - api server 1000-2000 GET /
            1 02 0a edge server 900-950 GET /
            1 03 03 loop internal 800-850 again
            1 04 - api internal 1500-1600 second";
        let trace = cases::trace(text, &[]);
        let services: Vec<_> = trace.spans().map(Span::service).collect();
        assert_eq!(services, ["api", "api", "loop", "edge"]);
        assert_eq!(trace.start, cases::millis(800), "the extent is everything's");
    }
}
