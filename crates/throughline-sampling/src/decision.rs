//! What comes out of a shard, and what is remembered of a trace.

use throughline_otlp::TraceId;

use crate::facts::TraceFacts;

/// What is to happen to a trace. They only rise: `NotSampled < Sampled`; `Dropped` is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// No policy said yes.
    NotSampled,
    /// Keep it.
    Sampled,
    /// A `drop` policy matched: nothing brings it back.
    Dropped,
}

/// Why: metric label, exported attribute, text on the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The policy of this name said so.
    Policy(std::sync::Arc<str>),
    /// No policy said yes.
    NoPolicy,
    /// Kept because of a trace that was kept on its own merit and links to it, or is linked by it.
    LinkedFrom(TraceId),
    /// Larger than `maximum_trace_size_bytes`.
    TooLarge,
    /// Undecided at a shutdown with `drop_pending_traces_on_shutdown`.
    Shutdown,
}

/// What made the decision fall when it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// `decision_wait` was over.
    Wait,
    /// `decision_wait_after_root_received` was over.
    Root,
    /// Decided at arrival (`span-ingest`).
    Ingest,
    /// It grew too large.
    Size,
    /// `num_traces` was reached: decided early, on what had come.
    Evicted,
    /// A late span: it follows the decision, or overturns a "not sampled".
    Late,
    /// Another trace's link.
    Link,
    /// Shutdown.
    Shutdown,
}

/// A decision, or news of spans that follow an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Which trace.
    pub trace: TraceId,
    /// What is to happen to it.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// What made it fall now.
    pub trigger: Trigger,
    /// How many links away from a trace kept on its own merit, which is 0; `None` if links do not spread from it.
    pub hops: Option<u8>,
    /// Records, as the caller numbered them, that hold spans of it and have not yet gone out under a "sampled": ascending,
    /// each once. Empty unless sampled.
    pub records: Vec<u64>,
    /// Spans in these records.
    pub spans: u32,
}

/// A trace that is to be kept because of a link: goes to the shard (or node) that owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The trace to keep.
    pub trace: TraceId,
    /// The trace kept on its own merit from which this began.
    pub from: TraceId,
    /// How many links away from it; at least 1.
    pub hops: u8,
}

/// What is known of a trace beyond a shard's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Its last decision with the distance it had, if one was made.
    pub decided: Option<(Verdict, Reason, Option<u8>)>,
    /// Records that hold spans of it, ascending.
    pub records: Vec<u64>,
    /// Those among them that went out already end here, inclusive.
    pub sent_through: Option<u64>,
    /// The facts of all these spans.
    pub facts: TraceFacts,
}

/// Who knows what lies beyond a shard's memory: the journal, another node.
pub trait History {
    /// What is known of a trace; `None` if nothing is.
    fn past(&mut self, trace: TraceId) -> Option<Past>;
    /// The traces known to link to this one, at most `limit`.
    fn dependants(&mut self, trace: TraceId, limit: usize) -> Vec<TraceId>;
}
