//! Against librdkafka's mock cluster, which speaks the real protocol in this process, and vectors of the peer's hash.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::Offset;
use throughline_otlp::split_by_trace;
use throughline_otlp::view::TracesView;

use super::*;
use crate::configuration::{Configuration, Exporter as Written, KafkaLogin, SaslMechanism, Source as Text};
use crate::export::otlp::tests::{PATIENCE, traces};

const PARTITIONS: i32 = 7;

/// What an exporter with this block is asked to do.
fn settings(bootstrap: &str, block: &str) -> Settings {
    let text = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{}}}}}}}}\nexporters: {{kafka: {{brokers: ['{bootstrap}'], {block}}}}}\n\
         service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [kafka]}}}}}}"
    );
    let loaded = Configuration::load(&[Text::new("test", text)], &|_| None);
    let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    match loaded.configuration.exporters.into_values().next() {
        Some(Written::Kafka(kafka)) => kafka,
        other => panic!("{other:?} is no Kafka exporter"),
    }
}

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("otlp_spans", PARTITIONS, 1).expect("a topic");
    cluster
}

/// A record as it arrived.
struct Arrived {
    partition: i32,
    key: Option<String>,
    payload: Vec<u8>,
}

/// So many records of the topic, from the beginning.
fn records(bootstrap: &str, count: usize) -> Vec<Arrived> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "reader")
        .create()
        .expect("a consumer");
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset("otlp_spans", partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&all).expect("assigned");
    let mut arrived = Vec::new();
    while arrived.len() < count {
        let record = consumer.poll(PATIENCE).expect("a record within a minute").expect("a record");
        arrived.push(Arrived {
            partition: record.partition(),
            key: record.key().map(|key| String::from_utf8(key.to_vec()).expect("text")),
            payload: record.payload().expect("a payload").to_vec(),
        });
    }
    arrived
}

fn spans(request: &[u8]) -> usize {
    let mut spans = 0;
    TracesView::new(request)
        .for_each(&mut |_, _, _| {
            spans += 1;
            Ok(())
        })
        .expect("OTLP");
    spans
}

/// Computed by the peer's own hasher: `kgo.SaramaCompatHasher` over 32-bit FNV-1a, franz-go 1.21.5, as
/// `internal/kafka` 0.159.0 sets it up.
#[test]
fn a_key_finds_the_partition_that_the_peers_exporter_gives_it() {
    let counts = [1, 2, 3, 6, 7, 12, 64, 1000];
    for (id, expected) in [
        ("0af7651916cd43dd8448eb211c80319c", [0, 1, 1, 1, 5, 7, 59, 99]),
        ("4bf92f3577b34da6a3ce929d0e0e4736", [0, 0, 0, 0, 5, 6, 46, 310]),
        ("00000000000000000000000000000001", [0, 0, 0, 0, 6, 6, 14, 206]),
        ("ffffffffffffffffffffffffffffffff", [0, 1, 0, 3, 4, 3, 59, 475]),
        ("5b8aa5a2d2c872e8321cf37308d69df2", [0, 0, 2, 2, 2, 2, 50, 522]),
        ("0123456789abcdef0123456789abcdef", [0, 1, 1, 1, 1, 7, 11, 971]),
    ] {
        assert_eq!(counts.map(|count| client::partition(id.as_bytes(), count)), expected, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_is_a_record_in_the_partition_of_its_id() {
    let cluster = cluster();
    let bootstrap = cluster.bootstrap_servers();
    let exporter = KafkaExporter::new(&settings(&bootstrap, "partition_traces_by_id: true")).unwrap();
    let request = traces((1..=60).map(|n| (n % 20 + 1, n)));
    assert_eq!(exporter.send(Signal::Traces, request.clone()).await, Outcome::ACCEPTED);

    let expected: BTreeMap<String, Vec<u8>> = split_by_trace(&request)
        .unwrap()
        .into_iter()
        .map(|part| (part.trace.to_string(), part.request))
        .collect();
    let arrived = records(&bootstrap, expected.len());
    for record in &arrived {
        let key = record.key.clone().expect("a key");
        // librdkafka chose it; ours is the same hash.
        assert_eq!(record.partition, i32::try_from(client::partition(key.as_bytes(), 7)).unwrap(), "{key}");
        assert_eq!(expected.get(&key), Some(&record.payload), "{key}");
    }
    assert_eq!(arrived.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_too_large_for_a_record_is_several_and_an_item_too_large_is_refused() {
    let cluster = cluster();
    let bootstrap = cluster.bootstrap_servers();
    for (block, least) in [
        ("producer: {max_message_bytes: 2000}", 15),
        ("producer: {max_message_bytes: 2000}, partition_traces_by_id: true", 15),
        ("producer: {max_message_bytes: 3000, compression: gzip}, traces: {encoding: otlp_json}", 15),
    ] {
        let exporter = KafkaExporter::new(&settings(&bootstrap, block)).unwrap();
        let request = traces((1..=60).map(|n| (1, n)));
        let parcels = cut(
            Cutting {
                signal: Signal::Traces,
                encoding: exporter.traces.encoding,
                by_id: exporter.partitioning == Partitioning::TraceId,
                most: exporter.max_message_bytes,
            },
            request.clone(),
        )
        .unwrap();
        assert!(parcels.len() >= least, "{block}: {}", parcels.len());
        assert_eq!(parcels.iter().map(|parcel| spans(&parcel.request)).sum::<usize>(), 60, "{block}");
        assert!(parcels.iter().all(|parcel| parcel.payload.len() < exporter.max_message_bytes), "{block}");
        assert_eq!(exporter.send(Signal::Traces, request).await, Outcome::ACCEPTED, "{block}");
    }
    let small = KafkaExporter::new(&settings(&bootstrap, "producer: {max_message_bytes: 1000}")).unwrap();
    let mut mixed = traces([(1, 1)]).to_vec();
    let huge = opentelemetry_proto::tonic::trace::v1::Span {
        trace_id: vec![9; 16],
        span_id: vec![9; 8],
        name: "x".repeat(4000),
        ..Default::default()
    };
    mixed.extend(throughline_otlp_request(huge));
    match small.send(Signal::Traces, mixed.into()).await {
        Outcome::Accepted { rejected: Some(Rejected { items: 1, why }) } => {
            assert!(why.contains("max_message_bytes"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

fn throughline_otlp_request(span: opentelemetry_proto::tonic::trace::v1::Span) -> Vec<u8> {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
    use prost::Message as _;
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..Default::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// JSON out is JSON that the receiver's own reader takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_is_written_where_it_is_asked_for() {
    let cluster = cluster();
    let bootstrap = cluster.bootstrap_servers();
    let exporter = KafkaExporter::new(&settings(&bootstrap, "encoding: otlp_json")).unwrap();
    let request = traces([(1, 1), (2, 2)]);
    assert_eq!(exporter.send(Signal::Traces, request.clone()).await, Outcome::ACCEPTED);
    let arrived = records(&bootstrap, 1);
    assert_eq!(arrived[0].key, None);
    let back =
        throughline_otlp::json::to_protobuf(Signal::Traces, &arrived[0].payload).expect("OTLP in JSON");
    assert_eq!(spans(&back), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_broker_took_comes_back_to_be_sent_again() {
    // Bound and never served: a connection is refused or stays silent, and no other process can take the port.
    let nobody = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let bootstrap = nobody.local_addr().unwrap().to_string();
    let block = "partition_traces_by_id: true, timeout: 200ms";
    let exporter = KafkaExporter::new(&settings(&bootstrap, block)).unwrap();
    let request = traces((1..=20).map(|n| (n, n)));
    match exporter.send(Signal::Traces, request).await {
        Outcome::Retry { rest: Some(rest), trouble, .. } => {
            assert_eq!((spans(&rest.joined()), trouble), (20, Trouble::Connection));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_this_build_cannot_do_is_refused_by_its_key() {
    let login = |mechanism| KafkaLogin { mechanism, user: "u".to_owned(), password: "p".to_owned() };
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings("127.0.0.1:1", "timeout: 1s");
        change(&mut settings);
        KafkaExporter::check(&settings).map_err(|error| error.key)
    };
    assert_eq!(with(&|_| ()), Ok(()));
    assert_eq!(with(&|s| s.client.login = Some(login(SaslMechanism::Plain))), Ok(()));
    let scram = with(&|s| s.client.login = Some(login(SaslMechanism::ScramSha512)));
    assert_eq!(scram, Err("auth.sasl.mechanism"));
    assert_eq!(with(&|s| s.compression = KafkaCompression::Zstd), Err("producer.compression"));
    assert_eq!(with(&|s| s.linger = Duration::from_secs(2)), Err("timeout"));
    for compression in [KafkaCompression::Gzip, KafkaCompression::Snappy, KafkaCompression::Lz4] {
        assert_eq!(with(&|s| s.compression = compression), Ok(()), "{compression:?}");
    }
}
