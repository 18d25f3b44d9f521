//! What otelcol 0.159 starts with and what not, recorded; what we start with, and where it is not the same. Why it is not
//! stands in RATIONALE.md, in the table of deviations.

use super::{BASE, load_all};

/// What we do where the peer starts.
enum Ours {
    Same,
    /// It is a defect that the peer starts.
    Refused(&'static str),
}

use Ours::{Refused, Same};

/// Name of the recorded scenario, what it says under `tail_sampling`, whether the peer starts, what we do.
const RECORDED: &[(&str, &str, bool, Ours)] = &[
    (
        "cfg_alloc_unknown",
        r#"policies: [{"name": "c", "type": "composite", "composite": {"max_total_spans_per_second": 10, "policy_order": ["err"], "composite_sub_policy": [{"name": "err", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}}], "rate_allocation": [{"policy": "zzz", "percent": 30}]}}]"#,
        true,
        Refused("no sub-policy has that name"),
    ),
    (
        "cfg_bad_regex",
        r#"policies: [{"name": "s", "type": "string_attribute", "string_attribute": {"key": "k", "values": ["("], "enabled_regex_matching": true}}]"#,
        false,
        Same,
    ),
    (
        "cfg_bad_status",
        r#"policies: [{"name": "s", "type": "status_code", "status_code": {"status_codes": ["FAIL"]}}]"#,
        false,
        Same,
    ),
    (
        "cfg_composite_empty",
        r#"policies: [{"name": "c", "type": "composite", "composite": {"max_total_spans_per_second": 0, "policy_order": [], "composite_sub_policy": [], "rate_allocation": []}}]"#,
        true,
        Refused("at least 1"),
    ),
    (
        "cfg_composite_in_and",
        r#"policies: [{"name": "a", "type": "and", "and": {"and_sub_policy": [{"name": "c", "type": "composite", "composite": {"max_total_spans_per_second": 1, "policy_order": [], "composite_sub_policy": [{"name": "err", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}}], "rate_allocation": []}}]}}]"#,
        false,
        Same,
    ),
    (
        "cfg_drop_in_and",
        r#"policies: [{"name": "a", "type": "and", "and": {"and_sub_policy": [{"name": "d", "type": "drop", "drop": {"drop_sub_policy": [{"name": "k", "type": "string_attribute", "string_attribute": {"key": "http.route", "values": ["/health"]}}]}}]}}]"#,
        false,
        Same,
    ),
    (
        "cfg_lower_status",
        r#"policies: [{"name": "s", "type": "status_code", "status_code": {"status_codes": ["error"]}}]"#,
        false,
        Same,
    ),
    ("cfg_no_policies", "policies: []", true, Refused("every trace would be dropped")),
    (
        "cfg_no_status",
        r#"policies: [{"name": "s", "type": "status_code", "status_code": {"status_codes": []}}]"#,
        false,
        Same,
    ),
    ("cfg_no_type", r#"policies: [{"name": "x"}]"#, false, Same),
    (
        "cfg_not_in_not",
        r#"policies: [{"name": "n", "type": "not", "not": {"not_sub_policy": {"name": "m", "type": "not", "not": {"not_sub_policy": {"name": "err", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}}}}}}]"#,
        false,
        Same,
    ),
    ("cfg_not_no_sub", r#"policies: [{"name": "n", "type": "not"}]"#, false, Same),
    ("cfg_num_traces_neg", "num_traces: -1", false, Same),
    (
        "cfg_numeric_both0",
        r#"policies: [{"name": "n", "type": "numeric_attribute", "numeric_attribute": {"key": "n", "min_value": 0, "max_value": 0}}]"#,
        true,
        Same,
    ),
    (
        "cfg_numeric_unset",
        r#"policies: [{"name": "n", "type": "numeric_attribute", "numeric_attribute": {"key": "n"}}]"#,
        true,
        Refused("give min_value"),
    ),
    (
        "cfg_ottl_empty",
        r#"policies: [{"name": "o", "type": "ottl_condition", "ottl_condition": {"error_mode": "ignore"}}]"#,
        false,
        Same,
    ),
    (
        "cfg_ottl_syntax",
        r#"policies: [{"name": "o", "type": "ottl_condition", "ottl_condition": {"error_mode": "ignore", "span": ["attributes[\"k\"] = "]}}]"#,
        false,
        Same,
    ),
    (
        "cfg_percent_over100_alloc",
        r#"policies: [{"name": "c", "type": "composite", "composite": {"max_total_spans_per_second": 10, "policy_order": ["err"], "composite_sub_policy": [{"name": "err", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}}], "rate_allocation": [{"policy": "err", "percent": 300}]}}]"#,
        true,
        Refused("from 0 to 100"),
    ),
    (
        "cfg_percent_text",
        r#"policies: [{"name": "p", "type": "probabilistic", "probabilistic": {"sampling_percentage": "ten"}}]"#,
        false,
        Same,
    ),
    ("cfg_shards257", "num_shards: 257", false, Same),
    (
        "cfg_sub_no_name",
        r#"policies: [{"name": "a", "type": "and", "and": {"and_sub_policy": [{"type": "always_sample"}]}}]"#,
        true,
        Same,
    ),
    ("cfg_tail_storage", "tail_storage: file_storage", false, Same),
    (
        "cfg_unknown_key_in_block",
        r#"policies: [{"name": "l", "type": "latency", "latency": {"threshold_ms": 1, "thresholdms": 2}}]"#,
        false,
        Same,
    ),
    ("cfg_wait_negative", "decision_wait: -1s", true, Refused("can not be negative")),
    ("cfg_wait_number", "decision_wait: 5", true, Refused("write `5s`")),
    ("cfg_wait_text", "decision_wait: abc", false, Same),
    ("cfg_wait_zero", "decision_wait: 0s", true, Same),
    // Not recorded as a start, but as what it does: these start as well.
    (
        "structure_misspelt_block",
        r#"policies: [{"name": "l", "type": "latency", "latncy": {"threshold_ms": 100}}]"#,
        true,
        Refused("did you mean `latency`"),
    ),
    ("num_traces_zero_data", "num_traces: 0", true, Same),
    (
        "prob_150",
        r#"policies: [{"name": "p", "type": "probabilistic", "probabilistic": {"sampling_percentage": 150}}]"#,
        true,
        Same,
    ),
    (
        "and_empty",
        r#"policies: [{"name": "and", "type": "and", "and": {"and_sub_policy": []}}]"#,
        true,
        Refused("give at least one"),
    ),
    (
        "rate_limiting_zero",
        r#"policies: [{"name": "r", "type": "rate_limiting", "rate_limiting": {"spans_per_second": 0}}]"#,
        true,
        Same,
    ),
    (
        "span_count_none",
        r#"policies: [{"name": "c", "type": "span_count", "span_count": {"min_spans": 0}}]"#,
        true,
        Same,
    ),
    ("trace_flags", r#"policies: [{"name": "t", "type": "trace_flags"}]"#, true, Same),
    (
        "no_match_empty_value",
        r#"policies: [{"name": "s", "type": "string_attribute", "string_attribute": {"key": "k", "values": ["acme", "globex", ""]}}]"#,
        true,
        Same,
    ),
    (
        "late_cache_both",
        r#"decision_cache: {"sampled_cache_size": 100, "non_sampled_cache_size": 100}"#,
        true,
        Same,
    ),
    ("span_ingest", "sampling_strategy: span-ingest", true, Same),
    ("sampling_strategy_unknown", "sampling_strategy: eager", false, Same),
];

#[test]
fn what_the_peer_starts_with_starts_here_or_is_a_defect() {
    for (name, settings, peer, ours) in RECORDED {
        let over = format!("processors: {{tail_sampling: {{{settings}}}}}");
        let result = load_all(&[("base", BASE), (name, &over)]);
        match (peer, ours, result) {
            (true, Same, Ok(_)) => {}
            (false, Same, Err(errors)) | (true, Refused(_), Err(errors)) => {
                let expected = if let Refused(words) = ours { words } else { "" };
                let text = errors.to_string();
                assert!(text.contains(expected), "{name}: {text}");
                assert!(errors.problems.iter().all(|problem| problem.file == *name), "{name}: {text}");
            }
            (peer, _, result) => panic!("{name}: the peer starts: {peer}; we: {:?}", result.map(|_| "start")),
        }
    }
}

/// `recorded.txt`: whether the peer starts, whether we do the same or not, and what stands under `tail_sampling`. Why not, says
/// RATIONALE.md or the end of the reference.
#[test]
fn what_was_recorded_starts_or_is_refused() {
    let mut wrong = Vec::new();
    for line in include_str!("recorded.txt").lines() {
        let (peer, rest) = line.split_at(8);
        let (same, settings) = rest.split_at(5);
        let text = format!(
            "receivers: {{otlp: {{protocols: {{http: }}}}}}\nprocessors: {{tail_sampling: {{{settings}}}}}\nexporters: {{nop: }}\n\
             service: {{pipelines: {{traces: {{receivers: [otlp], processors: [tail_sampling], exporters: [nop]}}}}}}\n"
        );
        let expected = (peer.trim() == "starts") == (same.trim() == "same");
        if load_all(&[("recorded", &text)]).is_ok() != expected {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}
