//! What reading may cost: how many heavy reads run and wait at once, how large one answer grows, how many bytes of answers
//! are on their way. Past a bound a request is refused with 503 and `Retry-After`, or its answer ends early and says so.

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::App;
use crate::reply::Failure;
use crate::units::thousands;

/// Searches and whole traces read at once. Each may hold some tens of megabytes while it works.
pub const MAX_READS: usize = 3;
/// Further ones that wait for their turn.
pub const MAX_WAITING: usize = 24;
/// How long they wait.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Kilobytes of finished answers that clients have not taken yet.
pub const MAX_OUTGOING: usize = 256 * 1024;
/// Smaller answers are not counted.
const SMALL: u64 = 64 * 1024;
/// An answer on its way is handed over in pieces of this size.
const PIECE: usize = 64 * 1024;

/// How large an answer of several traces grows. One trace is always given whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Spans of whole traces in one answer.
    pub(crate) spans: usize,
    /// Spans listed beside the traces a search found.
    pub(crate) listed: usize,
    /// Bytes after which no further trace is added.
    pub(crate) bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { spans: 50_000, listed: 20_000, bytes: 32 * 1024 * 1024 }
    }
}

/// The way in for heavy reads, and the way out for large answers.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    /// For those that run and those that wait.
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
    patience: Duration,
    outgoing: Arc<Semaphore>,
}

/// Leave to read; given back when dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    _running: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Default for Reads {
    fn default() -> Self {
        Self::new(MAX_READS, MAX_WAITING, PATIENCE)
    }
}

impl Reads {
    pub(crate) fn new(at_once: usize, waiting: usize, patience: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(at_once + waiting)),
            running: Arc::new(Semaphore::new(at_once)),
            patience,
            outgoing: Arc::new(Semaphore::new(MAX_OUTGOING)),
        }
    }

    /// Waits for its turn; refused at once if too many wait already.
    pub(crate) async fn enter(&self) -> Result<Pass, Failure> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| busy())?;
        let turn = tokio::time::timeout(self.patience, Arc::clone(&self.running).acquire_owned()).await;
        let running = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        Ok(Pass { _running: running, _place: place })
    }
}

fn busy() -> Failure {
    Failure::Busy("too many searches and traces are being read; try again in a moment".to_owned())
}

/// Counts large answers until the client has taken them: one that reads slowly, or not at all, must not fill the memory.
pub(crate) async fn outgoing(State(app): State<App>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let Some(length) = response.body().size_hint().exact().filter(|length| *length > SMALL) else {
        return response;
    };
    let kilobytes = u32::try_from(length / 1024).unwrap_or(u32::MAX).min(MAX_OUTGOING as u32);
    match Arc::clone(&app.reads().outgoing).try_acquire_many_owned(kilobytes) {
        Ok(permit) => held(response, length, permit).await,
        Err(_) => {
            Failure::Busy("too many large answers are on their way; try again in a moment".to_owned()).text()
        }
    }
}

/// The same answer in pieces, which keeps `permit` until the last one is taken.
async fn held(response: Response, length: u64, permit: OwnedSemaphorePermit) -> Response {
    let (mut head, body) = response.into_parts();
    // The body is one piece in memory already; this takes it out.
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return Failure::internal("an answer was lost").text();
    };
    let pieces = stream::unfold((bytes, permit), |(mut rest, permit)| async move {
        let piece = rest.split_to(PIECE.min(rest.len()));
        (!piece.is_empty()).then_some((Ok::<Bytes, std::convert::Infallible>(piece), (rest, permit)))
    });
    head.headers.insert(header::CONTENT_LENGTH, length.into());
    Response::from_parts(head, Body::from_stream(pieces))
}

/// A list in JSON that is written value by value, so that no more than one is in memory as anything but text.
pub(crate) struct List {
    text: String,
    bounds: Bounds,
    items: usize,
    spans: usize,
}

impl List {
    /// `opening` is what stands before the first value, its bracket included.
    pub(crate) fn begin(opening: &str, bounds: Bounds) -> Self {
        Self { text: opening.to_owned(), bounds, items: 0, spans: 0 }
    }

    /// Whether nothing may be added any more. One value always may.
    pub(crate) fn is_full(&self) -> bool {
        self.items > 0 && (self.spans >= self.bounds.spans || self.text.len() >= self.bounds.bytes)
    }

    /// Adds a trace of so many spans, as JSON.
    pub(crate) fn push(&mut self, value: impl Display, spans: usize) {
        let comma = if self.items > 0 { "," } else { "" };
        // Writing to a string does not fail.
        let _ = write!(self.text, "{comma}{value}");
        self.items += 1;
        self.spans += spans;
    }

    /// What is said of a list that ends early, beside `asked` traces.
    pub(crate) fn cut_note(&self, asked: usize) -> String {
        cut_note(self.items, asked)
    }

    /// The text, with what stands after the last value.
    pub(crate) fn end(mut self, closing: &str) -> String {
        self.text.push_str(closing);
        self.text
    }
}

/// What is said of an answer that would have been too large.
pub(crate) fn cut_note(given: usize, found: usize) -> String {
    format!(
        "the answer is cut for its size: it has {} of {} traces; narrow the search or ask for fewer with limit",
        thousands(given),
        thousands(found)
    )
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use futures_util::FutureExt;
    use serde_json::json;

    use super::*;
    use crate::testing::{Fixture, trace_id};

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

    #[tokio::test]
    async fn a_large_answer_is_counted_until_it_is_taken() {
        use crate::testing::{Answer, span, spans};
        use tower::ServiceExt;
        let fixture = Fixture::empty();
        let text = "x".repeat(200_000);
        fixture.ingest(&spans("api", vec![span(1, 1, None, "a", 1, (0.0, 1.0), json!({ "text": text }))]));
        let path = format!("/tl/v1/trace/{}", trace_id(1));
        let outgoing = Arc::clone(&fixture.app.reads().outgoing);
        let request = Request::builder().uri(&path).header("host", "localhost").body(Body::empty()).unwrap();
        let response = crate::ui(fixture.app.clone()).oneshot(request).await.unwrap();
        assert!(outgoing.available_permits() < MAX_OUTGOING - 190);
        let answer = Answer::of(response).await;
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        assert_eq!(answer.json()["spanCount"], 1);
        assert_eq!(outgoing.available_permits(), MAX_OUTGOING);
        let _all = outgoing.try_acquire_many(MAX_OUTGOING as u32).unwrap();
        assert_eq!(fixture.get(&path).await.status, StatusCode::SERVICE_UNAVAILABLE);
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
}
