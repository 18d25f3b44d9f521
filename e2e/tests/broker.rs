//! The broker the other tests stand on: a record survives a kill and a restart, and nothing is left behind.

use rdkafka::Message;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::process::{Command, Stdio};
use std::time::Duration;
use throughline_e2e::kafka::{Kafka, own_broker};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_survives_kill_and_restart() {
    let Some(mut broker) = own_broker(&[]) else { return };
    let kafka = Kafka::at(broker.bootstrap());
    let topic = kafka.topic("survives", 1).await;
    let producer: FutureProducer = kafka.config().create().expect("producer");
    let record = FutureRecord::to(&topic).key("k").payload("before the kill");
    producer.send(record, Duration::ZERO).await.expect("sent");
    broker.kill().expect("killed");
    broker.restart().expect("restarted");
    let consumer: StreamConsumer = kafka.consumer_config("after").create().expect("consumer");
    consumer.subscribe(&[&topic]).expect("subscribed");
    let message = consumer.recv().await.expect("received");
    assert_eq!(message.payload(), Some(&b"before the kill"[..]));
    broker.stop().expect("an orderly stop");
}

/// The parent here is this test binary itself, run again to start a broker and then killed with -9.
#[test]
fn a_broker_ends_with_its_parent() {
    const CHILD: &str = "THROUGHLINE_TEST_BROKER_PARENT";
    if std::env::var_os(CHILD).is_some() {
        let broker = own_broker(&[]).expect("the outer test checked that there is one");
        std::fs::write(std::env::var_os(CHILD).expect("a path"), broker.bootstrap()).expect("written");
        std::thread::park();
    }
    if own_broker(&[]).is_none() {
        return;
    }
    let told = tempfile::NamedTempFile::new().expect("a file");
    let mut parent = Command::new(std::env::current_exe().expect("this binary"))
        .args(["a_broker_ends_with_its_parent", "--exact", "--nocapture"])
        .env(CHILD, told.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("this binary again");
    let bootstrap = wait_for(|| {
        let text = std::fs::read_to_string(told.path()).ok()?;
        (!text.is_empty()).then_some(text)
    });
    assert!(std::net::TcpStream::connect(&bootstrap).is_ok(), "the broker listens before its parent dies");
    parent.kill().expect("kill -9");
    parent.wait().expect("reaped");
    let folder = format!("throughline-kafka-{}-0", parent.id());
    wait_for(|| std::net::TcpStream::connect(&bootstrap).is_err().then_some(()));
    wait_for(|| (!std::env::temp_dir().join(&folder).exists()).then_some(()));
}

/// Looks again every 20 ms for a minute: the state of another process gives no event to wait on.
fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..3000 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    panic!("not seen within a minute");
}
