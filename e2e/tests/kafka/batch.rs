//! Batches: who contributed, what they agree on, which message failed.

use crate::{Bench, soon};
use rdkafka::Message as _;
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureRecord;
use std::collections::HashSet;
use std::time::Duration;
use throughline::kafka::{Received, TracedConsumer};
use throughline::opentelemetry::trace::{SpanId, SpanKind};
use throughline::testing::RecordedSpan;
use throughline::{Contributor, Span, extract_batch_lineage};

/// Sends records, each in a trace of its own, and returns their spans.
async fn send(bench: &Bench, topic: &str, keys: &[&str]) -> Vec<RecordedSpan> {
    let producer = bench.producer();
    for key in keys {
        let record = FutureRecord::to(topic).key(*key).payload("p");
        soon("sent", producer.publish(record, Duration::ZERO)).await.expect("delivered");
    }
    bench.recorder.claim_all(&format!("send {topic}"))
}

fn linked(span: &RecordedSpan) -> HashSet<SpanId> {
    span.links().map(|link| link.span_id()).collect()
}

fn ids(spans: &[RecordedSpan]) -> HashSet<SpanId> {
    spans.iter().map(RecordedSpan::span_id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_a_trace_of_its_own_linked_to_each_sender() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("notifications", 1).await;
    let consumer = bench.consumer(&topic);
    let sends = send(&bench, &topic, &["a", "b", "c"]).await;
    let batch = soon("a batch", consumer.recv_batch(3, Duration::from_secs(20))).await.expect("received");
    assert_eq!(batch.len(), 3);
    let want = extract_batch_lineage(&*batch, 10);
    batch
        .process(async {
            Span::current().set("rows", 3);
        })
        .await;

    let poll = bench.recorder.claim(&format!("poll {topic}"));
    poll.assert_kind(SpanKind::Client).assert_root().assert_ok();
    poll.assert_attribute("messaging.operation.type", "receive")
        .assert_attribute("messaging.batch.message_count", 3);
    assert_eq!(linked(&poll), ids(&sends));

    let process = bench.recorder.claim(&format!("process {topic}"));
    process.assert_kind(SpanKind::Consumer).assert_root().assert_ok();
    assert_eq!(linked(&process), ids(&sends));
    process
        .assert_attribute("messaging.batch.message_count", 3)
        .assert_attribute("linked_trace_id_count", 3)
        .assert_attribute("linked_trace_id_hash", want.linked_trace_id_hash.expect("three contributors"))
        .assert_attribute("throughline.batch.oldest_origin", want.oldest_origin.expect("stamped"))
        .assert_attribute("rows", 3);
    assert!(sends.iter().all(|send| send.trace_id() != process.trace_id()));
    assert!(poll.data().start_time <= process.data().start_time);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_message_fails_and_the_batch_names_it() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("notifications", 1).await;
    let consumer = bench.consumer(&topic);
    let sends = send(&bench, &topic, &["a", "bad", "c"]).await;
    let batch = soon("a batch", consumer.recv_batch(3, Duration::from_secs(20))).await.expect("received");
    batch
        .process(async {
            for (index, message) in batch.iter().enumerate() {
                if message.key() == Some(b"bad") {
                    Span::current().fail_message(index, &std::io::Error::other("refused"));
                }
            }
        })
        .await;
    let process = bench.recorder.claim(&format!("process {topic}"));
    process.assert_error("partial_failure").assert_attribute("throughline.batch.failed_count", 1);
    let event = process.data().events.iter().find(|event| event.name == "exception").expect("an exception");
    let says = |key: &str, value: &str| {
        let found = event.attributes.iter().find(|attribute| attribute.key.as_str() == key);
        assert_eq!(
            found.map(|attribute| attribute.value.as_str().into_owned()).as_deref(),
            Some(value),
            "{key}"
        );
    };
    says("messaging.kafka.message.key", "bad");
    says("messaging.kafka.offset", "1");
    says("throughline.message.trace_id", &sends[1].trace_id().to_string());
    bench.recorder.claim(&format!("poll {topic}"));
}

/// What a batch holds can also be handled one by one: each in its sender's trace, linked to the batch around it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_batch_handled_one_by_one() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("notifications", 1).await;
    let consumer = bench.consumer(&topic);
    let sends = send(&bench, &topic, &["a", "b"]).await;
    let batch = soon("a batch", consumer.recv_batch(2, Duration::from_secs(20))).await.expect("received");
    batch
        .spec()
        .name("flush")
        .run(async |_| {
            for message in &batch {
                message.process(async {}).await;
            }
        })
        .await;
    let flush = bench.recorder.claim("flush");
    let each = bench.recorder.claim_all(&format!("process {topic}"));
    for (process, send) in each.iter().zip(&sends) {
        process.assert_child_of(send).assert_links_to(&flush);
    }
    assert_eq!(each.len(), 2);
    bench.recorder.claim(&format!("poll {topic}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_ends_when_nothing_more_comes() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("few", 1).await;
    let consumer = bench.consumer(&topic);
    send(&bench, &topic, &["a", "b"]).await;
    let batch = soon("a batch", consumer.recv_batch(100, Duration::from_secs(1))).await.expect("received");
    assert_eq!(batch.iter().map(|message| message.offset()).collect::<Vec<_>>(), [0, 1]);
    bench.recorder.claim(&format!("poll {topic}")).assert_attribute("messaging.batch.message_count", 2);
}

/// The end of a partition is reported as an error to those who ask for it: it must not take the messages before it along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_after_the_first_message_waits_for_the_next_receive() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("ends", 1).await;
    send(&bench, &topic, &["a"]).await;
    let group = throughline_e2e::Kafka::unique("group");
    let consumer = bench.member(&group, &topic, &[("enable.partition.eof", "true")]);
    let batch = soon("a batch", consumer.recv_batch(100, Duration::from_secs(20))).await.expect("received");
    assert_eq!(batch.len(), 1);
    let error = soon("the end", consumer.recv()).await.expect_err("the end of the partition");
    assert_eq!(error, KafkaError::PartitionEOF(0));
    bench.recorder.claim(&format!("poll {topic}"));
}

/// Two topics, one consumer: the span says both names, each link says where its message was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_from_two_topics() {
    use rdkafka::consumer::Consumer as _;
    let Some(bench) = Bench::new() else { return };
    let (one, two) = (bench.kafka.topic("one", 1).await, bench.kafka.topic("two", 1).await);
    let sends = [send(&bench, &one, &["a"]).await.remove(0), send(&bench, &two, &["b"]).await.remove(0)];
    let config = bench.kafka.consumer_config(&throughline_e2e::Kafka::unique("group"));
    let consumer: TracedConsumer = config.create().expect("a consumer");
    consumer.subscribe(&[&one, &two]).expect("subscribed");
    let batch = soon("a batch", consumer.recv_batch(2, Duration::from_secs(20))).await.expect("received");
    let names = batch.iter().map(|message| message.topic()).collect::<Vec<_>>().join(",");
    batch.process(async {}).await;
    for operation in ["poll", "process"] {
        let span = bench.recorder.claim(&format!("{operation} {names}"));
        span.assert_attribute("messaging.destination.name", names.clone());
        let of_link = |send: &RecordedSpan, key: &str| {
            let link = span.data().links.iter().find(|link| link.span_context.span_id() == send.span_id());
            let mut attributes = link.expect("a link to its send").attributes.iter();
            attributes.find(|kv| kv.key.as_str() == key).map(|kv| kv.value.as_str().into_owned())
        };
        for (send, topic) in sends.iter().zip([&one, &two]) {
            assert_eq!(of_link(send, "messaging.destination.name").as_ref(), Some(topic), "{span}");
            // The same in both: the topic alone tells them apart.
            assert_eq!(of_link(send, "messaging.kafka.offset").as_deref(), Some("0"), "{span}");
        }
    }
}

/// Messages that outlive the consumer contribute as well as those that do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owned_messages_have_the_same_lineage() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("kept", 1).await;
    let consumer = bench.consumer(&topic);
    send(&bench, &topic, &["a", "b"]).await;
    let batch = soon("a batch", consumer.recv_batch(2, Duration::from_secs(20))).await.expect("received");
    let owned: Vec<_> = batch.iter().map(Received::to_owned).collect();
    let (borrowed, owned_lineage) = (batch.lineage(), extract_batch_lineage(&owned, 128));
    assert_eq!(borrowed.linked_trace_id_hash, owned_lineage.linked_trace_id_hash);
    assert_eq!(borrowed.oldest_origin, owned_lineage.oldest_origin);
    assert_eq!(owned[1].contribution().offset, Some(1));
    bench.recorder.claim(&format!("poll {topic}"));
}
