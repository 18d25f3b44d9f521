//! `rate_limiting`: traces until their spans have used up a budget of spans per second.

use std::num::NonZeroU64;

use super::judges::{Answer, Case, Judges};
use crate::budget::{Bucket, Limit};
use crate::builder::Builder;

#[derive(Debug)]
pub(super) struct RateLimiting {
    budget: usize,
}

pub(super) fn compile(
    spans_per_second: u64,
    burst: Option<NonZeroU64>,
    builder: &mut Builder,
) -> Box<dyn Judges> {
    let budget = builder.budget(Limit::Bucket(Bucket::new(spans_per_second, burst)));
    Box::new(RateLimiting { budget })
}

impl Judges for RateLimiting {
    fn says(&self, case: &Case<'_>) -> Answer {
        Answer::of(case.budgets.take(self.budget, case.now, u64::from(case.facts.spans)))
    }
}
