//! How the nodes of a trace are named.

/// Index of a node in [`Trace::nodes`](crate::Trace::nodes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);
