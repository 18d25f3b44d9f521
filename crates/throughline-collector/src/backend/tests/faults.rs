//! A disk that is full, fails or loses power under a running backend; a thread that panics; a record that is damaged.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use ::http::Method;
use prost::Message;
use throughline_journal::sim::{SimFs, Tear};

use super::client::{Called, Grpc, PROTOBUF, TRACES, http};
use super::requests::{trace, traces};
use super::*;

const UNAVAILABLE: u32 = 14;

async fn start_on(config: Config, disk: &SimFs) -> Backend {
    timeout(PATIENCE, Backend::start_on(config, Arc::new(disk.clone()))).await.unwrap().unwrap()
}

fn at(path: &Path) -> Config {
    Config { data: DataFolder::Persistent(path.to_path_buf()), ..config() }
}

async fn send(client: &mut Grpc, number: u64) -> Called {
    client.export(TRACES, &traces(&[(number, 1, "a")]).encode_to_vec()).await
}

#[tokio::test]
async fn a_full_disk_is_a_retryable_refusal_and_passes() {
    let disk = SimFs::new(1);
    let backend = start_on(config(), &disk).await;
    disk.set_capacity(Some(4096));
    let mut arrivals = backend.arrivals();
    let mut client = Grpc::connect(backend.addresses().grpc.unwrap()).await;
    let called = send(&mut client, 1).await;
    assert_eq!((called.status, called.retry), (UNAVAILABLE, true), "{}", called.message);
    assert!(called.message.starts_with("journal is full: no room on the disk: "), "{}", called.message);

    let body = traces(&[(1, 1, "a")]).encode_to_vec();
    let answered =
        http(backend.addresses().http.unwrap(), Method::POST, "/v1/traces", &[PROTOBUF], body).await;
    assert_eq!((answered.status, answered.header("retry-after")), (503, "1"));
    assert!(answered.body.windows(20).any(|window| window == b"google.rpc.RetryInfo"));
    let page = backend.metrics();
    for line in [
        "otelcol_receiver_refused_spans{receiver=\"otlp\",transport=\"grpc\"} 1\n",
        "otelcol_receiver_refused_spans{receiver=\"otlp\",transport=\"http\"} 1\n",
        "requests_total{reason=\"unavailable\",receiver=\"otlp\",transport=\"http\"} 1\n",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }

    disk.set_capacity(None);
    assert_eq!(send(&mut client, 1).await.status, 0, "the retry succeeds");
    arrived(&mut arrivals, &[trace(1)]).await;
    backend.shutdown().await;
}

#[tokio::test]
async fn a_failed_sync_stops_acknowledging_and_a_restart_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SimFs::new(2);
    let backend = start_on(at(dir.path()), &disk).await;
    let mut client = Grpc::connect(backend.addresses().grpc.unwrap()).await;
    assert_eq!(send(&mut client, 1).await.status, 0);
    disk.fail_syncs(1);
    for number in 2..4 {
        let called = send(&mut client, number).await;
        assert_eq!((called.status, called.retry), (UNAVAILABLE, true), "{}", called.message);
    }
    let why = backend.readiness().unwrap_err();
    assert!(why.starts_with("the journal is stopped: "), "{why}");
    drop(backend);

    let backend = start_on(at(dir.path()), &disk.restart(Tear::Sectors)).await;
    assert_eq!(backend.readiness(), Ok(()));
    let mut arrivals = backend.arrivals();
    let mut client = Grpc::connect(backend.addresses().grpc.unwrap()).await;
    assert_eq!(send(&mut client, 4).await.status, 0);
    arrived(&mut arrivals, &[trace(4)]).await;
    assert_eq!(spans(&backend.store(), trace(1)), ["a"]);
    backend.shutdown().await;
}

/// Sends from several connections until the power goes. Gives the traces that were acknowledged.
async fn load_until_power_loss(backend: &Backend, disk: &SimFs) -> Vec<u64> {
    const CONNECTIONS: u64 = 4;
    let mut senders = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let mut client = Grpc::connect(backend.addresses().grpc.unwrap()).await;
        let disk = disk.clone();
        senders.spawn(async move {
            let mut acknowledged = Vec::new();
            for call in 0.. {
                let number = call * CONNECTIONS + connection;
                if send(&mut client, number).await.status != 0 {
                    assert!(disk.is_off(), "nothing else may refuse");
                    break;
                }
                acknowledged.push(number);
            }
            acknowledged
        });
    }
    senders.join_all().await.concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_over_a_power_loss() {
    // The journal's own simulation has thousands; this one is about what stands around it.
    const SEEDS: u64 = 5;
    let mut total = 0;
    for seed in 0..SEEDS {
        let dir = tempfile::tempdir().unwrap();
        let disk = SimFs::new(seed);
        let backend = start_on(at(dir.path()), &disk).await;
        disk.cut_power_after(40 + seed * 17);
        let acknowledged = load_until_power_loss(&backend, &disk).await;
        drop(backend);
        // The store's folder went with the power too: what it had not synced is not what this is about.
        fs::remove_dir_all(dir.path().join("store")).unwrap();
        let tear = if seed % 2 == 0 { Tear::Sectors } else { Tear::Bytes };
        let backend = start_on(at(dir.path()), &disk.restart(tear)).await;
        let store = backend.store();
        let lost: Vec<_> =
            acknowledged.iter().filter(|number| spans(&store, trace(**number)) != ["a"]).collect();
        assert!(lost.is_empty(), "seed {seed}: {} acknowledged, lost {lost:?}", acknowledged.len());
        total += acknowledged.len();
    }
    println!("power loss: {SEEDS} seeds, {total} requests acknowledged, 0 lost");
    assert!(total > 50, "a test of nothing: {total}");
}

#[tokio::test]
async fn writes_that_fail_refuse_retryably() {
    let disk = SimFs::new(3);
    let backend = start_on(config(), &disk).await;
    let mut client = Grpc::connect(backend.addresses().grpc.unwrap()).await;
    assert_eq!(send(&mut client, 1).await.status, 0);
    disk.fail_write(0, ErrorKind::StorageFull);
    let called = send(&mut client, 2).await;
    assert_eq!((called.status, called.retry), (UNAVAILABLE, true), "{}", called.message);
    disk.heal_writes();
    assert_eq!(send(&mut client, 2).await.status, 0, "a full disk is not a broken one");
    backend.shutdown().await;
}

#[tokio::test]
async fn too_much_in_flight_is_a_retryable_refusal() {
    let backend = start(limited(|limits| limits.in_flight_bytes = 1000)).await;
    let mut client = Grpc::connect(backend.addresses().grpc.unwrap()).await;
    let large = traces(&[(1, 1, &"x".repeat(2000))]).encode_to_vec();
    let called = client.export(TRACES, &large).await;
    assert_eq!((called.status, called.retry), (8, true), "{}", called.message);
    let answered =
        http(backend.addresses().http.unwrap(), Method::POST, "/v1/traces", &[PROTOBUF], large).await;
    assert_eq!((answered.status, answered.header("retry-after")), (429, "1"));
    assert_eq!(send(&mut client, 1).await.status, 0, "what was reserved is given back");
    backend.shutdown().await;
}

#[tokio::test]
async fn a_damaged_record_is_counted_and_costs_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SimFs::new(5);
    let mut uncommitted = at(dir.path());
    uncommitted.limits.commit_every = Duration::from_secs(3600);
    let backend = start_on(uncommitted, &disk).await;
    let mut client = Grpc::connect(backend.addresses().grpc.unwrap()).await;
    for (number, name) in [(0, "first"), (1, "victim"), (2, "last")] {
        assert_eq!(client.export(TRACES, &traces(&[(number, 1, name)]).encode_to_vec()).await.status, 0);
    }
    drop(backend);
    for path in disk.files() {
        disk.damage(&path, |bytes| {
            if let Some(at) = bytes.windows(6).position(|window| window == b"victim") {
                bytes[at] ^= 1;
            }
        });
    }
    let backend = start_on(at(dir.path()), &disk).await;
    assert_eq!(backend.readiness(), Ok(()));
    let found: Vec<_> = (0..3).map(|number| spans(&backend.store(), trace(number))).collect();
    assert_eq!(found, [vec!["first".to_owned()], vec![], vec!["last".to_owned()]]);
    assert!(backend.metrics().contains("throughline_quarantined_records_total 1\n"), "{}", backend.metrics());
    backend.shutdown().await;
}

/// A store whose folder is gone while it works: nothing acknowledged may be lost, and memory may not grow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_store_fills_the_journal_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = at(dir.path());
    config.limits.message_bytes = 1 << 20;
    config.limits.queue_bytes = 1 << 20;
    config.limits.commit_every = Duration::from_millis(100);
    config.journal_bytes = 32 << 20;
    let backend = start_on(config, &SimFs::new(4)).await;
    let (store_dir, aside) = (dir.path().join("store"), dir.path().join("aside"));
    fs::rename(&store_dir, &aside).unwrap();
    fs::write(&store_dir, "in the way").unwrap();

    let name = "x".repeat(500_000);
    let mut client = Grpc::connect(backend.addresses().grpc.unwrap()).await;
    let mut acknowledged = 0;
    let refused = loop {
        let called = client.export(TRACES, &traces(&[(acknowledged, 1, &name)]).encode_to_vec()).await;
        if called.status != 0 {
            break called;
        }
        acknowledged += 1;
    };
    assert!((50..70).contains(&acknowledged), "{acknowledged} half megabytes fit into 32 MiB");
    assert_eq!((refused.status, refused.retry), (UNAVAILABLE, true));
    assert_eq!(refused.message, "journal is full: all segments up to the cap are still needed by store");
    let mut health = backend.keep.health();
    timeout(PATIENCE, health.wait_for(|health| health.failing.is_some())).await.unwrap().unwrap();
    assert!(backend.readiness().unwrap_err().starts_with("the store refuses: "));

    fs::remove_file(&store_dir).unwrap();
    fs::rename(&aside, &store_dir).unwrap();
    timeout(PATIENCE, health.wait_for(|health| health.failing.is_none())).await.unwrap().unwrap();
    let mut arrivals = backend.arrivals();
    let all: Vec<TraceId> = (0..acknowledged).map(trace).collect();
    let store = backend.store();
    while all.iter().any(|id| spans(&store, *id).is_empty()) {
        timeout(PATIENCE, arrivals.recv()).await.unwrap().unwrap();
    }
    backend.shutdown().await;
}
