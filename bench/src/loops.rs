//! The loop of a worker, three times: nobody traces, traced by hand, traced by ours. Same broker, same messages, the next
//! message sent without waiting for the last one's delivery report, at most `IN_FLIGHT` of them open.

use std::collections::VecDeque;
use std::time::Instant;

use futures_util::stream::{FuturesUnordered, StreamExt};
use opentelemetry::Context;
use opentelemetry_sdk::trace::SdkTracerProvider;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use throughline::kafka::{TracedConsumer, TracedDelivery, TracedProducer};

use crate::hand::ByHand;
use crate::hop::{Facts, GROUP, KEY, Message, Row};
use crate::rounds::cpu_nanos;

/// Sends that may be under way.
const IN_FLIGHT: usize = 500;
const PAYLOAD: [u8; 1024] = [b'x'; 1024];

/// Why a run failed.
pub type Failure = Box<dyn std::error::Error>;

/// A filled topic, an empty one, and the addresses.
pub struct Loop {
    config: ClientConfig,
    from: String,
    to: String,
    messages: u32,
}

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// CPU time of this process a message, microseconds, exporter included.
    pub cpu_micros: f64,
    /// Messages a second, wall clock.
    pub per_second: f64,
    /// Bytes of OTLP a message, as far as the exporter was told of them.
    pub encoded: u64,
}

impl Loop {
    /// Creates both topics and fills the first with messages of this row.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn new(bootstrap: &str, row: Row, messages: u32) -> Result<Self, Failure> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("client.id", "bench").set("group.id", GROUP);
        config
            .set("enable.auto.commit", "false")
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "200000");
        // A broker may outlive a run.
        let run = std::process::id();
        let from = format!("bench-in-{row:?}-{run}");
        let to = format!("bench-out-{row:?}-{run}");
        let admin: AdminClient<DefaultClientContext> = config.create()?;
        let topics = [&from, &to].map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1)));
        for created in admin.create_topics(&topics, &AdminOptions::new()).await? {
            created.map_err(|(topic, error)| format!("{topic}: {error}"))?;
        }
        let this = Self { config, from, to, messages };
        this.fill(row).await?;
        Ok(this)
    }

    async fn fill(&self, row: Row) -> Result<(), Failure> {
        let producer: FutureProducer = self.config.create()?;
        let headers = Message::new(row).headers;
        let mut open = FuturesUnordered::new();
        for _ in 0..self.messages {
            let record = FutureRecord::to(&self.from).key(KEY).payload(&PAYLOAD[..]).headers(headers.clone());
            open.push(producer.send_result(record).map_err(|(error, _)| error)?);
            if open.len() >= IN_FLIGHT {
                open.next().await;
            }
        }
        while let Some(report) = open.next().await {
            report?.map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    fn assign_from_the_start(&self, consumer: &StreamConsumer) -> Result<(), KafkaError> {
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset(&self.from, 0, Offset::Beginning)?;
        consumer.assign(&partitions)
    }

    /// Nobody traces.
    ///
    /// # Errors
    /// If the broker does.
    pub async fn untraced(&self, provider: &SdkTracerProvider) -> Result<Run, Failure> {
        let consumer: StreamConsumer = self.config.create()?;
        let producer: FutureProducer = self.config.create()?;
        self.assign_from_the_start(&consumer)?;
        let mut open: VecDeque<DeliveryFuture> = VecDeque::new();
        let mut meter = Meter::default();
        for _ in 0..self.messages {
            let message = consumer.recv().await?;
            meter.start();
            let headers = crate::hop::untraced_headers(message.headers());
            let record = FutureRecord::to(&self.to).key(KEY).payload(message.payload().unwrap_or_default());
            open.push_back(producer.send_result(record.headers(headers)).map_err(|(error, _)| error)?);
            if open.len() >= IN_FLIGHT
                && let Some(oldest) = open.pop_front()
            {
                oldest.await?.map_err(|(error, _)| error)?;
            }
        }
        for report in open {
            report.await?.map_err(|(error, _)| error)?;
        }
        Ok(meter.stop(self.messages, provider))
    }

    /// Ours: only the clients' types differ, and `process`.
    ///
    /// # Errors
    /// If the broker does.
    pub async fn ours(&self, provider: &SdkTracerProvider) -> Result<Run, Failure> {
        let consumer: TracedConsumer = self.config.create()?;
        let producer: TracedProducer = self.config.create()?;
        self.assign_from_the_start(&consumer)?;
        let mut open: VecDeque<TracedDelivery> = VecDeque::new();
        let mut meter = Meter::default();
        for _ in 0..self.messages {
            let message = consumer.recv().await?;
            meter.start();
            let sent = message.process(async {
                let record =
                    FutureRecord::to(&self.to).key(KEY).payload(message.payload().unwrap_or_default());
                producer.send_result(record).map_err(|(error, _)| error)
            });
            open.push_back(sent.await?);
            if open.len() >= IN_FLIGHT
                && let Some(oldest) = open.pop_front()
            {
                oldest.await?.map_err(|(error, _)| error)?;
            }
        }
        for report in open {
            report.await?.map_err(|(error, _)| error)?;
        }
        Ok(meter.stop(self.messages, provider))
    }

    /// By hand on the SDK: the same spans, ended at the same moments.
    ///
    /// # Errors
    /// If the broker does.
    pub async fn by_hand(&self, provider: &SdkTracerProvider) -> Result<Run, Failure> {
        let consumer: StreamConsumer = self.config.create()?;
        let producer: FutureProducer = self.config.create()?;
        let bootstrap = self.config.get("bootstrap.servers").unwrap_or_default();
        let (host, port) = bootstrap.rsplit_once(':').ok_or("a bootstrap server without a port")?;
        let tracing = ByHand::new(None).for_client(&self.from, &self.to, "bench", (host, port.parse()?));
        self.assign_from_the_start(&consumer)?;
        let mut open: VecDeque<(DeliveryFuture, Context, Instant)> = VecDeque::new();
        let mut meter = Meter::default();
        for _ in 0..self.messages {
            let message = consumer.recv().await?;
            meter.start();
            let started = Instant::now();
            let (headers, size) =
                (message.headers().ok_or("a message without headers")?, message.payload_len());
            let (cx, correlation) = tracing.start_process(headers, &facts(&message));
            let (span, headers) = tracing.start_send(&cx, &correlation, Some(size));
            let record = FutureRecord::to(&self.to).key(KEY).payload(message.payload().unwrap_or_default());
            let sent = producer.send_result(record.headers(headers)).map_err(|(error, _)| error)?;
            open.push_back((sent, span, Instant::now()));
            tracing.end_process(&cx, started);
            if open.len() >= IN_FLIGHT
                && let Some((oldest, span, since)) = open.pop_front()
            {
                let report = oldest.await?.map_err(|(error, _)| error)?;
                tracing.end_delivered(&span, since, report.partition, report.offset);
            }
        }
        for (report, span, since) in open {
            let report = report.await?.map_err(|(error, _)| error)?;
            tracing.end_delivered(&span, since, report.partition, report.offset);
        }
        Ok(meter.stop(self.messages, provider))
    }
}

fn facts(message: &BorrowedMessage<'_>) -> Facts {
    Facts {
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or_default(),
        found: "traceparent,baggage,x-correlation-id",
        size: Some(message.payload_len()),
    }
}

/// From the first message on: connecting and fetching metadata is not what is measured.
#[derive(Default)]
struct Meter(Option<(u64, Instant)>);

impl Meter {
    fn start(&mut self) {
        self.0.get_or_insert_with(|| (cpu_nanos(), Instant::now()));
    }

    fn stop(self, messages: u32, provider: &SdkTracerProvider) -> Run {
        let (cpu, wall) = self.0.unwrap_or_else(|| (cpu_nanos(), Instant::now()));
        let per_second = f64::from(messages) / wall.elapsed().as_secs_f64();
        let _ = provider.force_flush();
        let cpu_micros = (cpu_nanos() - cpu) as f64 / 1000.0 / f64::from(messages);
        Run { cpu_micros, per_second, encoded: 0 }
    }
}
