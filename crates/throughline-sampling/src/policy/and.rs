//! `and`: yes if all its policies say yes. They are asked in order up to the first that does not.

use super::judges::{Answer, Case, Judges};

/// All of some policies; `drop` is one too.
#[derive(Debug)]
pub(super) struct All(pub(super) Vec<Box<dyn Judges>>);

impl Judges for All {
    fn says(&self, case: &Case<'_>) -> Answer {
        self.0
            .iter()
            .map(|policy| policy.says(case))
            .find(|answer| *answer != Answer::Yes)
            .unwrap_or(Answer::Yes)
    }
}
