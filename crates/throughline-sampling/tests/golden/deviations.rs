//! Scenarios in which we decide otherwise, on purpose.

/// A scenario, the row of RATIONALE.md that says why, and what we do.
#[derive(Debug)]
pub struct Deviation {
    pub scenario: &'static str,
    pub row: &'static str,
    pub instead: Instead,
}

/// What we do instead.
#[derive(Debug)]
pub enum Instead {
    /// The configuration is refused.
    Refused,
    /// The traces with these labels are kept, whole, and no others.
    Kept(&'static [&'static str]),
}

use Instead::{Kept, Refused};

const fn row(scenario: &'static str, row: &'static str, instead: Instead) -> Deviation {
    Deviation { scenario, row, instead }
}

pub const DEVIATIONS: &[Deviation] = &[
    row("and_empty", "no sub-policy", Refused),
    row("bool_false", "boolean_attribute of another type", Kept(&["false", "mixed", "res-true-span-false"])),
    row("cfg_alloc_unknown", "rate_allocation", Refused),
    row("cfg_composite_empty", "no sub-policy", Refused),
    row("cfg_no_policies", "no policy", Refused),
    row("cfg_numeric_unset", "numeric_attribute without bounds", Refused),
    row("cfg_percent_over100_alloc", "rate_allocation", Refused),
    row("cfg_wait_negative", "durations", Refused),
    row("cfg_wait_number", "durations", Refused),
    row("evict_undecided", "num_traces reached", Kept(&["t0", "t1", "t2", "t3", "t4"])),
    row("evict_undecided_readd", "num_traces reached", Kept(&["t0", "t1", "t2"])),
    row("late_cache_both", "late spans", Kept(&["err", "ok-then-err"])),
    row("late_cache_nonsampled", "late spans", Kept(&["err", "ok-then-err"])),
    row("late_evicted_cache", "late spans", Kept(&["err", "ok"])),
    row("more_evict_1", "num_traces reached", Kept(&["t0", "t1", "t2"])),
    row("more_evict_one", "num_traces reached", Kept(&["t0", "t1", "t2", "t3", "t4", "t5"])),
    row("more_late_countsum_1", "late spans", Kept(&["a"])),
    row("more_late_countsum_2", "late spans", Kept(&["a"])),
    row("more_late_countsum_None", "late spans", Kept(&["a"])),
    row("more_late_yes_1", "late spans", Kept(&["o"])),
    row("more_late_yes_2", "late spans", Kept(&["o"])),
    row("more_late_yes_None", "late spans", Kept(&["o"])),
    row("no_policies_data", "no policy", Refused),
    row("num_traces_zero_data", "num_traces reached", Kept(&["t0", "t1", "t2"])),
    row(
        "numeric_around0",
        "numeric_attribute of another type",
        Kept(&["i-1", "i-5", "i0", "i1", "res500-span1", "two"]),
    ),
    row("numeric_max0", "numeric_attribute bound 0", Kept(&["i-1", "i-5", "i0"])),
    row(
        "numeric_max_only",
        "numeric_attribute of another type",
        Kept(&["i-1", "i-1000", "i-5", "i0", "i1", "i100", "i99", "res500-span1", "two"]),
    ),
    row(
        "numeric_min0",
        "numeric_attribute bound 0",
        Kept(&["i0", "i1", "i100", "i99", "res500-span1", "two"]),
    ),
    row(
        "numeric_min_only",
        "numeric_attribute of another type",
        Kept(&["dbl500", "i400", "i599", "i600", "res500", "res500-span1", "two"]),
    ),
    row("numeric_unset_data", "numeric_attribute bound 0", Kept(&["a"])),
    row("span_ingest", "span-ingest", Kept(&["err", "ok-then-err", "split-slow"])),
    row("unknown_key_in_policy", "a misspelt block", Refused),
    row("wait_number_data", "durations", Refused),
];
