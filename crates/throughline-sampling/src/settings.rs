//! What a `tail_sampling` block says, checked for form by whoever reads it, as plain data. Nothing is zero for "unset".
//!
//! Names and meanings are those of the OpenTelemetry Collector's `tail_sampling` processor; where ours differ is a table
//! in RATIONALE.md.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

/// A `tail_sampling` processor.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// From a trace's first span to its decision.
    pub decision_wait: Duration,
    /// From the arrival of a trace's root to its decision, if that is earlier.
    pub decision_wait_after_root: Option<Duration>,
    /// Most undecided traces held; the oldest is decided early when one more comes.
    pub num_traces: NonZeroUsize,
    /// What happens at `num_traces`.
    pub overflow: Overflow,
    /// Remembered decisions, newest first to stay.
    pub decision_cache: DecisionCache,
    /// When policies are asked.
    pub strategy: Strategy,
    /// Whether the first policy that says yes ends the asking.
    pub first_match: FirstMatch,
    /// A trace that grows beyond this is decided not sampled, as the peer does.
    pub maximum_trace_size_bytes: Option<NonZeroU64>,
    /// What happens to undecided traces at shutdown.
    pub shutdown: Shutdown,
    /// Asked in this order.
    pub policies: Vec<Policy>,
}

/// `block_on_overflow`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// Decide the oldest undecided trace now, on what has come.
    #[default]
    DecideOldest,
    /// Accept no new trace until one is decided: the receiver is told to wait.
    Block,
}

/// `decision_cache`: how many decisions are remembered in memory. The journal remembers further back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecisionCache {
    /// `sampled_cache_size`; `None`: as many as `num_traces`.
    pub sampled: Option<NonZeroUsize>,
    /// `non_sampled_cache_size`; `None`: as many as `num_traces`.
    pub non_sampled: Option<NonZeroUsize>,
}

/// `sampling_strategy`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// `trace-complete`: at the deadline.
    #[default]
    TraceComplete,
    /// `span-ingest`: at each arrival as well; a yes is final at once.
    SpanIngest,
}

/// `sample_on_first_match`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstMatch {
    /// Every policy is asked (a later `drop` still drops).
    #[default]
    AskAll,
    /// The first policy that says yes decides.
    Decides,
}

/// `drop_pending_traces_on_shutdown`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shutdown {
    /// Undecided traces stay in the journal and are decided by the next process. With an ephemeral folder: decided now.
    #[default]
    Resume,
    /// They are decided "not sampled".
    Drop,
}

/// A named rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The reason under which it appears in metrics, attributes and on the page.
    pub name: String,
    /// What it asks.
    pub rule: Rule,
}

/// `type` of a policy with its block.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// Yes.
    AlwaysSample,
    /// Duration of the trace, latest end minus earliest start, in whole milliseconds.
    Latency {
        /// `threshold_ms`, exclusive.
        above: Duration,
        /// `upper_threshold_ms`, inclusive.
        up_to: Option<Duration>,
    },
    /// A number among span or resource attributes lies within bounds, both inclusive.
    NumericAttribute {
        /// Attribute key.
        key: String,
        /// `min_value`
        min: Option<i64>,
        /// `max_value`
        max: Option<i64>,
        /// `invert_match`
        invert: Invert,
    },
    /// A share of all trace ids, the same ids everywhere for the same salt.
    Probabilistic {
        /// `hash_salt`; `None`: the peer's `default-hash-seed`.
        salt: Option<String>,
        /// `sampling_percentage`, 0 to 100.
        percentage: f64,
    },
    /// A span has one of these codes.
    StatusCode {
        /// `status_codes`
        codes: Vec<StatusCode>,
    },
    /// A text attribute of a span or resource has one of these values.
    StringAttribute {
        /// Attribute key.
        key: String,
        /// `values`: exact, or patterns.
        values: Vec<String>,
        /// `enabled_regex_matching`
        matching: Matching,
        /// `invert_match`
        invert: Invert,
    },
    /// A boolean attribute of a span or resource has this value.
    BooleanAttribute {
        /// Attribute key.
        key: String,
        /// `value`
        value: bool,
        /// `invert_match`
        invert: Invert,
    },
    /// Traces until their spans have used up the budget of this second.
    RateLimiting {
        /// `spans_per_second`
        spans_per_second: u64,
        /// `burst_capacity`
        burst: Option<NonZeroU64>,
    },
    /// Traces until their bytes have used up the budget.
    BytesLimiting {
        /// `bytes_per_second`
        bytes_per_second: u64,
        /// `burst_capacity`
        burst: Option<NonZeroU64>,
    },
    /// Number of spans within bounds, both inclusive.
    SpanCount {
        /// `min_spans`
        min: Option<u64>,
        /// `max_spans`
        max: Option<u64>,
    },
    /// A span's tracestate has this key with one of these values.
    TraceState {
        /// Member key.
        key: String,
        /// Member values.
        values: Vec<String>,
    },
    /// A span has the W3C sampled flag.
    TraceFlags,
    /// Yes if all say yes.
    And(Vec<Policy>),
    /// Yes if the other says no.
    Not(Box<Policy>),
    /// Never, if all say yes: final, whatever others say.
    Drop(Vec<Policy>),
    /// Sub-policies in order, each with its share of a budget.
    Composite {
        /// `max_total_spans_per_second`
        total_spans_per_second: NonZeroU64,
        /// `composite_sub_policy`, in the order in which they are asked, each with its share in percent.
        shares: Vec<(Policy, Option<u8>)>,
    },
    /// A condition in OTTL on spans or span events.
    OttlCondition {
        /// `error_mode`
        errors: ErrorMode,
        /// `span`
        spans: Vec<String>,
        /// `spanevent`
        span_events: Vec<String>,
    },
    /// Ours: what a kept trace links to, or what links to it, is kept as well.
    LinkedTraces(LinkedTraces),
}

/// `invert_match`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Invert {
    /// Yes if something matches.
    #[default]
    No,
    /// Yes if nothing matches.
    Yes,
}

/// `enabled_regex_matching`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matching {
    /// The value as it stands.
    #[default]
    Exact,
    /// A regular expression, unanchored. `cache_max_size`: distinct values remembered.
    Regex {
        /// `None`: the peer's 128.
        cache: Option<NonZeroUsize>,
    },
}

/// A span's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusCode {
    /// `OK`
    Ok,
    /// `ERROR`
    Error,
    /// `UNSET`
    Unset,
}

/// `error_mode` of OTTL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorMode {
    /// An error counts as no. The peer also logs it; a core without I/O does not, so that it is as [`Self::Silent`].
    Ignore,
    /// An error counts as no: what the peer does if nothing is said.
    #[default]
    Silent,
    /// An error makes the policy fail for this trace; it is counted and skipped.
    Propagate,
}

/// The block `linked_traces`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkedTraces {
    /// Which way links are followed from a kept trace.
    pub direction: Direction,
    /// Names of the policies whose yes counts as a trace's own merit; `None`: all but probabilistic ones (and those that
    /// contain one).
    pub from_policies: Option<Vec<String>>,
    /// How many links away from a trace kept on its own merit.
    pub max_hops: u8,
    /// Most traces kept because of one trace kept on its own merit.
    pub max_traces: NonZeroUsize,
    /// How far back a linked trace may lie, from the time of the keeping.
    pub look_back: Duration,
}

/// Which way links are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// To the traces that a kept trace links to: what a batch came from.
    #[default]
    Contributors,
    /// To the traces that link to a kept trace: what came of it.
    Dependants,
    /// Both ways.
    Both,
}
