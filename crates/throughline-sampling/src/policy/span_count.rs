//! `span_count`: the number of a trace's spans lies within bounds, both inclusive; a span that came twice counts twice.

use super::judges::{Answer, Case, Judges};
use crate::builder::Builder;
use crate::error::{PlanError, Step};

#[derive(Debug)]
pub(super) struct SpanCount {
    min: u64,
    max: u64,
}

pub(super) fn compile(
    min: Option<u64>,
    max: Option<u64>,
    builder: &Builder,
) -> Result<Box<dyn Judges>, PlanError> {
    if min.is_none() && max.is_none() {
        return Err(builder.error(&[], "no bounds; give min_spans, max_spans or both"));
    }
    let (min, max) = (min.unwrap_or(0), max.unwrap_or(u64::MAX));
    if max < min.max(1) {
        let message =
            format!("no trace has at least {min} and at most {max} spans; leave it out for no upper bound");
        return Err(builder.error(&[Step::Key("max_spans")], message));
    }
    Ok(Box::new(SpanCount { min, max }))
}

impl Judges for SpanCount {
    fn says(&self, case: &Case<'_>) -> Answer {
        Answer::of((self.min..=self.max).contains(&u64::from(case.facts.spans)))
    }
}
