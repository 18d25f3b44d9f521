//! The settings compiled, once. It knows which facts the policies need of a span.

mod index;
mod layout;
mod scan;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

pub use layout::{Layout, MAX_REST, Stretch};
pub use scan::Survey;
use throughline_otlp::{Counts, WireError};

use crate::budget::{Budgets, Limit};
use crate::builder::Builder;
use crate::condition::{FollowLinks, Probes};
use crate::error::{PlanError, Step};
use crate::facts::TraceFacts;
use crate::policy::{self, Judges, Sources};
use crate::settings::{LinkedTraces, Policy, Rule, Settings};

/// Compiled settings: what a span is asked while it passes, and which policies judge the answers. Immutable, shared by
/// all shards.
#[derive(Debug)]
pub struct Plan {
    settings: Settings,
    probes: Probes,
    /// `drop` policies before all others, else in the order of the settings.
    asked: Vec<Asked>,
    limits: Vec<Limit>,
    links: Option<LinkedTraces>,
}

/// A policy as the judge asks it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) name: Arc<str>,
    pub(crate) policy: Box<dyn Judges>,
    pub(crate) effect: Effect,
}

/// What a policy's yes does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The trace is never kept.
    Drop,
    /// It is kept; links spread from it or do not.
    Keep(Merit),
}

/// Whether a trace is kept on its own merit, so that what it links to is kept as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merit {
    /// A policy among `from_policies` said yes: links spread from it.
    Own,
    /// Not sampled, or sampled by a policy from which links do not spread, or no `linked_traces` in the plan.
    None,
}

impl Plan {
    /// Compiles `settings`; everything that can be wrong with them is found here.
    ///
    /// # Errors
    /// [`PlanError`] for the first setting that can not work, with its place.
    pub fn compile(settings: Settings) -> Result<Self, PlanError> {
        let mut builder = Builder::default();
        check_policies(&settings.policies, &builder)?;
        let sources = Sources::of(&settings.policies, &mut builder)?;
        let mut asked = Vec::with_capacity(settings.policies.len());
        for (at, policy) in settings.policies.iter().enumerate() {
            let place = [Step::Key("policies"), Step::Index(at)];
            let compiled = builder
                .within(&place, |builder| policy::compile(&policy.rule, settings.strategy, builder))?;
            let effect = match &policy.rule {
                Rule::Drop(_) => Effect::Drop,
                _ if sources.contain(policy) => Effect::Keep(Merit::Own),
                _ => Effect::Keep(Merit::None),
            };
            asked.push(Asked { name: policy.name.as_str().into(), policy: compiled, effect });
        }
        // Stable: within the two kinds the order of the settings stays.
        asked.sort_by_key(|asked| asked.effect != Effect::Drop);
        let links = sources.links().cloned();
        let follow = if links.is_some() { FollowLinks::Yes } else { FollowLinks::No };
        let (probes, limits) = builder.finish(follow);
        Ok(Self { settings, probes, asked, limits, links })
    }

    /// The facts of each trace of an `ExportTraceServiceRequest`: one per distinct valid trace id, in order of first
    /// appearance. Spans without valid ids have no part in it. The request is one that the door has checked
    /// ([`throughline_otlp::check`]): what the plan does not ask for is not looked at, so not validated either.
    ///
    /// # Errors
    /// [`WireError`] if the request is not OTLP as far as it was read.
    pub fn scan(&self, request: &[u8]) -> Result<Vec<TraceFacts>, WireError> {
        self.survey(request).map(|survey| survey.facts)
    }

    /// As [`Plan::scan`], with where in the request each trace stands.
    ///
    /// # Errors
    /// As [`Plan::scan`].
    pub fn survey(&self, request: &[u8]) -> Result<Survey, WireError> {
        scan::scan(&self.probes, request)
    }

    /// [`throughline_otlp::check()`] and [`Plan::survey`] in one reading.
    ///
    /// # Errors
    /// [`WireError`] for exactly the requests that a full decode refuses.
    pub fn check(&self, request: &[u8]) -> Result<(Counts, Survey), WireError> {
        scan::check(&self.probes, request)
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The block `linked_traces`, if a policy has one.
    #[must_use]
    pub fn links(&self) -> Option<&LinkedTraces> {
        self.links.as_ref()
    }

    /// Names of the policies, in the order of the settings.
    pub fn policies(&self) -> impl Iterator<Item = &str> {
        self.settings.policies.iter().map(|policy| policy.name.as_str())
    }

    /// Whether there is a `drop` policy: a yes at a span's arrival is then not final, a span still to come may be one that
    /// drops the trace.
    #[must_use]
    pub fn may_drop(&self) -> bool {
        self.asked.iter().any(|asked| asked.effect == Effect::Drop)
    }

    pub(crate) fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// Budgets for its policies, full: one for all shards.
    #[must_use]
    pub fn budgets(&self) -> Budgets {
        Budgets::full(&self.limits)
    }
}

fn check_policies(policies: &[Policy], builder: &Builder) -> Result<(), PlanError> {
    if policies.iter().all(|policy| matches!(policy.rule, Rule::LinkedTraces(_))) {
        let message = if policies.is_empty() {
            "no policy: every trace would be dropped; to keep every trace, say {name: all, type: always_sample}"
        } else {
            "linked_traces alone keeps nothing: it follows the links of traces that other policies keep; give one of these"
        };
        return Err(builder.error(&[Step::Key("policies")], message));
    }
    let mut names = HashSet::new();
    for (at, policy) in policies.iter().enumerate() {
        let place = [Step::Key("policies"), Step::Index(at), Step::Key("name")];
        if policy.name.is_empty() {
            return Err(builder.error(&place, "empty; decisions and metrics are told apart by it"));
        }
        if !names.insert(policy.name.as_str()) {
            let message = format!("a second policy `{}`; give each a name of its own", policy.name);
            return Err(builder.error(&place, message));
        }
    }
    Ok(())
}
