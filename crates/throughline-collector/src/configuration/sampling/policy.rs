//! One policy of `tail_sampling`: `name`, `type`, and a block named after the type. Refuses what the OpenTelemetry Collector
//! reads as zero: a block that is missing or misspelt.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use throughline_sampling::settings::{
    Direction, ErrorMode, Invert, LinkedTraces, Matching, Policy, Rule, StatusCode,
};

use crate::configuration::read::{At, Block};
use crate::configuration::words::nearest;

/// How far back links are followed, and the journal looks, if nothing else is said.
pub(in crate::configuration) const LOOK_BACK: Duration = Duration::from_secs(3600);

/// Where a policy stands, which is what decides which types it may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    List,
    And,
    Not,
    Drop,
    Composite,
}

/// Types with their block of the same name.
const EVERYWHERE: &[&str] = &[
    "always_sample",
    "latency",
    "numeric_attribute",
    "probabilistic",
    "status_code",
    "string_attribute",
    "boolean_attribute",
    "rate_limiting",
    "bytes_limiting",
    "span_count",
    "trace_state",
    "trace_flags",
    "ottl_condition",
];

impl Within {
    /// Types that a policy standing here may have besides those that may stand everywhere.
    fn more(self) -> &'static [&'static str] {
        match self {
            Self::List => &["and", "not", "drop", "composite", "linked_traces"],
            Self::And | Self::Drop => &["not"],
            Self::Composite => &["and"],
            Self::Not => &[],
        }
    }
}

pub(super) fn policy(at: &At<'_>, within: Within) -> Option<Policy> {
    let mut block = at.block()?;
    let name = block.some_text("name");
    if name.is_none() && within == Within::List {
        block.at().error("`name` is missing: decisions and metrics name their policy");
    }
    let kinds = || EVERYWHERE.iter().chain(within.more());
    let words: Vec<(&str, &'static str)> = kinds().map(|kind| (*kind, *kind)).collect();
    let kind = block.required("type").and_then(|at| at.one_of(&words));
    let mut own = None;
    for other in kinds() {
        match (block.present(other), kind) {
            (Some(at), Some(kind)) if *other == kind => own = Some(at),
            (Some(at), Some(kind)) => at.note(format!("has no effect: the policy's type is `{kind}`")),
            _ => {}
        }
    }
    let missing = own.is_none();
    block.finish();
    let kind = kind?;
    let rule = match (kind, own) {
        ("always_sample", own) => bare(own.as_ref(), Rule::AlwaysSample),
        ("trace_flags", own) => bare(own.as_ref(), Rule::TraceFlags),
        (kind, Some(own)) => rule(kind, &own),
        (_, None) => None,
    };
    if rule.is_none() && missing {
        at.error(format!("`{kind}` is missing: a policy of this type has its settings under that key"));
    }
    Some(Policy { name: name.unwrap_or_else(|| kind.to_owned()), rule: rule? })
}

/// A type without settings may have an empty block.
fn bare(own: Option<&At<'_>>, rule: Rule) -> Option<Rule> {
    if let Some(own) = own {
        own.block()?.finish();
    }
    Some(rule)
}

fn rule(kind: &str, at: &At<'_>) -> Option<Rule> {
    let mut block = at.block()?;
    let rule = match kind {
        "latency" => latency(&mut block),
        "numeric_attribute" => numeric_attribute(&mut block),
        "probabilistic" => probabilistic(&mut block),
        "status_code" => status_code(&mut block),
        "string_attribute" => string_attribute(&mut block),
        "boolean_attribute" => boolean_attribute(&mut block),
        "rate_limiting" => rate_limiting(&mut block),
        "bytes_limiting" => bytes_limiting(&mut block),
        "span_count" => Some(span_count(&mut block)),
        "trace_state" => trace_state(&mut block),
        "ottl_condition" => Some(ottl_condition(&mut block)),
        "and" => Some(Rule::And(sub_policies(&mut block, "and_sub_policy", Within::And))),
        "drop" => Some(Rule::Drop(sub_policies(&mut block, "drop_sub_policy", Within::Drop))),
        "not" => {
            let sub = block.required("not_sub_policy").and_then(|at| policy(&at, Within::Not));
            sub.map(|sub| Rule::Not(Box::new(sub)))
        }
        "composite" => composite(&mut block),
        "linked_traces" => Some(Rule::LinkedTraces(linked_traces(&mut block))),
        _ => None,
    };
    block.finish();
    rule
}

fn latency(block: &mut Block<'_>) -> Option<Rule> {
    let (above, up_to) = (block.get("threshold_ms"), block.get("upper_threshold_ms"));
    if above.is_none() && up_to.is_none() {
        block.at().error("`threshold_ms` is missing");
        return None;
    }
    let milliseconds = |at: At<'_>| at.count(0).map(Duration::from_millis);
    let above = above.map_or(Some(Duration::ZERO), milliseconds);
    let up_to = up_to.map_or(Some(Duration::ZERO), milliseconds);
    Some(Rule::Latency { above: above?, up_to: up_to.filter(|most| !most.is_zero()) })
}

fn key(block: &mut Block<'_>) -> Option<String> {
    block.required("key").and_then(|at| at.text().and_then(|_| at.filled()))
}

fn invert(block: &mut Block<'_>) -> Invert {
    match block.boolean("invert_match") {
        Some(true) => Invert::Yes,
        _ => Invert::No,
    }
}

fn numeric_attribute(block: &mut Block<'_>) -> Option<Rule> {
    let key = key(block);
    let bound = |at: At<'_>| at.integer(i64::MIN, i64::MAX);
    let min = block.get("min_value").and_then(bound);
    let max = block.get("max_value").and_then(bound);
    let invert = invert(block);
    Some(Rule::NumericAttribute { key: key?, min, max, invert })
}

fn probabilistic(block: &mut Block<'_>) -> Option<Rule> {
    let salt = block.some_text("hash_salt");
    let at = block.required("sampling_percentage")?;
    let percentage = at.number()?;
    if percentage > 100.0 {
        at.note(format!("is {percentage}, which is taken as 100: every trace"));
    }
    let percentage = if percentage > 100.0 { 100.0 } else { percentage };
    Some(Rule::Probabilistic { salt, percentage })
}

fn status_code(block: &mut Block<'_>) -> Option<Rule> {
    let words = [("OK", StatusCode::Ok), ("ERROR", StatusCode::Error), ("UNSET", StatusCode::Unset)];
    let at = block.required("status_codes")?;
    Some(Rule::StatusCode { codes: at.words(&words) })
}

fn string_attribute(block: &mut Block<'_>) -> Option<Rule> {
    let key = key(block);
    let values = block.texts("values");
    let regex = block.boolean("enabled_regex_matching").unwrap_or(false);
    let cache = block.get("cache_max_size").and_then(|at| {
        at.note("has no effect: all patterns are searched for in one pass over the value");
        NonZeroUsize::new(usize::try_from(at.count(0)?).ok()?)
    });
    let matching = if regex { Matching::Regex { cache } } else { Matching::Exact };
    let invert = invert(block);
    Some(Rule::StringAttribute { key: key?, values, matching, invert })
}

fn boolean_attribute(block: &mut Block<'_>) -> Option<Rule> {
    let key = key(block);
    let value = block.required("value").and_then(|at| at.boolean());
    let invert = invert(block);
    Some(Rule::BooleanAttribute { key: key?, value: value?, invert })
}

fn burst(block: &mut Block<'_>) -> Option<NonZeroU64> {
    block.count("burst_capacity", 0).and_then(NonZeroU64::new)
}

fn rate_limiting(block: &mut Block<'_>) -> Option<Rule> {
    let spans = block.required("spans_per_second").and_then(|at| at.count(0));
    let burst = burst(block);
    Some(Rule::RateLimiting { spans_per_second: spans?, burst })
}

fn bytes_limiting(block: &mut Block<'_>) -> Option<Rule> {
    let bytes = block.required("bytes_per_second").and_then(|at| at.count(0));
    let burst = burst(block);
    Some(Rule::BytesLimiting { bytes_per_second: bytes?, burst })
}

fn span_count(block: &mut Block<'_>) -> Rule {
    let min = block.count("min_spans", 0);
    // Zero is the peer's "no maximum".
    let max = block.count("max_spans", 0).filter(|max| *max > 0);
    Rule::SpanCount { min, max }
}

fn trace_state(block: &mut Block<'_>) -> Option<Rule> {
    let key = key(block);
    let values = block.texts("values");
    Some(Rule::TraceState { key: key?, values })
}

fn ottl_condition(block: &mut Block<'_>) -> Rule {
    let modes =
        [("ignore", ErrorMode::Ignore), ("silent", ErrorMode::Silent), ("propagate", ErrorMode::Propagate)];
    let errors = block.get("error_mode").and_then(|at| at.one_of_any_case(&modes)).unwrap_or_default();
    let spans = block.texts("span");
    let span_events = block.texts("spanevent");
    Rule::OttlCondition { errors, spans, span_events }
}

fn sub_policies(block: &mut Block<'_>, key: &'static str, within: Within) -> Vec<Policy> {
    let listed = block.required(key).map(|at| at.list()).unwrap_or_default();
    listed.iter().filter_map(|at| policy(at, within)).collect()
}

fn composite(block: &mut Block<'_>) -> Option<Rule> {
    let total = block.required("max_total_spans_per_second").and_then(|at| at.count(1));
    let subs = sub_policies(block, "composite_sub_policy", Within::Composite);
    let names: Vec<&str> = subs.iter().map(|sub| sub.name.as_str()).collect();
    if let Some(at) = block.get("policy_order") {
        let order = at.texts();
        if order.iter().ne(names.iter()) {
            at.note("has no effect: sub-policies are asked in the order of `composite_sub_policy`, as the OpenTelemetry Collector does");
        }
    }
    let listed = block.get("rate_allocation").map(|at| at.list()).unwrap_or_default();
    let shares: Vec<_> = listed.iter().filter_map(|at| allocation(at, &names)).collect();
    let share = |name: &str| shares.iter().rev().find(|(of, _)| of == name).and_then(|(_, percent)| *percent);
    let shares = subs.iter().map(|sub| (sub.clone(), share(&sub.name))).collect();
    Some(Rule::Composite { total_spans_per_second: NonZeroU64::new(total?)?, shares })
}

/// `{policy: …, percent: …}`; zero percent is an equal share, as in the peer.
fn allocation(at: &At<'_>, names: &[&str]) -> Option<(String, Option<u8>)> {
    let mut block = at.block()?;
    let policy = block.required("policy").and_then(|at| Some((at.text()?, at)));
    let percent = block.get("percent").and_then(|at| at.integer(0, 100));
    block.finish();
    let (name, at) = policy?;
    if !names.contains(&name.as_str()) {
        at.error(format!("is `{name}`, but no sub-policy has that name{}", nearest(&name, names)));
    }
    Some((name, percent.and_then(|percent| u8::try_from(percent).ok()).filter(|percent| *percent > 0)))
}

fn linked_traces(block: &mut Block<'_>) -> LinkedTraces {
    let directions = [
        ("contributors", Direction::Contributors),
        ("dependants", Direction::Dependants),
        ("both", Direction::Both),
    ];
    let size = |size: u64| NonZeroUsize::new(usize::try_from(size).unwrap_or(usize::MAX));
    LinkedTraces {
        direction: block.get("direction").and_then(|at| at.one_of(&directions)).unwrap_or_default(),
        from_policies: block.get("from_policies").map(|at| at.texts()),
        max_hops: block
            .get("max_hops")
            .and_then(|at| at.integer(1, 255))
            .and_then(|hops| u8::try_from(hops).ok())
            .unwrap_or(3),
        max_traces: block
            .count("max_traces", 1)
            .and_then(size)
            .unwrap_or(NonZeroUsize::MIN.saturating_add(999)),
        look_back: block.get("look_back").and_then(|at| at.some_time()).unwrap_or(LOOK_BACK),
    }
}
