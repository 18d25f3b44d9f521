//! Transactions are rdkafka's: reachable, and an aborted one is invisible to those who read only what is committed.

use crate::{Bench, PATIENCE, soon};
use rdkafka::Message as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::producer::{FutureRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use std::time::Duration;
use throughline_e2e::Kafka;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committed_and_aborted() {
    let Some(bench) = Bench::new() else { return };
    let (input, output) = (bench.kafka.topic("input", 1).await, bench.kafka.topic("output", 1).await);
    let feed = bench.producer();
    soon("fed", feed.publish(FutureRecord::<str, str>::to(&input).payload("in"), Duration::ZERO))
        .await
        .expect("delivered");
    let producer = bench.producer_with(&[("transactional.id", &Kafka::unique("tx"))]);
    producer.init_transactions(PATIENCE).expect("initialised");

    producer.begin_transaction().expect("begun");
    let record = FutureRecord::<str, str>::to(&output).payload("aborted");
    soon("sent", producer.publish(record, Duration::ZERO)).await.expect("delivered");
    producer.abort_transaction(PATIENCE).expect("aborted");

    let consumer = bench.consumer(&input);
    let received = soon("received", consumer.recv()).await.expect("received");
    producer.begin_transaction().expect("begun");
    received
        .process(async {
            let record = FutureRecord::<str, str>::to(&output).payload("committed");
            producer.publish(record, Duration::ZERO).await
        })
        .await
        .expect("delivered");
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&input, 0, Offset::Offset(1)).expect("added");
    let group = consumer.group_metadata().expect("a group");
    producer.send_offsets_to_transaction(&offsets, &group, PATIENCE).expect("sent");
    producer.commit_transaction(PATIENCE).expect("committed");

    let reader = bench.member(&Kafka::unique("group"), &output, &[("isolation.level", "read_committed")]);
    let visible = soon("received", reader.recv()).await.expect("received");
    assert_eq!(visible.payload(), Some(&b"committed"[..]));
    visible.process(async {}).await;

    let committed = consumer.committed(PATIENCE).expect("known");
    assert_eq!(committed.find_partition(&input, 0).expect("there").offset(), Offset::Offset(1));
    let sends = bench.recorder.claim_all(&format!("send {output}"));
    let process = bench.recorder.claim(&format!("process {input}"));
    assert_eq!(sends.len(), 2, "the aborted record was sent as well");
    sends[1].assert_child_of(&process);
    bench.recorder.claim(&format!("process {output}")).assert_child_of(&sends[1]);
    bench.recorder.claim(&format!("send {input}"));
}
