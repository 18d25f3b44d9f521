//! `latency`: the time from a trace's earliest start to its latest end lies within bounds.
//!
//! Compared in whole milliseconds as the peer does, but over all spans at once: the peer compares a running value, so that
//! with an upper bound the order of arrival decides.

use std::time::Duration;

use super::judges::{Answer, Case, Judges};
use crate::builder::Builder;
use crate::error::{PlanError, Step};

#[derive(Debug)]
pub(super) struct Latency {
    above_ms: i128,
    up_to_ms: Option<i128>,
}

pub(super) fn compile(
    above: Duration,
    up_to: Option<Duration>,
    builder: &Builder,
) -> Result<Box<dyn Judges>, PlanError> {
    if let Some(up_to) = up_to
        && up_to <= above
    {
        let message = format!(
            "no duration is above {} ms and at most {} ms; raise it above threshold_ms, or leave it out for no upper bound",
            above.as_millis(),
            up_to.as_millis()
        );
        return Err(builder.error(&[Step::Key("upper_threshold_ms")], message));
    }
    Ok(Box::new(Latency { above_ms: millis(above), up_to_ms: up_to.map(millis) }))
}

fn millis(duration: Duration) -> i128 {
    i128::try_from(duration.as_millis()).unwrap_or(i128::MAX)
}

impl Judges for Latency {
    fn says(&self, case: &Case<'_>) -> Answer {
        let Some(nanos) = case.facts.duration_nanos() else { return Answer::No };
        let millis = nanos / 1_000_000;
        Answer::of(millis > self.above_ms && self.up_to_ms.is_none_or(|up_to| millis <= up_to))
    }
}
