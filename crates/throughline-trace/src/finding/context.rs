//! Messages whose two halves, the send and the processing, stand in traces that do not know each other.

use std::collections::{BTreeSet, HashSet};

use throughline_otlp::model::Link;
use throughline_otlp::{Span, SpanId, TraceId, Value};
use throughline_semconv::{attribute, header, own};

use super::scene::Scene;
use super::{Cause, Finding, FindingKind, Hop};
use crate::hop::{self, HopKey};
use crate::message::Origin;
use crate::model::{Node, State};

pub(super) fn lost_contexts(scene: &Scene<'_>) -> Vec<Finding> {
    let ours = || scene.nodes.iter().filter_map(|node| Some((node, node.span()?)));
    let mut lost: Vec<Finding> = Vec::new();
    for (node, span) in ours() {
        if hop::is_process(span) {
            lost.extend(lost_on_arrival(scene, node, span));
        } else if hop::is_send(span) {
            lost.extend(lost_after_send(scene, node, span));
        }
    }
    lost
}

/// A processing of ours whose message came without context, or whose send stands in a trace we do not link.
fn lost_on_arrival(scene: &Scene<'_>, node: &Node, span: &Span) -> Option<Finding> {
    let origins = HopKey::all_of(span).into_iter().map(|key| scene.messages.origin(&key, span));
    let mut sends = origins.filter_map(|origin| match origin {
        Origin::Send(send) => Some(send),
        Origin::NotAtHand | Origin::Unknown => None,
    });
    let send = sends.find(|send| send.trace_id != scene.id && !links_to(span, send.trace_id));
    let above = node.parent.and_then(|id| scene.nodes.get(id.0)).and_then(Node::span);
    let bare = above.is_none_or(|above| !hop::is_send(above)) && came_without_context(span);
    if send.is_none() && !bare {
        return None;
    }
    Some(Finding {
        kind: FindingKind::ContextLost { cause: cause(span), other: send.map(|send| send.trace_id) },
        node: Some(node.id),
        hop: Some(Hop {
            from: send.map(|send| send.service().to_owned()),
            destination: hop::destination(span).or_else(|| send.and_then(hop::destination)),
            to: Some(span.service().to_owned()),
        }),
        count: 1,
    })
}

/// Whether the span itself says so: of its one message, or of some of its batch's.
fn came_without_context(span: &Span) -> bool {
    let number = |key| span.attribute(key).and_then(hop::int);
    match number(attribute::MESSAGING_BATCH_MESSAGE_COUNT) {
        None => span.links.is_empty() && cause(span) == Cause::NotInjected,
        // Where links were left out for the cap, too few of them says nothing.
        Some(_) if number(own::LINKS_TOTAL).is_some() => false,
        Some(messages) => {
            let contributor = |link: &&Link| {
                link.attribute(own::LINK_REASON).and_then(hop::text).is_none_or(|why| why == "contributor")
            };
            let linked = i64::try_from(span.links.iter().filter(contributor).count()).unwrap_or(i64::MAX);
            // Only a span that states its lineage is known to link every message that it can.
            number(own::LINKED_TRACE_ID_COUNT).is_some() && linked < messages
        }
    }
}

/// Processings of our message in traces that do not link us: one finding per receiving service.
fn lost_after_send(scene: &Scene<'_>, node: &Node, span: &Span) -> Vec<Finding> {
    let mut told = BTreeSet::new();
    let mut lost = Vec::new();
    for process in scene.messages.processings(span) {
        let kept = process.trace_id == scene.id || links_to(process, scene.id);
        if kept || !told.insert(process.service()) {
            continue;
        }
        lost.push(Finding {
            kind: FindingKind::ContextLost { cause: cause(process), other: Some(process.trace_id) },
            node: Some(node.id),
            hop: Some(Hop {
                from: Some(span.service().to_owned()),
                destination: hop::destination(span),
                to: Some(process.service().to_owned()),
            }),
            count: 1,
        });
    }
    lost
}

fn links_to(span: &Span, trace: TraceId) -> bool {
    span.links.iter().any(|link| link.trace_id == trace)
}

fn cause(process: &Span) -> Cause {
    match process.attribute(own::HEADERS_FOUND) {
        Some(Value::Str(found)) if found.split(',').any(|name| name.trim() == header::TRACEPARENT) => {
            Cause::NotContinued
        }
        Some(Value::Str(_)) => Cause::NotInjected,
        // A batch that states its lineage has linked what it found.
        _ if process.attribute(own::LINKED_TRACE_ID_COUNT).is_some() => Cause::NotInjected,
        _ => Cause::Unknown,
    }
}

/// Sends of ours, gone well, that nobody is known to have processed. Told only of a quiet trace.
pub(super) fn not_consumed(scene: &Scene<'_>) -> Vec<Finding> {
    if scene.state == State::Arriving {
        return Vec::new();
    }
    let spans =
        || scene.nodes.iter().filter_map(Node::span).chain(scene.neighbours.iter().flat_map(|n| &n.spans));
    let linked: HashSet<SpanId> =
        spans().flat_map(|s| &s.links).filter(|l| l.trace_id == scene.id).map(|l| l.span_id).collect();
    let is_open = |node: &&Node| match node.span() {
        Some(span) if hop::is_send(span) && !span.is_error() => {
            !node.children.iter().filter_map(|id| scene.nodes.get(id.0)?.span()).any(hop::is_process)
                && !linked.contains(&span.span_id)
                && !scene.messages.is_processed(span)
        }
        _ => false,
    };
    let tell = |node: &Node| Finding {
        kind: FindingKind::NotConsumed,
        node: Some(node.id),
        hop: Some(Hop {
            from: node.service().map(str::to_owned),
            destination: node.span().and_then(hop::destination),
            to: None,
        }),
        count: 1,
    };
    scene.nodes.iter().filter(is_open).map(tell).collect()
}
