//! Parts are what the whole says, and what cannot be had in parts says so.

use std::{ops::Range, path::Path, sync::Arc, time::Duration};

use crate::{Journal, Options, Position, ReadError, Record, RecordKind, sim::SimFs};

const BYTES: usize = 12_000;

fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        cap_bytes: 128 << 10,
        group_wait: Duration::ZERO,
        ..Options::default()
    }
}

fn open(fs: &SimFs) -> Journal {
    Journal::open(Arc::new(fs.clone()), Path::new("/j"), options()).unwrap().0
}

fn append(journal: &Journal, n: u8) -> Position {
    let payload = (0..BYTES).map(|at| (at as u8).wrapping_mul(n)).collect::<Vec<_>>();
    let mut record = Record { pipeline: 3, ..Record::new(RecordKind::Spans, u64::from(n), payload) };
    record.keys.push([n; 16], &[n]);
    journal.append_wait(record).unwrap()
}

/// What reading these parts gives, as a copy with all else zero.
fn parts(
    journal: &Journal,
    position: Position,
    wanted: &[Range<usize>],
) -> Result<Option<Vec<u8>>, ReadError> {
    let mut reader = journal.reader(0);
    // Something that must not be taken for the record.
    reader.buffer.resize(100, 0xee);
    let whole = journal.read(position).ok();
    let read = reader.read_parts(position, &mut |keys, length| {
        let whole = whole.as_ref().unwrap();
        assert_eq!((keys.iter().collect::<Vec<_>>(), length), (whole.keys.iter().collect(), BYTES));
        Some(wanted.to_vec())
    })?;
    Ok(read.map(|read| {
        let whole = whole.as_ref().unwrap();
        assert_eq!((read.position, read.kind, read.pipeline), (whole.position, whole.kind, whole.pipeline));
        assert_eq!((read.arrived, read.payload.len()), (whole.arrived, BYTES));
        let mut copy = vec![0; BYTES];
        wanted.iter().for_each(|part| copy[part.clone()].copy_from_slice(&read.payload[part.clone()]));
        copy
    }))
}

#[test]
fn parts_are_those_of_the_whole() {
    let fs = SimFs::new(1);
    let journal = open(&fs);
    let positions = [append(&journal, 1), append(&journal, 7)];
    for position in positions {
        let whole = journal.read(position).unwrap().payload;
        let check = |wanted: &[Range<usize>]| {
            let mut expected = vec![0; BYTES];
            wanted.iter().for_each(|part| expected[part.clone()].copy_from_slice(&whole[part.clone()]));
            assert_eq!(parts(&journal, position, wanted).unwrap(), Some(expected), "{wanted:?}");
        };
        check(&[]);
        check(&[0..6000, 6000..BYTES]);
        check(&[0..1, 2..3, 1500..1501, 9000..9100, 11_999..BYTES]);
        check(&[5000..5000, 7000..8000]);
    }
}

#[test]
fn what_is_not_of_this_process_or_not_wanted_in_parts_is_read_whole() {
    let fs = SimFs::new(1);
    let journal = open(&fs);
    let position = append(&journal, 1);
    let is_whole = |wanted: Option<Range<usize>>| {
        let mut reader = journal.reader(0);
        let read = reader.read_parts(position, &mut |_, _| wanted.clone().map(|part| vec![part]));
        read.unwrap().is_none()
    };
    assert!(is_whole(None) && !is_whole(Some(0..1)));
    assert!(is_whole(Some(0..BYTES + 1_000_000)));
    let mut holding = journal.reader(1 << 20);
    holding.read(position).unwrap();
    assert_eq!(holding.read_parts(position, &mut |_, _| Some(Vec::new())).unwrap(), None);
    drop((holding, journal));
    let journal = open(&fs);
    assert_eq!(parts(&journal, position, &[]).unwrap(), None, "an earlier process wrote it");
    assert!(parts(&journal, append(&journal, 2), &[]).unwrap().is_some());
}

#[test]
fn what_is_recycled_meanwhile_or_unknown_is_said() {
    let fs = SimFs::new(1);
    let journal = open(&fs);
    let consumer = journal.consumer("all", None);
    let position = append(&journal, 1);
    let mut reader = journal.reader(0);
    let read = reader.read_parts(position, &mut |_, _| {
        while journal.read(position).is_ok() {
            journal.release(&consumer, append(&journal, 2));
        }
        Some(vec![0..1, 9..BYTES])
    });
    assert!(matches!(read, Err(ReadError::Recycled(_))), "{read:?}");
    assert!(matches!(parts(&journal, position, &[]), Err(ReadError::Recycled(_))));
    assert!(matches!(parts(&journal, Position(u64::MAX), &[]), Err(ReadError::Unknown(_))));
}
