//! Facts of a trace in, verdict and reason out.
//!
//! A `drop` comes before everything and is final; else the first policy that says yes gives the reason; else the trace is
//! not sampled. Whether links spread from a kept trace may depend on a later yes than the one that gives the reason.

use std::sync::Arc;

use crate::budget::Budgets;
use crate::decision::{Reason, Verdict};
use crate::facts::{Now, TraceFacts};
use crate::plan::{Effect, Merit, Plan};
use crate::policy::{Answer, Case};
use crate::settings::FirstMatch;

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

impl Judge {
    /// A judge after `plan` that draws on `budgets`, which must be those made for the same plan.
    #[must_use]
    pub fn new(plan: Arc<Plan>, budgets: Arc<Budgets>) -> Self {
        Self { plan, budgets }
    }

    /// What the policies say of a trace with these facts. Uses up budgets: every policy that is asked draws on its own,
    /// also if another has said yes already.
    #[must_use]
    pub fn decide(&self, now: Now, facts: &TraceFacts) -> Judgement {
        let case = Case { now, facts, budgets: &self.budgets };
        let mut judgement = Judgement {
            verdict: Verdict::NotSampled,
            reason: Reason::NoPolicy,
            merit: Merit::None,
            failed: 0,
        };
        for asked in self.plan.asked() {
            match (asked.policy.says(&case), asked.effect) {
                (Answer::No, _) => {}
                (Answer::Failed, _) => judgement.failed += 1,
                (Answer::Yes, Effect::Drop) => {
                    judgement.verdict = Verdict::Dropped;
                    judgement.reason = Reason::Policy(Arc::clone(&asked.name));
                    return judgement;
                }
                (Answer::Yes, Effect::Keep(merit)) => {
                    if judgement.verdict == Verdict::NotSampled {
                        judgement.verdict = Verdict::Sampled;
                        judgement.reason = Reason::Policy(Arc::clone(&asked.name));
                    }
                    if merit == Merit::Own {
                        judgement.merit = Merit::Own;
                    }
                    if self.plan.settings().first_match == FirstMatch::Decides {
                        return judgement;
                    }
                }
            }
        }
        judgement
    }
}
