//! The sampler's picture, and why a trace is kept or not, as text. How it looks and moves is tested in a browser.

use axum::http::StatusCode;
use http_body_util::BodyExt;

use crate::page::tests::has_in_order;
use crate::testing::{BATCH, Fixture, trace_id};

#[tokio::test]
async fn the_picture_has_rates_policies_and_queues() {
    let fixture = Fixture::sampled();
    let page = fixture.get("/sampler").await;
    assert_eq!(page.status, StatusCode::OK);
    has_in_order(
        &page.text(),
        &[
            "http-equiv=\"refresh\" content=\"2\"",
            "<b>800</b>",
            "<b>1,000</b>",
            "<b>30,012</b>",
            "<b>9.0 MiB</b>",
            "<b>52 min",
            "in the journal, of 1h: journal_size has no room for more",
            "<rect class=\"in\"",
            "<code>traces</code>",
            "decision_wait 30s, 2 shards",
            "errors",
            "1,200",
            "2.0 %",
            "&lt;b&gt;\\u{1b}[2J",
            "dropped",
            "linked with a kept trace",
            "no policy said yes",
            "55,489",
            "4,494 of 60,000 traces kept, 48,000 spans",
            "at most 50,000",
            "12 brought back",
            "2 linked traces left out",
            "61 traces other nodes were asked about",
            "7 decided without another node",
            "5 kept because another node keeps a part",
            "traces/otlphttp/tempo",
            "2,000",
            "class=\"n bad\">3<",
            "3 on the ring, this one is a:4317",
            "<code>b:4317</code>",
            "1,234",
            "&lt;b&gt;\\u{1b}[2J",
            "class=\"n bad\">9<",
            "class=\"n bad\">7<",
            "40 wishes of others taken, 31 of them",
            "58 traces others asked about",
            "2 calls refused",
        ],
    );
}

#[tokio::test]
async fn the_way_to_it_is_shown_only_where_something_samples() {
    let way = "<a href=\"/sampler\">";
    let (sampled, all) = (Fixture::sampled(), Fixture::checkouts());
    for path in ["/", "/?q=service%3Dapi", "/?q=%3D", &format!("/trace/{}", trace_id(3)), "/trace/abc"] {
        assert!(sampled.get(path).await.text().contains(way), "{path}");
        assert!(!all.get(path).await.text().contains(way), "{path}");
    }
}

#[tokio::test]
async fn events_carry_the_same_picture() {
    use tower::ServiceExt;
    let fixture = Fixture::sampled();
    let request = axum::http::Request::builder().uri("/sampler/follow").header("host", "localhost");
    let answer = crate::ui(fixture.app.clone()).oneshot(request.body(axum::body::Body::empty()).unwrap());
    let mut stream = answer.await.unwrap().into_body();
    let event = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    let event = String::from_utf8(event.to_vec()).unwrap();
    has_in_order(&event, &["event: sampler", "class=\"gauges\"", "55,489", "traces/otlp/archive"]);
    assert!(!event.contains('\u{1b}'));
}

#[tokio::test]
async fn a_kept_trace_says_why_and_a_linked_one_leads_to_its_origin() {
    let fixture = Fixture::sampled();
    let cases = [
        (
            3,
            vec![
                "data-verdict=\"sampled\"",
                "kept by policy slow-traces",
                "decided 30s after its first span",
                "<code>traces</code>",
            ],
        ),
        (BATCH, vec!["kept by policy &lt;b&gt;\\u{1b}[2J", "on a late span", "2 linked traces left out"]),
    ];
    for (number, pieces) in cases {
        has_in_order(&fixture.get(&format!("/trace/{}", trace_id(number))).await.text(), &pieces);
    }
    let linked = fixture.get(&format!("/trace/{}", trace_id(1))).await.text();
    let way = format!("<a href=\"/trace/{}\">", trace_id(BATCH));
    has_in_order(
        &linked,
        &["kept because it is linked with trace", &way, "1 link away", "when the linked trace was kept"],
    );
    let without = fixture.get(&format!("/trace/{}", trace_id(2))).await.text();
    assert!(!without.contains("data-verdict"));
}

#[tokio::test]
async fn a_trace_that_is_not_here_says_why() {
    let fixture = Fixture::sampled();
    let cases = [
        (
            50,
            "quiet",
            vec![
                "This trace was not kept",
                "not sampled: no policy said yes",
                "Its spans are still in the journal: a late span",
                "or a linked trace that is kept",
            ],
        ),
        (
            51,
            "quiet",
            vec!["This trace was not kept", "dropped: policy healthz said so", "An explicit drop is final"],
        ),
        (52, "arriving", vec!["This trace is not decided yet", "the decision falls 30s after"]),
        (53, "quiet", vec!["not sampled: larger than", "nothing brings them back"]),
        (
            54,
            "quiet",
            vec![
                "This trace was kept, and is not here",
                "kept by policy errors",
                "num_traces was reached",
                "the store is not one of them",
            ],
        ),
        (60, "arriving", vec!["Nothing of this trace yet"]),
    ];
    for (number, state, mut pieces) in cases {
        let page = fixture.get(&format!("/trace/{}", trace_id(number))).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND);
        let state = format!("data-state=\"{state}\"");
        pieces.insert(0, &state);
        has_in_order(&page.text(), &pieces);
    }
}
