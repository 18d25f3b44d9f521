//! Where things stand in the waterfall: the time axis, the rows in order, each bar's place on the axis. Figures only; the
//! page turns them into SVG. All places are percent of the lane's width, so that a lane needs no width of its own.

use std::collections::HashMap;

use throughline_otlp::UnixNanos;
use throughline_trace::{Node, NodeId, Trace};

pub(crate) mod axis;
pub(crate) mod scatter;
#[cfg(test)]
mod tests;

use axis::Axis;

/// Above so many nodes a trace is folded: deep levels closed, long runs of siblings gathered by service.
const OPEN_NODES: usize = 2_000;
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
}

/// What comes next on the page, from top to bottom.
pub(crate) enum Line<'a> {
    /// A span or a ghost, and whether something nested follows.
    Node { node: &'a Node, bar: Bar, wait: Option<Bar>, nested: Nested },
    /// The siblings that follow belong to one service and are folded away.
    Gather { service: &'a str, count: usize, bar: Bar },
    /// Ends what the last open `Node` with [`Nested::Open`] or [`Nested::Folded`], or the last `Gather`, began.
    Close,
}

/// What stands below a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nested {
    /// Nothing, or what stands below is not nested any more.
    Nothing,
    /// So many nodes, shown.
    Open(usize),
    /// So many nodes, folded.
    Folded(usize),
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

/// Lays a trace out.
pub(crate) fn waterfall(trace: &Trace) -> Waterfall<'_> {
    let axis = Axis::of(trace);
    let sizes = sizes(trace);
    let lines = Walk { trace, axis: &axis, sizes: &sizes, depth_open: depth_open(trace) }.lines();
    Waterfall { axis, lines }
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

/// How many levels are open: all, or as many as show at most [`OPEN_NODES`] rows, gathered siblings not counted.
fn depth_open(trace: &Trace) -> usize {
    if trace.nodes.len() <= OPEN_NODES {
        return usize::MAX;
    }
    let mut level: Vec<NodeId> = shown(&trace.roots).to_vec();
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
    sizes: &'b [usize],
    depth_open: usize,
}

enum Step<'a> {
    Visit(NodeId),
    Gather { service: &'a str, nodes: Vec<NodeId> },
    Close,
}

impl<'a> Walk<'a, '_> {
    fn lines(&self) -> Vec<Line<'a>> {
        let mut lines = Vec::with_capacity(self.trace.nodes.len());
        let mut steps: Vec<Step<'a>> = self.steps(&self.trace.roots);
        steps.reverse();
        while let Some(step) = steps.pop() {
            match step {
                Step::Close => lines.push(Line::Close),
                Step::Gather { service, nodes } => {
                    lines.push(Line::Gather { service, count: nodes.len(), bar: self.hull(&nodes) });
                    steps.push(Step::Close);
                    steps.extend(nodes.into_iter().rev().map(Step::Visit));
                }
                Step::Visit(id) => {
                    let Some(node) = self.trace.node(id) else { continue };
                    let nested = self.nested(node);
                    lines.push(Line::Node { node, bar: self.bar(node), wait: self.wait(node), nested });
                    if nested != Nested::Nothing {
                        steps.push(Step::Close);
                    }
                    let mut below = self.steps(&node.children);
                    below.reverse();
                    steps.append(&mut below);
                }
            }
        }
        lines
    }

    fn nested(&self, node: &Node) -> Nested {
        match self.sizes.get(node.id.0).copied().unwrap_or(0) {
            0 => Nested::Nothing,
            _ if node.depth >= MAX_NESTING => Nested::Nothing,
            below if node.depth + 1 >= self.depth_open => Nested::Folded(below),
            below => Nested::Open(below),
        }
    }

    /// Siblings in order; in a folded trace those past the first hundred are gathered by service.
    fn steps(&self, siblings: &[NodeId]) -> Vec<Step<'a>> {
        let alone = if self.depth_open == usize::MAX { siblings } else { shown(siblings) };
        let rest = siblings.get(alone.len()..).unwrap_or_default();
        let mut steps: Vec<Step<'a>> = alone.iter().copied().map(Step::Visit).collect();
        let mut order: Vec<(&'a str, Vec<NodeId>)> = Vec::new();
        let mut index: HashMap<&'a str, usize> = HashMap::new();
        for id in rest {
            let service = self.trace.node(*id).and_then(Node::service).unwrap_or("unknown");
            let at = *index.entry(service).or_insert_with(|| {
                order.push((service, Vec::new()));
                order.len() - 1
            });
            order.get_mut(at).into_iter().for_each(|(_, nodes)| nodes.push(*id));
        }
        steps.extend(order.into_iter().map(|(service, nodes)| Step::Gather { service, nodes }));
        steps
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
