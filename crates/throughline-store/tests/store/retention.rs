//! Blocks: when one is closed, merged and dropped.

use std::time::Duration;

use throughline_otlp::UnixNanos;
use throughline_store::{Search, Store, StoreOptions};

use crate::build::{Bench, SpanSpec, directories, seconds, trace_id};

/// Blocks of two spans, one trace each, arriving a second apart.
fn five_blocks(options: StoreOptions) -> Bench {
    let mut bench = Bench::with(StoreOptions { block_documents: 2, ..options });
    for trace in 1..=5 {
        let span = |id| SpanSpec { trace, id, start: u64::from(trace), ..SpanSpec::default() };
        bench.spans(&[span(1), span(2)]);
        bench.store.commit().unwrap();
    }
    assert_eq!(bench.store.stats().blocks, 5);
    bench
}

fn kept(store: &Store) -> Vec<u8> {
    (1..=5).filter(|trace| store.has_trace(trace_id(*trace)).unwrap()).collect()
}

#[test]
fn blocks_past_the_age_are_dropped_whole_and_stay_dropped() {
    let bench =
        five_blocks(StoreOptions { retention_age: Duration::from_secs(10), ..StoreOptions::default() });
    assert_eq!(bench.store.enforce_retention(seconds(11)).unwrap().blocks, 0);
    let retired = bench.store.enforce_retention(seconds(13)).unwrap();
    assert_eq!((retired.blocks, retired.spans, retired.logs), (2, 4, 0));
    assert!(retired.bytes > 0);
    let said = format!("2 blocks with 4 spans and 0 log records, {} bytes", retired.bytes);
    assert_eq!(retired.to_string(), said);
    assert_eq!(kept(&bench.store), [3, 4, 5]);
    assert_eq!(directories(bench.path(), "").len(), 3);
    assert_eq!(bench.store.search(&Search::default()).unwrap().len(), 3);
    let bench = bench.reopen();
    assert_eq!(kept(&bench.store), [3, 4, 5]);
    assert_eq!(bench.store.stats().set_aside, []);
}

#[test]
fn when_all_blocks_are_dropped_the_position_remains() {
    let bench =
        five_blocks(StoreOptions { retention_age: Duration::from_secs(10), ..StoreOptions::default() });
    assert_eq!(bench.store.enforce_retention(seconds(1_000)).unwrap().blocks, 5);
    let mut bench = bench.reopen();
    assert_eq!(bench.store.committed(), Some(5));
    assert_eq!((kept(&bench.store), directories(bench.path(), "").len()), (vec![], 0));
    bench.spans(&[SpanSpec::default()]);
    assert_eq!(bench.store.commit().unwrap(), Some(6));
    assert_eq!(kept(&bench.store), [1]);
}

#[test]
fn over_the_size_the_oldest_go_until_it_fits() {
    let bench = five_blocks(StoreOptions { block_bytes: 1 << 20, ..StoreOptions::default() });
    let bytes = bench.store.stats().disk_bytes;
    let retention_bytes = bytes * 7 / 10;
    let bench =
        Bench { options: StoreOptions { retention_bytes, ..bench.options.clone() }, ..bench }.reopen();
    let retired = bench.store.enforce_retention(seconds(6)).unwrap();
    assert!(bench.store.stats().disk_bytes <= retention_bytes);
    assert_eq!(retired.blocks, 2);
    assert_eq!(kept(&bench.store), [3, 4, 5]);
}

#[test]
fn on_request_the_oldest_block_goes_and_never_the_open_one() {
    let bench = five_blocks(StoreOptions::default());
    let dropped: Vec<usize> = (0..6).map(|_| bench.store.drop_oldest().unwrap().blocks).collect();
    assert_eq!(dropped, [1, 1, 1, 1, 0, 0]);
    assert_eq!(kept(&bench.store), [5]);
    assert_eq!(kept(&bench.reopen().store), [5]);
}

#[test]
fn a_block_is_closed_by_age_and_an_open_one_is_not_dropped() {
    let options = StoreOptions { block_age: Duration::from_secs(10), ..StoreOptions::default() };
    let mut bench = Bench::with(options);
    let commit = |bench: &mut Bench, now| {
        bench.spans(&[SpanSpec::default()]);
        bench.store.commit().unwrap();
        bench.store.enforce_retention(now).unwrap();
        bench.store.stats().blocks
    };
    assert_eq!(commit(&mut bench, seconds(2)), 1);
    assert_eq!(commit(&mut bench, seconds(11)), 1);
    assert_eq!(commit(&mut bench, seconds(12)), 2);
}

#[test]
fn closed_blocks_become_one_segment_also_after_reopening() {
    let mut bench = Bench::with(StoreOptions { block_documents: 6, ..StoreOptions::default() });
    for trace in 1..=5 {
        for id in 1..=3 {
            bench.spans(&[SpanSpec { trace, id, ..SpanSpec::default() }]);
            bench.store.commit().unwrap();
        }
    }
    let mut bench = bench.reopen();
    assert_eq!(bench.store.stats().blocks, 3);
    // The last block stays open and keeps its three segments.
    let merged = (0..10_000).any(|_| {
        bench.store.enforce_retention(UnixNanos(0)).unwrap();
        std::thread::yield_now();
        bench.store.stats().segments == 2 + 3
    });
    assert!(merged, "{} segments", bench.store.stats().segments);
    assert_eq!(bench.store.stats().failed_merges, 0);
    assert_eq!(
        bench.store.search(&Search::default()).unwrap().iter().map(|hit| hit.matched).sum::<usize>(),
        15
    );
    bench.spans(&[SpanSpec::default()]);
    assert_eq!(bench.store.commit().unwrap(), Some(16));
}

#[test]
fn an_interrupted_drop_is_finished_on_open() {
    let bench = five_blocks(StoreOptions::default());
    let Bench { dir, options, store, .. } = bench;
    drop(store);
    let first = &directories(dir.path(), "")[0];
    std::fs::rename(first, first.with_extension("dropped")).unwrap();
    let store = Store::open(dir.path(), options).unwrap();
    assert_eq!(kept(&store), [2, 3, 4, 5]);
    assert_eq!(directories(dir.path(), ".dropped").len(), 0);
}

/// Five blocks of which the first two were found damaged.
fn two_set_aside(options: StoreOptions) -> Bench {
    let Bench { dir, options, store, .. } = five_blocks(options);
    drop(store);
    for block in &directories(dir.path(), "")[..2] {
        std::fs::remove_file(block.join("meta.json")).unwrap();
    }
    let store = Store::open(dir.path(), options.clone()).unwrap();
    assert_eq!((store.stats().set_aside.len(), store.stats().blocks), (2, 3));
    Bench { dir, options, store, next: 6 }
}

fn lying(bench: &Bench) -> (usize, bool) {
    (directories(bench.path(), ".damaged").len(), bench.store.stats().set_aside_bytes > 0)
}

#[test]
fn what_was_set_aside_goes_at_the_retention_age_counted_from_when_it_was_seen() {
    let age = Duration::from_secs(100);
    let bench = two_set_aside(StoreOptions { retention_age: age, ..StoreOptions::default() });
    assert_eq!(bench.store.enforce_retention(seconds(50)).unwrap().blocks, 0);
    // Whoever runs by then.
    let bench = bench.reopen();
    assert_eq!(bench.store.enforce_retention(seconds(80)).unwrap().blocks, 0);
    assert_eq!((lying(&bench), kept(&bench.store)), ((2, true), vec![3, 4, 5]));
    let retired = bench.store.enforce_retention(seconds(151)).unwrap();
    assert_eq!((retired.blocks, retired.set_aside, retired.spans), (2 + 3, 2, 6), "the others are as old");
    assert!(retired.to_string().ends_with("; 2 of them had been set aside as damaged"), "{retired}");
    assert_eq!(lying(&bench), (0, false));
}

#[test]
fn what_was_set_aside_counts_towards_the_size_and_goes_before_what_is_whole() {
    let bench = two_set_aside(StoreOptions { block_bytes: 1 << 20, ..StoreOptions::default() });
    let stats = bench.store.stats();
    for (room, left) in [(stats.set_aside_bytes, 2), (stats.set_aside_bytes - 1, 1), (0, 0)] {
        let options = StoreOptions { retention_bytes: stats.disk_bytes + room, ..bench.options.clone() };
        let store = Store::open(bench.path(), options).unwrap();
        store.enforce_retention(seconds(6)).unwrap();
        assert_eq!(
            (directories(bench.path(), ".damaged").len(), kept(&store)),
            (left, vec![3, 4, 5]),
            "{room}"
        );
        assert_eq!(store.stats().set_aside_bytes > 0, left > 0);
    }
}

#[test]
fn on_a_full_disk_what_was_set_aside_goes_first() {
    let bench = two_set_aside(StoreOptions::default());
    let dropped: Vec<_> = (0..5).map(|_| bench.store.drop_oldest().unwrap()).collect();
    let dropped: Vec<_> = dropped.iter().map(|retired| (retired.set_aside, retired.blocks)).collect();
    assert_eq!(dropped, [(1, 1), (1, 1), (0, 1), (0, 1), (0, 0)]);
    assert_eq!((lying(&bench), kept(&bench.store)), ((0, false), vec![5]));
}
