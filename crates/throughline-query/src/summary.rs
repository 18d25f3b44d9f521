//! A trace in a list: what it is, how long, who took part, and its shape in miniature. Lists are made of summaries, so that
//! answering one never holds more than a single whole trace in memory.

use throughline_otlp::{Span, TraceId, UnixNanos};
use throughline_semconv::own::LINKED_TRACE_ID_COUNT;
use throughline_trace::{Node, Trace};

use crate::asked::{Asked, Matching};
use crate::geometry::Bar;
use crate::geometry::axis::Axis;
use crate::load;
use crate::reads::Reader;
use crate::reply::Failure;

/// Nodes in a miniature; more are a blur.
const MINIATURE_NODES: usize = 24;
/// Matching spans that are listed by themselves; how many there are is counted in full.
const MAX_MATCHING: usize = 200;

/// One trace of a list.
pub(crate) struct Summary {
    pub(crate) id: TraceId,
    pub(crate) start: UnixNanos,
    pub(crate) nanos: i128,
    pub(crate) spans: usize,
    pub(crate) errors: usize,
    pub(crate) services: Vec<String>,
    pub(crate) correlation_ids: Vec<String>,
    /// `None` if only logs of it have arrived.
    pub(crate) root: Option<Root>,
    /// The spans it was found by, the first of them.
    pub(crate) matching: Vec<Span>,
    /// Rows of the miniature, from top to bottom.
    pub(crate) shape: Vec<Stroke>,
}

/// The first span.
pub(crate) struct Root {
    pub(crate) service: String,
    pub(crate) operation: String,
    /// How many traces contributed, if it is a batch.
    pub(crate) batch_of: Option<String>,
}

/// One row of a miniature.
pub(crate) struct Stroke {
    pub(crate) wait: Option<Bar>,
    pub(crate) span: Option<(Bar, Ink)>,
}

/// What a span is drawn in.
pub(crate) enum Ink {
    /// The hue of its service.
    Service(String),
    /// It failed.
    Error,
}

impl Summary {
    /// Of the trace with this id; `None` if the store has nothing of it (any more).
    pub(crate) fn load(
        reader: &Reader<'_>,
        id: TraceId,
        asked: &Asked,
        now: UnixNanos,
    ) -> Result<Option<Self>, Failure> {
        reader.dropped();
        Ok(load::load_alone(reader, id, now)?.map(|trace| Self::of(&trace, asked)))
    }

    fn of(trace: &Trace, asked: &Asked) -> Self {
        let axis = Axis::of(trace);
        let listed = if asked.matching == Matching::Listed { MAX_MATCHING } else { 0 };
        Self {
            id: trace.id,
            start: trace.start,
            nanos: trace.duration(),
            spans: trace.span_count(),
            errors: trace.errors,
            services: trace.services.clone(),
            correlation_ids: trace.correlation_ids.clone(),
            root: trace.spans().next().map(Root::of),
            matching: trace.spans().filter(|span| asked.matches(span)).take(listed).cloned().collect(),
            shape: trace.nodes.iter().take(MINIATURE_NODES).map(|node| Stroke::of(node, &axis)).collect(),
        }
    }

    /// `POST /checkout · api`, as far as known.
    pub(crate) fn headline(&self) -> String {
        match &self.root {
            Some(root) => format!("{} · {}", root.operation, root.service),
            None => "logs only".to_owned(),
        }
    }
}

impl Root {
    fn of(span: &Span) -> Self {
        Self {
            service: span.service().to_owned(),
            operation: span.name.clone(),
            batch_of: span.attribute(LINKED_TRACE_ID_COUNT).map(|count| count.to_text()),
        }
    }
}

impl Stroke {
    fn of(node: &Node, axis: &Axis) -> Self {
        let ink =
            |span: &Span| if span.is_error() { Ink::Error } else { Ink::Service(span.service().to_owned()) };
        Self {
            wait: node.wait.as_ref().map(|wait| axis.bar(wait.from, wait.until)),
            span: node.span().map(|span| (axis.bar(span.start, span.end), ink(span))),
        }
    }
}
