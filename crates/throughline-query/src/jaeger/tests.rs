//! Jaeger's API asked as its clients ask it. The shapes are Jaeger's; a change here breaks somebody's dashboard.

use axum::http::StatusCode;
use serde_json::{Value as Json, json};

use crate::testing::{BATCH, Fixture, START, key_values, span, spans, trace_id};

fn ids(answer: &Json) -> Vec<String> {
    let traces = answer["data"].as_array().unwrap();
    traces.iter().map(|trace| trace["traceID"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn services_and_operations_are_listed_and_counted() {
    let fixture = Fixture::checkouts();
    let empty_envelope = |data: Json| json!({ "total": data.as_array().unwrap().len(), "data": data, "limit": 0, "offset": 0, "errors": null });
    let services = json!(["api", "batcher", "email-worker", "payment-worker"]);
    assert_eq!(fixture.get("/api/services").await.json(), empty_envelope(services));
    let names = json!(["process payments", "render receipt", "send notifications"]);
    let answer = fixture.get("/api/services/email-worker/operations").await;
    assert_eq!(answer.json(), empty_envelope(names));
    assert_eq!(answer.header("content-type"), "application/json");
    let by_kind = json!([{ "name": "send notifications", "spanKind": "producer" }]);
    assert_eq!(
        fixture.get("/api/operations?service=email-worker&spanKind=producer").await.json(),
        empty_envelope(by_kind)
    );
}

#[tokio::test]
async fn a_trace_has_jaegers_shape() {
    let fixture = Fixture::empty();
    let mut failed = span(
        1,
        2,
        Some(1),
        "process orders",
        5,
        (10.0, 12.5),
        json!({
        "messaging.system": "kafka", "n": 7, "ratio": 0.5, "big": 9_007_199_254_740_993_i64, "yes": true }),
    );
    failed["status"] = json!({ "code": 2, "message": "declined" });
    failed["traceState"] = json!("ot=th:8");
    failed["flags"] = json!(0x103);
    failed["events"] = json!([{ "timeUnixNano": (START + 11_000_000).to_string(), "name": "exception",
        "attributes": key_values(&json!({ "exception.type": "Declined" })) }]);
    failed["links"] = json!([{ "traceId": trace_id(9), "spanId": "00000000000000aa" }]);
    fixture.ingest(&spans("worker", vec![failed]));
    fixture.ingest_logs(&json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{
        "timeUnixNano": (START + 10_500_000).to_string(), "severityText": "WARN", "body": { "stringValue": "low funds" },
        "traceId": trace_id(1), "spanId": "0000000000000002" }] }] }] }));
    let answer = fixture.get(&format!("/api/traces/{}", trace_id(1))).await;
    assert_eq!(answer.status, StatusCode::OK);
    let tag = |key: &str, kind: &str, value: Json| json!({ "key": key, "type": kind, "value": value });
    assert_eq!(
        answer.json(),
        json!({
            "data": [{
                "traceID": trace_id(1),
                "spans": [{
                    "traceID": trace_id(1),
                    "spanID": "0000000000000002",
                    "flags": 3,
                    "operationName": "process orders",
                    "references": [
                        { "refType": "CHILD_OF", "traceID": trace_id(1), "spanID": "0000000000000001" },
                        { "refType": "FOLLOWS_FROM", "traceID": trace_id(9), "spanID": "00000000000000aa" },
                    ],
                    "startTime": START / 1_000 + 10_000,
                    "duration": 2_500,
                    "tags": [
                        tag("otel.scope.name", "string", json!("checkout")),
                        tag("otel.scope.version", "string", json!("0.1")),
                        tag("big", "int64", json!("9007199254740993")),
                        tag("messaging.system", "string", json!("kafka")),
                        tag("n", "int64", json!(7)),
                        tag("ratio", "float64", json!(0.5)),
                        tag("yes", "bool", json!(true)),
                        tag("span.kind", "string", json!("consumer")),
                        tag("otel.status_code", "string", json!("ERROR")),
                        tag("error", "bool", json!(true)),
                        tag("otel.status_description", "string", json!("declined")),
                        tag("w3c.tracestate", "string", json!("ot=th:8")),
                    ],
                    "logs": [
                        { "timestamp": START / 1_000 + 10_500, "fields": [
                            tag("event", "string", json!("log")),
                            tag("level", "string", json!("WARN")),
                            tag("message", "string", json!("low funds")),
                        ] },
                        { "timestamp": START / 1_000 + 11_000, "fields": [
                            tag("event", "string", json!("exception")),
                            tag("exception.type", "string", json!("Declined")),
                        ] },
                    ],
                    "processID": "p1",
                    "warnings": ["the parent span 0000000000000001 is not in the trace"],
                }],
                "processes": { "p1": { "serviceName": "worker", "tags": [
                    tag("host.name", "string", json!("node-7")),
                    tag("service.version", "string", json!("1.4.2")),
                ] } },
                "warnings": null,
            }],
            "total": 0, "limit": 0, "offset": 0, "errors": null,
        })
    );
}

#[tokio::test]
async fn each_consumer_is_the_child_of_its_producer() {
    let fixture = Fixture::checkouts();
    let trace = fixture.get(&format!("/api/traces/{}", trace_id(1))).await.json()["data"][0].clone();
    let spans = trace["spans"].as_array().unwrap();
    let kind = |span: &Json| {
        let tags = span["tags"].as_array().unwrap();
        tags.iter().find(|t| t["key"] == "span.kind").unwrap()["value"].as_str().unwrap().to_owned()
    };
    let mut hops = Vec::new();
    for consumer in spans.iter().filter(|span| kind(span) == "consumer") {
        let parent = spans.iter().find(|s| s["spanID"] == consumer["references"][0]["spanID"]).unwrap();
        assert_eq!(kind(parent), "producer");
        hops.push(format!(
            "{} -> {}",
            parent["operationName"].as_str().unwrap(),
            consumer["operationName"].as_str().unwrap()
        ));
    }
    hops.sort();
    assert_eq!(hops, ["send orders -> process orders", "send payments -> process payments"]);
    assert_eq!(trace["processes"].as_object().unwrap().len(), 3);
    let batch = fixture.get(&format!("/api/traces/{}", trace_id(BATCH))).await.json();
    let references = batch["data"][0]["spans"][0]["references"].as_array().unwrap().clone();
    assert_eq!(references.len(), 5);
    assert!(references.iter().all(|r| r["refType"] == "FOLLOWS_FROM"));
}

#[tokio::test]
async fn a_search_takes_jaegers_parameters() {
    let fixture = Fixture::checkouts();
    let start = START / 1_000;
    let encoded = |tags: Json| crate::params::encode(&tags.to_string());
    let cases: Vec<(String, Vec<u64>)> = vec![
        ("service=api".to_owned(), vec![7, 6, 5, 4, 3, 2, 1]),
        ("service=api&limit=2".to_owned(), vec![7, 6]),
        ("service=batcher".to_owned(), vec![BATCH]),
        // By the newest span that matches: the third one waited two seconds in a queue.
        ("service=email-worker&operation=send+notifications".to_owned(), vec![3, 5, 4, 2, 1]),
        (format!("service=email-worker&tags={}", encoded(json!({ "error": "true" }))), vec![7]),
        (format!("service=api&tags={}", encoded(json!({ "correlation_id": "4bf92f3500000002" }))), vec![2]),
        (
            format!("service=api&tags={}", encoded(json!({ "span.kind": "SERVER" }))),
            vec![7, 6, 5, 4, 3, 2, 1],
        ),
        ("service=api&tag=correlation_id:4bf92f3500000002".to_owned(), vec![2]),
        ("service=payment-worker&minDuration=60ms".to_owned(), vec![7, 6, 5, 4, 3, 2, 1]),
        ("service=payment-worker&minDuration=61.5ms".to_owned(), vec![]),
        ("service=payment-worker&maxDuration=100us".to_owned(), vec![]),
        (format!("service=api&start={}&end={}", start + 700_000, start + 1_300_000), vec![3, 2]),
        ("service=api&lookback=57.5s".to_owned(), vec![7]),
        ("service=api&lookback=custom&start=0".to_owned(), vec![7, 6, 5, 4, 3, 2, 1]),
        ("service=nobody".to_owned(), vec![]),
        (format!("traceID={}&traceID={}", trace_id(2), trace_id(1)), vec![2, 1]),
    ];
    for (query, expected) in cases {
        let answer = fixture.get(&format!("/api/traces?{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text());
        let expected: Vec<String> = expected.into_iter().map(trace_id).collect();
        assert_eq!(ids(&answer.json()), expected, "{query}");
    }
    let partly = fixture.get(&format!("/api/traces?traceID={}&traceID=ff", trace_id(1))).await.json();
    assert_eq!(ids(&partly), [trace_id(1)]);
    assert_eq!(partly["errors"], json!([{ "msg": "trace not found", "traceID": format!("{:032x}", 0xff) }]));
}

#[tokio::test]
async fn a_refusal_comes_in_jaegers_envelope() {
    let fixture = Fixture::empty();
    let cases: &[(&str, u16, &str)] = &[
        ("/api/traces/abc", 404, "trace not found"),
        ("/api/traces/xyz", 400, "\"xyz\" is no trace id; a trace id is up to 32 hex digits, not all zero"),
        ("/api/traces", 400, "parameter 'service' is required"),
        ("/api/operations", 400, "parameter 'service' is required"),
        (
            "/api/traces?service=a&limit=x",
            400,
            "unable to parse param 'limit': invalid digit found in string",
        ),
        (
            "/api/traces?service=a&minDuration=5",
            400,
            "unable to parse param 'minDuration': invalid duration \"5\", like 1.2s, 100ms, 500us",
        ),
        (
            "/api/traces?service=a&minDuration=2s&maxDuration=1s",
            400,
            "'maxDuration' should be greater than 'minDuration'",
        ),
        ("/api/traces?service=%zz", 400, "malformed percent encoding in the query string: \"%zz\""),
        ("/api/traces?service=%4", 400, "malformed percent encoding in the query string: \"%4\""),
        ("/api/operations?service=%FF", 400, "malformed percent encoding in the query string: \"%FF\""),
        ("/api/traces?service=a&tag=x", 400, "malformed 'tag' parameter, expecting key:value, received: x"),
        (
            "/api/traces?service=a&start=now",
            400,
            "unable to parse param 'start': invalid digit found in string",
        ),
    ];
    for (path, code, message) in cases {
        let answer = fixture.get(path).await;
        assert_eq!(answer.status.as_u16(), *code, "{path}");
        let errors = json!([{ "code": code, "msg": message }]);
        assert_eq!(
            answer.json(),
            json!({ "data": null, "total": 0, "limit": 0, "offset": 0, "errors": errors }),
            "{path}"
        );
    }
    let malformed = fixture.get("/api/traces?service=a&tags=%7B").await;
    assert_eq!(malformed.status, StatusCode::BAD_REQUEST);
    assert!(
        malformed.text().contains("malformed 'tags' parameter, cannot unmarshal JSON"),
        "{}",
        malformed.text()
    );
}
