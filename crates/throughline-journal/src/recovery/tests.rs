//! Opening after each kind of damage: what is good stays, what is damaged is said and set aside, nothing panics.

use std::{path::Path, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    Copied, Journal, Record, RecordKind,
    format::{HEADER_PLACES, SegmentHeader},
    sim::{SimFs, recover_bytes},
};

const SEGMENT: &str = "/j/segment-00000000.tlj";

fn options() -> Options {
    Options { segment_bytes: 64 << 10, group_wait: Duration::ZERO, ..Options::default() }
}

fn reopen(fs: &SimFs, options: Options) -> Result<(Journal, Recovery), JournalError> {
    Journal::open(Arc::new(fs.clone()), Path::new("/j"), options)
}

fn record(n: u8) -> Record<Vec<u8>> {
    let mut record = Record::new(RecordKind::Spans, 0, vec![n; 5000]);
    record.keys.push([9; 16], &[n]);
    record
}

/// Four records in one segment; as a kill leaves it, or sealed by closing.
fn four(sealed: bool) -> (SimFs, Vec<Position>) {
    let fs = SimFs::new(1);
    let (journal, _) = reopen(&fs, options()).unwrap();
    let positions = (0..4).map(|n| journal.append_wait(record(n)).unwrap()).collect();
    let killed = fs.bytes(Path::new(SEGMENT)).unwrap();
    journal.close().unwrap();
    if !sealed {
        fs.damage(Path::new(SEGMENT), |bytes| *bytes = killed);
    }
    (fs, positions)
}

fn positions(journal: &Journal) -> Vec<Position> {
    journal.records_from(Position(0)).filter_map(Result::ok).map(|record| record.position).collect()
}

#[test]
fn a_damaged_record_in_the_middle_is_set_aside_and_costs_nothing_beside_it() {
    for sealed in [false, true] {
        for at in [0, 10, 64, 5000] {
            let (fs, all) = four(sealed);
            fs.damage(Path::new(SEGMENT), |bytes| bytes[all[1].offset() as usize + at] ^= 0xff);
            let (journal, recovery) = reopen(&fs, options()).unwrap();
            assert_eq!(positions(&journal), [all[0], all[2], all[3]]);
            let [quarantined] = &recovery.quarantined[..] else { panic!("{recovery:?}") };
            assert_eq!(quarantined.loss, Loss::Synced, "later records say that it was synced");
            let Copied::Written(path) = &quarantined.copy else { panic!("{quarantined:?}") };
            let copy = fs.bytes(path).unwrap();
            assert_eq!(copy.len() as u64, quarantined.bytes);
            assert!(
                copy.windows(100).any(|window| window == [1; 100]),
                "the copy holds what is left of the record"
            );
            assert!(recovery.torn.is_empty());
            drop(journal);
            let (_, again) = reopen(&fs, options()).unwrap();
            let copies: Vec<_> = again.quarantined.iter().map(|quarantined| &quarantined.copy).collect();
            assert_eq!(copies, [&Copied::Already(path.clone())], "said again, copied once");
        }
    }
}

#[test]
fn a_torn_tail_is_cut_and_nothing_else() {
    let (fs, all) = four(false);
    fs.damage(Path::new(SEGMENT), |bytes| bytes[all[3].offset() as usize + 4000] ^= 1);
    let (journal, recovery) = reopen(&fs, options()).unwrap();
    assert_eq!(positions(&journal), all[..3]);
    assert_eq!(recovery.torn, [Torn { position: all[3], bytes: 5088 }]);
    assert_eq!((recovery.records, recovery.last), (3, Some(all[2])));
    assert!(recovery.quarantined.is_empty());
    assert!(journal.append_wait(record(4)).unwrap() > all[3], "its position is not used again");
}

#[test]
fn damage_at_the_end_of_a_sealed_segment_is_no_torn_tail() {
    let (fs, all) = four(true);
    fs.damage(Path::new(SEGMENT), |bytes| bytes[all[3].offset() as usize + 4000] ^= 1);
    let (journal, recovery) = reopen(&fs, options()).unwrap();
    assert_eq!(positions(&journal), all[..3]);
    assert_eq!(recovery.quarantined.len(), 1);
    assert!(recovery.torn.is_empty());
}

/// Whatever but records is damaged, no record is lost and every key is found.
#[test]
fn header_footer_index_filter_and_manifest_are_made_again() {
    let index = |bytes: &[u8]| bytes.windows(4).position(|window| window == b"TLJY").unwrap();
    type Damage = (&'static str, fn(&mut Vec<u8>, usize), usize, usize);
    let damages: [Damage; 4] = [
        ("header", |bytes, _| bytes[16] ^= 1, 1, 0),
        ("footer", |bytes, _| bytes[60 << 10] ^= 1, 0, 1),
        ("index block", |bytes, index| bytes[index + 40] ^= 1, 0, 1),
        ("filter", |bytes, index| bytes[index + 4096] ^= 1, 0, 1),
    ];
    for (what, change, headers_rebuilt, indexes_built) in damages {
        let (fs, all) = four(true);
        fs.damage(Path::new(SEGMENT), |bytes| change(bytes, index(bytes)));
        let (journal, recovery) = reopen(&fs, options()).unwrap();
        assert_eq!(positions(&journal), all, "{what}");
        assert_eq!(journal.lookup(&[9; 16]).len(), 4, "{what}");
        assert_eq!(
            (recovery.headers_rebuilt, recovery.indexes_built),
            (headers_rebuilt, indexes_built),
            "{what}"
        );
        drop(journal);
        let (_, again) = reopen(&fs, options()).unwrap();
        assert_eq!((again.headers_rebuilt, again.indexes_built), (0, 0), "{what}: made again for good");
    }
    let (fs, all) = four(true);
    fs.damage(Path::new("/j/MANIFEST"), |bytes| bytes.fill(0xff));
    let (journal, recovery) = reopen(&fs, options()).unwrap();
    assert!(recovery.manifest_rebuilt);
    assert!(journal.append_wait(record(4)).unwrap() > all[3]);
}

/// A file in its second use: its headers are those of both. Whichever is damaged, the records of the second use are kept, and nothing else.
#[test]
fn a_damaged_header_of_a_recycled_file_brings_nothing_old_back() {
    for places in [&[0][..], &[2048], &[0, 2048]] {
        let fs = SimFs::new(1);
        let (journal, _) = reopen(&fs, options()).unwrap();
        let store = journal.consumer("store", None);
        let mut last = Position(0);
        for n in 0..15 {
            last = journal.append_wait(record(n)).unwrap();
            if n == 8 {
                journal.release(&store, last);
            }
        }
        assert_eq!((last.sequence(), journal.stats().recycled), (3, 1));
        let expected: Vec<_> = positions(&journal);
        journal.close().unwrap();
        let bytes = fs.bytes(Path::new(SEGMENT)).unwrap();
        assert_eq!((bytes[16], bytes[2048 + 16]), (1, 3), "each use writes the place that is not in use");
        fs.damage(Path::new(SEGMENT), |bytes| places.iter().for_each(|place| bytes[place + 20] ^= 1));
        let (journal, recovery) = reopen(&fs, options()).unwrap();
        assert_eq!((positions(&journal), recovery.headers_rebuilt), (expected, 1), "{places:?}");
        assert!(recovery.quarantined.is_empty() && recovery.torn.is_empty());
    }
}

#[test]
fn a_segment_of_which_all_was_lost_still_counts_its_number() {
    let (fs, all) = four(false);
    fs.damage(Path::new(SEGMENT), |bytes| bytes[4096..].fill(0));
    fs.damage(Path::new("/j/MANIFEST"), |bytes| bytes.fill(0));
    let (journal, recovery) = reopen(&fs, options()).unwrap();
    assert_eq!(recovery.records, 0);
    assert!(journal.append_wait(record(0)).unwrap() > all[3]);
    assert_eq!(fs.files().len(), 2, "its file is used again");
}

#[test]
fn positions_go_on_after_the_furthest_a_consumer_remembers() {
    let after = Position::new(41, 12_345);
    let (journal, _) = reopen(&SimFs::new(1), Options { after: Some(after), ..options() }).unwrap();
    assert!(journal.append_wait(record(0)).unwrap() > after);
    let last = Position(u64::MAX);
    let error = reopen(&SimFs::new(1), Options { after: Some(last), ..options() }).map(drop).unwrap_err();
    assert!(error.to_string().contains("no position is left"), "{error}");
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    for (file, at) in [(SEGMENT, 0), ("/j/MANIFEST", 4096)] {
        let (fs, _) = four(true);
        fs.damage(Path::new(file), |bytes| {
            let head = &mut bytes[at..at + 64];
            head[8] = 9;
            let checksum = crc32c::crc32c(&head[..60]).to_le_bytes();
            head[60..].copy_from_slice(&checksum);
        });
        let before = fs.bytes(Path::new(file));
        let error = reopen(&fs, options()).map(drop).unwrap_err();
        assert!(matches!(error, JournalError::NewerFormat { found: 9, known: 1, .. }), "{error}");
        assert!(error.to_string().contains(file));
        assert_eq!(fs.bytes(Path::new(file)), before);
    }
}

#[test]
fn the_same_segment_twice_is_refused_with_both_names() {
    let (fs, _) = four(true);
    let copy = fs.bytes(Path::new(SEGMENT)).unwrap();
    fs.damage(Path::new("/j/segment-00000007.tlj"), |bytes| *bytes = copy);
    let error = reopen(&fs, options()).map(drop).unwrap_err().to_string();
    assert!(error.contains(SEGMENT) && error.contains("/j/segment-00000007.tlj"), "{error}");
}

#[test]
fn segments_of_another_size_stay_readable_and_go_when_released() {
    let (fs, all) = four(true);
    let (journal, _) = reopen(&fs, Options { segment_bytes: 128 << 10, ..options() }).unwrap();
    let next = journal.append_wait(record(4)).unwrap();
    assert_eq!(positions(&journal), [&all[..], &[next]].concat());
    assert!(fs.files().contains(&SEGMENT.into()));
    let store = journal.consumer("store", None);
    journal.release(&store, all[3]);
    assert!(!fs.files().contains(&SEGMENT.into()));
    assert_eq!(positions(&journal), [next]);
}

#[test]
fn a_file_cut_off_while_it_was_created_is_removed() {
    let (fs, all) = four(true);
    fs.damage(Path::new("/j/segment-00000003.tlj"), |bytes| bytes.resize(100, 0));
    let (journal, _) = reopen(&fs, options()).unwrap();
    assert_eq!(positions(&journal), all);
    assert!(!fs.files().contains(&"/j/segment-00000003.tlj".into()));
}

#[test]
fn no_more_is_read_than_there_is_whatever_a_header_states() {
    let (fs, all) = four(false);
    let file = fs.open(Path::new(SEGMENT)).unwrap();
    let file = SegmentFile { path: SEGMENT.into(), file, bytes: 1 << 30 };
    assert_eq!(file.read(PAGE, 1 << 30).len(), 60 << 10);
    assert_eq!((file.read(PAGE, 100).len(), file.read(1 << 20, 100).len()), (100, 0));
    let identity = Identity { sequence: all[0].sequence(), epoch: 1 };
    for places in [&HEADER_PLACES[..1], &HEADER_PLACES[..]] {
        let (fs, all) = four(false);
        let header = SegmentHeader { identity, segment_bytes: 1 << 20 }.encode();
        fs.damage(Path::new(SEGMENT), |bytes| {
            for place in places {
                let place = *place as usize;
                bytes[place..place + header.len()].copy_from_slice(&header);
            }
            bytes[HEADER_PLACES[1] as usize] ^= u8::from(places.len() == 1);
        });
        let (journal, _) = reopen(&fs, options()).unwrap();
        assert_eq!(positions(&journal), all);
        assert_eq!(journal.lookup(&[9; 16]).len(), 4);
    }
}

#[test]
fn an_unreadable_sector_is_a_damaged_record() {
    let (fs, all) = four(true);
    let at = u64::from(all[2].offset()) + 4100;
    fs.make_unreadable(Path::new(SEGMENT), at..at + 10);
    let (_, recovery) = reopen(&fs, options()).unwrap();
    assert_eq!(recovery.quarantined.len(), 1);
}

#[test]
fn a_quarantine_that_cannot_be_written_is_no_reason_not_to_open() {
    let (fs, all) = four(true);
    fs.damage(Path::new(SEGMENT), |bytes| bytes[all[1].offset() as usize + 100] ^= 0xff);
    fs.set_capacity(Some(0));
    let (journal, recovery) = reopen(&fs, options()).unwrap();
    assert_eq!(positions(&journal).len(), 3);
    let copies: Vec<_> = recovery.quarantined.iter().map(|quarantined| &quarantined.copy).collect();
    assert!(matches!(copies[..], [Copied::Failed(why)] if why.contains("quarantine")), "{copies:?}");
}

#[test]
fn sealed_segments_are_not_read_if_nobody_asks() {
    let (fs, all) = four(true);
    fs.damage(Path::new(SEGMENT), |bytes| bytes[all[1].offset() as usize + 100] ^= 0xff);
    let (journal, recovery) = reopen(&fs, Options { verify: Verify::Unsealed, ..options() }).unwrap();
    assert_eq!((recovery.records, recovery.quarantined.len()), (4, 0));
    assert_eq!(positions(&journal).len(), 3, "damage is met when it is read");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any few bytes of a segment changed, cut or zeroed: recovery ends, and what it keeps is what was written.
    #[test]
    fn recovery_keeps_only_what_was_written(
        sealed in any::<bool>(),
        changes in proptest::collection::vec((0_usize..65_536, any::<u8>(), 1_usize..600), 0..8),
        length in prop_oneof![Just(65_536_usize), 0_usize..65_536],
    ) {
        let (fs, all) = four(sealed);
        fs.damage(Path::new(SEGMENT), |bytes| {
            for (at, value, count) in &changes {
                let end = bytes.len().min(at + count);
                bytes[*at..end].fill(*value);
            }
            bytes.truncate(length);
        });
        let (journal, _) = reopen(&fs, options()).unwrap();
        for found in journal.records_from(Position(0)).flatten() {
            let n = all.iter().position(|position| *position == found.position);
            prop_assert_eq!(Some(found.payload), n.map(|n| vec![n as u8; 5000]));
        }
    }

    #[test]
    fn recovery_survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200_000)) {
        let recovery = recover_bytes(&bytes).unwrap();
        prop_assert_eq!(recovery.records, 0);
    }
}
