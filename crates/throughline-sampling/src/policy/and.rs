//! `and`: yes if all its policies say yes. They are asked in order up to the first that does not.

use super::{Answer, Case, Judges, Standing, compile_all};
use crate::plan::{Builder, PlanError, Step};
use crate::settings::Policy;

/// All of some policies; `drop` is one too.
#[derive(Debug)]
pub(super) struct All(Vec<Box<dyn Judges>>);

pub(super) fn compile(policies: &[Policy], builder: &mut Builder) -> Result<Box<dyn Judges>, PlanError> {
    All::compile(Standing::InAnd, Step::Key("and_sub_policy"), policies, builder)
}

impl All {
    pub(super) fn compile(
        standing: Standing,
        list: Step,
        policies: &[Policy],
        builder: &mut Builder,
    ) -> Result<Box<dyn Judges>, PlanError> {
        Ok(Box::new(Self(compile_all(standing, list, policies, builder)?)))
    }
}

impl Judges for All {
    fn says(&self, case: &Case<'_>) -> Answer {
        self.0
            .iter()
            .map(|policy| policy.says(case))
            .find(|answer| *answer != Answer::Yes)
            .unwrap_or(Answer::Yes)
    }
}
