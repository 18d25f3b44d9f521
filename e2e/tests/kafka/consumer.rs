//! What the wrapper leaves alone: rebalances, pause, seek, manual assignment, streams, partition queues, contexts.

use crate::{Bench, PATIENCE, soon, with};
use futures_util::StreamExt as _;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::producer::FutureRecord;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;
use throughline::kafka::{Received, TracedConsumer};
use throughline_e2e::Kafka;
use tokio::sync::watch;

/// Sends `count` records round the partitions, the number as payload.
async fn fill(bench: &Bench, topic: &str, partitions: i32, numbers: std::ops::Range<i32>) {
    let producer = bench.producer();
    for number in numbers {
        let payload = number.to_string();
        let record = FutureRecord::<str, str>::to(topic).payload(&payload).partition(number % partitions);
        soon("sent", producer.publish(record, Duration::ZERO)).await.expect("delivered");
    }
}

fn number(received: &Received<'_>) -> i32 {
    let payload = received.payload_view::<str>().expect("a payload").expect("text");
    payload.parse().expect("a number")
}

async fn next(consumer: &TracedConsumer<impl ConsumerContext + 'static>) -> i32 {
    number(&soon("received", consumer.recv()).await.expect("received"))
}

/// Says how many partitions its consumer has, at each change.
struct Assigned(watch::Sender<usize>);

impl ClientContext for Assigned {}

impl ConsumerContext for Assigned {
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        self.0.send_replace(consumer.assignment().map_or(0, |partitions| partitions.count()));
    }
}

fn member(bench: &Bench, group: &str, topic: &str) -> (TracedConsumer<Assigned>, watch::Receiver<usize>) {
    let cooperative = [("partition.assignment.strategy", "cooperative-sticky")];
    let config = with(bench.kafka.consumer_config(group), &cooperative);
    let (count, counted) = watch::channel(0);
    let consumer: TracedConsumer<Assigned> = config.create_with_context(Assigned(count)).expect("a consumer");
    consumer.subscribe(&[topic]).expect("subscribed");
    (consumer, counted)
}

/// Every message is processed in its sender's trace, whichever member of the group gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebalance_in_the_middle() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("rebalanced", 2).await;
    let group = Kafka::unique("group");
    fill(&bench, &topic, 2, 0..20).await;
    let (mut of_first, mut of_second) = (BTreeSet::new(), BTreeSet::new());
    let (first, mut has_first) = member(&bench, &group, &topic);
    while of_first.len() < 10 {
        soon("received", take(&first, &mut of_first)).await;
    }
    assert_eq!(*has_first.borrow(), 2, "alone, it has both partitions");
    let (second, mut has_second) = member(&bench, &group, &topic);
    // Both go on receiving, because that is what a rebalance needs, until each has a partition.
    soon("a partition for each", async {
        loop {
            let shared = async {
                has_second.wait_for(|count| *count == 1).await.expect("its consumer lives");
                has_first.wait_for(|count| *count == 1).await.expect("its consumer lives");
            };
            tokio::select! {
                () = shared => break,
                () = take(&first, &mut of_first) => {}
                () = take(&second, &mut of_second) => {}
            }
        }
    })
    .await;
    fill(&bench, &topic, 2, 20..40).await;
    soon("everything", async {
        while of_first.union(&of_second).count() < 40 {
            tokio::select! {
                () = take(&first, &mut of_first) => {}
                () = take(&second, &mut of_second) => {}
            }
        }
    })
    .await;
    // What was sent to two members went to both: ten each, by partition.
    let later = |seen: &BTreeSet<i32>| seen.range(20..).copied().collect::<Vec<_>>();
    let (first, second) = (later(&of_first), later(&of_second));
    assert_eq!((first.len(), second.len()), (10, 10), "{first:?} {second:?}");
    assert!(second.iter().all(|number| number % 2 == second[0] % 2), "{second:?}");
    let sends = bench.recorder.claim_all(&format!("send {topic}"));
    let processed = bench.recorder.claim_all(&format!("process {topic}"));
    for send in &sends {
        assert!(
            processed.iter().any(|process| process.parent() == Some(send.span_id())),
            "{send} was not processed"
        );
    }
    assert_eq!(sends.len(), 40);
}

/// Receives are cancelled by the other side of the `select!` all the time: nothing may get lost by that.
async fn take(consumer: &TracedConsumer<impl ConsumerContext + 'static>, seen: &mut BTreeSet<i32>) {
    let received = consumer.recv().await.expect("received");
    seen.insert(number(&received));
    received.process(async {}).await;
    consumer.commit_message(&received, CommitMode::Async).expect("handed over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pause_resume_seek_and_manual_assignment() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("assigned", 2).await;
    fill(&bench, &topic, 2, 0..8).await;
    bench.recorder.claim_rest();
    let consumer: TracedConsumer = bench.kafka.consumer_config("manual").create().expect("a consumer");
    let partition = |partition, offset| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, partition, offset).expect("added");
        list
    };
    consumer.assign(&partition(1, Offset::Offset(1))).expect("assigned");
    assert_eq!((next(&consumer).await, next(&consumer).await), (3, 5), "partition 1 holds the odd ones");

    consumer.seek(&topic, 1, Offset::Beginning, PATIENCE).expect("sought");
    assert_eq!((next(&consumer).await, next(&consumer).await), (1, 3));

    consumer.incremental_assign(&partition(0, Offset::Beginning)).expect("assigned");
    consumer.pause(&partition(1, Offset::Invalid)).expect("paused");
    let even = [next(&consumer).await, next(&consumer).await, next(&consumer).await, next(&consumer).await];
    assert_eq!(even, [0, 2, 4, 6], "nothing of the paused partition");
    consumer.resume(&partition(1, Offset::Invalid)).expect("resumed");
    assert_eq!((next(&consumer).await, next(&consumer).await), (5, 7), "it goes on where it was paused");
    assert_eq!(consumer.position().expect("known").count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_and_a_partition_queue() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("streamed", 2).await;
    fill(&bench, &topic, 2, 0..4).await;
    bench.recorder.claim_rest();
    let consumer: TracedConsumer = bench.kafka.consumer_config("streams").create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..2 {
        list.add_partition_offset(&topic, partition, Offset::Beginning).expect("added");
    }
    consumer.assign(&list).expect("assigned");
    let queue = consumer.split_partition_queue(&topic, 1).expect("a partition");
    let main = async {
        let numbers: Vec<i32> =
            consumer.stream().take(2).map(|received| number(&received.expect("received"))).collect().await;
        // rdkafka asks for the main queue to be polled for the other one's sake.
        numbers
    };
    let split = async {
        let first = queue.recv().await.expect("received");
        assert!(first.incoming().found().traceparent);
        let second = queue.stream().next().await.expect("endless").expect("received");
        [number(&first), number(&second)]
    };
    let (main, split) = soon("both", async { tokio::join!(main, split) }).await;
    assert_eq!((main, split), (vec![0, 2], [1, 3]));
}

/// A context of the user's own keeps its callbacks.
#[derive(Default)]
struct Watching(Mutex<Vec<String>>);

impl ClientContext for Watching {}

impl ConsumerContext for Watching {
    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            self.0.lock().expect("not poisoned").push(format!("assigned {}", partitions.count()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_context_of_ones_own_is_called_back() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("watched", 3).await;
    fill(&bench, &topic, 3, 0..1).await;
    bench.recorder.claim_rest();
    let config = with(bench.kafka.consumer_config(&Kafka::unique("group")), &[]);
    let consumer: TracedConsumer<Watching> =
        config.create_with_context(Watching::default()).expect("a consumer");
    consumer.subscribe(&[&topic]).expect("subscribed");
    assert_eq!(next(&consumer).await, 0);
    assert_eq!(*consumer.context().0.lock().expect("not poisoned"), ["assigned 3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_span_says_where_the_message_came_from() {
    let Some(bench) = Bench::new() else { return };
    let topic = bench.kafka.topic("orders", 1).await;
    let producer = bench.producer();
    let record = FutureRecord::to(&topic).key("order-42").payload("{}").timestamp(1_700_000_000_000);
    soon("sent", producer.publish(record, Duration::ZERO)).await.expect("delivered");
    bench
        .recorder
        .claim(&format!("send {topic}"))
        .assert_attribute("throughline.record.timestamp", 1_700_000_000_000);
    let group = Kafka::unique("workers");
    let consumer = bench.member(&group, &topic, &[("client.id", "worker-1")]);
    let received = soon("received", consumer.recv()).await.expect("received");
    received.process(async {}).await;
    bench
        .recorder
        .claim(&format!("process {topic}"))
        .assert_attribute("messaging.operation.name", "process")
        .assert_attribute("messaging.operation.type", "process")
        .assert_attribute("messaging.destination.name", topic)
        .assert_attribute("messaging.destination.partition.id", "0")
        .assert_attribute("messaging.kafka.offset", 0)
        .assert_attribute("messaging.kafka.message.key", "order-42")
        .assert_attribute("messaging.consumer.group.name", group)
        .assert_attribute("messaging.client.id", "worker-1")
        .assert_attribute("messaging.message.body.size", 2)
        .assert_attribute("throughline.record.timestamp", 1_700_000_000_000)
        .assert_attribute("throughline.headers.found", "traceparent,x-correlation-id");
}
