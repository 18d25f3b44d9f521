//! What the rules look at: a trace that has been put together, but for its findings.

use throughline_otlp::TraceId;

use crate::id::NodeId;
use crate::message::Messages;
use crate::model::{Neighbour, Node, State};

/// What findings are told from.
pub(crate) struct Scene<'a> {
    pub(crate) id: TraceId,
    pub(crate) nodes: &'a [Node],
    pub(crate) cut: &'a [NodeId],
    pub(crate) neighbours: &'a [Neighbour],
    pub(crate) messages: &'a Messages<'a>,
    pub(crate) state: State,
}
