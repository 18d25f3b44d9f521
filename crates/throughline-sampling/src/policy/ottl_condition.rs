//! `ottl_condition`: a span, or one of its events, meets one of some conditions in OTTL.
//!
//! A yes from any span counts, even if evaluation failed on another: the peer stops at the first of the two, so that the
//! order of arrival decides.

use super::judges::{Answer, Case, Judges};
use crate::builder::Builder;
use crate::condition::Leaf;
use crate::error::{PlanError, Step};
use crate::facts::Bit;
use crate::ottl::Conditions;
use crate::settings::ErrorMode;

#[derive(Debug)]
pub(super) struct OttlCondition {
    holds: Bit,
    failed: Option<Bit>,
}

pub(super) fn compile(
    errors: ErrorMode,
    spans: &[String],
    span_events: &[String],
    builder: &mut Builder,
) -> Result<Box<dyn Judges>, PlanError> {
    if spans.is_empty() && span_events.is_empty() {
        return Err(builder.error(&[], "no condition; give at least one under `span` or `spanevent`"));
    }
    let conditions = Conditions::compile(errors, spans, span_events, &mut builder.keys);
    let leaf = Leaf::Ottl(conditions.map_err(|misread| {
        builder.error(&[Step::Key(misread.list), Step::Index(misread.at)], misread.error.to_string())
    })?);
    let (holds, failed) = match errors {
        ErrorMode::Propagate => {
            let (holds, failed) = builder.fallible_condition(leaf)?;
            (holds, Some(failed))
        }
        ErrorMode::Ignore | ErrorMode::Silent => (builder.condition(leaf)?, None),
    };
    Ok(Box::new(OttlCondition { holds, failed }))
}

impl Judges for OttlCondition {
    fn says(&self, case: &Case<'_>) -> Answer {
        let met = case.facts.met;
        match self.failed {
            _ if met.has(self.holds) => Answer::Yes,
            Some(failed) if met.has(failed) => Answer::Failed,
            _ => Answer::No,
        }
    }
}
