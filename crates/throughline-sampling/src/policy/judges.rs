//! What every policy is: something that judges a trace.

use std::fmt::Debug;

use crate::budget::Budgets;
use crate::facts::{Now, TraceFacts};

/// A compiled policy.
pub(crate) trait Judges: Debug + Send + Sync {
    /// What it says of a trace.
    fn says(&self, case: &Case<'_>) -> Answer;
}

/// A trace before the policies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'a> {
    pub(crate) now: Now,
    pub(crate) facts: &'a TraceFacts,
    pub(crate) budgets: &'a Budgets,
}

/// What a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It does not match.
    No,
    /// It matches.
    Yes,
    /// It could not be evaluated: it is skipped, and counted.
    Failed,
}

impl Answer {
    /// Yes or no.
    pub(crate) fn of(matches: bool) -> Self {
        if matches { Self::Yes } else { Self::No }
    }
}
