//! A broker that is killed and comes back in the middle of a stream: no message unprocessed, no trace cut.

use crate::{Bench, soon};
use rdkafka::Message as _;
use rdkafka::producer::FutureRecord;
use rdkafka::util::Timeout;
use std::collections::BTreeSet;
use throughline_e2e::Kafka;
use throughline_e2e::kafka::own_broker;

const MESSAGES: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_no_trace_is_cut() {
    let Some(mut broker) = own_broker(&[]) else { return };
    let bench = Bench::on(Kafka::at(broker.bootstrap()));
    let topic = bench.kafka.topic("restarted", 1).await;
    let producer =
        bench.producer_with(&[("enable.idempotence", "true"), ("reconnect.backoff.max.ms", "500")]);
    let consumer = bench.member("workers", &topic, &[("reconnect.backoff.max.ms", "500")]);

    let (sender, to) = (producer.clone(), topic.clone());
    let sending = throughline::spawn(async move {
        for number in 0..MESSAGES {
            let payload = number.to_string();
            sender.publish(FutureRecord::<str, str>::to(&to).payload(&payload), Timeout::Never).await?;
        }
        Ok::<_, rdkafka::error::KafkaError>(())
    });
    let mut seen = BTreeSet::new();
    let mut killed = false;
    while seen.len() < MESSAGES {
        match soon("received", consumer.recv()).await {
            Ok(message) => {
                message.process(async {}).await;
                seen.insert(message.payload().map(<[u8]>::to_vec));
            }
            // The client says that all brokers are down, and goes on trying.
            Err(error) => assert!(killed, "{error}"),
        }
        if seen.len() == MESSAGES / 4 && !killed {
            killed = true;
            broker = tokio::task::spawn_blocking(move || {
                broker.kill().expect("killed");
                broker.restart().expect("restarted");
                broker
            })
            .await
            .expect("no panic");
        }
    }
    soon("sent", sending).await.expect("no panic").expect("all delivered");
    let sends = bench.recorder.claim_all(&format!("send {topic}"));
    let processed = bench.recorder.claim_all(&format!("process {topic}"));
    assert_eq!(sends.len(), MESSAGES);
    for send in &sends {
        send.assert_ok();
        assert!(
            processed.iter().any(|process| process.parent() == Some(send.span_id())),
            "{send} was not processed"
        );
    }
}
