//! The demo on real Kafka: one run, and one through a broker restart and two rebalances.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use throughline_e2e::kafka::{kafka, own_broker};

use super::process::{Demo, FREE_PORTS, binary, get, run, wait_for};
use super::stays_up::BODY;

#[test]
fn once_on_real_kafka() {
    let Some(kafka) = kafka() else { return };
    let ended = run(&[&["demo", "--once", "--bootstrap", kafka.bootstrap()], &FREE_PORTS[..]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("linked_trace_id_count: 5"), "{}", ended.stdout);
}

/// A second payment-worker, so that the group rebalances; it ends when its standard input does.
struct SecondWorker {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Read to its end: a worker that is given partitions once more says so, and must find somebody to say it to.
    stdout: BufReader<ChildStdout>,
}

impl SecondWorker {
    /// Returns once the group has given it partitions.
    fn join(demo: &Demo) -> Self {
        let mut child = Command::new(binary())
            .args(["demo-service", "payment-worker"])
            .env("KAFKA_BOOTSTRAP_SERVERS", demo.url("bootstrap"))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", demo.url("otlp_http"))
            // Nobody starts this one again: it must outlast a broker that takes its time to come back.
            .env("CHECKOUT_DELIVERY_TIMEOUT_MS", "60000")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.contains("assigned"), "{line:?}");
        Self { child, stdin, stdout }
    }

    /// Leaves the group in order: its partitions go back.
    fn leave(mut self) {
        self.stdin = None;
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}, after it said {said:?}");
    }
}

impl Drop for SecondWorker {
    fn drop(&mut self) {
        // Left already, or a test that failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_broker_restart_and_rebalances_leave_no_message_and_cut_no_trace() {
    let Some(mut broker) = own_broker(&[]) else { return };
    let mut demo = Demo::start(&["--bootstrap", broker.bootstrap()]);
    assert_eq!(demo.event("run")["ok"], true);
    let mut taken: Vec<String> = Vec::new();
    let mut take = |demo: &Demo, count: usize| {
        for _ in 0..count {
            let id = wait_for("a checkout that is taken", || {
                let (status, id, _) = demo.post(BODY);
                (status == 202).then_some(id)
            });
            taken.push(id);
        }
    };

    take(&demo, 5);
    let second = SecondWorker::join(&demo);
    take(&demo, 10);
    broker.kill().unwrap();
    let (status, refused, answer) = demo.post(BODY);
    assert_eq!(status, 503, "a Kafka that is gone: {answer}");
    broker.restart().unwrap();
    take(&demo, 10);
    second.leave();
    take(&demo, 5);

    for id in &taken {
        wait_for("a whole trace of each checkout that was taken", || whole(&demo, id).then_some(()));
    }
    // The one that was refused says why.
    let trace = wait_for("the trace of the refused one", || {
        let trace = get(&format!("{}/tl/v1/trace/{refused}", demo.url("ui")));
        (trace["errors"].as_u64() > Some(0)).then_some(trace)
    });
    let spans = trace["spans"].as_array().unwrap();
    let failed = spans.iter().find(|span| span["kind"] == "producer").expect("its send span");
    assert_eq!((&failed["status"], failed["attributes"]["error.type"].is_string()), (&"error".into(), true));
}

/// All three hops in one trace, nothing missing in between, and a batch after it.
fn whole(demo: &Demo, id: &str) -> bool {
    let trace = get(&format!("{}/tl/v1/trace/{id}", demo.url("ui")));
    let spans = trace["spans"].as_array().cloned().unwrap_or_default();
    let has = |service: &str, operation: &str| {
        spans.iter().any(|span| span["service"] == service && span["operation"] == operation)
    };
    let linked = trace["linked"].as_array().cloned().unwrap_or_default();
    has("api", "send orders")
        && has("payment-worker", "process orders")
        && has("payment-worker", "send payments")
        && has("email-worker", "process payments")
        && has("email-worker", "send notifications")
        && trace["missing"].as_array().is_some_and(Vec::is_empty)
        && linked
            .iter()
            .any(|linked| linked["service"] == "batcher" && linked["linked_trace_id_count"].is_i64())
}
