//! `not`: yes if its policy says no. A policy that failed said neither.

use super::judges::{Answer, Case, Judges};

/// Not that policy.
#[derive(Debug)]
pub(super) struct Not(pub(super) Box<dyn Judges>);

impl Judges for Not {
    fn says(&self, case: &Case<'_>) -> Answer {
        match self.0.says(case) {
            Answer::Yes => Answer::No,
            Answer::No => Answer::Yes,
            Answer::Failed => Answer::Failed,
        }
    }
}
