//! What the OpenTelemetry Collector's policies said of traces: many policies, a few requests.
//!
//! `policies.jsonl` has a request and its traces in one line, then, a line each, what stands under `tail_sampling` and which
//! of these traces were kept: a digit each, or nothing if the collector refuses to start.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use throughline_otlp::{Signal, UnixNanos};
use throughline_sampling::decision::Verdict;
use throughline_sampling::{Judge, Now, Plan};

use super::read;

/// The traces that the cases after it are about.
struct Input {
    name: String,
    traces: Vec<(String, String)>,
    request: Vec<u8>,
}

impl Input {
    fn read(line: &Value) -> Self {
        let request = line["request"].to_string();
        Self {
            name: line["input"].as_str().unwrap().to_owned(),
            traces: serde_json::from_value(line["traces"].clone()).unwrap(),
            request: throughline_otlp::json::to_protobuf(Signal::Traces, request.as_bytes()).unwrap(),
        }
    }

    /// A digit for each trace: whether it is kept.
    fn kept(&self, plan: Plan) -> String {
        let plan = Arc::new(plan);
        let judge = Judge::new(Arc::clone(&plan), Arc::new(plan.budgets()));
        let now = Now { wall: UnixNanos(1_790_000_100_000_000_000), mono: Duration::from_secs(100) };
        let facts = plan.scan(&self.request).unwrap();
        let digit = |(_, id): &(String, String)| {
            let facts = facts.iter().find(|facts| facts.trace.to_string() == *id).unwrap();
            if judge.decide(now, facts).verdict == Verdict::Sampled { '1' } else { '0' }
        };
        self.traces.iter().map(digit).collect()
    }

    /// The names of the traces whose digits differ.
    fn differ(&self, theirs: &str, ours: &str) -> String {
        let pairs = theirs.chars().zip(ours.chars()).zip(&self.traces);
        pairs.filter(|((theirs, ours), _)| theirs != ours).map(|(_, (name, _))| format!(" {name}")).collect()
    }
}

/// What we say: digits, or why we refuse.
fn ours(input: &Input, tail_sampling: &Value) -> Result<String, String> {
    let settings = read::settings(tail_sampling)?;
    let plan = Plan::compile(settings).map_err(|error| error.to_string())?;
    Ok(input.kept(plan))
}

#[test]
fn every_policy_says_what_the_peers_says_or_stands_in_the_table() {
    let rationale = include_str!("../../../../RATIONALE.md");
    let (mut input, mut wrong, mut cases) = (None, Vec::new(), 0);
    for line in include_str!("policies.jsonl").lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["input"].is_string() {
            input = Some(Input::read(&line));
            continue;
        }
        cases += 1;
        let input = input.as_ref().unwrap();
        let theirs = line["kept"].as_str();
        let ours = ours(input, &line["tail_sampling"]);
        let about = format!("{}: {}", input.name, line["tail_sampling"]);
        let agrees = ours.as_deref().ok() == theirs;
        match line["row"].as_str() {
            Some(row) if !rationale.contains(&format!("| {row} |")) => wrong.push(format!("no row `{row}`")),
            Some(_) if agrees => wrong.push(format!("{about}\n  agrees: it has no place in the table")),
            Some(_) if ours.as_deref().ok() == line["ours"].as_str() => {}
            None if agrees => {}
            _ => {
                let differ = input.differ(theirs.unwrap_or_default(), ours.as_deref().unwrap_or_default());
                wrong.push(format!("{about}\n  theirs {theirs:?}\n  ours {ours:?}\n  differ{differ}"));
            }
        }
    }
    assert!(cases > 1000, "{cases} cases");
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}
