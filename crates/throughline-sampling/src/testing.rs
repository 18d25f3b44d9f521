//! What the tests of plan, policies and OTTL share: settings with one policy, requests from OTLP/JSON, a verdict.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use throughline_otlp::{Signal, UnixNanos};

use crate::decision::Verdict;
use crate::facts::TraceFacts;
use crate::settings::{DecisionCache, FirstMatch, Overflow, Policy, Rule, Settings, Shutdown, Strategy};
use crate::{Judge, Judgement, Now, Plan};

pub(crate) const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

pub(crate) fn policy(name: &str, rule: Rule) -> Policy {
    Policy { name: name.to_owned(), rule }
}

pub(crate) fn settings(policies: Vec<Policy>) -> Settings {
    Settings {
        decision_wait: Duration::from_secs(30),
        decision_wait_after_root: None,
        num_traces: NonZeroUsize::new(50_000).unwrap(),
        overflow: Overflow::DecideOldest,
        decision_cache: DecisionCache { sampled: None, non_sampled: None },
        strategy: Strategy::TraceComplete,
        first_match: FirstMatch::AskAll,
        maximum_trace_size_bytes: None,
        shutdown: Shutdown::Resume,
        policies,
    }
}

pub(crate) fn plan(policies: Vec<Policy>) -> Plan {
    Plan::compile(settings(policies)).unwrap()
}

pub(crate) fn one(rule: Rule) -> Plan {
    plan(vec![policy("p", rule)])
}

/// A request from its `resourceSpans`.
pub(crate) fn request(resource_spans: Value) -> Vec<u8> {
    let json = json!({"resourceSpans": resource_spans}).to_string();
    throughline_otlp::json::to_protobuf(Signal::Traces, json.as_bytes()).unwrap()
}

/// A span of [`TRACE`] with these fields besides its ids and times (10 ms, from a time in 2026).
pub(crate) fn span(fields: Value) -> Value {
    let mut span = json!({"traceId": TRACE, "spanId": "00f067aa0ba902b7",
        "startTimeUnixNano": "1790000000000000000", "endTimeUnixNano": "1790000000010000000"});
    let object = span.as_object_mut().unwrap();
    object.extend(fields.as_object().unwrap().clone());
    span
}

/// OTLP/JSON attributes from a plain object of texts, numbers and booleans.
pub(crate) fn attributes(plain: Value) -> Value {
    let value = |value: &Value| match value {
        Value::String(text) => json!({"stringValue": text}),
        Value::Bool(flag) => json!({"boolValue": flag}),
        Value::Number(number) if number.is_i64() => json!({"intValue": number.to_string()}),
        Value::Number(number) => json!({"doubleValue": number}),
        Value::Array(items) => json!({"arrayValue": {"values": items}}),
        other => other.clone(),
    };
    plain.as_object().unwrap().iter().map(|(key, of)| json!({"key": key, "value": value(of)})).collect()
}

/// A request of one resource without attributes, and these spans.
pub(crate) fn spans(spans: &[Value]) -> Vec<u8> {
    request(json!([{"resource": {}, "scopeSpans": [{"scope": {"name": "lib"}, "spans": spans}]}]))
}

pub(crate) fn now(mono: Duration) -> Now {
    Now { wall: UnixNanos(1_790_000_000_000_000_000), mono }
}

/// What a fresh judge says of these facts.
pub(crate) fn judge(plan: Plan, facts: &TraceFacts) -> Judgement {
    let plan = Arc::new(plan);
    let budgets = Arc::new(plan.budgets());
    Judge::new(plan, budgets).decide(now(Duration::from_secs(1)), facts)
}

/// What a plan says of the one trace of a request.
pub(crate) fn verdict(plan: Plan, request: &[u8]) -> Verdict {
    let facts = plan.scan(request).unwrap();
    assert_eq!(facts.len(), 1, "one trace");
    judge(plan, &facts[0]).verdict
}
