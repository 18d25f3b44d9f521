//! What comes out of a shard, and what is remembered of a trace.

use throughline_otlp::{TraceId, UnixNanos};

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

impl Reason {
    /// The trace because of which it is kept, if a link is the reason.
    #[must_use]
    pub fn origin(&self) -> Option<TraceId> {
        match self {
            Self::LinkedFrom(origin) => Some(*origin),
            _ => None,
        }
    }
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
    /// Another trace's link, before any span of this one came: it says what is to happen once they come. An explicit `drop`
    /// is still stronger then.
    Promise,
    /// Another node's verdict on its part of the trace. Not if that node's facts made a policy say yes here.
    Peer,
    /// Shutdown.
    Shutdown,
}

/// A decision, or news that follows an earlier one: late spans of a sampled trace, or a shorter way to it.
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
    /// each once. Empty unless sampled, for a promise, and where all has gone out and only `hops` is news.
    pub records: Vec<u64>,
    /// Spans in these records. For counting: exact while a trace lies in memory as a whole, an estimate where a restart or
    /// History came between its parts.
    pub spans: u32,
    /// The facts of records up to here were judged. A restored decision whose trace has later ones is judged again.
    pub through: u64,
    /// Linked traces that stay out of reach of this one: beyond [`MAX_LINKS`](crate::facts::MAX_LINKS) or `max_traces`.
    pub left_out: u32,
}

impl Decision {
    /// Only repeats what another node has said, which told whoever it knew: telling it on could go round in circles.
    #[must_use]
    pub fn is_hearsay(&self) -> bool {
        self.trigger == Trigger::Peer && self.records.is_empty()
    }

    /// What other nodes that may hold a part are to be asked, if this is a promise: nothing has been kept yet.
    #[must_use]
    pub fn promised(&self) -> Option<Wish> {
        let (from, hops) = (self.reason.origin()?, self.hops?);
        (self.trigger == Trigger::Promise).then_some(Wish::Keep { trace: self.trace, from, hops })
    }
}

/// What one shard asks of the owner of a trace, which may be itself, another shard or another node. The only thing that
/// crosses between them. Each may be delivered twice, late, or in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Keep `trace`: it is `hops` links away from `from`, which was kept on its own merit.
    Keep {
        /// The trace to keep.
        trace: TraceId,
        /// The trace kept on its own merit from which this began.
        from: TraceId,
        /// How many links away from it; at least 1.
        hops: u8,
    },
    /// Traces further than one link away are asked for by way of the trace from which it began: its owner counts them
    /// against `max_traces` and passes a [`Wish::Keep`] on.
    Pass {
        /// The trace kept on its own merit.
        trace: TraceId,
        /// The trace to keep.
        to: TraceId,
        /// How many links away it is; at least 2.
        hops: u8,
    },
    /// `from` links to `trace`: if that is kept, now or later, `from` is to be kept as well.
    Follow {
        /// The trace linked to.
        trace: TraceId,
        /// The trace that has the link.
        from: TraceId,
    },
}

impl Wish {
    /// The trace whose owner is to have it.
    #[must_use]
    pub fn trace(&self) -> TraceId {
        match self {
            Self::Keep { trace, .. } | Self::Pass { trace, .. } | Self::Follow { trace, .. } => *trace,
        }
    }
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
    /// When the last of them arrived.
    pub last_arrival: UnixNanos,
    /// The facts of the spans in exactly these records.
    pub facts: TraceFacts,
}

/// How a trace was decided: the verdict, why, and how many links away it is kept.
pub type Decided = (Verdict, Reason, Option<u8>);

/// What one node holds of a trace, or several together. Nothing at all: the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How it was decided there.
    pub decided: Option<Decided>,
    /// No span of it has come there, and those that come are to be kept: the trace because of which, and how many links away.
    pub promised: Option<(TraceId, u8)>,
    /// Traces there link to it, and are to be kept if it is.
    pub followed: bool,
    /// What its spans there say, without links: whoever keeps a part follows the links of that part. `None` also if it does
    /// not matter any more.
    pub facts: Option<TraceFacts>,
}

impl Held {
    /// Adds what yet another node holds. Of two verdicts the one that keeps counts, then the one that drops.
    pub fn join(&mut self, other: Self) {
        let weight = |decided: &Option<Decided>| match decided {
            Some((Verdict::Sampled, _, Some(hops))) => 512 - u16::from(*hops),
            Some((Verdict::Sampled, _, None)) => 3,
            Some((Verdict::Dropped, ..)) => 2,
            Some((Verdict::NotSampled, ..)) => 1,
            None => 0,
        };
        if weight(&other.decided) > weight(&self.decided) {
            self.decided = other.decided;
        }
        self.followed |= other.followed;
        self.promised = match (self.promised, other.promised) {
            (Some(one), Some(other)) if other.1 < one.1 => Some(other),
            (one, other) => one.or(other),
        };
        match (&mut self.facts, other.facts) {
            (Some(facts), Some(more)) => facts.merge(&more),
            (facts, more) => *facts = facts.take().or(more),
        }
    }
}

/// What other nodes say of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// They were asked, and all have answered.
    Answer(Held),
    /// They were asked, and some have not answered in time: what the others hold.
    Partly(Held),
    /// Unasked: one of them keeps it, for this reason and so many links away.
    Kept(Reason, Option<u8>),
}

/// Who knows what lies beyond a shard's memory: the journal, another node. It knows every decision that earlier calls of
/// `poll` handed out; of records it may know those up to any point, also ones that the shard has not been handed yet.
pub trait History {
    /// What is known of a trace; `None` if nothing is.
    fn past(&mut self, trace: TraceId) -> Option<Past>;
    /// Whether anything is known of a trace from before the record `first`. Asked of every new trace once memory has forgotten
    /// some: cheap where [`History::past`] is not. A "yes" too many costs time only.
    fn lies_before(&mut self, _trace: TraceId, _first: u64) -> bool {
        true
    }
    /// The traces known to link to this one, at most `limit`.
    fn dependants(&mut self, trace: TraceId, limit: usize) -> Vec<TraceId>;
    /// Another node may hold spans of it that came before this time: it is to be asked before the trace is decided here.
    fn elsewhere(&mut self, _trace: TraceId) -> Option<UnixNanos> {
        None
    }
}
