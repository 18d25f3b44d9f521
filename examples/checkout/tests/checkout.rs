//! The four services in one process over librdkafka's mock cluster, recorded whole: nothing is left unclaimed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::mpsc, time::Duration};

use throughline::{
    kafka::MockKafka,
    opentelemetry::trace::SpanKind,
    testing::{RecordedSpan, Recorder},
};
use throughline_checkout::{Error, Ready, Service, Settings, api, batcher, email, events, payment};
use tokio::{sync::watch, task::JoinSet};

const PATIENCE: Duration = Duration::from_secs(30);

/// The services, up and ready, until they are stopped.
struct Shop {
    url: String,
    stop: watch::Sender<bool>,
    services: JoinSet<Result<(), Error>>,
    _kafka: Option<MockKafka>,
}

impl Shop {
    /// Starts `services` and waits until each is ready.
    async fn open(services: &[Service], mut settings: Settings) -> Shop {
        let kafka = (settings.bootstrap == Settings::default().bootstrap).then(|| {
            let kafka = MockKafka::start().unwrap();
            for topic in [events::ORDERS, events::PAYMENTS, events::NOTIFICATIONS, events::SETTLEMENTS] {
                kafka.create_topic(topic, 2).unwrap();
            }
            settings.bootstrap = kafka.bootstrap_servers().to_owned();
            kafka
        });
        settings.listen = ([127, 0, 0, 1], 0).into();
        let (announce, announced) = mpsc::channel();
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        for service in services.iter().copied() {
            let (settings, announce, mut stopped) = (settings.clone(), announce.clone(), stopped.clone());
            let ready = move |ready| announce.send(ready).unwrap();
            let until = async move { drop(stopped.wait_for(|stop| *stop).await) };
            running.spawn(async move {
                match service {
                    Service::Api => api::run(&settings, ready, until).await,
                    Service::PaymentWorker => payment::run(&settings, ready, until).await,
                    Service::EmailWorker => email::run(&settings, ready, until).await,
                    Service::Batcher => batcher::run(&settings, ready, until).await,
                }
            });
        }
        let mut url = String::new();
        for _ in services {
            match announced.recv_timeout(PATIENCE).unwrap() {
                Ready::Listening(address) => url = format!("http://{address}/rpc/checkout/start"),
                Ready::Assigned { partitions } => assert_eq!(partitions, 2),
            }
        }
        Shop { url, stop, services: running, _kafka: kafka }
    }

    /// Posts a body; status, `x-trace-id`, answer.
    fn post(&self, body: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
        let mut request = agent().post(&self.url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Self::read(request.send(body).unwrap())
    }

    fn read(mut response: ureq::http::Response<ureq::Body>) -> (u16, String, String) {
        let trace = response.headers()["x-trace-id"].to_str().unwrap().to_owned();
        (response.status().as_u16(), trace, response.body_mut().read_to_string().unwrap())
    }

    fn checkout(&self, user: &str) -> String {
        let body = format!(r#"{{"cartValue":149.99,"itemCount":2,"userId":"{user}","tenantId":"acme"}}"#);
        let (status, trace, answer) = self.post(&body, &[]);
        assert_eq!(status, 202, "{answer}");
        trace
    }

    /// Each service ends well when it is told to.
    async fn close(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.services.join_next().await {
            ended.unwrap().unwrap();
        }
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().new_agent()
}

/// Takes the ended span `name` of the trace as soon as there is one.
fn claim(recorder: &Recorder, name: &str, trace: &str) -> RecordedSpan {
    let of_trace = |span: &RecordedSpan| span.trace_id().to_string() == trace;
    recorder.claim_where_within(name, of_trace, PATIENCE)
}

const API: &str = "POST /rpc/checkout/start";
const BATCHED: &str = "v1.settlements.batched process";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seven_checkouts_are_seven_traces_and_one_batch() {
    let recorder = Recorder::install();
    let shop = Shop::open(&Service::ALL, Settings::default()).await;
    let settled: Vec<String> = (1..=5).map(|user| shop.checkout(&format!("usr_{user}"))).collect();
    let declined = shop.checkout("usr_declined");
    let bounced = shop.checkout("usr_bounce");

    let mut notified = Vec::new();
    for trace in &settled {
        let api = claim(&recorder, API, trace);
        api.assert_root().assert_kind(SpanKind::Server).assert_ok();
        let order = claim(&recorder, "send orders", trace);
        order.assert_child_of(&api).assert_kind(SpanKind::Producer).assert_attribute("tenant.id", "acme");
        let paying = claim(&recorder, "process orders", trace);
        paying
            .assert_child_of(&order)
            .assert_links_to(&order)
            .assert_kind(SpanKind::Consumer)
            .assert_attribute("messaging.consumer.group.name", "payment-worker")
            .assert_attribute("correlation_id", trace[..16].to_owned())
            .assert_attribute("tenant.id", "acme")
            .assert_ok();
        let payment = claim(&recorder, "send payments", trace);
        payment.assert_child_of(&paying);
        let telling = claim(&recorder, "process payments", trace);
        telling.assert_child_of(&payment).assert_attribute("tenant.id", "acme");
        let notification = claim(&recorder, "send notifications", trace);
        notification.assert_child_of(&telling);
        notified.push(notification);
    }

    let batch = recorder.claim_within(BATCHED, PATIENCE);
    batch
        .assert_root()
        .assert_kind(SpanKind::Consumer)
        .assert_attribute("messaging.destination.name", "notifications")
        .assert_attribute("messaging.batch.message_count", 5)
        .assert_attribute("linked_trace_id_count", 5);
    assert_eq!(batch.attribute("linked_trace_id_hash").unwrap().as_str().len(), 16);
    for notification in &notified {
        batch.assert_links_to(notification);
    }
    recorder.claim_within("send settlements", PATIENCE).assert_child_of(&batch);

    claim(&recorder, API, &declined).assert_ok();
    claim(&recorder, "send orders", &declined).assert_ok();
    claim(&recorder, "process orders", &declined).assert_error("throughline_checkout::payment::PaymentError");
    for name in [API, "send orders", "process orders", "send payments"] {
        claim(&recorder, name, &bounced).assert_ok();
    }
    claim(&recorder, "process payments", &bounced).assert_error("throughline_checkout::email::EmailError");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_business_correlation_id_and_the_callers_trace_go_all_the_way() {
    let recorder = Recorder::install();
    let shop = Shop::open(&[Service::Api, Service::PaymentWorker], Settings::default()).await;
    let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let body = r#"{"cartValue":1,"itemCount":1,"userId":"usr_1","tenantId":"acme"}"#;
    let (status, trace, answer) =
        shop.post(body, &[("traceparent", caller), ("x-correlation-id", "order-42")]);
    assert_eq!((status, trace.as_str()), (202, "0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(answer, r#"{"correlationId":"order-42","traceId":"0af7651916cd43dd8448eb211c80319c"}"#);
    for name in [API, "send orders", "process orders", "send payments"] {
        claim(&recorder, name, &trace).assert_attribute("correlation_id", "order-42");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_injection_breaks_its_hop_and_no_other() {
    let recorder = Recorder::install();
    let settings = Settings { break_injection: Some(Service::PaymentWorker), ..Settings::default() };
    let shop = Shop::open(&[Service::Api, Service::PaymentWorker, Service::EmailWorker], settings).await;
    let trace = shop.checkout("usr_1");
    for name in [API, "send orders", "process orders"] {
        claim(&recorder, name, &trace);
    }
    let orphan = recorder.claim_within("process payments", PATIENCE);
    orphan.assert_root().assert_attribute("throughline.headers.found", "none");
    assert_ne!(orphan.trace_id().to_string(), trace);
    recorder.claim_within("send notifications", PATIENCE).assert_child_of(&orphan);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_body_and_a_kafka_that_is_gone_are_answered_with_the_trace() {
    let recorder = Recorder::install();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = Settings {
        bootstrap: closed.to_string(),
        delivery_timeout: Duration::from_millis(500),
        ..Settings::default()
    };
    let shop = Shop::open(&[Service::Api], settings).await;
    let order = r#"{"cartValue":1,"itemCount":1,"userId":"usr_1","tenantId":"acme"}"#;
    for (body, status, error) in [
        ("{}", 400, "field `cartValue` must be a number above zero, got nothing"),
        (
            &order.replace("acme", "a c"),
            400,
            "field `tenantId` cannot be a tenant: id has byte 0x20 at 1; only visible ASCII (0x21 to 0x7e) \
             travels safely in headers",
        ),
        (
            order,
            503,
            "kafka did not take the order: Message production error: MessageTimedOut (Local: Message timed out)",
        ),
    ] {
        let (answered, trace, answer) = shop.post(body, &[]);
        let expected = serde_json::json!({ "error": error, "traceId": trace }).to_string();
        assert_eq!((answered, answer), (status, expected), "{body}");
        let span = claim(&recorder, API, &trace);
        if status == 503 {
            span.assert_error("503");
            claim(&recorder, "send orders", &trace).assert_error("_MSG_TIMED_OUT");
        } else {
            span.assert_ok();
        }
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_never_be_a_checkout_is_not_answered_as_if_it_could_be_tried_again() {
    let recorder = Recorder::install();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = Settings { bootstrap: closed.to_string(), ..Settings::default() };
    let shop = Shop::open(&[Service::Api], settings).await;
    let check = |(answered, trace, answer): (u16, String, String), status: u16, name: &str, error: &str| {
        let expected = serde_json::json!({ "error": error, "traceId": trace }).to_string();
        assert_eq!((answered, answer), (status, expected));
        claim(&recorder, name, &trace).assert_ok();
    };

    let order = |user: usize| {
        let user = "u".repeat(user);
        format!(r#"{{"cartValue":1,"itemCount":1,"userId":"{user}","tenantId":"acme"}}"#)
    };
    let around = order(0).len();
    let too_large = format!("the body has {} bytes; a checkout has at most 65536", around + 2_000_000);
    check(shop.post(&order(2_000_000), &[]), 413, API, &too_large);
    let unread = "the body could not be read: Failed to buffer the request body: length limit exceeded";
    check(shop.post(&order((2 << 20) - around + 1), &[]), 413, API, unread);

    let elsewhere = agent().post(shop.url.replace("/start", "/stop")).send("{}").unwrap();
    let nothing = "there is nothing at this path; POST a checkout to /rpc/checkout/start";
    check(Shop::read(elsewhere), 404, "POST", nothing);
    let got = agent().get(&shop.url).call().unwrap();
    assert_eq!(got.headers()["allow"], "POST");
    let wrong = "GET means nothing here; POST a checkout to /rpc/checkout/start";
    check(Shop::read(got), 405, "GET /rpc/checkout/start", wrong);
    shop.close().await;
}
