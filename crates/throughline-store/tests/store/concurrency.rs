//! Readers beside ingest, commits, merges and retention never miss what was accepted, and never see it twice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use throughline_otlp::Signal;
use throughline_store::{Ingest, Search, Store, StoreOptions};

use crate::build::{LogSpec, SpanSpec, logs, seconds, trace_id, traces};

const REQUESTS: u64 = 600;

#[test]
fn what_was_accepted_is_seen_once_at_every_moment() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { block_documents: 50, memory_documents: 30, ..StoreOptions::default() };
    let store = Store::open(dir.path(), options).unwrap();
    let (accepted, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            ingest(&store, &accepted);
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                store.commit().unwrap();
                store.enforce_retention(seconds(1)).unwrap();
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    look(&store, &accepted);
                }
            });
        }
    });
    look(&store, &accepted);
    assert_eq!(store.stats().set_aside, []);
    assert!(store.stats().blocks > 5, "{:?}", store.stats());
}

/// Traces 1 to 5 get a span, trace 9 a record, in turns.
fn ingest(store: &Store, accepted: &AtomicU64) {
    for position in 1..=REQUESTS {
        let (trace, start) = (1 + (position % 5) as u8, position);
        let spec = SpanSpec { trace, id: 1 + (position / 5) as u8, start, ..SpanSpec::default() };
        let otlp = match position % 2 {
            0 => traces(&[spec]),
            _ => logs(&[LogSpec { trace: 9, time: position, ..LogSpec::default() }]),
        };
        let signal = if position % 2 == 0 { Signal::Traces } else { Signal::Logs };
        store.ingest(Ingest { position, arrived: seconds(1), signal, otlp: &otlp }).unwrap();
        accepted.store(position, Ordering::SeqCst);
    }
}

fn look(store: &Store, accepted: &AtomicU64) {
    let at_least = accepted.load(Ordering::SeqCst);
    let records = store.trace(trace_id(9)).unwrap().logs;
    let spans: usize = (1..=5).map(|trace| store.trace(trace_id(trace)).unwrap().spans.len()).sum();
    let found = store.search(&Search { limit: 100, ..Search::default() }).unwrap();
    let at_most = accepted.load(Ordering::SeqCst) + 1;
    let searched: usize = found.iter().map(|hit| hit.matched).sum();
    let odd = |requests: u64| requests.div_ceil(2) as usize;
    let even = |requests: u64| (requests / 2) as usize;
    assert!(
        (odd(at_least)..=odd(at_most)).contains(&records.len()),
        "{} records of {at_least}",
        records.len()
    );
    assert!((even(at_least)..=even(at_most)).contains(&spans), "{spans} spans of {at_least}");
    assert!((even(at_least)..=even(at_most)).contains(&searched), "{searched} found of {at_least}");
    let times: Vec<u64> = records.iter().map(|log| log.time.0).collect();
    assert_eq!(
        times,
        (0..records.len() as u64).map(|n| 2 * n + 1).collect::<Vec<_>>(),
        "in order, none twice"
    );
}
