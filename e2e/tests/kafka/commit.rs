//! Commit spans: none unless asked for; then one for each commit, whichever way it was made.

use crate::{Bench, PATIENCE, soon, with};
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::producer::FutureRecord;
use rdkafka::{Offset, TopicPartitionList};
use std::time::Duration;
use throughline::kafka::{CommitSpans, TracedConsumer};
use throughline::opentelemetry::trace::SpanKind;
use throughline_e2e::Kafka;

async fn one_message(bench: &Bench) -> String {
    let topic = bench.kafka.topic("committed", 1).await;
    let producer = bench.producer();
    let record = FutureRecord::<str, str>::to(&topic).payload("p");
    soon("sent", producer.publish(record, Duration::ZERO)).await.expect("delivered");
    bench.recorder.claim(&format!("send {topic}"));
    topic
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_asked() {
    let Some(bench) = Bench::new() else { return };
    let topic = one_message(&bench).await;
    let consumer = bench.consumer(&topic);
    let received = soon("received", consumer.recv()).await.expect("received");
    consumer.commit_message(&received, CommitMode::Sync).expect("committed");
    // The recorder would complain of a span.
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_synchronous_commit_has_its_span() {
    let Some(bench) = Bench::new() else { return };
    let topic = one_message(&bench).await;
    let group = Kafka::unique("group");
    let consumer = bench.member(&group, &topic, &[]).with_commit_spans();
    let received = soon("received", consumer.recv()).await.expect("received");
    let name = format!("commit {topic}");

    // The client's own position first: it commits nothing that is committed already.
    consumer.commit_consumer_state(CommitMode::Sync).expect("committed");
    bench.recorder.claim(&name).assert_ok().assert_attribute("messaging.kafka.offset", 0);

    consumer.commit_message(&received, CommitMode::Sync).expect("committed");
    bench
        .recorder
        .claim(&name)
        .assert_kind(SpanKind::Client)
        .assert_ok()
        .assert_attribute("messaging.operation.type", "settle")
        .assert_attribute("messaging.consumer.group.name", group)
        .assert_attribute("messaging.destination.partition.id", "0")
        .assert_attribute("messaging.kafka.offset", 0);

    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&topic, 0, Offset::Offset(1)).expect("added");
    consumer.commit(&offsets, CommitMode::Sync).expect("committed");
    bench.recorder.claim(&name).assert_ok();

    let committed = consumer.committed(PATIENCE).expect("known");
    assert_eq!(committed.find_partition(&topic, 0).expect("there").offset(), Offset::Offset(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_the_broker_refuses() {
    let Some(bench) = Bench::new() else { return };
    let topic = one_message(&bench).await;
    let consumer = bench.consumer(&topic).with_commit_spans();
    soon("received", consumer.recv()).await.expect("received");
    let nowhere = Kafka::unique("nowhere");
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&nowhere, 0, Offset::Offset(1)).expect("added");
    let error = consumer.commit(&offsets, CommitMode::Sync).expect_err("no such topic");
    let span = bench.recorder.claim(&format!("commit {nowhere}"));
    span.assert_error(throughline::kafka::error_type(&error));
}

/// Its result comes later, on the thread that polls the consumer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_automatic_commit() {
    let Some(bench) = Bench::new() else { return };
    let topic = one_message(&bench).await;
    let automatic = [("enable.auto.commit", "true"), ("auto.commit.interval.ms", "100")];
    let config = with(bench.kafka.consumer_config(&Kafka::unique("group")), &automatic);
    let consumer: TracedConsumer<CommitSpans> =
        config.create_with_context(CommitSpans::of(&config)).expect("a consumer");
    consumer.subscribe(&[&topic]).expect("subscribed");
    soon("received", consumer.recv()).await.expect("received");
    let committed = async {
        loop {
            let polled = tokio::time::timeout(Duration::from_millis(100), consumer.recv()).await;
            assert!(polled.is_err(), "there is no second message");
            if let Some(span) = bench.recorder.claim_all(&format!("commit {topic}")).pop() {
                break span;
            }
        }
    };
    soon("committed", committed).await.assert_ok().assert_attribute("messaging.kafka.offset", 0);
    // The client commits its position once more when it leaves the group.
    drop(consumer);
    for last in bench.recorder.claim_all(&format!("commit {topic}")) {
        last.assert_ok().assert_attribute("messaging.kafka.offset", 0);
    }
}
