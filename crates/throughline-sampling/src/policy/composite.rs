//! `composite`: policies in order, each with a share of a budget of spans per second; the first that says yes decides, if
//! its share still has room for the trace.
//!
//! Shares are counted by second, each for itself; a policy without one has the total divided by the number of policies.

use std::num::NonZeroU64;

use super::judges::{Answer, Case, Judges};
use crate::budget::Limit;
use crate::builder::Builder;
use crate::error::{PlanError, Step};
use crate::settings::{Policy, Rule};

#[derive(Debug)]
pub(super) struct Composite(Vec<Sub>);

#[derive(Debug)]
struct Sub {
    policy: Box<dyn Judges>,
    budget: usize,
}

pub(super) fn compile(
    total: NonZeroU64,
    shares: &[(Policy, Option<u8>)],
    builder: &mut Builder,
    compile_one: impl Fn(&Rule, &mut Builder) -> Result<Box<dyn Judges>, PlanError>,
) -> Result<Box<dyn Judges>, PlanError> {
    let list = Step::Key("composite_sub_policy");
    if shares.is_empty() {
        return Err(builder.error(&[list], "no policy in it; give at least one"));
    }
    let mut subs = Vec::with_capacity(shares.len());
    for (at, (policy, percent)) in shares.iter().enumerate() {
        let share = match percent {
            None => total.get() / shares.len() as u64,
            Some(percent @ 1..=100) => part(total.get(), *percent),
            Some(percent) => {
                let message = format!(
                    "{percent} percent of the rate for `{}`; give 1 to 100, or leave it out for an equal share",
                    policy.name
                );
                return Err(builder.error(&[Step::Key("rate_allocation")], message));
            }
        };
        let place = [list, Step::Index(at)];
        let compiled = builder.within(&place, |builder| compile_one(&policy.rule, builder))?;
        subs.push(Sub { policy: compiled, budget: builder.budget(Limit::per_second(share)) });
    }
    Ok(Box::new(Composite(subs)))
}

/// So many percent of `total` as the peer counts them: 29 of 100 are 28.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of spans a second; what is beyond a double's precision does not come"
)]
fn part(total: u64, percent: u8) -> u64 {
    (f64::from(percent) / 100.0 * total as f64) as u64
}

impl Judges for Composite {
    fn says(&self, case: &Case<'_>) -> Answer {
        for sub in &self.0 {
            match sub.policy.says(case) {
                Answer::No => {}
                Answer::Failed => return Answer::Failed,
                Answer::Yes => {
                    return Answer::of(case.budgets.take(sub.budget, case.now, u64::from(case.facts.spans)));
                }
            }
        }
        Answer::No
    }
}
