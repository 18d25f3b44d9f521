//! The Kafka clients on librdkafka's mock cluster: quick, no Java, and the place for what a healthy broker never says.
//! Semantics are proven on a real Kafka, in `e2e/tests/kafka`.

#![cfg(feature = "kafka")]

use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use rdkafka::ClientConfig;
use rdkafka::Message as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::FutureRecord;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::time::Duration;
use throughline::extract;
use throughline::kafka::{MockKafka, Received, TracedConsumer, TracedProducer};
use throughline::metrics::count_delivered;
use throughline::opentelemetry::Context;
use throughline::opentelemetry::trace::TraceContextExt as _;
use throughline::settings::{Metrics, set_metrics};
use throughline::testing::{Ids, Recorder};

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "workers")
        .set("auto.offset.reset", "earliest");
    config
}

/// The handler shape of the documentation: a plain async fn that borrows the message and the producer, inside a task.
async fn worker(consumer: TracedConsumer, producer: TracedProducer) -> Result<(), KafkaError> {
    async fn pay(message: &Received<'_>, producer: &TracedProducer) -> Result<(), KafkaError> {
        let record = FutureRecord::to("payments").key(message.key().unwrap_or_default()).payload("paid");
        producer.publish(record, Duration::ZERO).await?;
        Ok(())
    }
    let message = consumer.recv().await?;
    message.process(pay(&message, &producer)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_and_its_batch() {
    let recorder = Recorder::local(Ids::Random);
    let _context = throughline::with_tracer_provider(&Context::new(), recorder.provider()).attach();
    let kafka = MockKafka::start().expect("a mock");
    for topic in ["orders", "payments"] {
        kafka.create_topic(topic, 1).expect("created");
    }
    let consumer = |topic| {
        let mut config = config(kafka.bootstrap_servers());
        let consumer: TracedConsumer = config.set("group.id", topic).create().expect("a consumer");
        consumer.subscribe(&[topic]).expect("subscribed");
        consumer
    };
    let producer: TracedProducer = config(kafka.bootstrap_servers()).create().expect("a producer");
    let working = throughline::spawn(worker(consumer("orders"), producer.clone()));
    producer
        .publish(FutureRecord::to("orders").key("k").payload("{}"), Duration::ZERO)
        .await
        .expect("delivered");
    working.await.expect("no panic").expect("worked");
    let consumer = consumer("payments");
    let batch = consumer.recv_batch(1, Duration::ZERO).await.expect("received");
    batch.process(async {}).await;

    let order = recorder.claim("send orders");
    let process = recorder.claim("process orders");
    process.assert_child_of(&order).assert_links_to(&order);
    let payment = recorder.claim("send payments");
    payment.assert_child_of(&process);
    recorder.claim("poll payments").assert_root().assert_links_to(&payment);
    recorder.claim("process payments").assert_root().assert_links_to(&payment);
}

/// Errors a broker with nothing wrong never gives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_brokers_error_code_is_the_error_type() {
    use RDKafkaRespErr as E;
    let recorder = Recorder::local(Ids::Random);
    let _context = throughline::with_tracer_provider(&Context::new(), recorder.provider()).attach();
    let mock = MockCluster::new(1).expect("a mock");
    mock.create_topic("orders", 1, 1).expect("created");
    let bootstrap = mock.bootstrap_servers();
    let producer: TracedProducer = config(&bootstrap).set("retries", "0").create().expect("a producer");
    for (code, name) in [
        (E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, "NOT_ENOUGH_REPLICAS"),
        (E::RD_KAFKA_RESP_ERR_INVALID_RECORD, "INVALID_RECORD"),
        // The last one: the client remembers it of the topic.
        (E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "TOPIC_AUTHORIZATION_FAILED"),
    ] {
        mock.request_errors(RDKafkaApiKey::Produce, &[code]);
        // Nobody awaits it.
        drop(producer.send_result(FutureRecord::<str, str>::to("orders").payload("p")).expect("queued"));
        let send = recorder.claim_within("send orders", Duration::from_secs(20));
        send.assert_error(name).assert_no_attribute("messaging.kafka.offset");
    }
}

/// A record may leave the choice to the partitioner in two ways: not a word, and -1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_partition_on_the_span_is_the_one_the_record_went_to() {
    let recorder = Recorder::local(Ids::Random);
    let _context = throughline::with_tracer_provider(&Context::new(), recorder.provider()).attach();
    let kafka = MockKafka::start().expect("a mock");
    kafka.create_topic("orders", 1).expect("created");
    let producer: TracedProducer = config(kafka.bootstrap_servers()).create().expect("a producer");
    for partition in [None, Some(-1), Some(0)] {
        let record = FutureRecord { partition, ..FutureRecord::<str, str>::to("orders").payload("{}") };
        producer.publish(record, Duration::ZERO).await.expect("delivered");
        let send = recorder.claim("send orders");
        let key = "messaging.destination.partition.id";
        send.assert_attribute(key, "0");
        let times = send.data().attributes.iter().filter(|kv| kv.key.as_str() == key).count();
        assert_eq!(times, 1, "{partition:?}");
    }
}

/// What `messaging.client.consumed.messages` says of one destination, for each set of labels.
fn consumed(exporter: &InMemoryMetricExporter, destination: &str) -> Vec<(String, u64)> {
    let exported = exporter.get_finished_metrics().expect("metrics");
    let scopes = exported.last().expect("an export").scope_metrics();
    let metric = scopes
        .flat_map(|scope| scope.metrics())
        .find(|metric| metric.name() == "messaging.client.consumed.messages")
        .expect("the counter");
    let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.data() else { panic!("a sum of integers") };
    sum.data_points()
        .map(|point| {
            let mut labels: Vec<_> =
                point.attributes().map(|kv| format!("{}={}", kv.key, kv.value.as_str())).collect();
            labels.sort();
            (labels.join(" "), point.value())
        })
        .filter(|(labels, _)| labels.contains(&format!("messaging.destination.name={destination} ")))
        .collect()
}

/// Handled or not, alone or in a batch: one a message. The only test here that looks at metrics, which are the process's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_counts_once() {
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    throughline::opentelemetry::global::set_meter_provider(meters.clone());
    throughline::providers_are_set();
    let recorder = Recorder::local(Ids::Random);
    let _context = throughline::with_tracer_provider(&Context::new(), recorder.provider()).attach();
    let kafka = MockKafka::start().expect("a mock");
    kafka.create_topic("deliveries", 1).expect("created");
    let producer: TracedProducer = config(kafka.bootstrap_servers()).create().expect("a producer");
    for _ in 0..4 {
        let record = FutureRecord::<str, str>::to("deliveries").payload("{}");
        producer.publish(record, Duration::ZERO).await.expect("delivered");
    }

    let consumer: TracedConsumer = config(kafka.bootstrap_servers()).create().expect("a consumer");
    consumer.subscribe(&["deliveries"]).expect("subscribed");
    consumer.recv().await.expect("received").process(async {}).await;
    drop(consumer.recv().await.expect("received, and not handled"));
    let batch = consumer.recv_batch(2, Duration::from_secs(30)).await.expect("received");
    assert_eq!(batch.len(), 2);
    batch.process(async {}).await;

    // A client of another kind, by hand.
    count_delivered("nats", "by-hand", None, 3);
    throughline::process("by-hand").system("nats").already_counted().run_sync(|_| ());
    set_metrics(Metrics::Off);
    count_delivered("nats", "by-hand", None, 3);
    // Not sampled and not measured: only the sender awaits the report.
    let unsampled = extract(&[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")]);
    let base = recorder.context().with_remote_span_context(unsampled.span_context());
    let sent = {
        let _base = base.attach();
        producer
            .send_result(FutureRecord::<str, str>::to("deliveries").payload("{}"))
            .map_err(|(error, _)| error)
    };
    let delivery = sent.expect("queued").await.expect("reported").expect("delivered");
    assert_eq!(delivery.offset, 4);
    set_metrics(Metrics::On);

    meters.force_flush().expect("flushed");
    let labels = "messaging.consumer.group.name=workers messaging.destination.name=deliveries \
                  messaging.operation.name=poll messaging.system=kafka";
    let (host, port) = kafka.bootstrap_servers().rsplit_once(':').expect("an address");
    let labels = format!("{labels} server.address={host} server.port={port}");
    assert_eq!(consumed(&exporter, "deliveries"), [(labels, 4)]);
    let labels = "messaging.destination.name=by-hand messaging.operation.name=poll messaging.system=nats";
    assert_eq!(consumed(&exporter, "by-hand"), [(labels.to_owned(), 3)]);
    recorder.claim_rest();
}

/// API.md's trap 1, for every shape the documentation shows: each must compile inside `tokio::spawn`.
#[test]
fn handlers_can_be_spawned() {
    fn assert_send<F: Future + Send + 'static>(_: impl FnOnce(TracedConsumer, TracedProducer) -> F) {}
    async fn go(producer: &TracedProducer, payload: &[u8]) -> Result<(), KafkaError> {
        producer.publish(FutureRecord::<str, [u8]>::to("t").payload(payload), Duration::ZERO).await.map(drop)
    }
    assert_send(async |c: TracedConsumer, p: TracedProducer| {
        let message = c.recv().await?;
        message.process(async { go(&p, message.payload().unwrap_or_default()).await }).await
    });
    assert_send(async |c: TracedConsumer, p: TracedProducer| {
        let message = c.recv().await?;
        let with_span = async |span: throughline::Span| {
            span.set("n", 1);
            go(&p, message.payload().unwrap_or_default()).await
        };
        message.spec().run(with_span).await
    });
    assert_send(async |c: TracedConsumer, p: TracedProducer| {
        let batch = c.recv_batch(10, Duration::ZERO).await?;
        let all = async {
            for message in &batch {
                go(&p, message.payload().unwrap_or_default()).await?;
            }
            Ok::<_, KafkaError>(())
        };
        batch.process(all).await
    });
    assert_send(async |c: TracedConsumer, p: TracedProducer| {
        let message = c.recv().await?.to_owned();
        message.process(go(&p, message.payload().unwrap_or_default())).await
    });
    assert_send(async |_: TracedConsumer, p: TracedProducer| {
        let record = FutureRecord::<str, str>::to("t").payload("p");
        p.send_keeping_context(record, Duration::ZERO).await.map_err(|(error, _)| error)
    });
}
