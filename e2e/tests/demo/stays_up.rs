//! The demo that stays up: the source's curl, the query APIs, the commands that ask it, and its end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use throughline_e2e::kafka::skip;

use super::process::{Demo, get, run, runs, signal, wait_for};

/// The source's body.
pub const BODY: &str = r#"{"cartValue":149.99,"itemCount":2,"userId":"usr_123","tenantId":"acme"}"#;

/// A tag of a span of the Jaeger API.
fn tag<'a>(span: &'a Value, key: &str) -> &'a str {
    let tags = span["tags"].as_array().unwrap();
    tags.iter().find(|tag| tag["key"] == key).and_then(|tag| tag["value"].as_str()).unwrap_or_default()
}

#[test]
fn the_sources_curl_gives_one_trace_on_every_api() {
    let mut demo = Demo::start(&[]);
    assert_eq!(demo.event("run")["ok"], true);
    let (status, header, answer) = demo.post(BODY);
    let id = answer["traceId"].as_str().unwrap();
    assert_eq!((status, header.as_str(), id.len()), (202, id, 32));

    // Waits by event: it ends when nothing more comes.
    let followed = demo.ask(&["trace", id, "--follow", "--json"]);
    assert_eq!(followed.code, Some(0), "{followed:?}");
    let spans = followed.stdout.lines().filter(|line| line.contains("\"event\":\"span\"")).count();
    assert!(spans >= 6, "{}", followed.stdout);

    let jaeger = get(&format!("{}/api/traces/{id}", demo.url("ui")));
    let trace = &jaeger["data"][0];
    let services: BTreeSet<&str> = trace["processes"]
        .as_object()
        .unwrap()
        .values()
        .map(|p| p["serviceName"].as_str().unwrap())
        .collect();
    assert_eq!(services, BTreeSet::from(["api", "payment-worker", "email-worker"]));
    check_parents(trace["spans"].as_array().unwrap());

    let tempo = get(&format!("{}/api/traces/{id}", demo.url("tempo")));
    let batches = tempo["batches"].as_array().unwrap();
    let scopes = batches.iter().flat_map(|batch| batch["scopeSpans"].as_array().unwrap());
    assert_eq!(scopes.map(|scope| scope["spans"].as_array().unwrap().len()).sum::<usize>(), spans);

    // The batch that follows within seconds links to it.
    let text = wait_for("a batch of the one checkout", || {
        let shown = demo.ask(&["trace", id]);
        shown.stdout.contains("linked_trace_id_count: 1").then_some(shown.stdout)
    });
    assert!(text.contains("- batcher (linked)"), "{text}");
}

/// The smoke test of the source, as it stands there: curl, a wait, Tempo's API through jq.
#[test]
fn the_sources_smoke_test_prints_its_spans() {
    let found = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !found("curl") || !found("jq") {
        return skip("the source's smoke test needs curl and jq: apt-get install curl jq");
    }
    let mut demo = Demo::start(&[]);
    demo.event("run");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/smoke.sh");
    let checkout = format!("{}/rpc/checkout/start", demo.url("api"));
    let output = Command::new("bash").arg(script).args([&checkout, demo.url("tempo")]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for span in
        ["POST /rpc/checkout/start", "send orders", "process orders", "process payments", "duration_ms"]
    {
        assert!(said.contains(span), "no {span} in {said}");
    }
}

/// Each CONSUMER's parent is the PRODUCER on the same topic.
fn check_parents(spans: &[Value]) {
    let by_id: BTreeMap<&str, &Value> = spans.iter().map(|s| (s["spanID"].as_str().unwrap(), s)).collect();
    let consumers: Vec<&Value> = spans.iter().filter(|span| tag(span, "span.kind") == "consumer").collect();
    assert_eq!(consumers.len(), 2, "{spans:#?}");
    for consumer in consumers {
        let references = consumer["references"].as_array().unwrap();
        let parent = references.iter().find(|r| r["refType"] == "CHILD_OF").expect("a parent");
        let parent = by_id[parent["spanID"].as_str().unwrap()];
        assert_eq!(tag(parent, "span.kind"), "producer", "{parent}");
        let topic = "messaging.destination.name";
        assert_eq!(tag(parent, topic), tag(consumer, topic));
    }
}

#[test]
fn a_bad_body_is_told_what_is_wrong_with_it() {
    let mut demo = Demo::start(&[]);
    demo.event("run");
    for (body, said) in [
        ("", "not a JSON object"),
        ("{}", "cartValue"),
        (&BODY.replace('2', "0"), "itemCount"),
        (&BODY.replace("\"usr_123\"", "7"), "userId"),
    ] {
        let (status, trace, answer) = demo.post(body);
        let error = answer["error"].as_str().unwrap();
        assert!(status == 400 && error.contains(said), "{body}: {status} {answer}");
        assert_eq!(answer["traceId"], trace.as_str(), "a refusal has its trace too");
    }
}

#[test]
fn its_checkouts_are_found_by_correlation_id_and_by_lineage() {
    let mut demo = Demo::start(&[]);
    let ran = demo.event("run");
    assert_eq!(ran["ok"], true, "{ran}");
    let checkouts = ran["checkouts"].as_array().unwrap();
    let settled: BTreeSet<&str> = checkouts
        .iter()
        .filter(|one| one["settled"] == true)
        .map(|one| one["traceID"].as_str().unwrap())
        .collect();
    assert_eq!((checkouts.len(), settled.len()), (7, 5));

    let first = &checkouts[0];
    let query = format!("correlation_id={}", first["correlationID"].as_str().unwrap());
    let found = demo.ask(&["search", &query, "--json"]).json();
    let traces: BTreeSet<&str> =
        found["traces"].as_array().unwrap().iter().map(|t| t["traceID"].as_str().unwrap()).collect();
    let (own, batch) = (first["traceID"].as_str().unwrap(), ran["batch"]["traceID"].as_str().unwrap());
    assert!(traces.contains(own) && traces.contains(batch), "{traces:?}");
    // Logs travel by themselves: they may be later than the spans.
    wait_for("logs of the three services of this checkout", || {
        let found = demo.ask(&["search", &query, "--json"]).json();
        let logs = found["logs"].as_array().unwrap().clone();
        let services: BTreeSet<&str> = logs.iter().map(|log| log["service"].as_str().unwrap()).collect();
        assert!(logs.iter().all(|log| log["traceID"] == own), "{logs:?}");
        (services == BTreeSet::from(["api", "payment-worker", "email-worker"])).then_some(())
    });

    let hash = ran["batch"]["linked_trace_id_hash"].as_str().unwrap();
    let lineage = demo.ask(&["lineage", hash]);
    assert_eq!(lineage.code, Some(0), "{lineage:?}");
    for id in &settled {
        assert!(lineage.stdout.contains(id), "{id} is not in\n{}", lineage.stdout);
    }
    let of_one = demo.ask(&["lineage", own]);
    assert!(of_one.stdout.contains(hash), "{of_one:?}");
}

#[test]
fn killed_with_9_it_leaves_no_child_behind() {
    let mut demo = Demo::start(&[]);
    let services = demo.services();
    assert_eq!(services.len(), 4);
    assert!(services.iter().all(|pid| runs(*pid)), "all four run");
    demo.child.kill().unwrap();
    demo.child.wait().unwrap();
    wait_for("the end of the services", || services.iter().all(|pid| !runs(*pid)).then_some(()));
}

#[test]
fn a_signal_ends_it_in_order() {
    let folder = tempfile::tempdir().unwrap();
    for (name, kept) in [("INT", None), ("TERM", Some(folder.path().join("data")))] {
        let path = kept.as_ref().map(|path| path.to_str().unwrap().to_owned());
        let arguments: Vec<&str> = path.iter().flat_map(|path| ["--data-dir", path]).collect();
        let mut demo = Demo::start(&arguments);
        assert_eq!(demo.event("run")["ok"], true);
        let (data, services) = (demo.url("data_dir").to_owned(), demo.services());
        signal(&demo.child, name);
        assert_eq!(demo.child.wait().unwrap().code(), Some(0), "SIG{name}");
        assert!(services.iter().all(|pid| !runs(*pid)), "no child is left");
        assert_eq!(
            std::path::Path::new(&data).exists(),
            kept.is_some(),
            "a temporary folder goes, a named one stays"
        );
    }
    // What was kept is there for a server that starts in the folder.
    let served = super::cli::Serve::start(&["--data-dir", folder.path().join("data").to_str().unwrap()]);
    let found = run(&["search", "service=batcher", "--json", "--url", &served.ui]);
    assert_eq!(found.code, Some(0), "{found:?}");
}
