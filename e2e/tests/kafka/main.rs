//! The drop-in Kafka clients on a real Kafka. One binary, because each one links librdkafka.

mod batch;
mod chain;
mod commit;
mod consumer;
mod delivery;
mod headers;
mod restart;
mod transactions;

use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use std::time::Duration;
use throughline::kafka::{TracedConsumer, TracedProducer};
use throughline::opentelemetry::{Context, ContextGuard};
use throughline::testing::{Ids, Recorder};
use throughline_e2e::Kafka;

/// How long anything may take before the test says that it did not happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// One test's own spans: the tests share a process and a broker, but no recorder.
struct Bench {
    kafka: Kafka,
    recorder: Recorder,
    /// The test's thread stays in this context; tasks get it from `throughline::spawn`.
    _context: ContextGuard,
}

impl Bench {
    fn new() -> Option<Bench> {
        throughline_e2e::kafka().map(Bench::on)
    }

    fn on(kafka: Kafka) -> Bench {
        let recorder = Recorder::local(Ids::Random);
        let context = throughline::with_tracer_provider(&Context::new(), recorder.provider()).attach();
        Bench { kafka, recorder, _context: context }
    }

    fn producer(&self) -> TracedProducer {
        self.producer_with(&[])
    }

    fn producer_with(&self, settings: &[(&str, &str)]) -> TracedProducer {
        with(self.kafka.config(), settings).create().expect("a producer")
    }

    /// A consumer in a group of its own.
    fn consumer(&self, topic: &str) -> TracedConsumer {
        self.member(&Kafka::unique("group"), topic, &[])
    }

    fn member(&self, group: &str, topic: &str, settings: &[(&str, &str)]) -> TracedConsumer {
        let config = with(self.kafka.consumer_config(group), settings);
        let consumer: TracedConsumer = config.create().expect("a consumer");
        consumer.subscribe(&[topic]).expect("subscribed");
        consumer
    }
}

fn with(mut config: ClientConfig, settings: &[(&str, &str)]) -> ClientConfig {
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config
}

/// Awaits with a limit, so that a test that hangs says where.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}
