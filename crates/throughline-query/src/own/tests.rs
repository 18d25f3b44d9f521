//! Our own endpoints asked as the command line asks them.

use axum::http::StatusCode;
use serde_json::{Value as Json, json};

use crate::app::MAX_FOLLOWERS;
use crate::testing::{Answer, BATCH, Fixture, NOW, START, span, spans, trace_id};

#[tokio::test]
async fn a_trace_as_json_has_what_the_source_prints() {
    let fixture = Fixture::checkouts();
    let trace = fixture.get(&format!("/tl/v1/trace/{}", trace_id(3))).await.json();
    assert_eq!(trace["traceID"], trace_id(3));
    assert_eq!(trace["spanCount"], 9);
    assert_eq!(trace["services"], json!(["api", "payment-worker", "email-worker"]));
    assert_eq!(trace["spans"][0]["operation"], "POST /rpc/checkout/start");
    let linked = &trace["linked"][0];
    assert_eq!((&linked["traceID"], &linked["direction"]), (&json!(trace_id(BATCH)), &json!("dependant")));
    assert_eq!(linked["linked_trace_id_count"], 5);
    let batch = fixture.get(&format!("/tl/v1/trace/{}", trace_id(BATCH))).await.json();
    let contributors: Vec<&Json> =
        batch["linked"].as_array().unwrap().iter().map(|l| &l["service"]).collect();
    assert_eq!(contributors, ["api"; 5]);
    let missing = fixture.get("/tl/v1/trace/abc").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.json()["error"], format!("nothing of trace {:032x} is in the store", 0xabc));
}

#[tokio::test]
async fn a_trace_as_text_keeps_to_the_width_and_can_be_a_part() {
    let fixture = Fixture::checkouts();
    let text = fixture.get(&format!("/tl/v1/trace/{}/text?width=72", trace_id(3))).await.text();
    assert!(text.contains("2.11 s") && text.contains("v1.settlements.batched process"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 72), "{text}");
    let coloured = fixture.get(&format!("/tl/v1/trace/{}/text?colour=always", trace_id(3))).await.text();
    assert!(coloured.contains('\u{1b}'));
    let part = fixture.get(&format!("/tl/v1/trace/{}/text?span=0000000000000304", trace_id(3))).await.text();
    assert!(part.contains("process orders") && !part.contains("POST /rpc/checkout/start"), "{part}");
    assert!(!part.contains("not received"), "{part}");
    for bad in ["colour=red", "width=wide", "form=round", "span=zz", "span=0000000000000999"] {
        let answer = fixture.get(&format!("/tl/v1/trace/{}/text?{bad}", trace_id(3))).await;
        assert!(answer.status.is_client_error(), "{bad}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_search_finds_a_checkouts_spans_its_logs_and_its_batch() {
    let fixture = Fixture::checkouts();
    let found = fixture.get("/tl/v1/search?q=correlation_id%3D4bf92f3500000002").await.json();
    assert_eq!(found["query"], "correlation_id=4bf92f3500000002");
    let summary: Vec<(Json, Json, usize)> = found["traces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| (t["traceID"].clone(), t["matched"].clone(), t["spans"].as_array().unwrap().len()))
        .collect();
    assert_eq!(summary, [(json!(trace_id(BATCH)), json!(1), 1), (json!(trace_id(2)), json!(9), 9)]);
    let bodies: Vec<&Json> = found["logs"].as_array().unwrap().iter().map(|log| &log["body"]).collect();
    assert_eq!(bodies, ["checkout started, 2 items"]);
    let text = fixture.get("/tl/v1/search/text?q=error").await.text();
    insta::assert_snapshot!(text, @r"
    trace 4bf92f3577b34da6a3ce000000000007  175 ms  8 spans  3 services  1 error  57 s ago
      email-worker  process payments  consumer     45.0 ms  error

    trace 4bf92f3577b34da6a3ce000000000006  119 ms  5 spans  2 services  1 error  57 s ago
      payment-worker  process orders  consumer     61.0 ms  error
    ");
    let bad = fixture.get("/tl/v1/search?q=oops").await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    assert!(
        bad.json()["error"]
            .as_str()
            .unwrap()
            .starts_with("column 1: `oops` is not a condition; allowed: service=,")
    );
}

#[tokio::test]
async fn a_name_cannot_steer_a_terminal() {
    let fixture = Fixture::empty();
    let evil = "a\u{1b}[31m\u{202e}b\nc";
    fixture.ingest(&spans("api", vec![span(1, 1, None, evil, 1, (0.0, 1.0), json!({}))]));
    let text = fixture.get("/tl/v1/search/text").await.text();
    assert!(text.contains(r"a\u{1b}[31m\u{202e}b\u{a}c"), "{text}");
}

#[tokio::test]
async fn lineage_leads_from_a_hash_or_a_trace_to_the_batch_and_its_contributors() {
    let fixture = Fixture::checkouts();
    for of in ["a3f2c1d4e5b60718".to_owned(), trace_id(2), trace_id(BATCH)] {
        let lineage = fixture.get(&format!("/tl/v1/lineage/{of}")).await.json()["lineage"].clone();
        assert_eq!(lineage.as_array().unwrap().len(), 1, "{of}");
        assert_eq!(lineage[0]["traceID"], trace_id(BATCH));
        assert_eq!(lineage[0]["linked_trace_id_count"], 5);
        let contributors: Vec<&Json> =
            lineage[0]["contributors"].as_array().unwrap().iter().map(|c| &c["traceID"]).collect();
        assert_eq!(contributors, [&trace_id(1), &trace_id(2), &trace_id(3), &trace_id(4), &trace_id(5)]);
    }
    let text = fixture.get("/tl/v1/lineage/A3F2C1D4E5B60718/text").await.text();
    insta::assert_snapshot!(text, @r"
    batch v1.settlements.batched process  batcher  55 s ago
      trace 4bf92f3577b34da6a3ce000000000064  linked_trace_id_count: 5  linked_trace_id_hash: a3f2c1d4e5b60718
      from 4bf92f3577b34da6a3ce000000000001  api  POST /rpc/checkout/start  59 s ago
      from 4bf92f3577b34da6a3ce000000000002  api  POST /rpc/checkout/start  59 s ago
      from 4bf92f3577b34da6a3ce000000000003  api  POST /rpc/checkout/start  58 s ago
      from 4bf92f3577b34da6a3ce000000000004  api  POST /rpc/checkout/start  58 s ago
      from 4bf92f3577b34da6a3ce000000000005  api  POST /rpc/checkout/start  58 s ago
    ");
    let cases = [("ffffffffffffffff", 404), (&trace_id(6), 404), ("zz", 400), ("abc", 400)];
    for (of, status) in cases {
        assert_eq!(fixture.get(&format!("/tl/v1/lineage/{of}")).await.status.as_u16(), status, "{of}");
    }
}

/// The events of a whole stream, as name and data.
fn events(answer: &Answer) -> Vec<(String, Json)> {
    let text = answer.text();
    let field = |block: &str, name: &str| {
        block.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned())
    };
    text.split("\n\n")
        .filter_map(|block| {
            Some((field(block, "event:")?, serde_json::from_str(&field(block, "data:")?).unwrap()))
        })
        .collect()
}

#[tokio::test]
async fn following_a_quiet_trace_tells_it_and_ends() {
    let fixture = Fixture::checkouts();
    let answer = fixture.get(&format!("/tl/v1/trace/{}/follow", trace_id(6))).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let names: Vec<String> = events(&answer).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["span", "span", "span", "span", "span", "log", "log", "quiet"]);
}

#[tokio::test]
async fn following_a_growing_trace_tells_each_span_once() {
    let fixture = Fixture::empty();
    // Ended at the time of the question: still arriving.
    let at = (NOW - START) as f64 / 1e6;
    fixture.ingest(&spans("api", vec![span(1, 1, None, "first", 1, (at - 5.0, at), json!({}))]));
    let app = fixture.app.clone();
    let path = format!("/tl/v1/trace/{}/follow", trace_id(1));
    let mut stream = follow(&app, &path).await;
    assert_eq!(next(&mut stream).await["operation"], "first");
    fixture.ingest(&spans("api", vec![span(2, 7, None, "of another trace", 1, (at - 5.0, at), json!({}))]));
    fixture.ingest(&spans("worker", vec![span(1, 2, Some(1), "second", 5, (at - 3.0, at), json!({}))]));
    assert_eq!(next(&mut stream).await["operation"], "second");
}

#[tokio::test]
async fn following_what_is_not_there_yet_says_for_how_long() {
    let fixture = Fixture::empty();
    let app = fixture.app.clone();
    let mut stream = follow(&app, &format!("/tl/v1/trace/{}/follow", trace_id(1))).await;
    assert_eq!(next(&mut stream).await, json!({ "seconds": 30 }));
    let at = (NOW - START) as f64 / 1e6;
    fixture.ingest(&spans("api", vec![span(1, 1, None, "first", 1, (at - 5.0, at), json!({}))]));
    assert_eq!(next(&mut stream).await["operation"], "first");
}

#[tokio::test]
async fn what_waits_for_a_client_is_bounded_and_it_is_told_how_far_behind_it_is() {
    let fixture = Fixture::empty();
    let text = "x".repeat(10_000);
    let large = |id: u64| span(1, id, None, "large", 1, (0.0, id as f64), json!({ "text": text }));
    fixture.ingest(&spans("api", (1..=20).map(large).collect()));
    let path = format!("/tl/v1/trace/{}/follow", trace_id(1));
    let told = async |fixture: &Fixture| {
        let mut told = Vec::new();
        for (name, data) in events(&fixture.get(&path).await) {
            match name.as_str() {
                "span" => told.push("span".to_owned()),
                other => told.push(format!("{other} {data}")),
            }
        }
        told
    };
    let whole = told(&fixture).await;
    assert_eq!((whole.len(), whole.last().unwrap().as_str()), (21, r#"quiet {"spans":20}"#));
    // Other answers take all the room there is: 64 KiB wait at a time.
    let outgoing = fixture.app.reads().outgoing().clone();
    let _all = outgoing.room(outgoing.free() * 1024).unwrap();
    let parts = told(&fixture).await;
    let said: Vec<&str> = parts.iter().map(String::as_str).filter(|one| *one != "span").collect();
    assert_eq!(said, [r#"behind {"untold":13}"#, r#"behind {"untold":6}"#, r#"quiet {"spans":20}"#]);
    assert_eq!(parts.len(), 20 + said.len(), "each span is told once");
}

#[tokio::test]
async fn one_stream_too_many_is_refused_and_a_closed_one_frees_its_place() {
    let fixture = Fixture::empty();
    let path = format!("/tl/v1/trace/{}/follow", trace_id(1));
    let mut open = Vec::new();
    for _ in 0..MAX_FOLLOWERS {
        open.push(follow(&fixture.app, &path).await);
    }
    assert_eq!(fixture.get(&path).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(fixture.get("/tl/v1/arrivals").await.status, StatusCode::SERVICE_UNAVAILABLE);
    open.pop();
    assert_eq!(fixture.app.followers().available_permits(), 1);
}

async fn follow(app: &crate::App, path: &str) -> axum::body::Body {
    use tower::ServiceExt;
    let request =
        axum::http::Request::builder().uri(path).header("host", "localhost").body(axum::body::Body::empty());
    crate::ui(app.clone()).oneshot(request.unwrap()).await.unwrap().into_body()
}

/// Data of the stream's next event.
async fn next(stream: &mut axum::body::Body) -> Json {
    use http_body_util::BodyExt;
    let bytes = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    serde_json::from_str(text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap()).unwrap()
}

#[tokio::test]
async fn health_readiness_and_metrics_answer() {
    let fixture = Fixture::empty();
    assert_eq!(fixture.get("/healthz").await.text(), "ok\n");
    assert_eq!(fixture.get("/readyz").await.text(), "ready\n");
    let metrics = fixture.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(metrics.text().contains("up 1"));
}
