//! `bytes_limiting`: traces until their bytes have used up a budget of bytes per second.
//!
//! Bytes are those of the spans on the wire. The peer adds the resource and scope once for each request that brought a part
//! of the trace, so that its result depends on how a trace was cut up.

use std::num::NonZeroU64;

use super::judges::{Answer, Case, Judges};
use crate::budget::{Bucket, Limit};
use crate::builder::Builder;

#[derive(Debug)]
pub(super) struct BytesLimiting {
    budget: usize,
}

pub(super) fn compile(
    bytes_per_second: u64,
    burst: Option<NonZeroU64>,
    builder: &mut Builder,
) -> Box<dyn Judges> {
    let budget = builder.budget(Limit::Bucket(Bucket::new(bytes_per_second, burst)));
    Box::new(BytesLimiting { budget })
}

impl Judges for BytesLimiting {
    fn says(&self, case: &Case<'_>) -> Answer {
        Answer::of(case.budgets.take(self.budget, case.now, case.facts.bytes))
    }
}
