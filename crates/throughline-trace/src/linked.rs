//! The traces this one came from and went into, each told by the span at which the two touch. A trace that is not in
//! the store is listed all the same, by its id.

use std::collections::BTreeMap;

use throughline_otlp::model::Link;
use throughline_otlp::{Span, TraceId};
use throughline_semconv::own;

use crate::hop::{self, Known};
use crate::model::{Direction, Lineage, LinkedTrace, Neighbour, Node, NodeId};
use crate::tree;

/// Neighbours in one order, spans in theirs, one entry per trace and direction.
pub(crate) fn settle(neighbours: Vec<Neighbour>) -> Vec<Neighbour> {
    let mut merged: BTreeMap<(Direction, TraceId), Vec<Span>> = BTreeMap::new();
    for neighbour in neighbours {
        let spans = neighbour.spans.into_iter().filter(|span| span.trace_id == neighbour.trace_id);
        merged.entry((neighbour.direction, neighbour.trace_id)).or_default().extend(spans);
    }
    let whole =
        |((direction, trace_id), spans)| Neighbour { trace_id, direction, spans: tree::unique(spans) };
    merged.into_iter().map(whole).collect()
}

/// What linked traces are told from.
pub(crate) struct Scene<'a> {
    pub(crate) id: TraceId,
    pub(crate) nodes: &'a [Node],
    pub(crate) neighbours: &'a [Neighbour],
    pub(crate) known: &'a Known<'a>,
    /// Messages of which one half is of this trace: ours, theirs.
    pub(crate) across: &'a [(&'a Span, &'a Span)],
}

/// Every linked trace, by direction, then start (unknown last), then id.
pub(crate) fn linked(scene: &Scene<'_>) -> Vec<LinkedTrace> {
    let Scene { id, nodes, neighbours, known, across } = *scene;
    let mut linked = contributors(id, nodes, neighbours, known);
    for neighbour in neighbours {
        match neighbour.direction {
            Direction::Contributor => {}
            Direction::Dependant => linked.push(dependant(id, nodes, neighbour, known)),
            Direction::SameMessage => linked.extend(same_message(nodes, neighbour, across)),
        }
    }
    linked.sort_by_key(|l| (l.direction, l.started.is_none(), l.started, l.trace_id));
    linked
}

/// The traces our spans link to, whether or not they were handed over as neighbours.
fn contributors(
    id: TraceId,
    nodes: &[Node],
    neighbours: &[Neighbour],
    known: &Known<'_>,
) -> Vec<LinkedTrace> {
    let mut found: BTreeMap<TraceId, LinkedTrace> = BTreeMap::new();
    for (node, span) in nodes.iter().filter_map(|node| Some((node, node.span()?))) {
        for link in span.links.iter().filter(|link| link.trace_id != id) {
            let linked = found.entry(link.trace_id).or_insert_with(|| LinkedTrace {
                reason: reason(link),
                wait: hop::wait_over(span, link, known),
                node: Some(node.id),
                span_id: Some(link.span_id),
                links: 0,
                ..unknown(link.trace_id, Direction::Contributor)
            });
            linked.links += 1;
        }
    }
    for neighbour in neighbours.iter().filter(|n| n.direction == Direction::Contributor) {
        if let (Some(linked), Some(root)) = (found.get_mut(&neighbour.trace_id), first_root(&neighbour.spans))
        {
            describe(linked, root);
        }
    }
    found.into_values().collect()
}

/// A trace that links to us, told by its first span that does.
fn dependant(id: TraceId, nodes: &[Node], neighbour: &Neighbour, known: &Known<'_>) -> LinkedTrace {
    let mut linked = unknown(neighbour.trace_id, Direction::Dependant);
    let to_us = |span: &Span| span.links.iter().filter(|link| link.trace_id == id).count();
    linked.links = neighbour.spans.iter().map(to_us).sum();
    let Some(span) = neighbour.spans.iter().find(|span| to_us(span) > 0) else {
        // Somebody says it links to us, yet the span that does is not at hand.
        if let Some(root) = first_root(&neighbour.spans) {
            describe(&mut linked, root);
        }
        return linked;
    };
    describe(&mut linked, span);
    linked.span_id = Some(span.span_id);
    linked.lineage = lineage(span);
    if let Some(link) = span.links.iter().find(|link| link.trace_id == id) {
        linked.reason = reason(link);
        linked.wait = hop::wait_over(span, link, known);
        linked.node = nodes.iter().find(|node| node.span_id() == link.span_id).map(|node| node.id);
    }
    linked
}

/// A trace that has the other half of one of our messages. One that only has the same offset of another time is not
/// listed.
fn same_message(nodes: &[Node], neighbour: &Neighbour, across: &[(&Span, &Span)]) -> Option<LinkedTrace> {
    let of_neighbour = across.iter().filter(|(_, theirs)| theirs.trace_id == neighbour.trace_id);
    let (ours, theirs) = of_neighbour.min_by_key(|(_, theirs)| (theirs.start, theirs.span_id))?;
    let mut linked = unknown(neighbour.trace_id, Direction::SameMessage);
    describe(&mut linked, theirs);
    linked.span_id = Some(theirs.span_id);
    linked.node = nodes.iter().find(|node| node.span_id() == ours.span_id).map(|node| node.id);
    Some(linked)
}

/// What a batch span states of its contributors.
pub(crate) fn lineage(span: &Span) -> Option<Lineage> {
    Some(Lineage {
        count: span.attribute(own::LINKED_TRACE_ID_COUNT).and_then(hop::int)?,
        hash: span.attribute(own::LINKED_TRACE_ID_HASH).and_then(hop::text),
    })
}

fn reason(link: &Link) -> Option<String> {
    link.attribute(own::LINK_REASON).and_then(hop::text)
}

fn first_root(spans: &[Span]) -> Option<&Span> {
    spans.iter().find(|span| span.parent.is_none()).or_else(|| spans.first())
}

fn describe(linked: &mut LinkedTrace, span: &Span) {
    linked.service = Some(span.service().to_owned());
    linked.operation = Some(span.name.clone());
    linked.kind = Some(span.kind);
    linked.operation_type = hop::operation_type(span).map(str::to_owned);
    linked.started = Some(span.start);
    linked.took = Some(span.end.since(span.start));
}

fn unknown(trace_id: TraceId, direction: Direction) -> LinkedTrace {
    LinkedTrace {
        trace_id,
        direction,
        service: None,
        operation: None,
        kind: None,
        operation_type: None,
        started: None,
        took: None,
        reason: None,
        lineage: None,
        wait: None,
        node: None::<NodeId>,
        span_id: None,
        links: 0,
    }
}
