//! The assembled picture of a trace, and what it is assembled from. Data only; how it comes about is elsewhere.

pub use crate::id::NodeId;
use throughline_otlp::{LogRecord, Span, SpanId, SpanKind, TraceId, UnixNanos};

use crate::finding::Finding;
use crate::hop::Wait;

/// What a trace is assembled from. The order of spans, logs and neighbours makes no difference.
#[derive(Clone, Debug)]
pub struct Input {
    /// The trace asked for; spans of other traces among `spans` are left out.
    pub trace_id: TraceId,
    /// Its spans; duplicates are folded.
    pub spans: Vec<Span>,
    /// Its logs; exact duplicates are folded.
    pub logs: Vec<LogRecord>,
    /// Traces that are linked to it or that share a message with it.
    pub neighbours: Vec<Neighbour>,
    /// The time of the question: ages and [`State`] are told from it.
    pub now: UnixNanos,
}

/// Another trace that has to do with the one assembled.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// Its id.
    pub trace_id: TraceId,
    /// How it has to do with ours.
    pub direction: Direction,
    /// Its spans as far as known; empty if it is not in the store.
    pub spans: Vec<Span>,
}

/// How another trace has to do with ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// We link to it: our batch came from it.
    Contributor,
    /// It links to us: we went into it.
    Dependant,
    /// It sent or processed one of our messages (see [`crate::HopKey`]) without a link: the trace broke there.
    SameMessage,
}

/// One assembled trace.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Its id.
    pub id: TraceId,
    /// Spans and missing parents, depth first; siblings by start. A [`NodeId`] is an index into this.
    pub nodes: Vec<Node>,
    /// Nodes without a parent: spans that were sent as roots, then ghosts and cut loops; each by start.
    pub roots: Vec<NodeId>,
    /// Services in the order of `nodes`.
    pub services: Vec<String>,
    /// Earliest start of a span; of a log if there is no span; `now` if there is neither.
    pub start: UnixNanos,
    /// Latest end of a span, or log likewise.
    pub end: UnixNanos,
    /// How many spans failed.
    pub errors: usize,
    /// Distinct correlation ids on spans and logs, in the order of `nodes`.
    pub correlation_ids: Vec<String>,
    /// The tenant, if all spans that name one agree.
    pub tenant: Option<String>,
    /// Logs by time.
    pub logs: Vec<LogRecord>,
    /// Traces it came from and went into: by direction, then start.
    pub linked: Vec<LinkedTrace>,
    /// What is wrong with it, problems first.
    pub findings: Vec<Finding>,
    /// Whether more is likely to come.
    pub state: State,
    /// The time of the question.
    pub now: UnixNanos,
}

/// A span in its place, or the place of one that was not received.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its own index.
    pub id: NodeId,
    /// The span, or what is known of a missing one.
    pub what: NodeKind,
    /// The node above.
    pub parent: Option<NodeId>,
    /// The nodes below, by start.
    pub children: Vec<NodeId>,
    /// Distance from its root.
    pub depth: usize,
    /// How long the message it processed was in the queue; of a batch, the message that waited longest.
    pub wait: Option<Wait>,
    /// Indices into [`Trace::logs`] of what was logged in this span.
    pub logs: Vec<usize>,
}

/// A span, or the place of one.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// A span that was received.
    Span(Box<Span>),
    /// A parent that spans name and nobody sent.
    Missing(Missing),
}

/// What is known of a parent that was not received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its span id, from its children.
    pub span_id: SpanId,
    /// Its earliest child's start: it had started by then.
    pub started_by: UnixNanos,
    /// Its service, if a log written in it or a child in the same process tells.
    pub service: Option<String>,
    /// Where it sent a message, if a child processed one.
    pub destination: Option<String>,
}

/// Whether more of a trace is likely to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Something ended a moment ago, or not long ago and a parent is missing that may still run.
    Arriving,
    /// Nothing new is expected.
    Quiet,
}

/// A trace this one came from or went into.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkedTrace {
    /// Its id.
    pub trace_id: TraceId,
    /// Which way.
    pub direction: Direction,
    /// Service of the span in `operation`; `None` if nothing of the trace is in the store.
    pub service: Option<String>,
    /// A contributor's first root; a dependant's span that has the link; the span that shares the message.
    pub operation: Option<String>,
    /// That span's kind.
    pub kind: Option<SpanKind>,
    /// What that span says it did with messages: `send`, `receive`, `process`, in whatever words it came.
    pub operation_type: Option<String>,
    /// That span's start.
    pub started: Option<UnixNanos>,
    /// That span's duration in nanoseconds.
    pub took: Option<i128>,
    /// Why the link is there (`throughline.link.reason`).
    pub reason: Option<String>,
    /// Lineage of the batch: on a dependant's span, if it states one.
    pub lineage: Option<Lineage>,
    /// How long the message waited on its way between the two traces.
    pub wait: Option<Wait>,
    /// Our node at which the two traces touch.
    pub node: Option<NodeId>,
    /// Their span at which they touch.
    pub span_id: Option<SpanId>,
    /// How many links connect the two in this direction.
    pub links: usize,
}

/// What a batch states of where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// How many distinct traces contributed.
    pub count: i64,
    /// Hash over their ids; `None` if the span states none.
    pub hash: Option<String>,
}

impl Trace {
    /// The node with this id, `None` for an id of another trace that is out of range here.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0)
    }

    /// How many spans were received, ghosts not counted.
    #[must_use]
    pub fn span_count(&self) -> usize {
        self.spans().count()
    }

    /// The spans that were received, depth first.
    pub fn spans(&self) -> impl Iterator<Item = &Span> {
        self.nodes.iter().filter_map(Node::span)
    }

    /// From first start to last end, in nanoseconds; negative only if a span ended before all others started.
    #[must_use]
    pub fn duration(&self) -> i128 {
        self.end.since(self.start)
    }
}

impl Node {
    /// The span, `None` if it is missing.
    #[must_use]
    pub fn span(&self) -> Option<&Span> {
        match &self.what {
            NodeKind::Span(span) => Some(span),
            NodeKind::Missing(_) => None,
        }
    }

    /// Span id, known in either case.
    #[must_use]
    pub fn span_id(&self) -> SpanId {
        match &self.what {
            NodeKind::Span(span) => span.span_id,
            NodeKind::Missing(missing) => missing.span_id,
        }
    }

    /// The service, as far as known.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        match &self.what {
            NodeKind::Span(span) => Some(span.service()),
            NodeKind::Missing(missing) => missing.service.as_deref(),
        }
    }
}

impl Direction {
    /// As written in JSON: `contributor`, `dependant`, `same-message`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contributor => "contributor",
            Self::Dependant => "dependant",
            Self::SameMessage => "same-message",
        }
    }
}

impl State {
    /// As written in JSON: `arriving`, `quiet`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arriving => "arriving",
            Self::Quiet => "quiet",
        }
    }
}
