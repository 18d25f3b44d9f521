//! What one request says of each of its traces: what the policies ask for, and no bodies.

use throughline_otlp::{TraceId, UnixNanos};

/// The facts of one trace in one request, or of all requests so far: they merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceFacts {
    /// Which trace.
    pub trace: TraceId,
    /// Which of the plan's conditions a span of it has met. Merges by "or".
    pub met: Met,
    /// Earliest start. Merges by minimum.
    pub start: UnixNanos,
    /// Latest end. Merges by maximum.
    pub end: UnixNanos,
    /// Spans. Merges by sum.
    pub spans: u32,
    /// Their bytes on the wire. Merges by sum.
    pub bytes: u64,
    /// Whether its root (a span without a parent) is among them.
    pub root: Root,
    /// Traces that its spans link to, itself left out, each once, in ascending order; empty unless the plan asks for
    /// links.
    pub links: Vec<TraceId>,
    /// Links beyond [`MAX_LINKS`], left out.
    pub links_left_out: u32,
}

/// Links remembered of one undecided trace. A hub beyond that says how many it left out.
pub const MAX_LINKS: usize = 1024;

/// Conditions met, a bit each, numbered by the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met(pub(crate) u128);

/// Conditions a plan may have, equal ones counted once.
pub const MAX_CONDITIONS: usize = 128;

/// Whether a root has been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    /// Not yet.
    #[default]
    Unseen,
    /// Yes.
    Seen,
}

/// Time, as the caller has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall clock: what is compared across restarts.
    pub wall: UnixNanos,
    /// Monotone, from any beginning: what deadlines are compared with.
    pub mono: std::time::Duration,
}

impl TraceFacts {
    /// Adds what another request said of the same trace.
    pub fn merge(&mut self, other: &Self) {
        self.met.0 |= other.met.0;
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        self.spans = self.spans.saturating_add(other.spans);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.root = self.root.max(other.root);
        self.links_left_out = self.links_left_out.saturating_add(other.links_left_out);
        for link in &other.links {
            self.link(*link);
        }
    }

    /// Remembers that a span of this trace links to `target`.
    pub fn link(&mut self, target: TraceId) {
        if target == self.trace {
            return;
        }
        if let Err(at) = self.links.binary_search(&target) {
            if self.links.len() < MAX_LINKS {
                self.links.insert(at, target);
            } else {
                self.links_left_out = self.links_left_out.saturating_add(1);
            }
        }
    }
}
