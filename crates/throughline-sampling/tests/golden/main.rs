//! Decides what the OpenTelemetry Collector decided: its recorded scenarios, replayed in virtual time.
//!
//! Where we decide otherwise the scenario stands in [`deviations::DEVIATIONS`], with the row of RATIONALE.md that says why
//! and with what we do instead.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod deviations;
mod policies;
mod read;
mod replay;

use std::collections::BTreeMap;

use deviations::{DEVIATIONS, Instead};
use serde_json::{Value, json};
use throughline_sampling::Plan;

/// Label to span ids, each as often as it came out, sorted.
type Kept = BTreeMap<String, Vec<String>>;

fn scenarios() -> Vec<Value> {
    let lines = include_str!("scenarios.jsonl");
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn plan(scenario: &Value) -> Result<Plan, String> {
    let settings = read::settings(&scenario["tail_sampling"])?;
    Plan::compile(settings).map_err(|error| error.to_string())
}

fn kept(json: &Value) -> Kept {
    let spans = |spans: &Value| {
        let mut spans: Vec<String> = serde_json::from_value(spans.clone()).unwrap();
        spans.sort();
        spans
    };
    json.as_object().unwrap().iter().map(|(label, ids)| (label.clone(), spans(ids))).collect()
}

/// What the collector did, as text; ours must be equal.
fn expected(scenario: &Value) -> String {
    match scenario["mode"].as_str().unwrap() {
        "config" => starts(scenario["starts"].as_bool().unwrap()),
        "count" => format!("counts {}", scenario["kept_counts"]),
        _ if scenario["crashed"] == true => "crashed".to_owned(),
        _ => {
            let looks: BTreeMap<String, Kept> = (scenario["checks"].as_object().into_iter().flatten())
                .map(|(name, look)| (name.clone(), kept(look)))
                .collect();
            let bits = scenario["kept_of_prob2000"].as_str().unwrap_or_default();
            replay::shown(&kept(&scenario["kept"]), &looks, bits)
        }
    }
}

fn starts(yes: bool) -> String {
    if yes { "starts".to_owned() } else { "refused".to_owned() }
}

fn ours(scenario: &Value) -> String {
    let plan = match (plan(scenario), scenario["mode"].as_str()) {
        (plan, Some("config")) => return starts(plan.is_ok()),
        (Err(_), _) => return starts(false),
        (Ok(plan), _) => plan,
    };
    replay::replay(plan, scenario)
}

#[test]
fn every_scenario_agrees_or_stands_in_the_table() {
    let mut wrong = Vec::new();
    for scenario in scenarios() {
        let name = scenario["name"].as_str().unwrap().to_owned();
        let (theirs, ours) = (expected(&scenario), ours(&scenario));
        let deviation = DEVIATIONS.iter().find(|deviation| deviation.scenario == name);
        let wanted = match deviation.map(|deviation| &deviation.instead) {
            None => theirs.clone(),
            Some(Instead::Refused) => starts(false),
            Some(Instead::Kept(labels)) => format!("keeps exactly {}", labels.join(" ")),
        };
        let found = match deviation.map(|deviation| &deviation.instead) {
            Some(Instead::Kept(_)) => format!("keeps exactly {}", replay::labels(&ours)),
            _ => ours.clone(),
        };
        if found != wanted {
            wrong.push(format!("{name}\n  wanted {wanted}\n  found  {found}\n  ({ours})"));
        } else if deviation.is_some() && ours == theirs {
            wrong.push(format!("{name} agrees: it has no place in the table"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_deviation_has_its_row() {
    let rationale = include_str!("../../../../RATIONALE.md");
    for deviation in DEVIATIONS {
        assert!(rationale.contains(&format!("| {} |", deviation.row)), "no row `{}`", deviation.row);
    }
    let known: Vec<String> = scenarios().iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect();
    let unknown: Vec<_> =
        DEVIATIONS.iter().filter(|d| !known.iter().any(|name| name == d.scenario)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// The peer keeps nothing with this configuration: no scenario of its own shows what is meant.
#[test]
fn span_ingest_with_a_drop_waits_for_the_deadline() {
    let (kept, dropped) = ("4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c");
    let input = |trace: &str, span: &str, code: u8, route: &str| {
        json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": trace, "spanId": span, "status": {"code": code},
            "attributes": [{"key": "http.route", "value": {"stringValue": route}}]}]}]}]})
    };
    let health = json!({"name": "k", "type": "string_attribute", "string_attribute": {"key": "http.route", "values": ["/health"]}});
    let scenario = json!({
        "tail_sampling": {"decision_wait": "2s", "sampling_strategy": "span-ingest", "policies": [
            {"name": "err", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
            {"name": "d", "type": "drop", "drop": {"drop_sub_policy": [health]}}]},
        "labels": {"kept": kept, "dropped": dropped},
        "inputs": {"1": input(kept, "00f067aa0ba902b1", 2, "/orders"), "2": input(dropped, "00f067aa0ba902b2", 2, "/orders"),
            "3": input(dropped, "00f067aa0ba902b3", 0, "/health")},
        "steps": ["post 1", "post 2", "sleep 0.5", "check early", "post 3", "sleep 4"],
    });
    let expected = r#"{"kept":["00f067aa0ba902b1"]}{"early":{}}"#;
    assert_eq!(replay::replay(plan(&scenario).unwrap(), &scenario), expected);
}
