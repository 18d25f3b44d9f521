//! What each node tells by itself and together with its parent. What takes two traces to see is in `context`.

use std::collections::HashSet;

use throughline_otlp::{Span, SpanId, SpanKind, Value};
use throughline_semconv::own;

use super::scene::Scene;
use super::{Finding, FindingKind, Hop, context, fold};
use crate::hop;
use crate::model::{Node, NodeKind, State};

/// A span that starts this long after its parent ended, with no queue in between, continues a context that somebody
/// kept and used again.
const STALE_AFTER_NANOS: i128 = 600 * 1_000_000_000;
/// Differences between two machines' clocks below this are everyday life.
const CLOCK_TOLERANCE_NANOS: i128 = 1_000_000;

/// All findings, one for each kind and hop: problems first, then in the order of the tree.
pub(crate) fn find(scene: &Scene<'_>) -> Vec<Finding> {
    let mut findings = context::lost_contexts(scene);
    let mut ids = HashSet::new();
    for node in scene.nodes {
        findings.extend(of_node(scene, node));
        findings.extend(reused(node, &mut ids));
    }
    findings.extend(scene.cut.iter().map(|id| Finding {
        kind: FindingKind::ParentLoop,
        node: Some(*id),
        hop: None,
        count: 1,
    }));
    findings.extend(context::not_consumed(scene));
    let by_place = |finding: &Finding| (finding.severity(), finding.node, finding.name());
    findings.sort_by_key(by_place);
    let mut findings = fold::fold(findings);
    findings.sort_by_key(by_place);
    findings
}

/// What one node tells together with its parent.
fn of_node(scene: &Scene<'_>, node: &Node) -> Vec<Finding> {
    let above = node.parent.and_then(|id| scene.nodes.get(id.0)).and_then(Node::span);
    let (kinds, hop) = match &node.what {
        // It may still run, and is sent when it ends.
        NodeKind::Missing(_) if scene.state == State::Arriving => return Vec::new(),
        NodeKind::Missing(missing) => {
            let child = node.children.first().and_then(|id| scene.nodes.get(id.0));
            let hop =
                hop(missing.service.as_deref(), missing.destination.clone(), child.and_then(Node::service));
            (vec![FindingKind::MissingParent { span_id: missing.span_id }], hop)
        }
        NodeKind::Span(span) => {
            let queue = if hop::is_process(span) { hop::destination(span) } else { None };
            (of_span(node, span, above), hop(above.map(|above| above.service()), queue, Some(span.service())))
        }
    };
    kinds.into_iter().map(|kind| Finding { kind, node: Some(node.id), hop: hop.clone(), count: 1 }).collect()
}

fn of_span(node: &Node, span: &Span, above: Option<&Span>) -> Vec<FindingKind> {
    let mut kinds = Vec::new();
    kinds.extend(clock_skew(node, span, above).map(|nanos| FindingKind::ClockSkew { nanos }));
    kinds.extend(stale(span, above).map(|nanos| FindingKind::StaleContext { nanos }));
    if span.attribute(own::HEADERS_CONFLICT) == Some(&Value::Bool(true)) {
        kinds.push(FindingKind::HeadersConflict);
    }
    // An event for each message; an attribute in earlier versions of the library.
    let of_events = span.events.iter().flat_map(|event| &event.attributes);
    let dropped = span.attributes.iter().chain(of_events).filter(|kv| kv.key == own::HEADERS_DROPPED);
    kinds.extend(
        dropped.filter_map(|kv| hop::text(&kv.value)).map(|names| FindingKind::HeadersDropped { names }),
    );
    kinds
}

/// Only what crosses a queue or a service's border is a hop.
fn hop(from: Option<&str>, destination: Option<String>, to: Option<&str>) -> Option<Hop> {
    let crosses = destination.is_some() || (from.is_some() && from != to);
    crosses.then(|| Hop { from: from.map(str::to_owned), destination, to: to.map(str::to_owned) })
}

/// A negative wait; else a child in another service that starts before its parent.
fn clock_skew(node: &Node, span: &Span, above: Option<&Span>) -> Option<i128> {
    let lag = match (&node.wait, above) {
        (Some(wait), _) => wait.nanos(),
        (None, Some(above)) if above.service() != span.service() => span.start.since(above.start),
        _ => return None,
    };
    (lag < -CLOCK_TOLERANCE_NANOS).then_some(-lag)
}

fn stale(span: &Span, above: Option<&Span>) -> Option<i128> {
    let above = above.filter(|above| !hop::is_process(span) && !hop::is_send(above))?;
    let idle = span.start.since(above.end);
    (idle > STALE_AFTER_NANOS).then_some(idle)
}

/// Reported on the second of two spans with one id. Spans of one id and different kind are Zipkin's way and fine.
fn reused(node: &Node, ids: &mut HashSet<(SpanId, SpanKind)>) -> Option<Finding> {
    let span = node.span()?;
    let first = ids.insert((span.span_id, span.kind));
    let kind = FindingKind::SpanIdReused { span_id: span.span_id };
    (!first).then_some(Finding { kind, node: Some(node.id), hop: None, count: 1 })
}
