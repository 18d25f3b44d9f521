//! Answers are counted while they are on their way, refused in each form, and cut.

use axum::http::StatusCode;
use serde_json::json;

use super::*;
use crate::testing::{Answer as Answered, Fixture, span, spans, trace_id};

#[tokio::test]
async fn a_large_answer_is_counted_until_it_is_taken() {
    use tower::ServiceExt;
    let fixture = Fixture::empty();
    let text = "x".repeat(200_000);
    fixture.ingest(&spans("api", vec![span(1, 1, None, "a", 1, (0.0, 1.0), json!({ "text": text }))]));
    let path = format!("/tl/v1/trace/{}", trace_id(1));
    let outgoing = fixture.app.reads().outgoing().clone();
    let request = Request::builder().uri(&path).header("host", "localhost").body(Body::empty()).unwrap();
    let response = crate::ui(fixture.app.clone()).oneshot(request).await.unwrap();
    assert!(outgoing.free() < MAX_OUTGOING - 190);
    let answer = Answered::of(response).await;
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    assert_eq!(answer.json()["spanCount"], 1);
    assert_eq!(outgoing.free(), MAX_OUTGOING);
}

#[tokio::test]
async fn without_room_each_api_refuses_in_its_own_form() {
    let fixture = Fixture::empty();
    let text = "x".repeat(80_000);
    let named = |id: u64| {
        let name = format!("{id} {}", "y".repeat(100));
        let text = if id == 1 { text.as_str() } else { "" };
        span(id, id, None, &name, 1, (0.0, 1.0), json!({ "text": text }))
    };
    fixture.ingest(&spans("api", (1..=1_000).map(named).collect()));
    let _all = fixture.app.reads().outgoing().room(MAX_OUTGOING * 1024).unwrap();
    let why = "too many large answers are on their way; try again in a moment";
    let trace = trace_id(1);
    for path in [
        "/api/services/api/operations".to_owned(),
        format!("/api/traces/{trace}"),
        "/api/traces?service=api".to_owned(),
    ] {
        let answer = fixture.get(&path).await;
        let expected = json!({ "data": null, "total": 0, "limit": 0, "offset": 0, "errors": [{ "code": 503, "msg": why }] });
        assert_eq!((answer.status, answer.json()), (StatusCode::SERVICE_UNAVAILABLE, expected), "{path}");
        assert_eq!(answer.header("retry-after"), "2");
    }
    for path in [format!("/tl/v1/trace/{trace}"), "/tl/v1/search?limit=1000".to_owned()] {
        let answer = fixture.get(&path).await;
        assert_eq!(
            (answer.status, answer.json()),
            (StatusCode::SERVICE_UNAVAILABLE, json!({ "error": why })),
            "{path}"
        );
    }
    let page = fixture.get(&format!("/trace/{trace}")).await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (StatusCode::SERVICE_UNAVAILABLE, "text/html; charset=utf-8")
    );
    assert!(page.text().contains(why) && page.text().contains("<main"), "{}", page.text());
    let text = fixture.get("/tl/v1/search/text?limit=1000").await;
    assert_eq!((text.status, text.text()), (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")));
    for path in ["/api/traces", "/api/v2/traces"] {
        for accept in ["application/json", "application/protobuf"] {
            let answer = fixture.tempo(&format!("{path}/{trace}"), &[("accept", accept)]).await;
            assert_eq!(
                (answer.status, answer.text()),
                (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn a_long_trace_is_the_same_in_pieces() {
    let fixture = Fixture::empty();
    let many = (1..=1_200)
        .map(|id| span(1, id, None, "a", 1, (id as f64, id as f64 + 1.0), json!({ "n": id.to_string() })));
    fixture.ingest(&spans("api", many.collect()));
    let trace = trace_id(1);
    let tempo = fixture.tempo(&format!("/api/traces/{trace}"), &[]).await;
    assert_eq!(tempo.header("content-length"), tempo.body.len().to_string());
    let tempo = tempo.json();
    let of = |batch: &Json| batch["scopeSpans"][0]["spans"].as_array().unwrap().len();
    let batches: Vec<usize> = tempo["batches"].as_array().unwrap().iter().map(of).collect();
    assert_eq!(batches, [500, 500, 200]);
    let protobuf =
        fixture.tempo(&format!("/api/v2/traces/{trace}"), &[("accept", "application/protobuf")]).await;
    let (length, head) = (protobuf.body.len(), 4);
    assert_eq!(
        throughline_otlp::decode_traces(protobuf.body.get(head..).unwrap()).unwrap().len(),
        1_200,
        "{length}"
    );
    assert_eq!(
        fixture.get(&format!("/api/traces/{trace}")).await.json()["data"][0]["spans"]
            .as_array()
            .unwrap()
            .len(),
        1_200
    );
    assert_eq!(
        fixture.get(&format!("/tl/v1/trace/{trace}")).await.json()["spans"].as_array().unwrap().len(),
        1_200
    );
    assert_eq!(fixture.app.reads().outgoing().free(), MAX_OUTGOING, "all room is given back");
}

#[tokio::test]
async fn an_answer_of_many_traces_ends_early_and_says_so() {
    let mut fixture = Fixture::checkouts();
    for bounds in [
        Bounds { spans: 10, ..Bounds::default() },
        Bounds { bytes: 12_000, ..Bounds::default() },
        Bounds { spans: 1, ..Bounds::default() },
    ] {
        fixture.app = fixture.app.clone().with_bounds(bounds);
        let answer = fixture.get("/api/traces?service=api").await.json();
        let given = answer["data"].as_array().unwrap().len();
        assert!((1..7).contains(&given), "{bounds:?}: {given}");
        assert_eq!(answer["errors"], json!([{ "msg": cut_note(given, 7) }]), "{bounds:?}");
    }
    let ids: Vec<String> = (1..=3).map(|n| format!("traceID={}", trace_id(n))).collect();
    let answer = fixture.get(&format!("/api/traces?{}", ids.join("&"))).await.json();
    assert_eq!(answer["errors"], json!([{ "msg": cut_note(1, 3) }]));
    fixture.app = fixture.app.clone().with_bounds(Bounds { listed: 10, ..Bounds::default() });
    let found = fixture.get("/tl/v1/search?q=tenant.id%3Dacme").await.json();
    let given = found["traces"].as_array().unwrap().len();
    assert_eq!((given, &found["cut"], &found["notes"]), (2, &json!(true), &json!([cut_note(2, 7)])));
    let text = fixture.get("/tl/v1/search/text?q=tenant.id%3Dacme").await.text();
    assert!(text.contains("it has 2 of 7 traces"), "{text}");
}

#[tokio::test]
async fn a_limit_over_the_maximum_is_lowered_and_said() {
    let fixture = Fixture::checkouts();
    let jaeger = fixture.get("/api/traces?service=api&limit=20000").await.json();
    assert_eq!(jaeger["errors"][0]["msg"], "limit 20,000 is over the maximum; 1,500 is used");
    assert_eq!(jaeger["data"].as_array().unwrap().len(), 7);
    let found = fixture.get("/tl/v1/search?limit=100000").await.json();
    assert_eq!(found["notes"], json!(["limit 100,000 is over the maximum; 1,000 is used"]));
    assert!(fixture.get("/?limit=100000").await.text().contains("1,000 is used"));
    let text = fixture.get("/tl/v1/search/text?limit=100000").await.text();
    assert!(text.contains("limit 100,000 is over the maximum; 1,000 is used"), "{text}");
    let tempo = fixture.tempo("/api/search?limit=501", &[]).await.json();
    assert_eq!(tempo["notes"], json!(["limit 501 is over the maximum; 500 is used"]));
}
