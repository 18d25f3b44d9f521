//! What a shard counts and holds, as numbers for metrics and the page.

use std::ops::AddAssign;

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
    /// Questions to other nodes about a trace.
    pub asked_elsewhere: u64,
    /// Of these: without the answer of every node asked, and what was here decided.
    pub unanswered: u64,
    /// Traces kept because another node keeps a part of them.
    pub kept_elsewhere: u64,
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

/// Adds figures by name: the pattern names every one of them, so that a new one cannot be forgotten.
macro_rules! add {
    ($all:ident, $other:ident, { $($figure:ident),* }) => {
        let Stats { $($figure),* } = $other;
        $($all.$figure += $figure;)*
    };
}

/// Several shards together.
impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        add!(self, other, {
            undecided, decided, remembered_sampled, remembered_not_sampled, records, links, bytes, sampled,
            not_sampled, dropped, evicted, too_large, overturned, linked, late_sampled, late_not_sampled,
            late_dropped, failed_policies, asked_past, asked_dependants, asked_elsewhere, unanswered,
            kept_elsewhere, forgotten, spilled, wishes_sent,
            wishes_refused, links_left_out, beyond_look_back, promised
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures as they print, which is in the order in which they are declared.
    fn numbers(stats: &Stats) -> Vec<u64> {
        let text = format!("{stats:?}");
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
    }

    #[test]
    fn every_figure_is_added_to_its_own() {
        let one = Stats {
            undecided: 1,
            decided: 2,
            remembered_sampled: 3,
            remembered_not_sampled: 4,
            records: 5,
            links: 6,
            bytes: 7,
            sampled: 8,
            not_sampled: 9,
            dropped: 10,
            evicted: 11,
            too_large: 12,
            overturned: 13,
            linked: 14,
            late_sampled: 15,
            late_not_sampled: 16,
            late_dropped: 17,
            failed_policies: 18,
            asked_past: 19,
            asked_dependants: 20,
            asked_elsewhere: 21,
            unanswered: 22,
            kept_elsewhere: 23,
            forgotten: 24,
            spilled: 25,
            wishes_sent: 26,
            wishes_refused: 27,
            links_left_out: 28,
            beyond_look_back: 29,
            promised: 30,
        };
        let mut both = one;
        both += one;
        both += Stats::default();
        let doubled: Vec<u64> = numbers(&one).iter().map(|number| number * 2).collect();
        assert_eq!(numbers(&both), doubled);
        assert!(doubled.is_sorted_by(|a, b| a < b), "each figure had a number of its own");
    }
}
