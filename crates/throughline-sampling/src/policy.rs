//! One policy type per file.

use crate::plan::Plan;

/// What policies with a rate have left. Shared by all shards, without locks; time is passed in.
#[derive(Debug)]
pub struct Budgets {}

impl Budgets {
    /// Full budgets for the policies of `plan`.
    #[must_use]
    pub fn new(_plan: &Plan) -> Self {
        Self {}
    }
}
