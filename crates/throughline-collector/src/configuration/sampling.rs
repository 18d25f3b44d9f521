//! `tail_sampling`: its keys to `throughline_sampling`'s settings. Whether they can work is judged by `Plan::compile` alone, as
//! it is at a start; its complaint is given the place in the file that it is about.

mod policy;

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use throughline_sampling::settings::{
    DecisionCache, FirstMatch, Overflow, Policy, Rule, Settings, Shutdown, Strategy,
};
use throughline_sampling::{Plan, PlanError, Step};

use super::read::{At, Block};
use policy::Within;

pub(super) use policy::LOOK_BACK;

pub(super) fn tail_sampling(at: &At<'_>) -> Option<Settings> {
    let before = at.findings.errors();
    let mut block = at.block()?;
    let policies = policies(&mut block);
    let settings = Settings {
        decision_wait: block.duration("decision_wait").unwrap_or(Duration::from_secs(30)),
        decision_wait_after_root: block
            .duration("decision_wait_after_root_received")
            .filter(|wait| !wait.is_zero()),
        num_traces: num_traces(&mut block),
        overflow: match block.boolean("block_on_overflow") {
            Some(true) => Overflow::Block,
            _ => Overflow::DecideOldest,
        },
        decision_cache: decision_cache(&mut block),
        strategy: block.get("sampling_strategy").and_then(|at| at.one_of(STRATEGIES)).unwrap_or_default(),
        first_match: match block.boolean("sample_on_first_match") {
            Some(true) => FirstMatch::Decides,
            _ => FirstMatch::AskAll,
        },
        maximum_trace_size_bytes: block.count("maximum_trace_size_bytes", 0).and_then(NonZeroU64::new),
        shutdown: match block.boolean("drop_pending_traces_on_shutdown") {
            Some(true) => Shutdown::Drop,
            _ => Shutdown::Resume,
        },
        policies,
    };
    without_effect(&mut block);
    block.finish();
    if at.findings.errors() == before {
        judge(at, &settings);
    }
    Some(settings)
}

const STRATEGIES: &[(&str, Strategy)] =
    &[("trace-complete", Strategy::TraceComplete), ("span-ingest", Strategy::SpanIngest)];

fn policies(block: &mut Block<'_>) -> Vec<Policy> {
    let listed = block.get("policies").map(|at| at.list()).unwrap_or_default();
    listed.iter().filter_map(|at| policy::policy(at, Within::List)).collect()
}

fn num_traces(block: &mut Block<'_>) -> NonZeroUsize {
    const DEFAULT: usize = 50_000;
    let given = block.get("num_traces").and_then(|at| Some((at.count(0)?, at)));
    let number = match given {
        Some((0, at)) => {
            at.note("is 0, which is taken as 1, as the OpenTelemetry Collector does");
            1
        }
        Some((number, _)) => usize::try_from(number).unwrap_or(usize::MAX),
        None => DEFAULT,
    };
    NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN)
}

fn decision_cache(block: &mut Block<'_>) -> DecisionCache {
    let mut cache = DecisionCache { sampled: None, non_sampled: None };
    if let Some(mut block) = block.get("decision_cache").and_then(|at| at.block()) {
        // Zero is the peer's "no cache"; here the decision is known anyway, from memory or from the journal.
        let size = |number: u64| NonZeroUsize::new(usize::try_from(number).unwrap_or(usize::MAX));
        cache.sampled = block.count("sampled_cache_size", 0).and_then(size);
        cache.non_sampled = block.count("non_sampled_cache_size", 0).and_then(size);
        block.finish();
    }
    cache
}

fn without_effect(block: &mut Block<'_>) {
    if let Some(at) = block.get("num_shards") {
        at.integer(0, 256);
        at.note("has no effect: there is one shard per core; see `shards` of the extension `throughline`");
    }
    if let Some(at) = block.get("expected_new_traces_per_sec") {
        at.count(0);
        at.note("has no effect: memory grows with what arrives");
    }
    block.unsupported(&["tail_storage"], "undecided traces are in the journal already");
}

/// What is wrong with each policy; if nothing is, what is wrong with them together. A plan's first error is its last word:
/// so each policy makes one of its own.
fn judge(at: &At<'_>, settings: &Settings) {
    let before = at.findings.errors();
    let others = Settings { policies: Vec::new(), ..settings.clone() };
    for (index, policy) in settings.policies.iter().enumerate() {
        // By itself it is nothing: it follows the links of traces that others keep.
        if matches!(policy.rule, Rule::LinkedTraces(_)) {
            continue;
        }
        let alone = Settings { policies: vec![policy.clone()], ..others.clone() };
        if let Err(mut error) = Plan::compile(alone) {
            if let Some(Step::Index(first)) = error.path.get_mut(1) {
                *first = index;
            }
            report(at, &error);
        }
    }
    if at.findings.errors() == before
        && let Err(error) = Plan::compile(settings.clone())
    {
        report(at, &error);
    }
}

fn report(at: &At<'_>, error: &PlanError) {
    let (node, path) = at.node.find(&error.path);
    at.findings.error(node.place, &format!("{}{path}", at.path), error.message.clone());
}
