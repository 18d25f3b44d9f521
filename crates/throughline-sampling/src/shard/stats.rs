//! What a shard counts and holds, as numbers for metrics and the page.

/// Counters since the shard was made, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Held now: undecided traces.
    pub undecided: usize,
    /// Held now: decided traces with facts and unsent records.
    pub decided: usize,
    /// Held now: remembered decisions to keep, without facts.
    pub remembered_sampled: usize,
    /// Held now: remembered decisions not to keep.
    pub remembered_not_sampled: usize,
    /// Held now: records of undecided and not sampled traces, beyond the first of each.
    pub records: usize,
    /// Held now: links.
    pub links: usize,
    /// Memory of tables and cells, in use or not; links and their side tables apart.
    pub bytes: usize,

    /// Traces decided for the first time in this shard's memory, by verdict.
    pub sampled: u64,
    /// See [`Stats::sampled`].
    pub not_sampled: u64,
    /// See [`Stats::sampled`].
    pub dropped: u64,
    /// Of these: early, because `num_traces` was reached.
    pub evicted: u64,
    /// Of these: not sampled because of `maximum_trace_size_bytes`.
    pub too_large: u64,
    /// Not sampled first, kept later.
    pub overturned: u64,
    /// Traces sampled because of a link only.
    pub linked: u64,
    /// Spans that came after their trace was sampled.
    pub late_sampled: u64,
    /// Spans that came after their trace was not sampled.
    pub late_not_sampled: u64,
    /// Spans that came after their trace was dropped.
    pub late_dropped: u64,
    /// Policies that failed.
    pub failed_policies: u64,
    /// Questions to History about a trace.
    pub asked_past: u64,
    /// Questions to History about what links to a trace.
    pub asked_dependants: u64,
    /// Decisions gone from memory: from now on History is asked.
    pub forgotten: u64,
    /// Traces with more records than are held of one.
    pub spilled: u64,
    /// Wishes to keep a trace that were sent.
    pub wishes_sent: u64,
    /// Wishes refused because too many waited.
    pub wishes_refused: u64,
    /// Linked traces left out beyond `max_traces`.
    pub links_left_out: u64,
    /// Wishes for a trace that lies beyond `look_back`.
    pub beyond_look_back: u64,
    /// Wishes for a trace whose spans have not come: kept as promises.
    pub promised: u64,
}
