//! A real store in a temporary folder, filled with made-up traces, behind the real routers. For this crate's tests, the one
//! in a browser included, which is why it uses nothing but the public API.

#[path = "testing/answer.rs"]
mod answer;
#[path = "testing/live.rs"]
mod live;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value as Json, json};
use throughline_otlp::{Signal, UnixNanos};
use throughline_query::{App, Arrival};
use throughline_store::{Ingest, Store, StoreOptions};
use tokio::sync::broadcast;
use tower::ServiceExt;

pub(crate) use answer::Answer;
use live::Alive;

/// 2026-01-15T14:03:22Z, when all made-up traces begin.
pub(crate) const START: u64 = 1_768_485_802_000_000_000;
/// One minute later: the time of the question.
pub(crate) const NOW: u64 = START + 60_000_000_000;
const MILLI: u64 = 1_000_000;

/// A store, its routers and a hand to put spans in.
pub(crate) struct Fixture {
    pub(crate) app: App,
    pub(crate) store: Arc<Store>,
    pub(crate) arrivals: broadcast::Sender<Arc<Arrival>>,
    positions: AtomicU64,
    /// Removed with the fixture.
    _folder: tempfile::TempDir,
}

impl Fixture {
    /// With nothing in it.
    pub(crate) fn empty() -> Self {
        Self::of(|arrivals| Alive {
            arrivals,
            decisions: BTreeMap::new(),
            sampling: None,
            asked: AtomicUsize::new(0),
        })
    }

    /// The checkouts behind a sampler.
    pub(crate) fn sampled() -> Self {
        let (decisions, sampling) = (live::decisions(), Some(live::sampling()));
        Self::of(|arrivals| Alive { arrivals, decisions, sampling, asked: AtomicUsize::new(0) })
            .with_checkouts()
    }

    fn of(live: impl FnOnce(broadcast::Sender<Arc<Arrival>>) -> Alive) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path(), StoreOptions::default()).unwrap());
        let (arrivals, _) = broadcast::channel(16);
        let live = Arc::new(live(arrivals.clone()));
        let app = App::new(Arc::clone(&store), live).with_clock(|| UnixNanos(NOW));
        Self { app, store, arrivals, positions: AtomicU64::new(1), _folder: folder }
    }

    /// With the checkouts of the source: five that form a batch, one declined payment, one e-mail that fails.
    pub(crate) fn checkouts() -> Self {
        Self::empty().with_checkouts()
    }

    fn with_checkouts(self) -> Self {
        for number in 1..=7 {
            self.ingest(&checkout(number));
        }
        self.ingest(&batch());
        self.ingest_logs(&logs());
        self
    }

    /// Takes spans in, as made by [`spans`], and tells the followers.
    pub(crate) fn ingest(&self, request: &Json) {
        self.take_in(Signal::Traces, request);
    }

    pub(crate) fn ingest_logs(&self, request: &Json) {
        self.take_in(Signal::Logs, request);
    }

    fn take_in(&self, signal: Signal, request: &Json) {
        let otlp = throughline_otlp::json::to_protobuf(signal, request.to_string().as_bytes()).unwrap();
        let position = self.positions.fetch_add(1, Ordering::Relaxed);
        let ingest = Ingest { position, arrived: UnixNanos(START), signal, otlp: &otlp };
        let traces = self.store.ingest(ingest).unwrap();
        // Nobody may be listening.
        let _ = self.arrivals.send(Arc::new(Arrival { traces }));
    }

    /// Asks the router of port 16686.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(throughline_query::ui(self.app.clone()), path, &[]).await
    }

    /// Asks the router of port 3200.
    pub(crate) async fn tempo(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(throughline_query::tempo(self.app.clone()), path, headers).await
    }

    pub(crate) async fn ask(&self, router: axum::Router, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().uri(path).header(header::HOST, "localhost:16686");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()).await
    }
}

/// The id of a made-up trace.
pub(crate) fn trace_id(number: u64) -> String {
    format!("{:032x}", 0x4bf9_2f35_77b3_4da6_a3ce_0000_0000_0000_u128 + u128::from(number))
}

/// The id of the batch.
pub(crate) const BATCH: u64 = 100;

/// One span as OTLP/JSON, times in milliseconds after [`START`].
pub(crate) fn span(
    trace: u64,
    id: u64,
    parent: Option<u64>,
    name: &str,
    kind: u8,
    millis: (f64, f64),
    attributes: Json,
) -> Json {
    let at = |millis: f64| (START + (millis * MILLI as f64) as u64).to_string();
    json!({
        "traceId": trace_id(trace),
        "spanId": format!("{id:016x}"),
        "parentSpanId": parent.map(|p| format!("{p:016x}")).unwrap_or_default(),
        "name": name,
        "kind": kind,
        "startTimeUnixNano": at(millis.0),
        "endTimeUnixNano": at(millis.1),
        "attributes": key_values(&attributes),
    })
}

/// A plain object as OTLP attributes.
pub(crate) fn key_values(object: &Json) -> Json {
    let value = |value: &Json| match value {
        Json::String(text) => json!({ "stringValue": text }),
        Json::Bool(b) => json!({ "boolValue": b }),
        Json::Number(n) if n.is_i64() => json!({ "intValue": n.to_string() }),
        other => json!({ "doubleValue": other }),
    };
    object.as_object().unwrap().iter().map(|(key, v)| json!({ "key": key, "value": value(v) })).collect()
}

/// A traces request of one service.
pub(crate) fn spans(service: &str, spans: Vec<Json>) -> Json {
    json!({ "resourceSpans": [resource_spans(service, spans)] })
}

fn resource_spans(service: &str, spans: Vec<Json>) -> Json {
    let resource = json!({ "service.name": service, "service.version": "1.4.2", "host.name": "node-7" });
    json!({
        "resource": { "attributes": key_values(&resource) },
        "scopeSpans": [{ "scope": { "name": "checkout", "version": "0.1" }, "spans": spans }],
    })
}

/// Outcome of a made-up checkout.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Batched,
    Declined,
    MailFailed,
}

/// One checkout: api, payment-worker, email-worker, over three topics. The third one waits long in the second queue.
fn checkout(number: u64) -> Json {
    let outcome = match number {
        6 => Outcome::Declined,
        7 => Outcome::MailFailed,
        _ => Outcome::Batched,
    };
    let made = Checkout { number, outcome };
    let mut groups =
        vec![resource_spans("api", made.api()), resource_spans("payment-worker", made.payment())];
    if outcome != Outcome::Declined {
        groups.push(resource_spans("email-worker", made.mail()));
    }
    json!({ "resourceSpans": groups })
}

struct Checkout {
    number: u64,
    outcome: Outcome,
}

/// When a checkout's payment is processed, in milliseconds after its start.
const PAID: f64 = 58.0;

impl Checkout {
    /// A span of this checkout, times in milliseconds after its start.
    fn span(
        &self,
        id: u64,
        parent: Option<u64>,
        name: &str,
        kind: u8,
        (from, until): (f64, f64),
        extra: Json,
    ) -> Json {
        let mut attributes = json!({ "correlation_id": correlation(self.number), "tenant.id": "acme" });
        attributes.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let (base, of) = (self.number as f64 * 400.0, |n: u64| self.number * 0x100 + n);
        span(self.number, of(id), parent.map(of), name, kind, (base + from, base + until), attributes)
    }

    fn message(&self, topic: &str, operation: &str, partition: u64) -> Json {
        json!({
            "messaging.system": "kafka", "messaging.destination.name": topic,
            "messaging.operation.name": operation, "messaging.operation.type": operation,
            "messaging.destination.partition.id": partition.to_string(), "messaging.kafka.offset": 10 + self.number,
            "messaging.kafka.message.key": correlation(self.number),
        })
    }

    fn failed(&self, mut span: Json, at: f64, message: &str, exception: (&str, &str)) -> Json {
        let attributes = json!({ "exception.type": exception.0, "exception.message": exception.1 });
        let millis = self.number as f64 * 400.0 + at;
        span["status"] = json!({ "code": 2, "message": message });
        span["events"] = json!([{
            "timeUnixNano": (START + (millis * MILLI as f64) as u64).to_string(),
            "name": "exception",
            "attributes": key_values(&attributes),
        }]);
        span
    }

    fn api(&self) -> Vec<Json> {
        let http = json!({ "http.request.method": "POST", "http.route": "/rpc/checkout/start", "http.response.status_code": 200 });
        vec![
            self.span(1, None, "POST /rpc/checkout/start", 2, (0.0, 22.4), http),
            self.span(
                2,
                Some(1),
                "checkout/start",
                1,
                (0.6, 21.9),
                json!({ "cart.value": 149.99, "item.count": 2 }),
            ),
            self.span(3, Some(2), "send orders", 4, (2.1, 20.8), self.message("orders", "send", 2)),
        ]
    }

    fn payment(&self) -> Vec<Json> {
        let mut process = self.span(
            4,
            Some(3),
            "process orders",
            5,
            (PAID, PAID + 61.0),
            self.message("orders", "process", 2),
        );
        let declined = self.outcome == Outcome::Declined;
        if declined {
            let exception = ("PaymentDeclined", "insufficient funds");
            process = self.failed(process, PAID + 58.0, "payment declined: insufficient funds", exception);
        }
        let status = if declined { 402 } else { 200 };
        let http = json!({ "http.request.method": "POST", "server.address": "psp.example", "http.response.status_code": status });
        let mut spans =
            vec![process, self.span(5, Some(4), "POST /charge", 3, (PAID + 3.0, PAID + 44.0), http)];
        if !declined {
            let sent = (PAID + 46.0, PAID + 58.5);
            spans.push(self.span(6, Some(4), "send payments", 4, sent, self.message("payments", "send", 0)));
        }
        spans
    }

    fn mail(&self) -> Vec<Json> {
        let slow = if self.number == 3 { 2_100.0 } else { 14.0 };
        let begun = PAID + 58.0 + slow;
        let mut process = self.span(
            7,
            Some(6),
            "process payments",
            5,
            (begun, begun + 45.0),
            self.message("payments", "process", 0),
        );
        if self.outcome == Outcome::MailFailed {
            process =
                self.failed(process, begun + 40.0, "smtp: timeout", ("SmtpTimeout", "timeout after 30 ms"));
        }
        let render = self.span(
            8,
            Some(7),
            "render receipt",
            1,
            (begun + 1.0, begun + 9.0),
            json!({ "template": "receipt-v2" }),
        );
        let mut spans = vec![process, render];
        if self.outcome == Outcome::Batched {
            let sent = (begun + 30.0, begun + 44.0);
            spans.push(self.span(
                9,
                Some(7),
                "send notifications",
                4,
                sent,
                self.message("notifications", "send", 1),
            ));
        }
        spans
    }
}

fn correlation(number: u64) -> String {
    format!("4bf92f35{number:08x}")
}

/// The batch of the first five checkouts: a trace of its own, linked to each, and the settlement it publishes.
fn batch() -> Json {
    let links: Vec<Json> = (1..=5)
        .map(|number| {
            let attributes = json!({
                "correlation_id": correlation(number), "throughline.link.reason": "contributor",
                "messaging.destination.partition.id": "1", "messaging.kafka.offset": 10 + number });
            json!({
                "traceId": trace_id(number), "spanId": format!("{:016x}", number * 0x100 + 9),
                "attributes": key_values(&attributes),
            })
        })
        .collect();
    let mut process = span(
        BATCH,
        0xb01,
        None,
        "v1.settlements.batched process",
        5,
        (4_900.0, 4_981.0),
        json!({
        "messaging.system": "kafka", "messaging.destination.name": "notifications", "messaging.operation.name": "process",
        "messaging.operation.type": "process", "messaging.batch.message_count": 5, "messaging.consumer.group.name": "batcher",
        "linked_trace_id_count": 5, "linked_trace_id_hash": "a3f2c1d4e5b60718", "correlation_id": "batch0000000001" }),
    );
    process["links"] = Json::Array(links);
    let send = span(
        BATCH,
        0xb02,
        Some(0xb01),
        "send settlements",
        4,
        (4_950.0, 4_968.0),
        json!({
        "messaging.system": "kafka", "messaging.destination.name": "settlements", "messaging.operation.name": "send",
        "messaging.operation.type": "send", "messaging.destination.partition.id": "0", "messaging.kafka.offset": 1 }),
    );
    spans("batcher", vec![process, send])
}

fn logs() -> Json {
    let record = |number: u64, span: u64, millis: f64, severity: u8, text: &str, body: &str| {
        json!({
            "timeUnixNano": (START + ((number as f64 * 400.0 + millis) * MILLI as f64) as u64).to_string(),
            "severityNumber": severity, "severityText": text, "body": { "stringValue": body },
            "traceId": trace_id(number), "spanId": format!("{:016x}", number * 0x100 + span),
            "attributes": key_values(&json!({ "correlation_id": correlation(number) })),
        })
    };
    let group = |service: &str, records: Vec<Json>| json!({ "resource": { "attributes": key_values(&json!({ "service.name": service })) }, "scopeLogs": [{ "logRecords": records }] });
    json!({ "resourceLogs": [
        group("api", (1..=7).map(|n| record(n, 2, 1.2, 9, "INFO", "checkout started, 2 items")).collect()),
        group("payment-worker", vec![record(6, 4, 116.0, 17, "ERROR", "payment declined: insufficient funds")]),
        group("email-worker", vec![record(7, 7, 156.0, 13, "WARN", "smtp did not answer, giving up")]),
    ] })
}
