//! What one request says of each of its traces: what the policies ask for, and no bodies.

use throughline_otlp::{TraceId, UnixNanos};

/// The facts of one trace in one request, or of all requests so far: they merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceFacts {
    /// Which trace.
    pub trace: TraceId,
    /// Which of the plan's conditions a span of it has met. Merges by "or".
    pub met: Met,
    /// Earliest start; the largest value there is if no span said when it started. Merges by minimum.
    pub start: UnixNanos,
    /// Latest end; 0 if no span said when it ended. Merges by maximum.
    pub end: UnixNanos,
    /// Spans. Merges by sum.
    pub spans: u32,
    /// Their bytes on the wire, without the resource and scope they share. Merges by sum.
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

/// The start of a trace none of whose spans said when it started.
pub(crate) const NO_START: UnixNanos = UnixNanos(u64::MAX);

/// Conditions met, a bit each, numbered by the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met(pub(crate) u128);

impl Met {
    /// As a number, for another node with the same plan.
    #[must_use]
    pub fn bits(self) -> u128 {
        self.0
    }

    /// What [`Met::bits`] gave.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        Self(bits)
    }
}

/// Conditions a plan may have, equal ones counted once.
pub const MAX_CONDITIONS: usize = 128;

/// The number of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bit(u8);

impl Bit {
    /// The bit of the condition with this number; `None` beyond [`MAX_CONDITIONS`].
    pub(crate) fn new(number: usize) -> Option<Self> {
        u8::try_from(number).ok().filter(|_| number < MAX_CONDITIONS).map(Self)
    }
}

impl Met {
    /// Whether some span met this condition.
    pub(crate) fn has(self, bit: Bit) -> bool {
        self.0 & (1 << bit.0) != 0
    }

    /// Notes that a span met this condition.
    #[inline]
    pub(crate) fn set(&mut self, bit: Bit) {
        self.0 |= 1 << bit.0;
    }

    /// Notes what another span, or the resource around it, met.
    #[inline]
    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

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

    /// Adds what requests said that may be among those already counted: sums are not added up, the larger one counts.
    pub(crate) fn cover(&mut self, other: &Self) {
        let (spans, bytes) = (self.spans.max(other.spans), self.bytes.max(other.bytes));
        let left_out = self.links_left_out.max(other.links_left_out);
        self.merge(other);
        (self.spans, self.bytes, self.links_left_out) = (spans, bytes, left_out);
    }

    /// Remembers that a span of this trace links to `target`. Of too many the smallest ids stay: which they are does not
    /// depend on the order in which they came.
    pub fn link(&mut self, target: TraceId) {
        if target == self.trace {
            return;
        }
        if let Err(at) = self.links.binary_search(&target) {
            if self.links.len() >= MAX_LINKS {
                self.links_left_out = self.links_left_out.saturating_add(1);
                if at >= self.links.len() {
                    return;
                }
                self.links.pop();
            }
            self.links.insert(at, target);
        }
    }

    /// From earliest start to latest end; `None` if no span said when it started or none when it ended. Negative if the
    /// clocks disagree.
    pub(crate) fn duration_nanos(&self) -> Option<i128> {
        (self.start != NO_START && self.end.0 != 0).then(|| self.end.since(self.start))
    }
}
