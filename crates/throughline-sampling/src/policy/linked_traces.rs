//! `linked_traces`: ours. It says no of its own; what it asks for is that the links of kept traces are followed, and from
//! which policies' yes they spread.

use super::judges::{Answer, Case, Judges};
use crate::builder::Builder;
use crate::error::{PlanError, Step};
use crate::settings::{LinkedTraces, Policy, Rule};

#[derive(Debug)]
struct Follows;

pub(super) fn compile(links: &LinkedTraces, builder: &Builder) -> Result<Box<dyn Judges>, PlanError> {
    if links.max_hops == 0 {
        return Err(builder.error(&[Step::Key("max_hops")], "0 hops reach no trace; give 1 to 255"));
    }
    if links.look_back.is_zero() {
        return Err(
            builder.error(&[Step::Key("look_back")], "no trace lies 0 s back; give a duration such as 1h")
        );
    }
    Ok(Box::new(Follows))
}

impl Judges for Follows {
    fn says(&self, _: &Case<'_>) -> Answer {
        Answer::No
    }
}

/// The policies whose yes is a trace's own merit, from which links spread.
pub(crate) struct Sources<'s>(Option<&'s LinkedTraces>);

impl<'s> Sources<'s> {
    /// Those of the one `linked_traces` policy, if there is one; two, or names that are no policy's, are errors.
    pub(crate) fn of(policies: &'s [Policy], builder: &mut Builder) -> Result<Self, PlanError> {
        let mut found = None;
        for (at, policy) in policies.iter().enumerate() {
            let Rule::LinkedTraces(links) = &policy.rule else { continue };
            let place = [Step::Key("policies"), Step::Index(at), Step::Key("linked_traces")];
            builder.within(&place, |builder| {
                if found.is_some() {
                    return Err(builder.error(&[], "a second linked_traces; put both into one"));
                }
                check_names(links, policies, builder)
            })?;
            found = Some(links);
        }
        Ok(Self(found))
    }

    /// The block itself.
    pub(crate) fn links(&self) -> Option<&'s LinkedTraces> {
        self.0
    }

    /// Whether a yes of `policy` is a trace's own merit.
    pub(crate) fn contain(&self, policy: &Policy) -> bool {
        match self.0.map(|links| &links.from_policies) {
            None => false,
            Some(Some(names)) => names.contains(&policy.name),
            Some(None) => !by_chance(&policy.rule),
        }
    }
}

fn check_names(links: &LinkedTraces, policies: &[Policy], builder: &Builder) -> Result<(), PlanError> {
    for (at, name) in links.from_policies.iter().flatten().enumerate() {
        let fits = |policy: &&Policy| !matches!(policy.rule, Rule::LinkedTraces(_) | Rule::Drop(_));
        let mut names = policies.iter().filter(fits).map(|policy| policy.name.as_str());
        if names.clone().any(|known| known == name) {
            continue;
        }
        let known: Vec<&str> = names.by_ref().collect();
        let message = format!("no policy `{name}` that keeps traces; allowed: {}", known.join(", "));
        return Err(builder.error(&[Step::Key("from_policies"), Step::Index(at)], message));
    }
    if links.from_policies.as_ref().is_some_and(Vec::is_empty) {
        let message = "no policy in it; name at least one, or leave it out for all but probabilistic ones";
        return Err(builder.error(&[Step::Key("from_policies")], message));
    }
    Ok(())
}

/// Whether chance has a part in the rule's yes.
fn by_chance(rule: &Rule) -> bool {
    match rule {
        Rule::Probabilistic { .. } => true,
        Rule::And(policies) | Rule::Drop(policies) => policies.iter().any(|policy| by_chance(&policy.rule)),
        Rule::Not(policy) => by_chance(&policy.rule),
        Rule::Composite { shares, .. } => shares.iter().any(|(policy, _)| by_chance(&policy.rule)),
        _ => false,
    }
}
