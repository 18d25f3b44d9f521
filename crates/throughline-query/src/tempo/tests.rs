//! Tempo's API asked as Grafana and the source's smoke test ask it.

use axum::http::StatusCode;
use serde_json::json;
use throughline_otlp::decode_traces;

use crate::testing::{Fixture, START, trace_id};

#[tokio::test]
async fn a_trace_comes_in_batches_that_the_sources_smoke_test_reads() {
    let fixture = Fixture::checkouts();
    let answer = fixture.tempo(&format!("/api/traces/{}", trace_id(1)), &[]).await;
    let json = answer.json();
    // `.batches[].scopeSpans[].spans[] | {name, kind, duration: …UnixNano|tonumber}`
    let mut lines = Vec::new();
    for batch in json["batches"].as_array().unwrap() {
        for span in
            batch["scopeSpans"].as_array().unwrap().iter().flat_map(|s| s["spans"].as_array().unwrap())
        {
            let nanos = |field: &str| span[field].as_str().unwrap().parse::<u64>().unwrap();
            lines.push((
                nanos("startTimeUnixNano"),
                span["name"].as_str().unwrap().to_owned(),
                nanos("endTimeUnixNano") - nanos("startTimeUnixNano"),
            ));
        }
    }
    lines.sort();
    assert_eq!(lines.len(), 9);
    assert_eq!(lines[0], (START + 400_000_000, "POST /rpc/checkout/start".to_owned(), 22_400_000));
    let v2 = fixture.tempo(&format!("/api/v2/traces/{}", trace_id(1)), &[]).await.json();
    assert_eq!(v2["trace"]["resourceSpans"], json["batches"]);
}

#[tokio::test]
async fn protobuf_is_given_where_it_is_asked_for() {
    let fixture = Fixture::checkouts();
    let accept = [("accept", "application/json;q=0.5, application/protobuf")];
    let answer = fixture.tempo(&format!("/api/traces/{}", trace_id(1)), &accept).await;
    assert_eq!(answer.header("content-type"), "application/protobuf");
    let spans = decode_traces(&answer.body).unwrap();
    assert_eq!(spans.len(), 9);
    assert!(spans.iter().all(|span| span.trace_id.to_string() == trace_id(1)));
    // Version 2 wraps the same bytes as field 1.
    let v2 = fixture.tempo(&format!("/api/v2/traces/{}", trace_id(1)), &accept).await;
    assert_eq!(v2.body[0], 0x0a);
    assert!(v2.body.ends_with(&answer.body));
    assert_eq!(super::field_one(300), [0x0a, 0xac, 0x02]);
}

#[tokio::test]
async fn the_rest_of_tempo_answers() {
    let fixture = Fixture::checkouts();
    assert_eq!(fixture.tempo("/ready", &[]).await.text(), "ready\n");
    assert_eq!(fixture.tempo("/api/echo", &[]).await.text(), "echo");
    assert_eq!(fixture.tempo("/api/traces/abc", &[]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(fixture.tempo("/api/traces/zz", &[]).await.status, StatusCode::BAD_REQUEST);
    let found = fixture
        .tempo("/api/search?tags=service.name%3Dapi+correlation_id%3D4bf92f3500000002", &[])
        .await
        .json();
    assert_eq!(
        found["traces"],
        json!([{
        "traceID": trace_id(2), "rootServiceName": "api", "rootTraceName": "POST /rpc/checkout/start",
        "startTimeUnixNano": (START + 800_000_000).to_string(), "durationMs": 175 }])
    );
    let none = fixture.tempo("/api/search?minDuration=1h", &[]).await.json();
    assert_eq!(none["traces"], json!([]));
    let traceql = fixture.tempo("/api/search?q=%7B+duration+%3E+1s+%7D", &[]).await;
    assert_eq!((traceql.status, traceql.text().contains("TraceQL")), (StatusCode::BAD_REQUEST, true));
    let services = fixture.tempo("/api/search/tag/service.name/values", &[]).await.json();
    assert_eq!(services["tagValues"][0], "api");
}
