//! Facts of a trace in, verdict and reason out.

use std::sync::Arc;

use crate::decision::{Reason, Verdict};
use crate::facts::{Now, TraceFacts};
use crate::plan::Plan;
use crate::policy::Budgets;

/// Asks a plan's policies about traces. Cheap to clone: one per shard.
#[derive(Clone, Debug)]
pub struct Judge {
    plan: Arc<Plan>,
    budgets: Arc<Budgets>,
}

/// What the policies say of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What is to happen to it.
    pub verdict: Verdict,
    /// The policy that decided: the first that said drop, else the first that said yes.
    pub reason: Reason,
    /// Whether links spread from it.
    pub merit: Merit,
    /// Policies that failed (an OTTL condition with `error_mode: propagate`): each is skipped, as if it had said no.
    pub failed: u32,
}

/// Whether a trace is kept on its own merit, so that what it links to is kept as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merit {
    /// A policy among `from_policies` said yes: links spread from it.
    Own,
    /// Not sampled, or sampled by a policy from which links do not spread, or no `linked_traces` in the plan.
    None,
}

impl Judge {
    /// A judge after `plan` that draws on `budgets`, which must be those made for the same plan.
    #[must_use]
    pub fn new(plan: Arc<Plan>, budgets: Arc<Budgets>) -> Self {
        Self { plan, budgets }
    }

    /// What the policies say of a trace with these facts. Uses up budgets.
    #[must_use]
    pub fn decide(&self, _now: Now, _facts: &TraceFacts) -> Judgement {
        let _ = (&self.plan, &self.budgets);
        Judgement { verdict: Verdict::NotSampled, reason: Reason::NoPolicy, merit: Merit::None, failed: 0 }
    }
}
