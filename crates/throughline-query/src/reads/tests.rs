//! Too many reads, too large a trace, too large an answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use futures_util::FutureExt;
use futures_util::future::join_all;

use serde_json::json;

use super::*;
use crate::testing::{Fixture, span, spans, trace_id};

#[tokio::test]
async fn one_read_runs_one_waits_and_the_next_is_refused() {
    let reads = Reads::new(1, 1, Duration::from_secs(3_600));
    let first = reads.enter().await.unwrap();
    let mut second = Box::pin(reads.enter());
    assert!(second.as_mut().now_or_never().is_none(), "it waits");
    assert!(matches!(reads.enter().await, Err(Failure::Busy(_))));
    drop(first);
    drop(second.await.unwrap());
    let _again = reads.enter().await.unwrap();
    let impatient = Reads { patience: Duration::ZERO, ..reads.clone() };
    assert!(matches!(impatient.enter().await, Err(Failure::Busy(_))));
}

/// Sixty people search at once: each gets an answer, and never do more than [`MAX_READS`] hold anything.
#[tokio::test]
async fn many_at_once_are_answered_one_after_the_other() {
    let fixture = Fixture::checkouts();
    let reads = Reads::default();
    let mut held = Vec::new();
    for _ in 0..MAX_READS {
        held.push(reads.enter().await.unwrap());
    }
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut asked = Vec::new();
    for _ in 0..60 {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        let mut question = Box::pin(reads.run(Arc::clone(&fixture.store), move |_| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }));
        assert!(question.as_mut().now_or_never().is_none(), "it waits");
        asked.push(question);
    }
    drop(held);
    let answers = join_all(asked).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!((1..=MAX_READS).contains(&most.load(Ordering::SeqCst)), "{most:?}");
}

#[tokio::test]
async fn a_busy_server_says_when_to_come_back_in_each_form_and_still_answers_the_rest() {
    let mut fixture = Fixture::checkouts();
    fixture.app = fixture.app.clone().with_reads(Reads::new(0, 0, Duration::ZERO));
    let trace = trace_id(3);
    for path in [
        "/api/traces?service=api".to_owned(),
        format!("/api/traces/{trace}"),
        "/tl/v1/search".to_owned(),
        format!("/tl/v1/trace/{trace}/text"),
        format!("/tl/v1/lineage/{trace}"),
        format!("/trace/{trace}"),
        "/".to_owned(),
    ] {
        let answer = fixture.get(&path).await;
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (StatusCode::SERVICE_UNAVAILABLE, "2"),
            "{path}"
        );
        assert!(answer.text().contains("too many searches and traces are being read"), "{path}");
    }
    let jaeger = fixture.get("/api/traces?service=api").await.json();
    assert_eq!(jaeger["errors"][0]["code"], 503);
    for path in ["/api/services", "/healthz", "/metrics"] {
        assert_eq!(fixture.get(path).await.status, StatusCode::OK, "{path}");
    }
    let tempo = fixture.tempo(&format!("/api/traces/{trace}"), &[]).await;
    assert_eq!(tempo.status, StatusCode::SERVICE_UNAVAILABLE);
}

/// What an answer says, and with which status.
type Said = fn(&Answered) -> String;

/// Each path of an API with what it says when it refuses `why`.
fn each_form(trace: &str) -> Vec<(String, Said)> {
    let jaeger: Said = |a| format!("{} {}", a.json()["errors"][0]["code"], a.json()["errors"][0]["msg"]);
    let own: Said = |a| format!("{} {}", a.status.as_u16(), a.json()["error"]);
    let text: Said = |a| format!("{} {:?}", a.status.as_u16(), a.text().trim_end());
    let page: Said = |a| {
        assert!(a.header("content-type").starts_with("text/html"), "{}", a.header("content-type"));
        let text = a.text();
        let said = text.split("<p>").nth(1).unwrap().split(".</p>").next().unwrap();
        format!("{} {said:?}", a.status.as_u16())
    };
    vec![
        (format!("/api/traces/{trace}"), jaeger),
        (format!("/tl/v1/trace/{trace}"), own),
        (format!("/tl/v1/trace/{trace}/text"), text),
        (format!("/trace/{trace}"), page),
        (format!("3200/api/traces/{trace}"), text),
        (format!("3200/api/v2/traces/{trace}"), text),
    ]
}

type Answered = crate::testing::Answer;

async fn ask(fixture: &Fixture, path: &str) -> Answered {
    match path.strip_prefix("3200") {
        Some(path) => fixture.tempo(path, &[]).await,
        None => fixture.get(path).await,
    }
}

fn room(small: usize, largest: usize) -> Room {
    Room { small, largest, patience: Duration::ZERO }
}

#[tokio::test]
async fn a_trace_that_is_too_large_is_refused_in_each_form_and_left_out_of_lists() {
    let mut fixture = Fixture::checkouts();
    fixture.ingest(&spans(
        "api",
        vec![span(
            50,
            1,
            None,
            "huge",
            1,
            (0.0, 1.0),
            json!({ "tenant.id": "acme", "text": "x".repeat(30_000) }),
        )],
    ));
    fixture.app = fixture.app.clone().with_reads(Reads::default().with_room(room(20_000, 20_000)));
    let huge = trace_id(50);
    let why = format!(
        "trace {huge} has more than 1 MiB of spans, which is more than is read at once; that much under one id is most likely \
         a loop or a job that never starts a new trace"
    );
    for (path, said) in each_form(&huge) {
        let answer = ask(&fixture, &path).await;
        assert_eq!(said(&answer), format!("413 {why:?}"), "{path}");
    }
    let listed = fixture.get("/api/traces?service=api").await.json();
    assert_eq!((listed["data"].as_array().unwrap().len(), &listed["errors"]), (7, &json!([{ "msg": why }])));
    let found = fixture.get("/tl/v1/search?q=tenant.id%3Dacme").await.json();
    assert_eq!((found["traces"].as_array().unwrap().len(), &found["notes"]), (7, &json!([why])));
    assert!(fixture.get("/").await.text().contains(&why));
    assert_eq!(fixture.tempo("/api/search", &[]).await.json()["traces"].as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn one_large_trace_is_read_at_a_time() {
    let mut fixture = Fixture::checkouts();
    let reads = Reads::default().with_room(room(100, usize::MAX));
    fixture.app = fixture.app.clone().with_reads(reads.clone());
    let path = format!("/tl/v1/trace/{}", trace_id(3));
    assert_eq!(fixture.get(&path).await.status, StatusCode::OK);
    let place = Arc::clone(&reads.large).try_acquire_owned().unwrap();
    let answer = fixture.get(&path).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["error"], "another very large trace is being read; try again in a moment");
    drop(place);
    assert_eq!(fixture.get(&path).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_neighbour_there_is_no_room_for_is_left_out() {
    let mut fixture = Fixture::checkouts();
    let batch = format!("/tl/v1/trace/{}", trace_id(crate::testing::BATCH));
    // Each is named by its link; what it is comes from its spans.
    let linked = async |fixture: &Fixture| {
        let batch = fixture.get(&batch).await.json();
        batch["linked"].as_array().unwrap().iter().filter(|linked| linked["service"] == "api").count()
    };
    assert_eq!(linked(&fixture).await, 5);
    let size = |number: u64| -> usize {
        let id = throughline_otlp::TraceId::from_hex(&trace_id(number)).unwrap();
        fixture.store.trace_otlp(id).unwrap().iter().map(Vec::len).sum()
    };
    let two_and_a_half = size(crate::testing::BATCH) + size(1) * 5 / 2;
    let reads = Reads::default().with_room(room(two_and_a_half, two_and_a_half));
    fixture.app = fixture.app.clone().with_reads(reads);
    assert_eq!(linked(&fixture).await, 2);
}

#[tokio::test]
async fn a_question_that_panics_takes_no_thread_with_it() {
    let fixture = Fixture::checkouts();
    for _ in 0..2 * MAX_READS {
        let asked = fixture.app.read(|_| -> Result<(), Failure> { panic!("on purpose") }).await;
        assert!(matches!(asked, Err(Failure::Internal(_))));
    }
    assert_eq!(fixture.get(&format!("/tl/v1/trace/{}", trace_id(3))).await.status, StatusCode::OK);
}
