//! `drop`: never, if all its policies say yes. It says yes like `and`; the judge makes it final.

use super::and::All;
use super::{Judges, Standing};
use crate::plan::{Builder, PlanError, Step};
use crate::settings::Policy;

pub(super) fn compile(policies: &[Policy], builder: &mut Builder) -> Result<Box<dyn Judges>, PlanError> {
    All::compile(Standing::InDrop, Step::Key("drop_sub_policy"), policies, builder)
}
