//! What goes over the wire: every foreign header as it was, exactly one of ours.

use crate::{Bench, soon};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use std::time::Duration;
use throughline::kafka::insert_header;
use throughline::opentelemetry::Value;
use throughline::{HeaderSource, process};

type Pairs = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn read(headers: &(impl HeaderSource + ?Sized)) -> Pairs {
    let mut all = Vec::new();
    headers.visit(&mut |key, value| all.push((key.to_vec(), value.map(<[u8]>::to_vec))));
    all
}

fn is_ours(key: &[u8]) -> bool {
    throughline::is_owned(key, &throughline::OWNED)
}

fn foreign(headers: &(impl HeaderSource + ?Sized)) -> Pairs {
    read(headers).into_iter().filter(|(key, _)| !is_ours(key)).collect()
}

fn values(headers: &(impl HeaderSource + ?Sized), name: &str) -> Vec<String> {
    let named = read(headers).into_iter().filter(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
    named.map(|(_, value)| String::from_utf8(value.unwrap_or_default()).expect("ours is ASCII")).collect()
}

fn build(pairs: &Pairs) -> OwnedHeaders {
    pairs
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| insert_header(headers, key, value.as_deref()))
}

/// Sends one record and gives what arrives to `check`, inside the record's process span.
async fn check(key: Option<&[u8]>, payload: Option<&[u8]>, headers: Pairs, settings: &[(&str, &str)]) {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic_with("headers", 1, settings).await;
    let producer = bench.producer_with(&[("message.max.bytes", "2000000")]);
    let record = FutureRecord { key, payload, headers: Some(build(&headers)), ..FutureRecord::to(&topic) };
    soon("sent", producer.publish::<[u8], [u8], _>(record, Duration::ZERO)).await.expect("delivered");
    let send = bench.recorder.claim(&format!("send {topic}"));

    let consumer = bench.consumer(&topic);
    let received = soon("received", consumer.recv()).await.expect("received");
    assert_eq!((received.key(), received.payload()), (key, payload));
    assert_eq!(foreign(&*received), headers, "every foreign header, in its order");
    assert_eq!(values(&*received, "traceparent").len(), 1);
    received.process(async {}).await;
    let process = bench.recorder.claim(&format!("process {topic}"));
    process.assert_child_of(&send).assert_links_to(&send).assert_ok();

    let shown = key.and_then(|key| std::str::from_utf8(key).ok()).map(|key| key.to_owned().into());
    for span in [&send, &process] {
        assert_eq!(span.attribute("messaging.kafka.message.key"), shown.as_ref());
        let tombstone = payload.is_none().then_some(true.into());
        assert_eq!(span.attribute("messaging.kafka.message.tombstone"), tombstone.as_ref());
    }
}

fn pairs<const N: usize>(pairs: [(&[u8], Option<&[u8]>); N]) -> Pairs {
    pairs.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_null_key() {
    check(None, Some(b"payload"), Vec::new(), &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tombstone() {
    check(Some(b"order-42"), None, Vec::new(), &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_payload_is_no_tombstone() {
    check(Some(b""), Some(b""), Vec::new(), &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binary_key() {
    check(Some(b"\x00\xff\xfe"), Some(b"\x00"), Vec::new(), &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicate_null_and_empty_headers() {
    let headers = pairs([
        (b"twice", Some(b"1")),
        (b"null", None),
        (b"twice", Some(b"2")),
        (b"empty", Some(b"")),
        (b"", Some(b"empty key")),
        (b"null", None),
        (b"binary", Some(b"\x00\xff")),
        (b"Twice", Some(b"another one")),
    ]);
    check(Some(b"k"), Some(b"p"), headers, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_headers() {
    let headers = (0..1000).map(|n| (format!("h{}", n % 700).into_bytes(), Some(n.to_string().into_bytes())));
    check(Some(b"k"), Some(b"p"), headers.collect(), &[]).await;
}

/// rdkafka's own iterator panics on it, so a consumer that looked at its headers would die of this record for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_key_that_is_not_utf8_is_a_header_like_any_other() {
    let headers = pairs([(b"before", Some(b"1")), (b"\xff\xfe", Some(b"poison")), (b"after", Some(b"2"))]);
    check(Some(b"k"), Some(b"p"), headers, &[]).await;
}

/// Our headers count against the limit like everybody's; this is the largest payload that fits with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_at_the_size_limit() {
    let Some(bench) = Bench::new() else { return };
    let limit = 4096_usize;
    let topic = bench.kafka.topic_with("limit", 1, &[("max.message.bytes", &limit.to_string())]).await;
    let producer = bench.producer();
    let fits = async |size: usize| {
        let payload = vec![b'x'; size];
        let record = FutureRecord::to(&topic).key("k").payload(&payload);
        soon("sent", producer.publish(record, Duration::ZERO)).await.is_ok()
    };
    let (mut low, mut high) = (0, limit);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if fits(middle).await { low = middle } else { high = middle }
    }
    // A batch of one record has 61 bytes of its own; the rest is ours, and small.
    assert!(limit - low < 300, "{} bytes of {limit} went to key, headers and framing", limit - low);
    let sent = bench.recorder.claim_rest();
    assert!(sent.len() > 8);
    for span in sent {
        let Some(&Value::I64(size)) = span.attribute("messaging.message.body.size") else { panic!("{span}") };
        if size <= low.cast_signed() as i64 {
            span.assert_ok()
        } else {
            span.assert_error("MSG_SIZE_TOO_LARGE")
        };
    }
    let consumer = bench.consumer(&topic);
    loop {
        let received = soon("received", consumer.recv()).await.expect("received");
        if received.payload_len() == low {
            break;
        }
    }
}

/// What a service does that passes a record on with the headers it came with: they hold the sender's trace headers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwarding_consumed_headers_leaves_one_of_ours_and_nothing_stale() {
    let Some(bench) = Bench::new() else { return };
    let (orders, forwarded) = (bench.kafka.topic("orders", 1).await, bench.kafka.topic("forwarded", 1).await);
    let producer = bench.producer();
    let old = |key, value| Header { key, value: Some(value) };
    let headers = OwnedHeaders::new()
        .insert(old("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
        .insert(old("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03"))
        .insert(old("tracestate", "vendor=stale"))
        .insert(old("baggage", "stale=1"))
        .insert(old("schema", "7"));
    // A plain producer: a foreign service wrote this.
    let plain: rdkafka::producer::FutureProducer = bench.kafka.config().create().expect("a producer");
    let record = FutureRecord::<str, str>::to(&orders).payload("p").headers(headers);
    plain.send(record, Duration::ZERO).await.expect("sent");

    let consumer = bench.consumer(&orders);
    let received = soon("received", consumer.recv()).await.expect("received");
    assert_eq!(received.incoming().conflicts().len(), 1, "the older of two different contexts lost");
    // Not inside the record's process span: a trace of its own, to which nothing of the old one belongs.
    let headers = received.detach().detach_headers().expect("headers");
    let record = FutureRecord::<[u8], [u8]>::to(&forwarded).payload(b"p").headers(headers);
    soon("sent", producer.publish(record, Duration::ZERO)).await.expect("delivered");

    let consumer = bench.consumer(&forwarded);
    let again = soon("received", consumer.recv()).await.expect("received");
    let own = bench.recorder.claim(&format!("send {forwarded}"));
    let traceparents = values(&*again, "traceparent");
    assert_eq!(traceparents, [format!("00-{}-{}-01", own.trace_id(), own.span_id())]);
    assert_eq!(values(&*again, "tracestate"), Vec::<String>::new());
    assert_eq!(values(&*again, "baggage"), Vec::<String>::new());
    assert_eq!(foreign(&*again), pairs([(b"schema", Some(b"7"))]));
}

/// A forward inside the record's own process span carries its baggage on, exactly once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baggage_arrives_and_leaves_with_the_next_record() {
    let Some(bench) = Bench::new() else { return };
    let (first, second) = (bench.kafka.topic("first", 1).await, bench.kafka.topic("second", 1).await);
    let producer = bench.producer();
    let came = [
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"),
        ("baggage", "token=eyJpZCI6MX0=,tenant.id=acme"),
        ("x-correlation-id", "cart-7"),
    ];
    process("anything")
        .headers(&came[..])
        .run(async |_| {
            producer.publish(FutureRecord::<str, str>::to(&first).payload("p"), Duration::ZERO).await
        })
        .await
        .expect("delivered");
    let consumer = bench.consumer(&first);
    let received = soon("received", consumer.recv()).await.expect("received");
    received
        .process(async {
            let headers = received.detach().detach_headers().expect("headers");
            let record = FutureRecord::<[u8], [u8]>::to(&second).payload(b"p").headers(headers);
            producer.publish(record, Duration::ZERO).await
        })
        .await
        .expect("delivered");
    let consumer = bench.consumer(&second);
    let again = soon("received", consumer.recv()).await.expect("received");
    assert_eq!(values(&*again, "baggage"), ["token=eyJpZCI6MX0=,tenant.id=acme"]);
    assert_eq!(values(&*again, "x-correlation-id"), ["cart-7"]);
    assert_eq!(values(&*again, "x-tenant-id"), ["acme"]);
    let traceparent = values(&*again, "traceparent");
    assert!(traceparent[0].starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{traceparent:?}");
    for span in bench.recorder.claim_rest() {
        span.assert_attribute("correlation_id", "cart-7").assert_attribute("tenant.id", "acme");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forward_that_keeps_the_context_is_a_client_span_linked_to_it() {
    let Some(bench) = Bench::new() else { return };
    let (orders, retries) = (bench.kafka.topic("orders", 1).await, bench.kafka.topic("retries", 1).await);
    let producer = bench.producer();
    let record = FutureRecord::<str, str>::to(&orders).payload("p");
    soon("sent", producer.publish(record, Duration::ZERO)).await.expect("delivered");
    let creation = bench.recorder.claim(&format!("send {orders}"));
    let consumer = bench.consumer(&orders);
    let received = soon("received", consumer.recv()).await.expect("received");
    let came = read(&*received);
    let message = received.to_owned();
    let (worker, topic) = (producer.clone(), retries.clone());
    throughline::spawn(async move {
        let headers = message.headers().expect("headers").clone();
        let forward = async {
            let record = FutureRecord::<[u8], [u8]>::to(&topic).payload(b"p").headers(headers);
            worker.send_keeping_context(record, Duration::ZERO).await.map_err(|(error, _)| error)
        };
        message.process(forward).await
    })
    .await
    .expect("no panic")
    .expect("delivered");
    let process = bench.recorder.claim(&format!("process {orders}"));
    let forward = bench.recorder.claim(&format!("send {retries}"));
    forward.assert_child_of(&process).assert_links_to(&creation);
    forward.assert_kind(throughline::opentelemetry::trace::SpanKind::Client);
    let consumer = bench.consumer(&retries);
    let again = soon("received", consumer.recv()).await.expect("received");
    assert_eq!(read(&*again), came, "not a byte of the headers changed");
    again.process(async {}).await;
    bench.recorder.claim(&format!("process {retries}")).assert_child_of(&creation);
}
