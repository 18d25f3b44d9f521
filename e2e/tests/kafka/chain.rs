//! orders -> payments -> settlements, as three services would: the tree of spans, each parent the send before it.

use crate::{Bench, soon};
use rdkafka::Message as _;
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureRecord;
use std::time::Duration;
use throughline::kafka::{Received, TracedConsumer, TracedProducer};
use throughline::opentelemetry::trace::SpanKind;

/// One service: takes one message, sends on to `next`.
async fn work(consumer: TracedConsumer, producer: TracedProducer, next: String) -> Result<(), KafkaError> {
    let message = consumer.recv().await?;
    message.process(pass_on(&message, &producer, &next)).await
}

async fn pass_on(message: &Received<'_>, producer: &TracedProducer, next: &str) -> Result<(), KafkaError> {
    let record = FutureRecord::to(next).key(message.key().unwrap_or_default()).payload("passed on");
    producer.publish(record, Duration::ZERO).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_through_three_topics() {
    let Some(bench) = Bench::new() else { return };
    let orders = bench.kafka.topic("orders", 1).await;
    let payments = bench.kafka.topic("payments", 1).await;
    let settlements = bench.kafka.topic("settlements", 1).await;
    let producer = bench.producer();
    let payment_worker = work(bench.consumer(&orders), producer.clone(), payments.clone());
    let email_worker = work(bench.consumer(&payments), producer.clone(), settlements.clone());
    let workers = [throughline::spawn(payment_worker), throughline::spawn(email_worker)];
    throughline::internal("POST /checkout")
        .run(async |_| {
            let record = FutureRecord::to(&orders).key("cart-1").payload("{}");
            producer.publish(record, Duration::ZERO).await
        })
        .await
        .expect("delivered");
    for worker in workers {
        soon("worked", worker).await.expect("no panic").expect("passed on");
    }
    let settled = bench.consumer(&settlements);
    let last = soon("settled", settled.recv()).await.expect("received");
    last.process(async {}).await;

    let checkout = bench.recorder.claim("POST /checkout");
    let mut parent = checkout.clone();
    for topic in [&orders, &payments, &settlements] {
        let send = bench.recorder.claim(&format!("send {topic}"));
        send.assert_kind(SpanKind::Producer).assert_child_of(&parent).assert_ok();
        let process = bench.recorder.claim(&format!("process {topic}"));
        process.assert_kind(SpanKind::Consumer).assert_child_of(&send).assert_links_to(&send).assert_ok();
        process.assert_attribute("messaging.kafka.offset", 0);
        let stamped = process.attribute("throughline.record.timestamp");
        assert!(stamped.is_some(), "without it no queue wait can be told");
        for span in [&send, &process] {
            let id = checkout.trace_id().to_string();
            span.assert_attribute("correlation_id", id[..16].to_owned());
        }
        parent = process;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_fails_fails_its_span_and_nothing_else() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("orders", 1).await;
    let producer = bench.producer();
    let consumer = bench.consumer(&topic);
    soon("sent", producer.publish(FutureRecord::<str, str>::to(&topic).payload("p"), Duration::ZERO))
        .await
        .expect("delivered");
    let message = soon("received", consumer.recv()).await.expect("received");
    // A KafkaError keeps its code even inside a box.
    let failed: Result<(), Box<dyn std::error::Error + Send + Sync>> = message
        .process(async {
            let refused = rdkafka::error::RDKafkaErrorCode::TopicAuthorizationFailed;
            Err(KafkaError::MessageProduction(refused).into())
        })
        .await;
    assert!(failed.is_err(), "the error comes back as it was");
    let send = bench.recorder.claim(&format!("send {topic}"));
    let process = bench.recorder.claim(&format!("process {topic}"));
    process.assert_child_of(&send).assert_error("TOPIC_AUTHORIZATION_FAILED");
    send.assert_ok();
}
