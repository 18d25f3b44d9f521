//! A send span ends at the delivery report: with the partition and offset, or with the broker's error; awaited or not.

use crate::{Bench, PATIENCE, soon};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureRecord, Producer as _};
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;
use throughline::kafka::TracedProducer;
use throughline::opentelemetry::trace::SpanKind;
use throughline_e2e::Kafka;

/// A producer whose broker is not there, with room for one record.
fn stuck(bench: &Bench, settings: &[(&str, &str)]) -> TracedProducer {
    let mut all = vec![("bootstrap.servers", "127.0.0.1:1"), ("queue.buffering.max.messages", "1")];
    all.extend(settings);
    bench.producer_with(&all)
}

/// What is tested here needs no broker.
fn without_broker() -> Bench {
    Bench::on(Kafka::at("127.0.0.1:1"))
}

fn record(topic: &str) -> FutureRecord<'_, str, str> {
    FutureRecord::to(topic).key("order-42").payload("{}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_span_says_where_the_record_went() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("orders", 3).await;
    let producer = bench.producer_with(&[("client.id", "checkout")]);
    let delivery = soon("sent", producer.send(record(&topic), Duration::ZERO)).await.expect("delivered");
    // Claimed without waiting: the span has ended before the sender hears of it.
    let send = bench.recorder.claim(&format!("send {topic}"));
    let (host, port) = bench.kafka.bootstrap().rsplit_once(':').expect("an address");
    send.assert_kind(SpanKind::Producer)
        .assert_root()
        .assert_ok()
        .assert_attribute("messaging.system", "kafka")
        .assert_attribute("messaging.operation.name", "send")
        .assert_attribute("messaging.operation.type", "send")
        .assert_attribute("messaging.destination.name", topic.clone())
        .assert_attribute("messaging.destination.partition.id", delivery.partition.to_string())
        .assert_attribute("messaging.kafka.offset", delivery.offset)
        .assert_attribute("messaging.kafka.message.key", "order-42")
        .assert_attribute("messaging.message.body.size", 2)
        .assert_attribute("messaging.client.id", "checkout")
        .assert_attribute("server.address", host.to_owned())
        .assert_attribute("server.port", port.parse::<i64>().expect("a port"))
        .assert_no_attribute("messaging.batch.message_count");
    assert_eq!(send.links().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_the_sender_chose_stands_on_the_span_once() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("orders", 3).await;
    let producer = bench.producer();
    let sent = producer.send_result(record(&topic).partition(2)).map_err(|(error, _)| error).expect("queued");
    soon("reported", sent).await.expect("not cancelled").expect("delivered");
    let send = bench.recorder.claim(&format!("send {topic}"));
    let keys: Vec<&str> = send.data().attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    let distinct: std::collections::BTreeSet<&str> = keys.iter().copied().collect();
    assert_eq!(keys.len(), distinct.len(), "a key that is set twice is exported twice: {keys:?}");
    send.assert_attribute("messaging.destination.partition.id", "2")
        .assert_attribute("messaging.kafka.offset", 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_awaits_the_report_and_the_span_ends_at_it() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("orders", 1).await;
    let producer = bench.producer();
    drop(producer.send_result(record(&topic)).map_err(|(error, _)| error).expect("queued"));
    let name = format!("send {topic}");
    let send = bench.recorder.claim_within(&name, PATIENCE);
    send.assert_ok().assert_attribute("messaging.kafka.offset", 0);

    // The future of `send`, dropped once the record is in the queue.
    {
        let mut sent = pin!(producer.send(record(&topic), Duration::ZERO));
        let first = sent.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(first.is_pending(), "the report takes a moment");
    }
    bench.recorder.claim_within(&name, PATIENCE).assert_ok().assert_attribute("messaging.kafka.offset", 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_returns_the_record_and_ends_the_span() {
    let bench = without_broker();
    let producer = stuck(&bench, &[]);
    let first = producer.send_result(record("full")).map_err(|(error, _)| error).expect("room for one");
    let (error, back) = producer.send_result(record("full")).expect_err("no room for two");
    assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
    assert_eq!((back.topic, back.key, back.payload), ("full", Some("order-42"), Some("{}")));
    bench.recorder.claim("send full").assert_error("_QUEUE_FULL");

    // The record that came back is sent again: one span more, and no header twice.
    let again = producer.send(back, Duration::from_millis(150)).await;
    let (error, message) = again.expect_err("still no room");
    assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
    let mut traceparents = 0;
    throughline::HeaderSource::visit(&message, &mut |key, _| {
        traceparents += usize::from(key == b"traceparent")
    });
    assert_eq!(traceparents, 1);
    bench.recorder.claim("send full").assert_error("_QUEUE_FULL");

    // Dropped while it waits for room, the record was never sent.
    {
        let mut waiting = pin!(producer.send(record("full"), rdkafka::util::Timeout::Never));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    bench.recorder.claim("send full").assert_error("cancelled");

    // The last one goes with its producer.
    drop(producer);
    let reported = soon("reported", first).await.expect("not cancelled");
    let (error, _) = reported.expect_err("purged");
    assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue));
    bench.recorder.claim("send full").assert_error("_PURGE_QUEUE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_never_answers() {
    let bench = without_broker();
    let producer = stuck(&bench, &[("message.timeout.ms", "300")]);
    let error =
        soon("reported", producer.publish(record("nowhere"), Duration::ZERO)).await.expect_err("no broker");
    assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut));
    bench.recorder.claim("send nowhere").assert_error("_MSG_TIMED_OUT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_refuses_a_record_that_is_too_large() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic_with("refused", 1, &[("max.message.bytes", "1000")]).await;
    let payload = "x".repeat(2000);
    let record = FutureRecord::<str, str>::to(&topic).payload(&payload);
    let error =
        soon("reported", bench.producer().publish(record, Duration::ZERO)).await.expect_err("refused");
    assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge));
    let send = bench.recorder.claim(&format!("send {topic}"));
    send.assert_error("MSG_SIZE_TOO_LARGE").assert_no_attribute("messaging.kafka.offset");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_not_there() {
    let Some(bench) = Bench::new() else { return };
    let topic = Kafka::unique("nowhere");
    let producer = bench.producer_with(&[("topic.metadata.propagation.max.ms", "500")]);
    let sent = producer.publish(record(&topic), Duration::ZERO);
    soon("reported", sent).await.expect_err("no such topic");
    bench.recorder.claim(&format!("send {topic}")).assert_error("UNKNOWN_TOPIC_OR_PART");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledgement_no_offset() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("orders", 1).await;
    let producer = bench.producer_with(&[("acks", "0")]);
    soon("reported", producer.publish(record(&topic), Duration::ZERO)).await.expect("handed over");
    let send = bench.recorder.claim(&format!("send {topic}"));
    send.assert_ok().assert_no_attribute("messaging.kafka.offset");
    send.assert_attribute("messaging.destination.partition.id", "0");
}

/// `async fn` would take the context of whoever polls it first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_is_the_callers_even_if_another_task_awaits_the_send() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("orders", 1).await;
    let producer: &'static TracedProducer = Box::leak(Box::new(bench.producer()));
    let name: &'static str = Box::leak(topic.clone().into_boxed_str());
    let sent = throughline::internal("caller").run_sync(|_| {
        Ok::<_, std::io::Error>(
            producer.publish(FutureRecord::<str, str>::to(name).payload("p"), Duration::ZERO),
        )
    });
    let task = tokio::spawn(sent.expect("no error"));
    soon("delivered", task).await.expect("no panic").expect("delivered");
    let caller = bench.recorder.claim("caller");
    bench.recorder.claim(&format!("send {topic}")).assert_child_of(&caller);
}

/// More at once than a task could await one by one, none awaited: each has its span, each span its own offset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_fire_and_forget() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("many", 1).await;
    let producer = bench.producer();
    for _ in 0..10_000 {
        drop(producer.send_result(record(&topic)).map_err(|(error, _)| error).expect("queued"));
    }
    producer.flush(PATIENCE).expect("flushed");
    let mut offsets: Vec<String> = bench
        .recorder
        .claim_all(&format!("send {topic}"))
        .iter()
        .map(|span| format!("{:?}", span.assert_ok().attribute("messaging.kafka.offset")))
        .collect();
    offsets.sort();
    offsets.dedup();
    assert_eq!(offsets.len(), 10_000);
}
