//! Where things stand in the waterfall: the time axis, the rows in order, each bar's place on the axis. Figures only; the
//! page turns them into SVG. All places are percent of the lane's width, so that a lane needs no width of its own.

use std::collections::HashMap;
use std::ops::Range;

use throughline_otlp::{Span, SpanId, UnixNanos};
use throughline_trace::{Node, NodeId, Trace};

pub(crate) mod axis;
pub(crate) mod scatter;
#[cfg(test)]
mod tests;

use axis::Axis;

/// Above so many nodes a trace is folded: deep levels are left out, long runs of siblings gathered by service. What is
/// folded is not on the page; it is laid out when its span is asked for.
pub(crate) const OPEN_NODES: usize = 2_000;
/// How many children of one parent are shown one by one in a folded trace.
const OPEN_SIBLINGS: usize = 100;
/// How deep elements are nested. Browsers stop nesting at some 512; what is deeper stands at the last level.
const MAX_NESTING: usize = 100;
/// Narrower bars are drawn this wide, or nobody would see them.
const MIN_WIDTH: f64 = 0.2;

/// A trace laid out.
pub(crate) struct Waterfall<'a> {
    pub(crate) axis: Axis,
    pub(crate) lines: Vec<Line<'a>>,
    /// How deep the topmost nodes are in the trace.
    pub(crate) base: usize,
    pub(crate) extent: Extent,
    /// Errors before what is laid out, and after it.
    pub(crate) before: Option<Hidden>,
    pub(crate) after: Option<Hidden>,
}

/// Failed spans that are not on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hidden {
    pub(crate) count: usize,
    pub(crate) first: SpanId,
    pub(crate) last: SpanId,
}

/// How much of the trace is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    Whole,
    /// It is folded, seen from its top.
    Folded,
    /// It is folded, seen from a span that was asked for.
    Part,
}

/// What comes next on the page, from top to bottom.
pub(crate) enum Line<'a> {
    /// A span or a ghost, and whether something nested follows.
    Node { node: &'a Node, bar: Bar, wait: Option<Bar>, nested: Nested },
    /// Siblings of one service that are folded away, the first of them, and the errors in and below them.
    Gather { service: &'a str, count: usize, bar: Bar, first: &'a Node, errors: Option<Hidden> },
    /// Ends what the last open `Node` with [`Nested::Open`] began.
    Close,
}

/// What stands below a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nested {
    /// Nothing, or what stands below is not nested any more.
    Nothing,
    /// So many nodes, shown.
    Open(usize),
    /// So many nodes, folded away, and the errors among them.
    Folded(usize, Option<Hidden>),
}

/// A stretch of the axis, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bar {
    pub(crate) left: f64,
    pub(crate) width: f64,
}

impl Bar {
    pub(crate) fn right(self) -> f64 {
        self.left + self.width
    }
}

/// Lays a trace out; of a folded one, so that the span asked for and what is below it is there.
pub(crate) fn waterfall(trace: &Trace, asked: Option<SpanId>) -> Waterfall<'_> {
    let axis = Axis::of(trace);
    let folded = trace.nodes.len() > OPEN_NODES;
    let places = Places::of(trace);
    let walk = |roots: &[NodeId], asked: Option<NodeId>| {
        let base = roots.first().and_then(|id| trace.node(*id)).map_or(0, |node| node.depth);
        let levels = if folded { levels_open(trace, roots) } else { usize::MAX };
        Walk { trace, axis: &axis, places: &places, base, levels, asked }.lines(roots)
    };
    let lines = walk(&trace.roots, None);
    let asked = asked.filter(|_| folded).and_then(|id| trace.nodes.iter().find(|n| n.span_id() == id));
    let top = asked.and_then(|node| match shown_as(&lines, node.id) {
        Some(Nested::Nothing | Nested::Open(_)) => None,
        Some(Nested::Folded(..)) => Some(node),
        None => Some(node.parent.and_then(|parent| trace.node(parent)).unwrap_or(node)),
    });
    let Some(top) = top else {
        let extent = if folded { Extent::Folded } else { Extent::Whole };
        return Waterfall { axis, lines, base: 0, extent, before: None, after: None };
    };
    let lines = walk(&[top.id], asked.map(|node| node.id));
    let (begin, end) = (top.id.0, top.id.0 + 1 + places.below(top.id));
    let (before, after) = (places.errors_in(0..begin), places.errors_in(end..trace.nodes.len()));
    Waterfall { axis, lines, base: top.depth, extent: Extent::Part, before, after }
}

/// How a node stands among the lines; `None` if it does not.
fn shown_as(lines: &[Line<'_>], id: NodeId) -> Option<Nested> {
    lines.iter().find_map(|line| match line {
        Line::Node { node, nested, .. } if node.id == id => Some(*nested),
        _ => None,
    })
}

/// What is where among the nodes, which are in the order of the tree: what is below a node follows it.
struct Places<'a> {
    trace: &'a Trace,
    /// How many nodes stand below each.
    sizes: Vec<usize>,
    /// The nodes that failed, in order.
    failed: Vec<usize>,
}

impl<'a> Places<'a> {
    fn of(trace: &'a Trace) -> Self {
        let failed = trace.nodes.iter().filter(|node| node.span().is_some_and(Span::is_error));
        Self { trace, sizes: sizes(trace), failed: failed.map(|node| node.id.0).collect() }
    }

    fn below(&self, id: NodeId) -> usize {
        self.sizes.get(id.0).copied().unwrap_or(0)
    }

    /// The errors in these stretches of nodes.
    fn errors(&self, stretches: impl IntoIterator<Item = Range<usize>>) -> Option<Hidden> {
        let mut hidden: Option<Hidden> = None;
        for stretch in stretches {
            let at = |node: usize| self.failed.partition_point(|failed| *failed < node);
            let failed = self.failed.get(at(stretch.start)..at(stretch.end)).unwrap_or_default();
            let id = |at: Option<&usize>| Some(self.trace.nodes.get(*at?)?.span_id());
            let (Some(first), Some(last)) = (id(failed.first()), id(failed.last())) else { continue };
            let before = hidden.map_or(0, |hidden| hidden.count);
            let first = hidden.map_or(first, |hidden| hidden.first);
            hidden = Some(Hidden { count: before + failed.len(), first, last });
        }
        hidden
    }

    fn errors_in(&self, stretch: Range<usize>) -> Option<Hidden> {
        self.errors(std::iter::once(stretch))
    }

    /// The errors below a node.
    fn errors_below(&self, id: NodeId) -> Option<Hidden> {
        self.errors_in(id.0 + 1..id.0 + 1 + self.below(id))
    }

    /// The errors among these nodes and below them.
    fn errors_among(&self, nodes: &[NodeId]) -> Option<Hidden> {
        self.errors(nodes.iter().map(|id| id.0..id.0 + 1 + self.below(*id)))
    }
}

/// How many nodes stand below each. Children come after their parent in `nodes`, so one pass backwards is enough.
fn sizes(trace: &Trace) -> Vec<usize> {
    let mut sizes = vec![0; trace.nodes.len()];
    for node in trace.nodes.iter().rev() {
        let own = sizes.get(node.id.0).copied().unwrap_or(0);
        if let Some(above) = node.parent.and_then(|parent| sizes.get_mut(parent.0)) {
            *above += own + 1;
        }
    }
    sizes
}

/// How many levels are open: as many as show at most [`OPEN_NODES`] rows, gathered siblings not counted.
fn levels_open(trace: &Trace, roots: &[NodeId]) -> usize {
    let mut level: Vec<NodeId> = shown(roots).to_vec();
    let (mut rows, mut levels) = (level.len(), 1);
    loop {
        let nodes = level.iter().filter_map(|id| trace.node(*id));
        let below: Vec<NodeId> = nodes.flat_map(|node| shown(&node.children)).copied().collect();
        rows += below.len();
        if below.is_empty() || rows > OPEN_NODES {
            return levels;
        }
        levels += 1;
        level = below;
    }
}

/// The siblings of a folded trace that are shown one by one.
fn shown(siblings: &[NodeId]) -> &[NodeId] {
    if siblings.len() <= OPEN_SIBLINGS * 2 {
        siblings
    } else {
        siblings.get(..OPEN_SIBLINGS).unwrap_or(siblings)
    }
}

/// The walk down the tree, on a stack of its own: a chain of spans may be longer than a thread's stack is deep.
struct Walk<'a, 'b> {
    trace: &'a Trace,
    axis: &'b Axis,
    places: &'b Places<'a>,
    /// Depth of the topmost nodes.
    base: usize,
    /// Levels that are open below it; [`usize::MAX`] if nothing is folded.
    levels: usize,
    /// A node that is shown, and open, whatever the levels.
    asked: Option<NodeId>,
}

enum Step<'a> {
    Visit(NodeId),
    Gather { service: &'a str, nodes: Vec<NodeId> },
    Close,
}

impl<'a> Walk<'a, '_> {
    fn lines(&self, roots: &[NodeId]) -> Vec<Line<'a>> {
        let mut lines = Vec::with_capacity(self.trace.nodes.len().min(2 * OPEN_NODES));
        let mut steps: Vec<Step<'a>> = self.steps(roots);
        steps.reverse();
        while let Some(step) = steps.pop() {
            match step {
                Step::Close => lines.push(Line::Close),
                Step::Gather { service, nodes } => {
                    let Some(first) = nodes.first().and_then(|id| self.trace.node(*id)) else { continue };
                    let bar = self.hull(&nodes);
                    let errors = self.places.errors_among(&nodes);
                    lines.push(Line::Gather { service, count: nodes.len(), bar, first, errors });
                }
                Step::Visit(id) => {
                    let Some(node) = self.trace.node(id) else { continue };
                    let nested = self.nested(node);
                    lines.push(Line::Node { node, bar: self.bar(node), wait: self.wait(node), nested });
                    let mut below = match nested {
                        Nested::Folded(..) => continue,
                        Nested::Open(_) => vec![Step::Close],
                        Nested::Nothing => Vec::new(),
                    };
                    below.extend(self.steps(&node.children).into_iter().rev());
                    steps.append(&mut below);
                }
            }
        }
        lines
    }

    fn nested(&self, node: &Node) -> Nested {
        let level = node.depth.saturating_sub(self.base);
        match self.places.below(node.id) {
            0 => Nested::Nothing,
            below
                if level + 1 >= self.levels && self.asked != Some(node.id) && !self.is_above_asked(node) =>
            {
                Nested::Folded(below, self.places.errors_below(node.id))
            }
            _ if level >= MAX_NESTING => Nested::Nothing,
            below => Nested::Open(below),
        }
    }

    fn is_above_asked(&self, node: &Node) -> bool {
        let asked = self.asked.and_then(|id| self.trace.node(id));
        asked.and_then(|asked| asked.parent) == Some(node.id)
    }

    /// Siblings in order; in a folded trace those past the first hundred are gathered by service.
    fn steps(&self, siblings: &[NodeId]) -> Vec<Step<'a>> {
        if self.levels == usize::MAX {
            return siblings.iter().copied().map(Step::Visit).collect();
        }
        let (alone, rest) = self.shown_beside(siblings);
        let mut steps: Vec<Step<'a>> = alone.into_iter().map(Step::Visit).collect();
        let mut order: Vec<(&'a str, Vec<NodeId>)> = Vec::new();
        let mut index: HashMap<&'a str, usize> = HashMap::new();
        for id in rest {
            let service = self.service(id);
            let at = *index.entry(service).or_insert_with(|| {
                order.push((service, Vec::new()));
                order.len() - 1
            });
            order.get_mut(at).into_iter().for_each(|(_, nodes)| nodes.push(id));
        }
        steps.extend(order.into_iter().map(|(service, nodes)| Step::Gather { service, nodes }));
        steps
    }

    /// The siblings shown one by one: the first hundred, or the one asked for and the next of its service. Then the others,
    /// those that follow first, so that each gathering leads on to what has not been seen.
    fn shown_beside(&self, siblings: &[NodeId]) -> (Vec<NodeId>, Vec<NodeId>) {
        let first = shown(siblings);
        let at = siblings.iter().position(|id| self.asked == Some(*id)).filter(|at| *at >= first.len());
        let Some((before, after)) = at.and_then(|at| siblings.split_at_checked(at)) else {
            return (first.to_vec(), siblings.get(first.len()..).unwrap_or_default().to_vec());
        };
        let service = after.first().map(|id| self.service(*id));
        let (mut alone, mut rest) = (Vec::new(), Vec::new());
        for id in after {
            let next = alone.len() < OPEN_SIBLINGS && Some(self.service(*id)) == service;
            if next { alone.push(*id) } else { rest.push(*id) }
        }
        rest.extend(before);
        (alone, rest)
    }

    fn service(&self, id: NodeId) -> &'a str {
        self.trace.node(id).and_then(Node::service).unwrap_or("unknown")
    }

    fn bar(&self, node: &Node) -> Bar {
        match node.span() {
            Some(span) => self.axis.bar(span.start, span.end),
            None => self.ghost(node),
        }
    }

    /// A ghost spans what its children span: it is known to have been there for so long.
    fn ghost(&self, node: &Node) -> Bar {
        self.hull(&node.children)
    }

    fn hull(&self, nodes: &[NodeId]) -> Bar {
        let spans = || nodes.iter().filter_map(|id| self.trace.node(*id)?.span());
        let start = spans().map(|s| s.start).min().unwrap_or(self.trace.start);
        let end = spans().map(|s| s.end).max().unwrap_or(start);
        self.axis.bar(start, end)
    }

    fn wait(&self, node: &Node) -> Option<Bar> {
        let wait = node.wait.as_ref()?;
        // A negative wait is drawn between the two times as they are; its row says that the clocks disagree.
        Some(self.axis.bar(wait.from.min(wait.until), wait.from.max(wait.until)))
    }
}

impl Axis {
    /// The bar from one time to another; at least as wide as can be seen, and never past the right edge.
    pub(crate) fn bar(&self, from: UnixNanos, until: UnixNanos) -> Bar {
        let (left, right) = (self.place(from), self.place(until));
        let width = (right - left).max(MIN_WIDTH);
        Bar { left: left.min(100.0 - width), width }
    }
}
