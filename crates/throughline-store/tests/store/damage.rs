//! Damaged and foreign folders.

use std::fs;
use std::path::{Path, PathBuf};

use throughline_store::{FORMAT_VERSION, Search, Store, StoreError, StoreOptions};

use crate::build::{Bench, SpanSpec, directories, trace_id};

/// Three blocks, a trace each, closed properly.
fn three_blocks() -> (tempfile::TempDir, StoreOptions) {
    let options = StoreOptions { block_documents: 1, ..StoreOptions::default() };
    let mut bench = Bench::with(options.clone());
    for trace in 1..=3 {
        bench.spans(&[SpanSpec { trace, start: u64::from(trace), ..SpanSpec::default() }]);
        bench.store.commit().unwrap();
    }
    (bench.dir, options)
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

fn found(store: &Store) -> Vec<u8> {
    (1..=3).filter(|trace| !store.trace(trace_id(*trace)).unwrap().spans.is_empty()).collect()
}

/// Damages block number `block` and checks what opening makes of it.
fn check(block: usize, damage: impl Fn(&Path), expect: &[u8], why: &str) {
    let (dir, options) = three_blocks();
    damage(&directories(dir.path(), "")[block]);
    for round in 0..2 {
        let store = Store::open(dir.path(), options.clone()).unwrap();
        assert_eq!(found(&store), expect, "round {round}");
        let set_aside = store.stats().set_aside;
        // Counted as long as it lies there, whoever set it aside.
        let lies = !directories(dir.path(), ".damaged").is_empty();
        assert_eq!(store.stats().set_aside_bytes > 0, lies);
        if round == 0 {
            assert_eq!(set_aside.len(), 1);
            assert!(set_aside[0].why.contains(why), "{why:?} is not in {:?}", set_aside[0].why);
        } else {
            assert_eq!(set_aside, [], "reported once");
        }
    }
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0xff;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_block_is_put_aside_and_the_others_answer() {
    let truncate = |path: &Path| fs::write(path, b"").unwrap();
    check(1, |block| fs::remove_file(block.join("meta.json")).unwrap(), &[1, 3], "meta.json");
    check(1, |block| fs::write(block.join("meta.json"), b"{").unwrap(), &[1, 3], "meta.json");
    check(
        0,
        |block| files(block, "term").iter().for_each(|path| truncate(path)),
        &[2, 3],
        "cannot open block",
    );
    check(
        0,
        |block| files(block, "store").iter().for_each(|p| fs::remove_file(p).unwrap()),
        &[2, 3],
        "store",
    );
    check(2, |block| files(block, "store").iter().for_each(|path| flip(path)), &[1, 2], "checksum mismatch");
    check(2, |block| fs::remove_dir_all(block).unwrap(), &[1, 2], "is missing");
}

#[test]
fn the_position_falls_back_to_what_is_left_so_that_the_journal_can_fill_the_gap() {
    let (dir, options) = three_blocks();
    fs::remove_file(directories(dir.path(), "")[2].join("meta.json")).unwrap();
    let store = Store::open(dir.path(), options.clone()).unwrap();
    assert_eq!(store.committed(), Some(2));
    assert_eq!(directories(dir.path(), ".damaged").len(), 1);
    let mut bench = Bench { dir, options, store, next: 3 };
    bench.spans(&[SpanSpec { trace: 3, ..SpanSpec::default() }]);
    bench.store.commit().unwrap();
    assert_eq!(found(&bench.reopen().store), [1, 2, 3]);
}

#[test]
fn damage_found_while_reading_takes_the_block_out_and_leaves_the_answer() {
    let (dir, options) = three_blocks();
    // An older block: opening does not read all of it.
    let block = &directories(dir.path(), "")[0];
    let stored = &files(block, "store")[0];
    let mut bytes = fs::read(stored).unwrap();
    bytes[..40].fill(0xff);
    fs::write(stored, bytes).unwrap();
    let store = Store::open(dir.path(), options).unwrap();
    assert_eq!((store.stats().set_aside, store.stats().set_aside_bytes), (vec![], 0));
    let before = store.stats().disk_bytes;
    assert_eq!(store.search(&Search::default()).unwrap().len(), 2);
    let set_aside = store.stats().set_aside;
    assert_eq!(store.stats().set_aside_bytes + store.stats().disk_bytes, before);
    assert_eq!(set_aside.len(), 1, "{set_aside:?}");
    assert!(set_aside[0].path.as_ref().unwrap().ends_with("block-0000000000.damaged"));
    assert_eq!((found(&store), store.stats().blocks), (vec![2, 3], 2));
}

#[test]
fn a_broken_manifest_is_put_aside_because_blocks_describe_themselves() {
    let (dir, options) = three_blocks();
    fs::write(dir.path().join("store.json"), b"not json").unwrap();
    let store = Store::open(dir.path(), options).unwrap();
    assert_eq!((found(&store), store.committed()), (vec![1, 2, 3], Some(3)));
    assert!(store.stats().set_aside[0].path.as_ref().unwrap().ends_with("store.json.damaged"));
}

#[test]
fn another_format_is_refused_and_left_alone() {
    for (other, advice) in [
        (FORMAT_VERSION + 1, "use a newer throughline"),
        (FORMAT_VERSION - 1, "use the throughline that wrote it"),
    ] {
        let refused = |dir: &Path, options: &StoreOptions, file: &str| {
            let before = fs::read_dir(dir).unwrap().count();
            let error = Store::open(dir, options.clone()).err().unwrap();
            let found = match error {
                StoreError::NewerFormat { found, .. } | StoreError::OlderFormat { found, .. } => found,
                _ => panic!("{error}"),
            };
            assert_eq!(found, other, "{error}");
            assert!(error.to_string().contains(file), "{error}");
            assert!(error.to_string().contains(advice), "{error}");
            assert_eq!(fs::read_dir(dir).unwrap().count(), before);
        };
        let rewrite = |path: &Path| {
            let text = fs::read_to_string(path).unwrap();
            let written = text
                .replace(&format!("\"format\": {FORMAT_VERSION}"), &format!("\"format\": {other}"))
                .replace(&format!("\\\"format\\\":{FORMAT_VERSION}"), &format!("\\\"format\\\":{other}"));
            assert_ne!(written, text);
            fs::write(path, written).unwrap();
        };
        let (dir, options) = three_blocks();
        rewrite(&dir.path().join("store.json"));
        refused(dir.path(), &options, "store.json");
        let (dir, options) = three_blocks();
        rewrite(&directories(dir.path(), "")[1].join("meta.json"));
        refused(dir.path(), &options, "block-0000000001");
    }
}

#[test]
fn what_a_crash_between_two_steps_leaves_is_cleaned_up() {
    let (dir, options) = three_blocks();
    // A block that was created and never committed to, and a block that never made it into the manifest.
    let mut bench = Bench { store: Store::open(dir.path(), options.clone()).unwrap(), dir, options, next: 4 };
    bench.spans(&[SpanSpec { trace: 3, id: 9, ..SpanSpec::default() }]);
    let before = fs::read(bench.path().join("store.json")).unwrap();
    bench.store.commit().unwrap();
    fs::write(bench.path().join("store.json"), before).unwrap();
    let bench = bench.reopen();
    assert_eq!(bench.store.committed(), Some(4));
    assert_eq!(bench.store.trace(trace_id(3)).unwrap().spans.len(), 2);
    assert_eq!(bench.store.stats().set_aside, []);
}
