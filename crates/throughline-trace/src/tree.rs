//! Parents: who is below whom, who is missing, where a loop is cut, and the depth-first order. No recursion, so that a
//! chain of any depth is safe; no dependence on the order in which spans came.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};

use throughline_otlp::{LogRecord, Span, SpanId, SpanKind, UnixNanos};

use crate::hop;
use crate::model::{Missing, Node, NodeId, NodeKind};

/// OTLP span flags: bit 8 says whether bit 9 is meant, bit 9 that the parent is in another process.
const HAS_IS_REMOTE: u32 = 1 << 8;
const IS_REMOTE: u32 = 1 << 9;

/// A tree of nodes, depth first.
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
    pub(crate) roots: Vec<NodeId>,
    /// Roots that are not: their parent is below them, the loop was cut here.
    pub(crate) cut: Vec<NodeId>,
}

/// Place among siblings. Unique after [`unique`], ghosts included: their rank is no kind's.
type Place = (UnixNanos, SpanId, u8);

struct Draft {
    what: NodeKind,
    place: Place,
    parent: Option<usize>,
    children: Vec<usize>,
}

impl Draft {
    /// Whether it was sent as a root.
    fn is_true_root(&self) -> bool {
        matches!(&self.what, NodeKind::Span(span) if span.parent.is_none())
    }
}

/// Grows the tree from the spans of one trace.
pub(crate) fn grow(spans: Vec<Span>, logs: &[LogRecord]) -> Tree {
    let spans = unique(spans);
    let parents = parents(&spans);
    let ghosts = ghosts(&spans, &parents, logs);
    let first_ghost = spans.len();
    let ghost_at: HashMap<SpanId, usize> =
        ghosts.keys().enumerate().map(|(i, id)| (*id, first_ghost + i)).collect();
    let mut drafts: Vec<Draft> = spans
        .into_iter()
        .zip(parents)
        .map(|(span, parent)| Draft {
            place: place(&span),
            what: NodeKind::Span(Box::new(span)),
            parent: match parent {
                Parent::None => None,
                Parent::At(index) => Some(index),
                Parent::Missing(id) => ghost_at.get(&id).copied(),
            },
            children: Vec::new(),
        })
        .collect();
    drafts.extend(ghosts.into_values().map(|missing| Draft {
        place: (missing.started_by, missing.span_id, u8::MAX),
        what: NodeKind::Missing(missing),
        parent: None,
        children: Vec::new(),
    }));
    let cut = cut_loops(&mut drafts);
    number(drafts, &cut)
}

/// Folds duplicates (same span id, kind and start; of two versions the fuller one stays) and brings spans in order.
pub(crate) fn unique(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable_by(|a, b| place(a).cmp(&place(b)).then_with(|| fuller_first(a, b)));
    spans.dedup_by(|later, kept| place(later) == place(kept));
    spans
}

fn place(span: &Span) -> Place {
    (span.start, span.span_id, span.kind as u8)
}

/// Later end, more attributes, events, links first; then any total order, so that arrival order never decides.
fn fuller_first(a: &Span, b: &Span) -> Ordering {
    let size = |s: &Span| (s.end, s.attributes.len(), s.events.len(), s.links.len(), s.is_error());
    size(b)
        .cmp(&size(a))
        .then_with(|| if a == b { Ordering::Equal } else { format!("{a:?}").cmp(&format!("{b:?}")) })
}

/// What the span's flags say of where its parent is; most senders say nothing.
fn parent_is_remote(span: &Span) -> Option<bool> {
    (span.flags & HAS_IS_REMOTE != 0).then_some(span.flags & IS_REMOTE != 0)
}

/// Whether a span is the first in its process: it says so, or its kind does.
pub(crate) fn enters_process(span: &Span) -> bool {
    let by_kind = matches!(span.kind, SpanKind::Server | SpanKind::Consumer);
    parent_is_remote(span).unwrap_or(by_kind)
}

#[derive(Clone, Copy)]
enum Parent {
    /// A root, or its own parent.
    None,
    At(usize),
    Missing(SpanId),
}

/// Each span's parent. Two spans may share an id (Zipkin's client and server): the one of the child's service is
/// preferred, else the earlier one.
fn parents(spans: &[Span]) -> Vec<Parent> {
    let mut by_id: HashMap<SpanId, Vec<usize>> = HashMap::with_capacity(spans.len());
    for (index, span) in spans.iter().enumerate() {
        by_id.entry(span.span_id).or_default().push(index);
    }
    let find = |index: usize, span: &Span| {
        let Some(id) = span.parent else { return Parent::None };
        let Some(candidates) = by_id.get(&id) else { return Parent::Missing(id) };
        let others = || candidates.iter().copied().filter(|other| *other != index);
        let same_service =
            others().find(|other| spans.get(*other).is_some_and(|o| o.service() == span.service()));
        same_service.or_else(|| others().next()).map_or(Parent::None, Parent::At)
    };
    spans.iter().enumerate().map(|(index, span)| find(index, span)).collect()
}

/// One ghost per parent that nobody sent, with what its children and its logs tell of it.
fn ghosts(spans: &[Span], parents: &[Parent], logs: &[LogRecord]) -> BTreeMap<SpanId, Missing> {
    let mut ghosts: BTreeMap<SpanId, Missing> = BTreeMap::new();
    for (span, parent) in spans.iter().zip(parents) {
        let Parent::Missing(id) = *parent else { continue };
        // Spans come by start, so the first child is the earliest.
        let ghost = ghosts.entry(id).or_insert_with(|| Missing {
            span_id: id,
            started_by: span.start,
            service: None,
            destination: None,
        });
        if parent_is_remote(span) == Some(false) && ghost.service.is_none() {
            ghost.service = Some(span.service().to_owned());
        }
        if hop::is_process(span) && ghost.destination.is_none() {
            ghost.destination = hop::destination(span);
        }
    }
    for log in logs {
        let ghost = log.span_id.and_then(|id| ghosts.get_mut(&id));
        if let Some(ghost) = ghost.filter(|ghost| ghost.service.is_none()) {
            ghost.service = Some(log.resource.service().to_owned());
        }
    }
    ghosts
}

/// Cuts each loop above its earliest span, which becomes a root. Returns those spans.
fn cut_loops(drafts: &mut [Draft]) -> HashSet<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        /// On the walk with this number.
        Walk(usize),
    }
    let mut seen = vec![Seen::No; drafts.len()];
    let mut cut = HashSet::new();
    for first in 0..drafts.len() {
        let mut path = Vec::new();
        let mut at = Some(first);
        while let Some(index) = at {
            match seen.get_mut(index) {
                Some(state @ Seen::No) => *state = Seen::Walk(first),
                // Our own walk again: a loop, from here to the end of the path.
                Some(Seen::Walk(walk)) if *walk == first => {
                    let on_loop = path.iter().copied().skip_while(|other| *other != index);
                    cut.extend(on_loop.min_by_key(|other| drafts.get(*other).map(|d: &Draft| d.place)));
                    break;
                }
                _ => break,
            }
            path.push(index);
            at = drafts.get(index).and_then(|draft| draft.parent);
        }
    }
    // A span that is its own parent has been given none, but it is a loop all the same.
    let own_parent = |draft: &Draft| match &draft.what {
        NodeKind::Span(span) => draft.parent.is_none() && span.parent == Some(span.span_id),
        NodeKind::Missing(_) => false,
    };
    cut.extend(drafts.iter().enumerate().filter(|(_, d)| own_parent(d)).map(|(index, _)| index));
    for index in &cut {
        if let Some(draft) = drafts.get_mut(*index) {
            draft.parent = None;
        }
    }
    cut
}

/// Numbers the drafts depth first, siblings by place; roots that are ones before spans that only lack their parent.
fn number(mut drafts: Vec<Draft>, cut: &HashSet<usize>) -> Tree {
    let mut order: Vec<usize> = (0..drafts.len()).collect();
    order.sort_unstable_by_key(|index| drafts.get(*index).map(|d| d.place));
    let mut roots = Vec::new();
    for index in order {
        match drafts.get(index).and_then(|draft| draft.parent) {
            Some(parent) => drafts.get_mut(parent).into_iter().for_each(|p| p.children.push(index)),
            None => roots.push(index),
        }
    }
    roots.sort_by_key(|index| !drafts.get(*index).is_some_and(Draft::is_true_root));
    let mut tree = Tree { nodes: Vec::with_capacity(drafts.len()), roots: Vec::new(), cut: Vec::new() };
    let mut drafts: Vec<Option<Draft>> = drafts.into_iter().map(Some).collect();
    let mut stack: Vec<(usize, Option<NodeId>, usize)> = roots.iter().rev().map(|r| (*r, None, 0)).collect();
    while let Some((index, parent, depth)) = stack.pop() {
        // Taken once: after the cuts every draft has one way to it.
        let Some(draft) = drafts.get_mut(index).and_then(Option::take) else { continue };
        let id = NodeId(tree.nodes.len());
        match parent.and_then(|p| tree.nodes.get_mut(p.0)) {
            Some(parent) => parent.children.push(id),
            None => tree.roots.push(id),
        }
        if cut.contains(&index) {
            tree.cut.push(id);
        }
        stack.extend(draft.children.iter().rev().map(|child| (*child, Some(id), depth + 1)));
        let Draft { what, .. } = draft;
        tree.nodes.push(Node { id, what, parent, children: Vec::new(), depth, wait: None, logs: Vec::new() });
    }
    tree
}
