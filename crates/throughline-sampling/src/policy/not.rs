//! `not`: yes if its policy says no. A policy that failed said neither.

use super::{Answer, Case, Judges, Standing, compile_at};
use crate::plan::{Builder, PlanError, Step};
use crate::settings::Policy;

#[derive(Debug)]
pub(super) struct Not(Box<dyn Judges>);

pub(super) fn compile(policy: &Policy, builder: &mut Builder) -> Result<Box<dyn Judges>, PlanError> {
    let place = [Step::Key("not_sub_policy")];
    let inner = builder.within(&place, |builder| compile_at(Standing::InNot, &policy.rule, builder))?;
    Ok(Box::new(Not(inner)))
}

impl Judges for Not {
    fn says(&self, case: &Case<'_>) -> Answer {
        match self.0.says(case) {
            Answer::Yes => Answer::No,
            Answer::No => Answer::Yes,
            Answer::Failed => Answer::Failed,
        }
    }
}
