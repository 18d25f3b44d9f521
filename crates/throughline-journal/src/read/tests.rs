//! Damage that appears while the journal runs is said, with its place and length, and the records beside it are read.

use std::{path::Path, sync::Arc, time::Duration};

use crate::{
    Journal, Options, Position, ReadError, ReadRecord, Reader, Record, RecordKind,
    format::RECORD_HEADER_BYTES, sim::SimFs,
};

/// A journal of six records in two segments, one of them sealed.
fn six() -> (SimFs, Journal, Vec<Position>) {
    let fs = SimFs::new(1);
    let options = Options { segment_bytes: 64 << 10, group_wait: Duration::ZERO, ..Options::default() };
    let (journal, _) = Journal::open(Arc::new(fs.clone()), Path::new("/j"), options).unwrap();
    let record = |n: u8| {
        let mut record = Record::new(RecordKind::Spans, 0, vec![n; 12_000]);
        record.keys.push([9; 16], &[n]);
        record
    };
    let positions = (0..6).map(|n| journal.append_wait(record(n)).unwrap()).collect();
    (fs, journal, positions)
}

fn damage(fs: &SimFs, position: Position, at: usize) {
    let path = format!("/j/segment-{:08}.tlj", position.sequence() - 1);
    fs.damage(Path::new(&path), |bytes| bytes[position.offset() as usize + at] ^= 1);
}

#[test]
fn one_damaged_record_costs_itself_only() {
    for victim in 0..6 {
        for at in [0, 24, RECORD_HEADER_BYTES, 11_000] {
            let (fs, journal, positions) = six();
            damage(&fs, positions[victim], at);
            let read = journal.read(positions[victim]);
            assert!(
                matches!(read, Err(ReadError::Damaged { position, .. }) if position == positions[victim]),
                "{read:?}"
            );
            let (intact, damaged): (Vec<_>, Vec<_>) =
                journal.records_from(Position(0)).partition(Result::is_ok);
            let intact: Vec<_> = intact.into_iter().map(|record| record.unwrap().position).collect();
            let mut expected = positions.clone();
            expected.remove(victim);
            assert_eq!(intact, expected);
            let [Err(ReadError::Damaged { position, bytes })] = &damaged[..] else { panic!("{damaged:?}") };
            // From the end of the record before, padding included, to the end of the damaged one.
            assert_eq!(position.0 + bytes, positions[victim].0 + 12_088, "header, payload, one key, padding");
            assert!(*position <= positions[victim]);
            assert_eq!(journal.lookup(&[9; 16]).len(), 6, "the index is not touched by it");
        }
    }
}

#[test]
fn a_reader_says_what_reading_alone_says_whatever_it_read_before() {
    let (fs, journal, mut positions) = six();
    for bytes in [1, 30_000, 0] {
        let record = Record { pipeline: 7, ..Record::new(RecordKind::Logs, 5, vec![bytes as u8; bytes]) };
        positions.push(journal.append_wait(record).unwrap());
    }
    damage(&fs, positions[2], RECORD_HEADER_BYTES);
    positions.push(Position(positions[0].0 + 8));
    for room in [0, 1, 13_000, 30_000, 1 << 20] {
        let mut reader = journal.reader(room);
        for position in positions.iter().chain(positions.iter().rev()).chain(&positions) {
            same(&mut reader, &journal, *position);
            assert!(reader.held_bytes <= room);
            let held: usize = reader.held.values().map(|held| held.bytes.len()).sum();
            assert_eq!(held, reader.held_bytes);
        }
        assert_eq!(reader.held.is_empty(), room < 12_000);
    }
}

/// Whatever it held, it says of a record what reading it alone says.
fn same(reader: &mut Reader, journal: &Journal, position: Position) {
    {
        let alone = journal.read(position);
        match (reader.read(position), &alone) {
            (Ok(read), Ok(alone)) => {
                let ReadRecord { position, kind, pipeline, arrived, payload } = read;
                let read = (position, kind, pipeline, arrived, payload);
                assert_eq!(
                    read,
                    (alone.position, alone.kind, alone.pipeline, alone.arrived, &alone.payload[..])
                );
            }
            (read, alone) => {
                let said = |error: Option<&ReadError>| error.map(ToString::to_string);
                assert_eq!(said(read.as_ref().err()), said(alone.as_ref().err()), "{position:?}");
            }
        }
    }
}

#[test]
fn a_lookup_survives_a_damaged_index() {
    let (fs, journal, positions) = six();
    let path = Path::new("/j/segment-00000000.tlj");
    let sealed = positions.iter().filter(|position| position.sequence() == 1).count();
    fs.damage(path, |bytes| {
        let magic = bytes.windows(4).position(|window| window == b"TLJY").unwrap();
        bytes[magic + 30] ^= 1;
    });
    let hits = journal.lookup(&[9; 16]);
    assert!(sealed >= 3);
    assert_eq!(hits.iter().map(|(position, _)| *position).collect::<Vec<_>>(), positions);
}

#[test]
fn an_unreadable_sector_costs_its_record_only() {
    let (fs, journal, positions) = six();
    let at = u64::from(positions[1].offset()) + 5000;
    fs.make_unreadable(Path::new("/j/segment-00000000.tlj"), at..at + 1);
    assert!(matches!(journal.read(positions[1]), Err(ReadError::Io { .. })));
    assert_eq!(journal.records_from(Position(0)).filter(Result::is_ok).count(), 5);
}

#[test]
fn a_position_that_is_none_is_unknown_or_damaged_but_never_a_record() {
    let (_fs, journal, positions) = six();
    for position in [Position(0), Position(positions[0].0 + 1), Position(positions[5].0 + (1 << 32))] {
        assert!(matches!(journal.read(position), Err(ReadError::Unknown(_))), "{position}");
    }
    assert!(matches!(journal.read(Position(positions[0].0 + 8)), Err(ReadError::Damaged { .. })));
    let inside = journal.records_from(Position(positions[0].0 + 8)).next().unwrap().unwrap();
    assert_eq!(inside.position, positions[1], "from inside a record, the next one is first");
}

#[test]
fn an_arrival_is_that_of_the_record_or_the_first_behind() {
    let fs = SimFs::new(1);
    let options = Options { segment_bytes: 64 << 10, group_wait: Duration::ZERO, ..Options::default() };
    let (journal, _) = Journal::open(Arc::new(fs.clone()), Path::new("/j"), options).unwrap();
    assert_eq!(journal.arrival_from(Position(0)), None);
    let append = |n| journal.append_wait(Record::new(RecordKind::Spans, n, vec![1; 12_000])).unwrap();
    let positions: Vec<_> = (0..6).map(append).collect();
    let second = positions.iter().position(|position| position.sequence() == 2).unwrap();
    let check = |from: u64, record: usize| {
        let expected = positions.get(record).map(|position| (*position, record as u64));
        assert_eq!(journal.arrival_from(Position(from)), expected, "{from}");
    };
    check(0, 0);
    positions.iter().enumerate().for_each(|(at, position)| check(position.0, at));
    check(positions[0].0 + 8, 1);
    check(2 << 32, second);
    check(positions[5].0 + 8, 6);
    check(9 << 32, 6);
    damage(&fs, positions[second], 24);
    check(2 << 32, second + 1);
}

/// Two journals of the same numbers, and a record of the one, of an earlier group, behind records of the other.
#[test]
fn what_a_failed_write_left_is_not_read_even_where_the_record_over_it_is_damaged() {
    let write = |lengths: &[usize]| {
        let fs = SimFs::new(1);
        let options = Options { segment_bytes: 64 << 10, group_wait: Duration::ZERO, ..Options::default() };
        let (journal, _) = Journal::open(Arc::new(fs.clone()), Path::new("/j"), options).unwrap();
        let record = |length: &usize| Record::new(RecordKind::Spans, 0, vec![1; *length]);
        let positions: Vec<_> =
            lengths.iter().map(|length| journal.append_wait(record(length)).unwrap()).collect();
        (fs, journal, positions)
    };
    let path = Path::new("/j/segment-00000000.tlj");
    let (other, _, places) = write(&[12_000, 100]);
    let (fs, journal, positions) = write(&[100; 5]);
    assert_eq!(places[1], positions[3]);
    let left = other.bytes(path).unwrap();
    fs.damage(path, |bytes| bytes[16_384..20_480].copy_from_slice(&left[16_384..20_480]));
    let found: Vec<_> =
        journal.records_from(Position(0)).filter_map(Result::ok).map(|found| found.position).collect();
    assert_eq!(found, [positions[0], positions[1], positions[2], positions[4]]);
}
