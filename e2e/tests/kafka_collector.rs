//! The collector on a real Kafka: two processes with a topic between them, offsets that stay below what is undecided, and three
//! samplers of one group of which one is killed again and again while batches bring back what they came from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use throughline_e2e::kafka::{Kafka, kafka};
use throughline_e2e::serve::Serve;
use throughline_e2e::sink::Sink;
use throughline_otlp::Signal;
use throughline_otlp::json::to_protobuf;

const PARTITIONS: i32 = 6;
/// Longer than anything here takes: a hang fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

fn trace_id(number: u64) -> String {
    format!("{:016x}{number:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
}

/// Two spans of a trace; the second may have failed and links to others.
fn spans(number: u64, failed: bool, links: &[u64]) -> Vec<Value> {
    let start = 1_768_485_802_000_000_000_u64;
    let links: Vec<Value> =
        links.iter().map(|to| json!({ "traceId": trace_id(*to), "spanId": "00000000000000aa" })).collect();
    let span = |id: u64, parent: Option<u64>| {
        json!({
            "traceId": trace_id(number), "spanId": format!("{id:016x}"),
            "parentSpanId": parent.map(|id| format!("{id:016x}")).unwrap_or_default(),
            "name": "process orders", "kind": 5,
            "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 1_000_000).to_string(),
            "status": if failed && parent.is_some() { json!({ "code": 2 }) } else { json!({}) },
            "links": if parent.is_some() { json!(links) } else { json!([]) },
        })
    };
    vec![span(1, None), span(2, Some(1))]
}

fn request(spans: &[Value]) -> Value {
    json!({ "resourceSpans": [{ "resource": {}, "scopeSpans": [{ "spans": spans }] }] })
}

/// Looks again until there is something to see: other processes give no event to wait on.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(LOOK);
    }
}

fn client() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    config.timeout_global(Some(PATIENCE)).build().into()
}

/// The value of a metric's line that begins so.
fn metric(serve: &Serve, line: &str) -> Option<u64> {
    let mut response = client().get(format!("{}/metrics", serve.ui)).call().ok()?;
    let page = response.body_mut().read_to_string().ok()?;
    let found = page.lines().find(|it| it.starts_with(line))?;
    found.rsplit(' ').next()?.parse().ok()
}

/// Writes what a service's collector would: a record a trace, under its id.
struct Writer {
    producer: FutureProducer,
    topic: String,
}

impl Writer {
    fn new(kafka: &Kafka, topic: &str) -> Self {
        let mut config = kafka.config();
        config.set("partitioner", "fnv1a_random").set("linger.ms", "1");
        // Partitions may be added.
        let producer = config.set("topic.metadata.refresh.interval.ms", "300").create();
        Self { producer: producer.expect("a producer"), topic: topic.to_owned() }
    }

    /// Returns partition and offset.
    async fn write(&self, number: u64, spans: &[Value]) -> (i32, i64) {
        let body = to_protobuf(Signal::Traces, request(spans).to_string().as_bytes()).expect("OTLP");
        self.raw(&trace_id(number), &body).await
    }

    async fn raw(&self, key: &str, body: &[u8]) -> (i32, i64) {
        let record = FutureRecord::to(&self.topic).key(key).payload(body);
        let delivered = self.producer.send(record, PATIENCE).await.expect("delivered");
        (delivered.partition, delivered.offset)
    }
}

fn written(folder: &Path, name: &str, yaml: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, yaml).expect("written");
    path
}

fn serve(config: &Path, data: &Path) -> Serve {
    let (config, data) = (config.display().to_string(), data.display().to_string());
    Serve::with(["--ui-port", "0", "--tempo-port", "0", "--config", &config, "--data-dir", &data])
}

async fn sink() -> Sink {
    Sink::start((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a sink")
}

fn arrived(sink: &Sink) -> BTreeMap<String, BTreeSet<String>> {
    let of = |(trace, _, spans): (throughline_otlp::TraceId, usize, Vec<throughline_otlp::SpanId>)| {
        (trace.to_string(), spans.iter().map(ToString::to_string).collect())
    };
    sink.arrived().traces().into_iter().map(of).collect()
}

/// Whether every span of these traces is there.
fn has_all(sink: &Sink, traces: impl IntoIterator<Item = u64>) -> bool {
    let arrived = arrived(sink);
    traces.into_iter().all(|number| arrived.get(&trace_id(number)).is_some_and(|spans| spans.len() == 2))
}

fn otlphttp(sink: &Sink) -> String {
    format!(
        "otlphttp: {{endpoint: 'http://{}', compression: none, retry_on_failure: {{initial_interval: 100ms}}}}",
        sink.address()
    )
}

fn receiver(kafka: &Kafka, topic: &str, group: &str) -> String {
    format!(
        "kafka: {{brokers: ['{}'], group_id: {group}, traces: {{topic: {topic}}}, initial_offset: earliest, \
         session_timeout: 2s, heartbeat_interval: 300ms}}",
        kafka.bootstrap()
    )
}

/// From OTLP over HTTP into a topic, a trace in the partition of its id.
fn front(kafka: &Kafka, topic: &str) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:0'}}}}}}}}\nexporters: {{kafka: {{brokers: ['{}'], \
         traces: {{topic: {topic}}}, partition_traces_by_id: true, producer: {{required_acks: all, compression: lz4}}}}}}\n\
         service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [kafka]}}}}}}",
        kafka.bootstrap()
    )
}

/// The status of the answer, if there is one.
fn post(url: &str, spans: &[Value]) -> Option<u16> {
    let sent = client()
        .post(format!("{url}/v1/traces"))
        .header("content-type", "application/json")
        .send(request(spans).to_string());
    sent.ok().map(|answer| answer.status().as_u16())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_between_two_processes_loses_nothing_over_a_kill_and_skips_what_is_no_request() {
    const TRACES: u64 = 400;
    let Some(kafka) = kafka() else { return };
    let (sink, folder) = (sink().await, tempfile::tempdir().expect("a folder"));
    let topic = kafka.topic("spans", PARTITIONS).await;
    let front = front(&kafka, &topic);
    let back = format!(
        "receivers: {{{}}}\nexporters: {{{}}}\nservice: {{pipelines: {{traces: {{receivers: [kafka], exporters: [otlphttp]}}}}}}",
        receiver(&kafka, &topic, &Kafka::unique("back")),
        otlphttp(&sink)
    );
    let (front, back) = (written(folder.path(), "f.yaml", &front), written(folder.path(), "b.yaml", &back));
    let data = folder.path().join("back");
    let ran =
        tokio::task::block_in_place(|| (serve(&front, &folder.path().join("front")), serve(&back, &data)));
    let (front, receiving) = ran;
    Writer::new(&kafka, &topic).raw("not-a-trace", b"\xff not OTLP").await;
    let send = |numbers: std::ops::Range<u64>| {
        let spans: Vec<Value> = numbers.flat_map(|number| spans(number, false, &[])).collect();
        assert_eq!(post(&front.otlp_http, &spans), Some(200));
    };
    tokio::task::block_in_place(|| {
        (0..TRACES / 2).step_by(50).for_each(|from| send(from..from + 50));
        until("the first spans", || (!arrived(&sink).is_empty()).then_some(()));
        receiving.kill();
        (TRACES / 2..TRACES).step_by(50).for_each(|from| send(from..from + 50));
        let again = serve(&back, &data);
        until("every span", || has_all(&sink, 0..TRACES).then_some(()));
        drop(again);
    });
    let stats = sink.arrived().stats();
    println!("{TRACES} traces, a kill: {} spans arrived, {} distinct", stats.spans, stats.distinct);
    assert_eq!(stats.distinct, 2 * TRACES);
    // What was under way at the kill, at most everything sent before it.
    assert!(stats.spans - stats.distinct <= TRACES, "{} spans came twice", stats.spans - stats.distinct);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_is_counted_and_its_partition_goes_on() {
    let Some(kafka) = kafka() else { return };
    let (sink, folder) = (sink().await, tempfile::tempdir().expect("a folder"));
    let topic = kafka.topic("poison", 1).await;
    let back = format!(
        "receivers: {{{}}}\nexporters: {{{}}}\nservice: {{pipelines: {{traces: {{receivers: [kafka], exporters: [otlphttp]}}}}}}",
        receiver(&kafka, &topic, &Kafka::unique("poison")),
        otlphttp(&sink)
    );
    let back = written(folder.path(), "b.yaml", &back);
    let writer = Writer::new(&kafka, &topic);
    writer.write(1, &spans(1, false, &[])).await;
    writer.raw("x", b"\xff not OTLP").await;
    writer.write(2, &spans(2, false, &[])).await;
    tokio::task::block_in_place(|| {
        let serve = serve(&back, &folder.path().join("data"));
        until("both traces", || has_all(&sink, [1, 2]).then_some(()));
        let line = "throughline_receiver_refused_requests_total{reason=\"malformed\",receiver=\"kafka\",transport=\"kafka\"}";
        assert_eq!(metric(&serve, line), Some(1));
        until("the offset behind the last record", || {
            (committed(&kafka, &serve_group(&back), &topic, 0) == 3).then_some(())
        });
    });
}

/// The group that a configuration names.
fn serve_group(config: &Path) -> String {
    let text = std::fs::read_to_string(config).expect("the configuration");
    let behind = text.split("group_id: ").nth(1).expect("a group");
    behind.split(',').next().expect("its name").to_owned()
}

/// The committed offset; -1 if there is none.
fn committed(kafka: &Kafka, group: &str, topic: &str, partition: i32) -> i64 {
    let consumer: BaseConsumer = kafka.consumer_config(group).create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    let list = consumer.committed_offsets(list, PATIENCE).expect("an answer");
    match list.elements().first().map(|element| element.offset()) {
        Some(Offset::Offset(offset)) => offset,
        _ => -1,
    }
}

fn sampling(kafka: &Kafka, topic: &str, group: &str, wait: &str, sink: &Sink) -> String {
    format!(
        "receivers: {{{}}}\nexporters: {{{}}}\nprocessors:\n  batch: {{timeout: 50ms}}\n  tail_sampling:\n    decision_wait: {wait}\n    \
         policies:\n      - {{name: errors, type: status_code, status_code: {{status_codes: [ERROR]}}}}\n      \
         - {{name: what-a-batch-came-from, type: linked_traces, linked_traces: {{direction: contributors}}}}\n\
         service: {{pipelines: {{traces: {{receivers: [kafka], processors: [tail_sampling, batch], exporters: [otlphttp]}}}}}}",
        receiver(kafka, topic, group),
        otlphttp(sink)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undecided_trace_of_a_killed_sampler_is_decided_by_another() {
    let Some(kafka) = kafka() else { return };
    let (sink, folder) = (sink().await, tempfile::tempdir().expect("a folder"));
    let topic = kafka.topic("undecided", PARTITIONS).await;
    let group = Kafka::unique("undecided");
    let patient = written(folder.path(), "a.yaml", &sampling(&kafka, &topic, &group, "600s", &sink));
    let quick = written(folder.path(), "b.yaml", &sampling(&kafka, &topic, &group, "200ms", &sink));
    let writer = Writer::new(&kafka, &topic);
    let mut places = Vec::new();
    for number in 0..20 {
        places.push(writer.write(number, &spans(number, true, &[])).await);
    }
    tokio::task::block_in_place(|| {
        let first = serve(&patient, &folder.path().join("a"));
        let undecided = "throughline_sampling_undecided_traces{pipeline=\"traces\"}";
        until("all undecided", || (metric(&first, undecided) == Some(20)).then_some(()));
        for (partition, offset) in &places {
            assert!(committed(&kafka, &group, &topic, *partition) <= *offset, "partition {partition}");
        }
        assert!(arrived(&sink).is_empty());
        first.kill();
        let second = serve(&quick, &folder.path().join("b"));
        until("all decided by the other", || has_all(&sink, 0..20).then_some(()));
        until("offsets behind everything", || {
            let highest =
                |partition: i32| places.iter().filter(|it| it.0 == partition).map(|it| it.1 + 1).max();
            (0..PARTITIONS)
                .all(|it| highest(it).is_none_or(|end| committed(&kafka, &group, &topic, it) == end))
                .then_some(())
        });
        drop(second);
    });
    let stats = sink.arrived().stats();
    assert_eq!((stats.spans, stats.distinct), (40, 40));
}

/// How far each partition is committed must be how far these records go.
fn committed_to_the_end(kafka: &Kafka, group: &str, topic: &str, places: &[(i32, i64)]) {
    for partition in 0..PARTITIONS {
        let end = places.iter().filter(|it| it.0 == partition).map(|it| it.1 + 1).max();
        if let Some(end) = end {
            assert_eq!(committed(kafka, group, topic, partition), end, "partition {partition}");
        }
    }
}

/// What a shutdown sends is committed before another process reads: or all of it would be sent once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_shutdown_delivers_is_committed() {
    let Some(kafka) = kafka() else { return };
    for samples in [false, true] {
        let (sink, folder) = (sink().await, tempfile::tempdir().expect("a folder"));
        let topic = kafka.topic("drained", PARTITIONS).await;
        let group = Kafka::unique("drained");
        // Nothing is sent before the end.
        let patient = match samples {
            true => {
                sampling(&kafka, &topic, &group, "100ms", &sink).replace("timeout: 50ms", "timeout: 600s")
            }
            false => format!(
                "receivers: {{{}}}\nexporters: {{{}}}\nprocessors: {{batch: {{timeout: 600s}}}}\n\
                 service: {{pipelines: {{traces: {{receivers: [kafka], processors: [batch], exporters: [otlphttp]}}}}}}",
                receiver(&kafka, &topic, &group),
                otlphttp(&sink)
            ),
        };
        let quick = patient.replace("timeout: 600s", "timeout: 50ms");
        let patient = written(folder.path(), "a.yaml", &patient);
        let quick = written(folder.path(), "b.yaml", &quick);
        let writer = Writer::new(&kafka, &topic);
        let mut places = Vec::new();
        for number in 0..20 {
            places.push(writer.write(number, &spans(number, true, &[])).await);
        }
        tokio::task::block_in_place(|| {
            let first = serve(&patient, &folder.path().join("a"));
            let waiting = "throughline_exporter_queue_items{exporter=\"traces/otlphttp\"}";
            until("all to be sent", || (metric(&first, waiting) == Some(40)).then_some(()));
            assert!(arrived(&sink).is_empty());
            first.terminate();
        });
        assert!(has_all(&sink, 0..20));
        tokio::task::block_in_place(|| committed_to_the_end(&kafka, &group, &topic, &places));
        writer.write(20, &spans(20, true, &[])).await;
        tokio::task::block_in_place(|| {
            let second = serve(&quick, &folder.path().join("b"));
            until("what came since", || has_all(&sink, [20]).then_some(()));
            second.terminate();
        });
        let stats = sink.arrived().stats();
        assert_eq!((stats.spans, stats.distinct), (42, 42), "samples: {samples}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_of_decisions_with_another_number_of_partitions_is_refused_at_the_start() {
    let Some(kafka) = kafka() else { return };
    let (sink, folder) = (sink().await, tempfile::tempdir().expect("a folder"));
    let (topic, decisions) = (kafka.topic("many", PARTITIONS).await, kafka.topic("few", 2).await);
    let config = sampling(&kafka, &topic, &Kafka::unique("refused"), "1s", &sink);
    let config = config.replace("initial_offset", &format!("decisions_topic: {decisions}, initial_offset"));
    let config = written(folder.path(), "s.yaml", &config);
    let mut command = std::process::Command::new(throughline_e2e::serve::binary());
    command.args(["serve", "--ephemeral", "--ui-port", "0", "--tempo-port", "0", "--config"]).arg(config);
    let ended = tokio::task::block_in_place(|| command.output().expect("it runs"));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success(), "{said}");
    let expected =
        format!("{decisions} has 2 partitions and {topic} has {PARTITIONS}; they must have as many");
    assert!(said.contains(&expected), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_added_are_said_and_read_once_the_decisions_have_as_many() {
    let Some(kafka) = kafka() else { return };
    let (sink, folder) = (sink().await, tempfile::tempdir().expect("a folder"));
    let topic = kafka.topic("growing", 2).await;
    let config = sampling(&kafka, &topic, &Kafka::unique("growing"), "100ms", &sink);
    let config = config.replace("initial_offset", "metadata: {refresh_interval: 300ms}, initial_offset");
    let config = written(folder.path(), "s.yaml", &config);
    let admin: AdminClient<DefaultClientContext> = kafka.config().create().expect("an admin client");
    let grow = async |topic: &str| {
        let grown = admin.create_partitions([&NewPartitions::new(topic, 3)], &AdminOptions::new()).await;
        assert!(grown.expect("an answer").iter().all(Result::is_ok), "{topic}");
    };
    Writer::new(&kafka, &topic).write(0, &spans(0, true, &[])).await;
    let log = folder.path().join("log");
    let said = || std::fs::read_to_string(&log).expect("the log");
    let running = tokio::task::block_in_place(|| {
        let mut command = std::process::Command::new("env");
        command.stderr(std::fs::File::create(&log).expect("a log"));
        let (config, data) = (config.display().to_string(), folder.path().join("data").display().to_string());
        let ports = ["--ui-port", "0", "--tempo-port", "0", "--config", &config, "--data-dir", &data];
        let running = Serve::within(command, ports);
        until("the first trace", || has_all(&sink, [0]).then_some(()));
        running
    });
    grow(&topic).await;
    let writer = Writer::new(&kafka, &topic);
    let mut number = 0;
    let in_the_new_one = loop {
        number += 1;
        if writer.write(number, &spans(number, true, &[])).await.0 == 2 {
            break number;
        }
    };
    tokio::task::block_in_place(|| {
        let expected = format!("{topic} had 2 partitions and has 3");
        until("the growth is said", || said().contains(&expected).then_some(()));
        until("the rest goes on", || has_all(&sink, 1..in_the_new_one).then_some(()));
        assert!(!has_all(&sink, [in_the_new_one]), "nobody may decide what has no place for its decision");
        running.kill();
    });
    grow(&format!("{topic}_decisions")).await;
    tokio::task::block_in_place(|| {
        let again = serve(&config, &folder.path().join("data"));
        until("every trace", || has_all(&sink, 0..=in_the_new_one).then_some(()));
        again.terminate();
    });
}

/// What the topic of decisions says of each trace last: 1 not sampled, 2 sampled. Reads on from call to call.
struct Decisions {
    consumer: BaseConsumer,
    verdicts: BTreeMap<String, u8>,
}

impl Decisions {
    fn new(kafka: &Kafka, topic: &str) -> Self {
        let consumer: BaseConsumer =
            kafka.consumer_config(&Kafka::unique("decisions")).create().expect("a consumer");
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&all).expect("assigned");
        Self { consumer, verdicts: BTreeMap::new() }
    }

    fn read(&mut self) {
        while let Some(Ok(record)) = self.consumer.poll(LOOK) {
            let key = String::from_utf8(record.key().expect("a key").to_vec()).expect("text");
            let value = record.payload().expect("a value");
            // Behind the id of the trace stands the verdict (FORMAT.md).
            let id = u128::from_str_radix(&key, 16).ok().map(u128::to_be_bytes);
            let behind = id.and_then(|id| value.windows(16).position(|at| at == id)).map(|at| at + 16);
            if let Some(verdict) = behind.and_then(|at| value.get(at)) {
                self.verdicts.insert(key, *verdict);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_brings_back_what_it_came_from_while_samplers_are_killed() {
    const ROUNDS: u64 = 6;
    const CHECKOUTS: u64 = 60;
    let Some(kafka) = kafka() else { return };
    let (sink, folder) = (sink().await, tempfile::tempdir().expect("a folder"));
    let topic = kafka.topic("checkouts", PARTITIONS).await;
    let group = Kafka::unique("samplers");
    let config = written(folder.path(), "s.yaml", &sampling(&kafka, &topic, &group, "300ms", &sink));
    let data = |at: usize| folder.path().join(format!("sampler-{at}"));
    let mut samplers: Vec<Option<Serve>> =
        tokio::task::block_in_place(|| (0..3).map(|at| Some(serve(&config, &data(at)))).collect());
    let writer = Writer::new(&kafka, &topic);
    let mut decisions = Decisions::new(&kafka, &format!("{topic}_decisions"));
    let (mut kept, mut passed_over) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let base = round * 1_000;
        let checkouts: Vec<u64> = (base..base + CHECKOUTS).collect();
        for number in &checkouts {
            writer.write(*number, &spans(*number, false, &[])).await;
        }
        tokio::task::block_in_place(|| {
            until("every checkout is passed over", || {
                decisions.read();
                checkouts.iter().all(|it| decisions.verdicts.contains_key(&trace_id(*it))).then_some(())
            });
            assert!(checkouts.iter().all(|it| decisions.verdicts[&trace_id(*it)] == 1), "none was kept");
            assert!(!has_all(&sink, checkouts.first().copied()), "nothing of them has gone out");
            let at = usize::try_from(round % 3).expect("small");
            samplers[at].take().into_iter().for_each(Serve::kill);
        });
        // Half of them are what a settlement that failed came from; two batches link to a part each.
        let (first, rest) = checkouts.split_at(15);
        let (second, left) = rest.split_at(15);
        for (batch, links) in [(base + 900, first), (base + 901, second)] {
            writer.write(batch, &spans(batch, true, links)).await;
            kept.push(batch);
            kept.extend(links);
        }
        passed_over.extend_from_slice(left);
        tokio::task::block_in_place(|| {
            let at = usize::try_from(round % 3).expect("small");
            samplers[at] = Some(serve(&config, &data(at)));
        });
    }
    tokio::task::block_in_place(|| {
        let missing = || {
            let arrived = arrived(&sink);
            let whole = |it: &&u64| arrived.get(&trace_id(**it)).is_none_or(|spans| spans.len() < 2);
            kept.iter().filter(whole).copied().collect::<Vec<u64>>()
        };
        let begun = std::time::Instant::now();
        while !missing().is_empty() {
            assert!(begun.elapsed() < PATIENCE, "lost: {:?}", missing());
            std::thread::park_timeout(LOOK);
        }
    });
    let arrived = arrived(&sink);
    assert!(
        passed_over.iter().all(|it| !arrived.contains_key(&trace_id(*it))),
        "only what is linked comes back"
    );
    let stats = sink.arrived().stats();
    let twice = stats.spans - stats.distinct;
    println!("{ROUNDS} kills: {} traces kept, {} spans, {twice} of them twice", kept.len(), stats.distinct);
    assert_eq!(stats.distinct, 2 * kept.len() as u64);
    // A kill may send again what was kept and not acknowledged, or not known to be: what two rounds keep at most.
    assert!(twice <= 2 * stats.distinct, "{twice} spans came twice");
}

/// Beside the OpenTelemetry Collector, which `cargo xtask peer` builds.
#[cfg(feature = "peer")]
mod beside {
    use std::process::{Child, Command};

    use super::*;

    const TRACES: u64 = 300;

    /// The peer: OTLP over HTTP into the topic.
    struct Peer {
        child: Child,
        otlp_http: String,
    }

    impl Peer {
        fn start(kafka: &Kafka, topic: &str, folder: &Path) -> Self {
            let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            let address = free.local_addr().expect("its address");
            let config = format!(
                "receivers: {{otlp: {{protocols: {{http: {{endpoint: '{address}'}}}}}}}}\nexporters: {{kafka: {{brokers: ['{}'], \
                 traces: {{topic: {topic}}}, partition_traces_by_id: true}}}}\nservice:\n  telemetry: {{metrics: {{level: none}}}}\n  \
                 pipelines: {{traces: {{receivers: [otlp], exporters: [kafka]}}}}\n",
                kafka.bootstrap()
            );
            let config = written(folder, "peer.yaml", &config);
            drop(free);
            let program = std::env::var_os("THROUGHLINE_PEER").expect("cargo xtask peer");
            let child = Command::new(program).arg("--config").arg(config).spawn().expect("the peer starts");
            Self { child, otlp_http: format!("http://{address}") }
        }
    }

    impl Drop for Peer {
        fn drop(&mut self) {
            // A test that is over.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// Key and partition of every record, once there are so many.
    fn records(kafka: &Kafka, topic: &str, count: usize) -> Vec<(String, i32)> {
        let consumer: BaseConsumer =
            kafka.consumer_config(&Kafka::unique("looking")).create().expect("a consumer");
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&all).expect("assigned");
        let mut records = Vec::new();
        until("every record", || {
            while let Some(Ok(record)) = consumer.poll(LOOK) {
                let key = String::from_utf8(record.key().expect("a key").to_vec()).expect("text");
                records.push((key, record.partition()));
            }
            (records.len() >= count).then_some(())
        });
        records
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_peers_exporter_and_ours_write_to_one_topic_and_samplers_share_it() {
        let Some(kafka) = kafka() else { return };
        let (sink, folder) = (sink().await, tempfile::tempdir().expect("a folder"));
        let topic = kafka.topic("shared", PARTITIONS).await;
        let config = sampling(&kafka, &topic, &Kafka::unique("shared"), "2s", &sink);
        let samplers = written(folder.path(), "s.yaml", &config);
        let front = written(folder.path(), "f.yaml", &front(&kafka, &topic));
        tokio::task::block_in_place(|| {
            let peer = Peer::start(&kafka, &topic, folder.path());
            let front = serve(&front, &folder.path().join("front"));
            let samplers = ["a", "b"].map(|name| serve(&samplers, &folder.path().join(name)));
            until("the peer answers", || post(&peer.otlp_http, &[]));
            // Of each trace one span goes through the peer and the other, which failed, through ours; or the other way round.
            for numbers in (0..TRACES).collect::<Vec<_>>().chunks(50) {
                let mut ways = [Vec::new(), Vec::new()];
                for number in numbers {
                    for (span, way) in spans(*number, true, &[]).into_iter().zip([number % 2, 1 - number % 2])
                    {
                        ways[way as usize].push(span);
                    }
                }
                for (url, spans) in [&front.otlp_http, &peer.otlp_http].into_iter().zip(&ways) {
                    assert_eq!(post(url, spans), Some(200));
                }
            }
            let mut partitions: BTreeMap<String, Vec<i32>> = BTreeMap::new();
            for (key, partition) in records(&kafka, &topic, 2 * TRACES as usize) {
                partitions.entry(key).or_default().push(partition);
            }
            assert_eq!(partitions.len() as u64, TRACES);
            for (key, partitions) in &partitions {
                assert!(partitions.len() == 2 && partitions[0] == partitions[1], "{key}: {partitions:?}");
            }
            let used: BTreeSet<i32> = partitions.values().flatten().copied().collect();
            assert_eq!(used.len(), PARTITIONS as usize, "a test of one partition would show nothing");
            until("every trace is kept whole", || has_all(&sink, 0..TRACES).then_some(()));
            let decided = "throughline_sampling_decisions_total{pipeline=\"traces\",reason=\"errors\",verdict=\"sampled\"}";
            let decided: u64 = samplers.iter().filter_map(|sampler| metric(sampler, decided)).sum();
            assert_eq!(decided, TRACES, "each is decided once, by one of them");
        });
        let stats = sink.arrived().stats();
        assert_eq!((stats.spans, stats.distinct), (2 * TRACES, 2 * TRACES));
    }
}
