//! Why traces are kept or not, asked as the command line and programs ask.

use axum::http::StatusCode;
use serde_json::json;

use crate::testing::{BATCH, Fixture, trace_id};

#[tokio::test]
async fn a_trace_as_text_says_why_it_was_kept_within_the_width() {
    let fixture = Fixture::sampled();
    let batch = trace_id(BATCH);
    let cases = [
        (3, "kept by policy slow-traces, decided 30s after its first span (decision_wait) (pipeline traces)\n".to_owned()),
        (
            1,
            format!("kept because it is linked with trace {batch}, 1 link away, decided when the linked trace was kept (pipeline traces)\n"),
        ),
        (BATCH, "kept by policy <b>\\u{1b}[2J, decided on a late span (pipeline traces); 2 linked traces left out\n".to_owned()),
    ];
    for (number, end) in cases {
        let text = fixture.get(&format!("/tl/v1/trace/{}/text", trace_id(number))).await.text();
        assert!(text.ends_with(&end), "{text}");
        let narrow = fixture.get(&format!("/tl/v1/trace/{}/text?width=60", trace_id(number))).await.text();
        assert!(narrow.lines().all(|line| line.chars().count() <= 60), "{narrow}");
        let joined = narrow.replace("\n  ", " ");
        assert!(joined.ends_with(&end), "{narrow}");
    }
    let without = fixture.get(&format!("/tl/v1/trace/{}/text", trace_id(2))).await.text();
    assert!(!without.contains("kept by") && !without.contains("pipeline"), "{without}");
}

#[tokio::test]
async fn a_trace_that_is_not_here_says_what_was_decided() {
    let fixture = Fixture::sampled();
    let cases = [
        (
            50,
            "not sampled: no policy said yes, decided 30s after its first span (decision_wait) (pipeline traces); its spans are still in the journal: a late span that makes a policy say yes, or a linked trace that is kept, brings all of them back",
        ),
        (
            51,
            "dropped: policy healthz said so, decided after its root came (decision_wait_after_root_received) (pipeline traces); an explicit drop is final: nothing brings it back",
        ),
        (
            52,
            "undecided: its spans are here, the decision falls 30s after the first of them (pipeline traces)",
        ),
        (
            53,
            "not sampled: larger than maximum_trace_size_bytes, decided when it grew too large (pipeline traces); its spans are not in the journal any more: nothing brings them back",
        ),
        (54, "kept by policy errors, decided early, because num_traces was reached (pipeline traces)"),
    ];
    for (number, why) in cases {
        let id = trace_id(number);
        let expected = format!("nothing of trace {id} is in the store; {why}");
        let text = fixture.get(&format!("/tl/v1/trace/{id}/text")).await;
        assert_eq!((text.status, text.text()), (StatusCode::NOT_FOUND, format!("{expected}\n")));
        let as_json = fixture.get(&format!("/tl/v1/trace/{id}")).await;
        assert_eq!((as_json.status, &as_json.json()["error"]), (StatusCode::NOT_FOUND, &json!(expected)));
    }
}

#[tokio::test]
async fn decisions_and_figures_are_there_for_programs() {
    let fixture = Fixture::sampled();
    let decision = fixture.get(&format!("/tl/v1/trace/{}/decision", trace_id(1))).await.json();
    let first = &decision["decisions"][0];
    assert_eq!(
        (&first["verdict"], &first["reason"], &first["linkedFrom"], &first["hops"], &first["trigger"]),
        (&json!("sampled"), &json!("linked"), &json!(trace_id(BATCH)), &json!(1), &json!("link"))
    );
    let not = fixture.get(&format!("/tl/v1/trace/{}/decision", trace_id(50))).await.json();
    assert_eq!(
        (
            &not["decisions"][0]["verdict"],
            &not["decisions"][0]["broughtBackBy"],
            &not["decisions"][0]["policy"]
        ),
        (&json!("not_sampled"), &json!("late span or link"), &json!(null))
    );
    assert_eq!(fixture.get("/tl/v1/trace/abc/decision").await.status, StatusCode::NOT_FOUND);

    let figures = fixture.get("/tl/v1/sampler").await.json();
    assert_eq!(figures["spansKeptPerSecond"], 800.0);
    assert_eq!(
        (&figures["lookBackSeconds"], &figures["spansIn"]),
        (&json!(52 * 60), &json!(480_000 + 3600 % 97 * 20))
    );
    assert_eq!(
        (&figures["lookBackConfiguredSeconds"], &figures["lookBackBoundBy"]),
        (&json!(3600), &json!("journal_size"))
    );
    let sampler = &figures["samplers"][0];
    assert_eq!((&sampler["undecidedTraces"], &sampler["memoryBytes"]), (&json!(30_012), &json!(9_437_184)));
    assert_eq!(sampler["decisions"][0], json!({ "verdict": "sampled", "reason": "errors", "traces": 1_200 }));
    assert_eq!(figures["exporters"][1]["refused"], 3);
    assert_eq!(
        (&sampler["askedElsewhere"], &sampler["unanswered"], &sampler["keptElsewhere"]),
        (&json!(61), &json!(7), &json!(5))
    );
    let tier = &figures["tier"];
    assert_eq!((&tier["us"], &tier["nodes"], &tier["takenKept"]), (&json!("a:4317"), &json!(3), &json!(31)));
    assert_eq!(
        tier["peers"][0],
        json!({
            "name": "b:4317", "waitingWishes": 1_234, "deliveredWishes": 44, "givenUpWishes": 0,
            "answeredTraces": 54, "unansweredTraces": 0,
        })
    );
    let nothing = Fixture::checkouts();
    for path in ["/tl/v1/sampler", "/sampler", "/sampler/follow"] {
        let answer = nothing.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.text().contains("nothing samples here"), "{}", answer.text());
    }
}

#[tokio::test]
async fn metrics_can_stand_alone() {
    let fixture = Fixture::empty();
    let alone = crate::metrics(fixture.app.clone());
    assert!(fixture.ask(alone.clone(), "/metrics", &[]).await.text().contains("up 1"));
    assert_eq!(fixture.ask(alone, "/tl/v1/search", &[]).await.status, StatusCode::NOT_FOUND);
}
