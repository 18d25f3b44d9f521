//! The policies: one type per file, each with what can be wrong with it, what it asks of spans, and how it judges a trace.

mod always_sample;
mod and;
mod boolean_attribute;
mod bytes_limiting;
mod composite;
mod judges;
mod latency;
mod linked_traces;
mod met;
mod not;
mod numeric_attribute;
mod ottl_condition;
mod probabilistic;
mod rate_limiting;
mod span_count;
mod status_code;
mod string_attribute;
mod trace_flags;
mod trace_state;

#[cfg(test)]
mod tests;

pub(crate) use judges::{Answer, Case, Judges};
pub(crate) use linked_traces::Sources;

use crate::builder::Builder;
use crate::error::{PlanError, Step};
use crate::settings::{Policy, Rule, Strategy};

/// Where a policy stands: not every type is allowed everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Top,
    InAnd,
    InDrop,
    InNot,
    InComposite,
}

/// Compiles one of the processor's own policies.
pub(crate) fn compile(
    rule: &Rule,
    strategy: Strategy,
    builder: &mut Builder,
) -> Result<Box<dyn Judges>, PlanError> {
    if strategy == Strategy::SpanIngest
        && let Some(because) = wavers(rule)
    {
        let message = format!(
            "{because}: a yes at a span's arrival would not be final, so it does not go with sampling_strategy: span-ingest; \
             use trace-complete"
        );
        return Err(builder.error(&[], message));
    }
    compile_at(Standing::Top, rule, builder)
}

/// Compiles a list of policies that stand inside another.
fn compile_all(
    standing: Standing,
    list: Step,
    policies: &[Policy],
    builder: &mut Builder,
) -> Result<Vec<Box<dyn Judges>>, PlanError> {
    if policies.is_empty() {
        return Err(builder.error(&[list], "no policy in it; give at least one"));
    }
    (policies.iter().enumerate())
        .map(|(at, policy)| {
            builder.within(&[list, Step::Index(at)], |builder| compile_at(standing, &policy.rule, builder))
        })
        .collect()
}

fn compile_at(standing: Standing, rule: &Rule, builder: &mut Builder) -> Result<Box<dyn Judges>, PlanError> {
    standing.check(rule, builder)?;
    builder.within(block(rule), |builder| match rule {
        Rule::AlwaysSample => Ok(Box::new(always_sample::AlwaysSample) as Box<dyn Judges>),
        Rule::Latency { above, up_to } => latency::compile(*above, *up_to, builder),
        Rule::NumericAttribute { key, min, max, invert } => {
            numeric_attribute::compile(key, *min, *max, *invert, builder)
        }
        Rule::Probabilistic { salt, percentage } => {
            probabilistic::compile(salt.as_deref(), *percentage, builder)
        }
        Rule::StatusCode { codes } => status_code::compile(codes, builder),
        Rule::StringAttribute { key, values, matching, invert } => {
            string_attribute::compile(key, values, *matching, *invert, builder)
        }
        Rule::BooleanAttribute { key, value, invert } => {
            boolean_attribute::compile(key, *value, *invert, builder)
        }
        Rule::RateLimiting { spans_per_second, burst } => {
            Ok(rate_limiting::compile(*spans_per_second, *burst, builder))
        }
        Rule::BytesLimiting { bytes_per_second, burst } => {
            Ok(bytes_limiting::compile(*bytes_per_second, *burst, builder))
        }
        Rule::SpanCount { min, max } => span_count::compile(*min, *max, builder),
        Rule::TraceState { key, values } => trace_state::compile(key, values, builder),
        Rule::TraceFlags => trace_flags::compile(builder),
        Rule::And(policies) => {
            let inner = compile_all(Standing::InAnd, Step::Key("and_sub_policy"), policies, builder)?;
            Ok(Box::new(and::All(inner)))
        }
        // Yes like `and`; the judge makes it final.
        Rule::Drop(policies) => {
            let inner = compile_all(Standing::InDrop, Step::Key("drop_sub_policy"), policies, builder)?;
            Ok(Box::new(and::All(inner)))
        }
        Rule::Not(policy) => {
            let place = [Step::Key("not_sub_policy")];
            let inner =
                builder.within(&place, |builder| compile_at(Standing::InNot, &policy.rule, builder))?;
            Ok(Box::new(not::Not(inner)))
        }
        Rule::Composite { total_spans_per_second, shares } => {
            let compile =
                |rule: &Rule, builder: &mut Builder| compile_at(Standing::InComposite, rule, builder);
            composite::compile(*total_spans_per_second, shares, builder, compile)
        }
        Rule::OttlCondition { errors, spans, span_events } => {
            ottl_condition::compile(*errors, spans, span_events, builder)
        }
        Rule::LinkedTraces(links) => linked_traces::compile(links, builder),
    })
}

impl Standing {
    /// The peer's nesting, which keeps every policy readable: one level, with `not` inside `and` and `drop`, `and` inside
    /// `composite`.
    fn check(self, rule: &Rule, builder: &Builder) -> Result<(), PlanError> {
        let (inside, instead) = match (self, rule) {
            (Self::Top, _) => return Ok(()),
            (_, Rule::LinkedTraces(_)) => ("another policy", "let it stand in `policies` itself"),
            (Self::InAnd, Rule::And(_)) => ("`and`", "put its policies into the outer `and`"),
            (Self::InAnd, Rule::Drop(_) | Rule::Composite { .. }) => ("`and`", ALLOWED_IN_LIST),
            (Self::InDrop, Rule::And(_) | Rule::Drop(_) | Rule::Composite { .. }) => {
                ("`drop`", ALLOWED_IN_LIST)
            }
            (Self::InNot, Rule::And(_) | Rule::Not(_) | Rule::Drop(_) | Rule::Composite { .. }) => {
                ("`not`", "allowed there: every type but and, not, drop, composite")
            }
            (Self::InComposite, Rule::Not(_) | Rule::Drop(_) | Rule::Composite { .. }) => (
                "`composite`",
                "allowed there: every type but not, drop, composite; a `not` may stand in an `and`",
            ),
            _ => return Ok(()),
        };
        let name = block_name(rule);
        Err(builder.error(&[Step::Key("type")], format!("`{name}` can not stand inside {inside}; {instead}")))
    }
}

const ALLOWED_IN_LIST: &str = "allowed there: every type but and, drop, composite";

/// Why a yes of this rule can become a no when more spans come.
fn wavers(rule: &Rule) -> Option<&'static str> {
    match rule {
        Rule::Latency { up_to: Some(_), .. } => Some("latency with upper_threshold_ms"),
        Rule::SpanCount { max: Some(_), .. } => Some("span_count with max_spans"),
        Rule::RateLimiting { .. } => Some("rate_limiting"),
        Rule::BytesLimiting { .. } => Some("bytes_limiting"),
        Rule::And(policies) | Rule::Drop(policies) => policies.iter().find_map(|policy| wavers(&policy.rule)),
        Rule::Not(policy) => wavers(&policy.rule),
        Rule::Composite { shares, .. } => shares.iter().find_map(|(policy, _)| wavers(&policy.rule)),
        _ => None,
    }
}

/// The policy's block in the settings.
fn block(rule: &Rule) -> &'static [Step] {
    match rule {
        Rule::AlwaysSample | Rule::TraceFlags => &[],
        Rule::Latency { .. } => &[Step::Key("latency")],
        Rule::NumericAttribute { .. } => &[Step::Key("numeric_attribute")],
        Rule::Probabilistic { .. } => &[Step::Key("probabilistic")],
        Rule::StatusCode { .. } => &[Step::Key("status_code")],
        Rule::StringAttribute { .. } => &[Step::Key("string_attribute")],
        Rule::BooleanAttribute { .. } => &[Step::Key("boolean_attribute")],
        Rule::RateLimiting { .. } => &[Step::Key("rate_limiting")],
        Rule::BytesLimiting { .. } => &[Step::Key("bytes_limiting")],
        Rule::SpanCount { .. } => &[Step::Key("span_count")],
        Rule::TraceState { .. } => &[Step::Key("trace_state")],
        Rule::And(_) => &[Step::Key("and")],
        Rule::Not(_) => &[Step::Key("not")],
        Rule::Drop(_) => &[Step::Key("drop")],
        Rule::Composite { .. } => &[Step::Key("composite")],
        Rule::OttlCondition { .. } => &[Step::Key("ottl_condition")],
        Rule::LinkedTraces(_) => &[Step::Key("linked_traces")],
    }
}

fn block_name(rule: &Rule) -> &'static str {
    match (block(rule).first(), rule) {
        (Some(Step::Key(name)), _) => name,
        (_, Rule::TraceFlags) => "trace_flags",
        _ => "always_sample",
    }
}
