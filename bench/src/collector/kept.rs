//! Which traces must arrive, and what is wrong with those that did. Errors and slow traces are known from the load; the rest
//! is asked of the sampler's own probabilistic rule, which keeps the ids the peer keeps.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use throughline_otlp::{TraceId, UnixNanos};
use throughline_sampling::decision::Verdict;
use throughline_sampling::facts::{Met, Root, TraceFacts};
use throughline_sampling::settings::{
    DecisionCache, FirstMatch, Overflow, Policy, Rule, Settings, Shutdown, Strategy,
};
use throughline_sampling::{Judge, Now, Plan, PlanError};

use super::spans::{Fate, SPANS_A_TRACE, fate, trace_id};

/// Which of the load's traces the source's three policies keep.
#[derive(Debug)]
pub struct Policies {
    judge: Judge,
}

/// What arrived, beside what should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Traces that must arrive.
    pub expected: u64,
    /// Of these, such as did not arrive whole.
    pub missing: u64,
    /// Traces that arrived, wholly or in part, and must not.
    pub extra: u64,
    /// Spans that arrived more than once.
    pub repeated: u64,
    /// Traces of which one sink has a part and another the rest.
    pub torn: u64,
}

impl Policies {
    /// The fixture's.
    ///
    /// # Errors
    /// If the sampler does not take them.
    pub fn of_the_source() -> Result<Self, PlanError> {
        let share = Rule::Probabilistic { salt: None, percentage: 5.0 };
        let settings = Settings {
            decision_wait: Duration::from_secs(30),
            decision_wait_after_root: None,
            num_traces: NonZeroUsize::MIN,
            overflow: Overflow::DecideOldest,
            decision_cache: DecisionCache { sampled: None, non_sampled: None },
            strategy: Strategy::TraceComplete,
            first_match: FirstMatch::AskAll,
            maximum_trace_size_bytes: None,
            shutdown: Shutdown::Resume,
            policies: vec![Policy { name: "probabilistic-baseline".to_owned(), rule: share }],
        };
        let plan = Arc::new(Plan::compile(settings)?);
        Ok(Self { judge: Judge::new(Arc::clone(&plan), Arc::new(plan.budgets())) })
    }

    /// Whether they keep trace `trace` of the load.
    #[must_use]
    pub fn keep(&self, trace: u64) -> bool {
        fate(trace) != Fate::Ordinary || self.in_the_share(trace)
    }

    fn in_the_share(&self, trace: u64) -> bool {
        let Some(trace) = TraceId::new(trace_id(trace)) else { return false };
        let facts = TraceFacts {
            trace,
            met: Met::default(),
            start: UnixNanos(1),
            end: UnixNanos(2),
            spans: 8,
            bytes: 0,
            root: Root::Seen,
            links: Vec::new(),
            links_left_out: 0,
        };
        let now = Now { wall: UnixNanos(1), mono: Duration::ZERO };
        self.judge.decide(now, &facts).verdict == Verdict::Sampled
    }
}

impl Kept {
    /// Whether it is another set than it must be. Spans that came twice are not: delivery is at least once.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.missing + self.extra + self.torn > 0
    }

    /// Compares what the sinks counted, by trace, with what must be kept of the first `traces`.
    #[must_use]
    pub fn check(traces: u64, sinks: &[Vec<u8>], must_be_kept: impl Fn(u64) -> bool) -> Self {
        let mut kept = Self::default();
        let longest = sinks.iter().map(Vec::len).max().unwrap_or_default() as u64;
        for trace in 0..traces.max(longest) {
            let at = |sink: &Vec<u8>| sink.get(trace as usize).map_or(0, |count| u64::from(*count));
            let spans: u64 = sinks.iter().map(at).sum();
            let expected = trace < traces && must_be_kept(trace);
            kept.expected += u64::from(expected);
            kept.missing += u64::from(expected && spans < SPANS_A_TRACE);
            kept.extra += u64::from(!expected && spans > 0);
            kept.repeated += spans.saturating_sub(SPANS_A_TRACE);
            kept.torn += u64::from(sinks.iter().filter(|sink| at(sink) > 0).count() > 1);
        }
        kept
    }
}

/// For each trace that both have: how many stand at different sinks in the one and in the other.
#[must_use]
pub fn routed_differently(one: &[Vec<u8>], other: &[Vec<u8>]) -> u64 {
    let owner = |sinks: &[Vec<u8>], trace: usize| {
        sinks.iter().position(|sink| sink.get(trace).is_some_and(|count| *count > 0))
    };
    let traces = one.iter().map(Vec::len).max().unwrap_or_default();
    let differ = |trace: &usize| {
        let owners = (owner(one, *trace), owner(other, *trace));
        owners.0.is_some() && owners.1.is_some() && owners.0 != owners.1
    };
    (0..traces).filter(differ).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_policies_keep_what_they_say() {
        let policies = Policies::of_the_source().unwrap();
        let kept = (0..100_000).filter(|trace| policies.keep(*trace)).count();
        let share = (0..100_000).filter(|trace| policies.in_the_share(*trace)).count();
        // 6 % and 5 % of the other 94 %.
        assert!((10_300..11_100).contains(&kept), "{kept}");
        assert!((4_700..5_300).contains(&share), "{share}");
        assert!((0..1_000).filter(|trace| fate(*trace) != Fate::Ordinary).all(|trace| policies.keep(trace)));
    }

    #[test]
    fn what_is_wrong_is_counted() {
        let even = |trace: u64| trace.is_multiple_of(2);
        let check = |sinks: &[&[u8]], expect| {
            let sinks: Vec<Vec<u8>> = sinks.iter().map(|sink| sink.to_vec()).collect();
            let Kept { expected, missing, extra, repeated, torn } = Kept::check(4, &sinks, even);
            assert_eq!([expected, missing, extra, repeated, torn], expect);
        };
        check(&[&[8, 0, 8, 0]], [2, 0, 0, 0, 0]);
        check(&[&[8, 0, 7, 0]], [2, 1, 0, 0, 0]);
        check(&[&[8]], [2, 1, 0, 0, 0]);
        check(&[&[8, 1, 9, 0]], [2, 0, 1, 1, 0]);
        check(&[&[8, 0, 8, 0, 0, 1]], [2, 0, 1, 0, 0]);
        check(&[&[8, 0, 4, 0], &[0, 0, 4, 0]], [2, 0, 0, 0, 1]);
        assert_eq!(routed_differently(&[vec![8, 0, 0], vec![0, 8, 0]], &[vec![0, 0, 8], vec![8, 8, 0]]), 1);
    }
}
