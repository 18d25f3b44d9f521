//! The format, as files: what is written is byte for byte what the last fixture holds, and those of all versions are read.
//! A change of the format makes this fail; then it needs a new version number, a new fixture, and these still read.
//!
//! `THROUGHLINE_WRITE_FIXTURES=1` writes the last fixture instead of comparing it.

#![expect(clippy::unwrap_used, reason = "a failure here is the test's failure")]

use std::{fs, path::Path, sync::Arc, time::Duration};

use throughline_journal::{Durability, Journal, Options, OwnedRecord, Position, RealFs, Record, RecordKind};

/// Sealed: one record of each kind. Open when the process was killed: one more.
const FILES: [&str; 3] = ["MANIFEST", "segment-00000000.tlj", "segment-00000001.tlj"];

/// Each version, and how many indexes opening has to make: that of the segment which was open, and those of an earlier version.
const VERSIONS: [(&str, usize); 2] = [("v1", 2), ("v2", 1)];

fn fixture(version: &str, name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(version).join(name)
}

fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        durability: Durability::Sync,
        group_wait: Duration::ZERO,
        ..Options::default()
    }
}

fn records() -> Vec<Record<Vec<u8>>> {
    let kinds = [
        RecordKind::Spans,
        RecordKind::Logs,
        RecordKind::Decisions,
        RecordKind::ExporterAcknowledgement,
        RecordKind::Mark,
    ];
    let mut records = Vec::new();
    for (number, kind) in (0_u8..).zip(kinds) {
        let mut record = Record::new(
            kind,
            1_700_000_000_000_000_000 + u64::from(number),
            vec![number; 40 + usize::from(number)],
        );
        record.pipeline = u16::from(number) * 257;
        for key in 0..number {
            record.keys.push([key; 16], &[number; 3]);
        }
        records.push(record);
    }
    records
}

/// Does not fit beside the others: it opens the second segment.
fn large() -> Record<Vec<u8>> {
    Record::new(RecordKind::Spans, 1_700_000_000_000_000_009, vec![0xee; 50_000])
}

/// Writes a journal and returns its files as they are before it is closed.
fn write() -> Vec<(&'static str, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(Arc::new(RealFs), folder.path(), options()).unwrap();
    for record in records().into_iter().chain([large()]) {
        journal.append_wait(record).unwrap();
    }
    FILES.iter().map(|name| (*name, fs::read(folder.path().join(name)).unwrap())).collect()
}

#[test]
fn this_version_writes_the_last_fixture() {
    let [.., (last, _)] = VERSIONS;
    for (name, bytes) in write() {
        if std::env::var_os("THROUGHLINE_WRITE_FIXTURES").is_some() {
            fs::write(fixture(last, name), &bytes).unwrap();
        }
        let expected = fs::read(fixture(last, name)).unwrap();
        let first = expected.iter().zip(&bytes).position(|(expected, found)| expected != found);
        assert_eq!((first, bytes.len()), (None, expected.len()), "{name}: first difference, length");
    }
}

#[test]
fn the_fixture_of_every_version_is_read() {
    for (version, indexes_built) in VERSIONS {
        reads(version, indexes_built);
    }
}

fn reads(version: &str, indexes_built: usize) {
    let folder = tempfile::tempdir().unwrap();
    for name in FILES {
        fs::copy(fixture(version, name), folder.path().join(name)).unwrap();
    }
    let (journal, recovery) = Journal::open(Arc::new(RealFs), folder.path(), options()).unwrap();
    assert_eq!(
        (recovery.segments, recovery.records, recovery.indexes_built),
        (2, 6, indexes_built),
        "{version}"
    );
    assert!(recovery.torn.is_empty() && recovery.quarantined.is_empty() && !recovery.manifest_rebuilt);
    let found: Vec<OwnedRecord> = journal.records_from(Position(0)).map(Result::unwrap).collect();
    let places = [(1, 4096), (1, 8192), (1, 12288), (1, 16384), (1, 20480), (2, 4096)];
    let expected = records().into_iter().chain([large()]).zip(places).map(|(record, (segment, offset))| {
        let Record { kind, pipeline, arrived, payload, keys, .. } = record;
        OwnedRecord { position: Position((segment << 32) | offset), kind, pipeline, arrived, payload, keys }
    });
    assert!(
        expected.eq(found.iter().cloned()),
        "{:?}",
        found.iter().map(|record| record.position).collect::<Vec<_>>()
    );
    assert_eq!(journal.lookup(&[0; 16]).len(), 4, "keys of records 1 to 4");
    assert_eq!(journal.lookup(&[3; 16]), [(Position((1 << 32) | 20480), vec![4; 3])]);
    assert!(journal.lookup(&[4; 16]).is_empty());
}
