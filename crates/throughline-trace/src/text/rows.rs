//! The tree's rows: a span, a ghost, a linked trace, or a detail below one of them. No recursion: a chain may be ten
//! thousand spans deep, and then its indentation stops growing.

use throughline_otlp::model::find;
use throughline_otlp::{Span, Status};
use throughline_semconv::{attribute, own};

use super::Form;
use super::line::{Line, Style};
use crate::hop::{self, Wait};
use crate::linked;
use crate::model::{Direction, Lineage, LinkedTrace, Missing, Node, NodeId, NodeKind, Trace};

/// One row of the tree and what stands in its columns.
pub(super) struct Row {
    pub(super) tree: Line,
    pub(super) took: Option<i128>,
    pub(super) wait: Option<Wait>,
    /// An id at the end of the tree's cell: what people copy, never cut for a column.
    pub(super) id: Option<String>,
}

/// What stands below a row.
struct Detail {
    text: Line,
    id: Option<String>,
}

/// Levels that are indented; deeper ones say their depth instead.
const LEVELS: usize = 30;

#[derive(Clone, Copy)]
enum Item<'a> {
    Node(&'a Node),
    Linked(&'a LinkedTrace),
}

/// An item with the prefix of its own line; whether a sibling follows decides its connector.
struct Placed<'a> {
    item: Item<'a>,
    prefix: String,
    level: usize,
    last: bool,
}

/// All rows, top down.
pub(super) fn rows(trace: &Trace, form: Form) -> Vec<Row> {
    let shape = Shape { trace, form };
    let nodes = shape.tops().into_iter().map(Item::Node);
    let tops: Vec<Item<'_>> = nodes.chain(dependants(trace).map(Item::Linked)).collect();
    let mut rows = Vec::new();
    let mut stack = place(tops, "", 0);
    while let Some(placed) = stack.pop() {
        let below = if placed.last { "   " } else { "│  " };
        let below =
            if placed.level < LEVELS { format!("{}{below}", placed.prefix) } else { placed.prefix.clone() };
        let (head, details) = match placed.item {
            Item::Node(node) => {
                stack.extend(place(shape.below(node).map(Item::Node).collect(), &below, placed.level + 1));
                (node_row(&shape, node), node_details(node))
            }
            Item::Linked(linked) => (linked_row(linked), linked_details(linked)),
        };
        let connector = if placed.last { "└─ " } else { "├─ " };
        let deep = if placed.level > LEVELS { format!("({} deep) ", placed.level) } else { String::new() };
        let mut tree = Line::styled(Style::Quiet, format!("{}{connector}{deep}", placed.prefix));
        tree.append(head.tree);
        rows.push(Row { tree, ..head });
        for detail in details {
            let mut tree = Line::styled(Style::Quiet, &below);
            tree.append(detail.text);
            rows.push(Row { tree, took: None, wait: None, id: detail.id });
        }
    }
    rows
}

/// The traces it went into. A poll that handed messages over links them too: where the service's processing is known,
/// that one is told and the poll is not.
fn dependants(trace: &Trace) -> impl Iterator<Item = &LinkedTrace> {
    let all = || trace.linked.iter().filter(|linked| linked.direction == Direction::Dependant);
    let did = |linked: &LinkedTrace, what| linked.operation_type.as_deref() == Some(what);
    all().filter(move |linked| {
        !did(linked, "receive")
            || !all().any(|other| other.service == linked.service && did(other, "process"))
    })
}

/// Siblings as they come off the stack: the first on top.
fn place<'a>(items: Vec<Item<'a>>, prefix: &str, level: usize) -> Vec<Placed<'a>> {
    let last = items.len().saturating_sub(1);
    let placed = items.into_iter().enumerate().map(|(at, item)| Placed {
        item,
        prefix: prefix.to_owned(),
        level,
        last: at == last,
    });
    placed.rev().collect()
}

struct Shape<'a> {
    trace: &'a Trace,
    form: Form,
}

impl<'a> Shape<'a> {
    /// Nodes at the margin, in the order of the tree.
    fn tops(&self) -> Vec<&'a Node> {
        self.trace.nodes.iter().filter(|node| self.is_top(node)).collect()
    }

    fn is_top(&self, node: &Node) -> bool {
        node.parent.is_none() || (self.form == Form::Hops && self.begins_hop(node))
    }

    fn below(&self, node: &'a Node) -> impl Iterator<Item = &'a Node> {
        let children = node.children.iter().filter_map(|id| self.trace.node(*id));
        children.filter(|child| !self.is_top(child))
    }

    fn above(&self, node: &Node) -> Option<&'a Node> {
        node.parent.and_then(|id: NodeId| self.trace.node(id))
    }

    /// A message's processing, below its send or below another service's span.
    fn begins_hop(&self, node: &Node) -> bool {
        node.span().is_some_and(hop::is_process)
            && self.above(node).is_none_or(|above| {
                above.service() != node.service() || above.span().is_some_and(hop::is_send)
            })
    }
}

/// `api: POST /checkout (INTERNAL)` where a service is entered by a call or at a root, `process orders (CONSUMER) -
/// payment-worker` where it is entered by a message, as the source prints them.
fn node_row(shape: &Shape<'_>, node: &Node) -> Row {
    let span = match &node.what {
        NodeKind::Missing(missing) => return Row { tree: ghost(missing), took: None, wait: None, id: None },
        NodeKind::Span(span) => span,
    };
    let mut tree = Line::default();
    let enters = shape.above(node).is_none_or(|above| above.service() != node.service());
    let by_message = hop::is_process(span);
    if enters && !by_message {
        tree.push(Style::Service(span.service()), span.service());
        tree.push(Style::Plain, ": ");
    }
    tree.append(named(span));
    if by_message && (enters || shape.begins_hop(node)) {
        tree.push(Style::Plain, " - ");
        tree.push(Style::Service(span.service()), span.service());
    }
    if span.is_error() {
        tree.push(Style::Error, " ✗");
    }
    Row { tree, took: Some(span.end.since(span.start)), wait: node.wait.clone(), id: None }
}

fn named(span: &Span) -> Line {
    let style = if span.is_error() { Style::Error } else { Style::Plain };
    let mut line = Line::styled(style, &span.name);
    line.push(Style::Quiet, &format!(" ({})", span.kind.as_str().to_uppercase()));
    line
}

fn ghost(missing: &Missing) -> Line {
    let mut said = format!("(span {} was not received", missing.span_id);
    if let Some(destination) = &missing.destination {
        said.push_str(&format!(": the send to {destination}"));
    }
    if let Some(service) = &missing.service {
        said.push_str(&format!(", in {service}"));
    }
    said.push(')');
    Line::styled(Style::Quiet, said)
}

fn node_details(node: &Node) -> Vec<Detail> {
    let Some(span) = node.span() else { return Vec::new() };
    let failed = failure(span).map(|text| Detail { text, id: None });
    let mut details: Vec<Detail> = failed.into_iter().collect();
    details.extend(linked::lineage(span).iter().flat_map(lineage_details));
    details
}

/// Why a span failed: its status message, else its exception's, with the class of the error.
fn failure(span: &Span) -> Option<Line> {
    let Status::Error(message) = &span.status else { return None };
    let exception = span.events.iter().rev().find(|event| event.name == attribute::EXCEPTION_EVENT);
    let of_exception = |key| exception.and_then(|event| find(&event.attributes, key)).and_then(hop::text);
    let message = Some(message.clone()).filter(|message| !message.is_empty());
    let message = message.or_else(|| of_exception(attribute::EXCEPTION_MESSAGE));
    let class = span.attribute(attribute::ERROR_TYPE).and_then(hop::text);
    let class = class.or_else(|| of_exception(attribute::EXCEPTION_TYPE));
    let said = match (class, message) {
        (Some(class), Some(message)) => format!("✗ {message} ({class})"),
        (Some(said), None) | (None, Some(said)) => format!("✗ {said}"),
        (None, None) => return None,
    };
    Some(Line::styled(Style::Error, said))
}

fn linked_row(linked: &LinkedTrace) -> Row {
    let mut tree = Line::default();
    match (&linked.service, &linked.operation, linked.kind) {
        (Some(service), Some(operation), Some(kind)) => {
            tree.push(Style::Plain, operation);
            tree.push(Style::Quiet, &format!(" ({})", kind.as_str().to_uppercase()));
            tree.push(Style::Plain, " - ");
            tree.push(Style::Service(service), service);
            tree.push(Style::Quiet, " (linked)");
        }
        _ => tree.push(Style::Quiet, "a trace that is not in the store (linked)"),
    }
    Row { tree, took: linked.took, wait: linked.wait.clone(), id: None }
}

fn linked_details(linked: &LinkedTrace) -> Vec<Detail> {
    let mut details = vec![detail("its own trace:", Some(linked.trace_id.to_string()))];
    details.extend(linked.lineage.iter().flat_map(lineage_details));
    details
}

fn lineage_details(lineage: &Lineage) -> Vec<Detail> {
    let count = detail(&format!("{}: {}", own::LINKED_TRACE_ID_COUNT, lineage.count), None);
    let hash = |hash: &String| detail(&format!("{}:", own::LINKED_TRACE_ID_HASH), Some(hash.clone()));
    [count].into_iter().chain(lineage.hash.as_ref().map(hash)).collect()
}

fn detail(label: &str, id: Option<String>) -> Detail {
    let mut text = Line::styled(Style::Quiet, "└─ ");
    text.push(Style::Plain, label);
    Detail { text, id }
}
