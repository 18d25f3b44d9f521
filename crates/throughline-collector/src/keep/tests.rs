//! What the threads do when the disk is full; everything else of them is tested through the whole backend.

use std::path::Path;

use throughline_journal::Options;
use throughline_journal::sim::SimFs;
use throughline_otlp::json::to_protobuf;
use throughline_store::StoreOptions;

use super::*;
use crate::intake::wall_clock;

fn trace(number: u64) -> TraceId {
    TraceId::from_hex(&format!("{number:x}")).unwrap()
}

fn request(number: u64) -> Vec<u8> {
    let span = format!(r#"{{"traceId":"{}","spanId":"00000000000000aa","name":"a"}}"#, trace(number));
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
    to_protobuf(Signal::Traces, json.as_bytes()).unwrap()
}

/// Over a store that closes its block at each commit.
fn keep(dir: &Path) -> Arc<Keep> {
    let options = StoreOptions { block_documents: 1, ..StoreOptions::default() };
    let store = Arc::new(Store::open(dir, options).unwrap());
    let disk = Arc::new(SimFs::new(1));
    let (journal, recovery) = Journal::open(disk, Path::new("/journal"), Options::default()).unwrap();
    let bounds = Bounds { queue_bytes: 1000, commit_every: Duration::from_secs(5) };
    let feeds = Feeds { traces: vec![0], logs: vec![0], kept: Vec::new() };
    Keep::recovered(journal, store, dir.to_path_buf(), bounds, feeds, &recovery)
}

#[test]
fn a_full_disk_costs_the_oldest_block_and_never_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let keep = keep(dir.path());
    for position in 1..=3 {
        keep.ingest(position, wall_clock(), Signal::Traces, &request(position));
        keep.commit();
    }
    let kept = || -> Vec<u64> { (1..=3).filter(|n| keep.store.has_trace(trace(*n)).unwrap()).collect() };
    for expected in [vec![1, 2, 3], vec![2, 3], vec![3], vec![3]] {
        assert_eq!(kept(), expected);
        keep.make_room();
    }
    assert_eq!(keep.state().counts.blocks_dropped_for_room, 2);
    assert_eq!(keep.store.committed(), Some(3), "what was dropped is not indexed again");
}

#[test]
fn a_request_the_store_cannot_take_is_counted_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let keep = keep(dir.path());
    let mut arrivals = keep.arrivals();
    keep.ingest(1, wall_clock(), Signal::Traces, b"\xff");
    keep.ingest(2, wall_clock(), Signal::Traces, &request(2));
    assert_eq!(keep.state().counts.quarantined, 1);
    assert_eq!(*arrivals.try_recv().unwrap(), []);
    assert_eq!(*arrivals.try_recv().unwrap(), [trace(2)]);
}

#[test]
fn a_thread_that_panics_makes_the_backend_unready() {
    let dir = tempfile::tempdir().unwrap();
    let keep = keep(dir.path());
    assert_eq!(keep.readiness(), Ok(()));
    let panicking = Arc::clone(&keep);
    let thread = thread::spawn(move || panicking.guarded(|_| panic!("on purpose")));
    assert!(thread.join().is_err());
    assert_eq!(keep.readiness(), Err("a thread panicked, see the log: restart".to_owned()));
}
