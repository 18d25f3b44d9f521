//! Records, padding, holes, leftovers and torn tails, each told from the others.

use super::*;
use crate::{Position, format::align};

const IDENTITY: Identity = Identity { sequence: 7, epoch: 2 };

/// A segment's bytes from its first page on, built record by record.
struct Bytes {
    bytes: Vec<u8>,
    identity: Identity,
    group: u32,
    end: u32,
}

impl Bytes {
    fn new(identity: Identity) -> Self {
        Self { bytes: Vec::new(), identity, group: 0, end: PAGE }
    }

    /// Appends a record of so many bytes; returns where it starts.
    fn record(&mut self, length: u32) -> u32 {
        let at = PAGE + self.bytes.len() as u32;
        let payload = vec![length as u8; length as usize];
        let header = RecordHeader {
            version: 1,
            kind: 1,
            codec: 0,
            pipeline: 0,
            payload_bytes: length,
            keys_bytes: 0,
            group: self.group,
            position: Position::new(self.identity.sequence, at),
            epoch: self.identity.epoch,
            synced_to: PAGE,
            follows: self.end,
            arrived: 0,
            body_crc: crc32c::crc32c(&payload),
        };
        self.bytes.extend(header.encode());
        self.bytes.extend(payload);
        self.bytes.resize(align(self.bytes.len() as u64, 8) as usize, 0);
        self.end = PAGE + self.bytes.len() as u32;
        at
    }

    /// A sync: the next record starts on a page.
    fn sync(&mut self) {
        self.bytes.resize(align(self.bytes.len() as u64, 4096) as usize, 0);
        self.group += 1;
    }

    fn damage(&mut self, at: u32) {
        self.bytes[(at - PAGE) as usize] ^= 1;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Record(u32),
    Hole(u32, u32),
    Torn(u32, u32),
}
use Seen::{Hole, Record, Torn};

fn check(bytes: &Bytes, expected: &[Seen]) {
    let mut scan = Scan::new(&bytes.bytes, PAGE, IDENTITY);
    let mut seen: Vec<Seen> = scan
        .by_ref()
        .map(|found| match found {
            Found::Record(record) => Record(record.at),
            Found::Hole(hole) => Hole(hole.from, hole.to),
        })
        .collect();
    seen.extend(scan.torn().map(|torn| Torn(torn.from, torn.to)));
    assert_eq!(seen, expected);
}

/// Three records, the second after a sync; the third follows it at once.
fn three() -> (Bytes, [u32; 3]) {
    let mut bytes = Bytes::new(IDENTITY);
    let first = bytes.record(100);
    bytes.sync();
    let second = bytes.record(5000);
    let third = bytes.record(0);
    (bytes, [first, second, third])
}

#[test]
fn padding_is_no_hole_and_nothing_is_no_record() {
    let (bytes, [first, second, third]) = three();
    check(&bytes, &[Record(first), Record(second), Record(third)]);
    check(&Bytes::new(IDENTITY), &[]);
}

#[test]
fn damage_before_an_intact_record_is_a_hole_exactly_as_long_as_what_was_written() {
    let (intact, [first, second, third]) = three();
    let first_end = first + 64 + 104;
    for at in [0, 4, 63, 64, 163] {
        let mut bytes = Bytes { bytes: intact.bytes.clone(), ..Bytes::new(IDENTITY) };
        bytes.damage(first + at);
        check(&bytes, &[Hole(first, first_end), Record(second), Record(third)]);
        let mut bytes = Bytes { bytes: intact.bytes.clone(), ..Bytes::new(IDENTITY) };
        bytes.damage(second + at);
        check(&bytes, &[Record(first), Hole(first_end.max(second.min(first_end)), third), Record(third)]);
    }
}

#[test]
fn damage_behind_the_last_intact_record_is_a_torn_tail() {
    let (mut bytes, [first, second, third]) = three();
    bytes.damage(third);
    check(&bytes, &[Record(first), Record(second)]);
    // Of a header that is gone nothing is known; of a payload, its length.
    let mut bytes = three().0;
    let fourth = bytes.record(16);
    bytes.damage(fourth + 64);
    check(&bytes, &[Record(first), Record(second), Record(third), Torn(fourth, fourth + 80)]);
}

#[test]
fn records_of_an_earlier_use_of_the_file_do_not_exist() {
    for old in [Identity { sequence: 6, epoch: 2 }, Identity { sequence: 7, epoch: 1 }] {
        let mut bytes = Bytes::new(old);
        bytes.record(200);
        bytes.record(200);
        let left_over = bytes.bytes;
        let mut bytes = Bytes::new(IDENTITY);
        let at = bytes.record(100);
        let written = bytes.bytes.len();
        bytes.bytes.extend(&left_over[written..]);
        check(&bytes, &[Record(at)]);
    }
}

#[test]
fn what_a_failed_attempt_left_behind_is_not_a_record() {
    // Group 0 wrote two records and failed; group 1 overwrote the first.
    let mut failed = Bytes::new(IDENTITY);
    failed.record(100);
    failed.sync();
    failed.group = 0;
    failed.record(100);
    let mut bytes = Bytes { group: 1, ..Bytes::new(IDENTITY) };
    let at = bytes.record(50);
    bytes.sync();
    bytes.bytes.extend(&failed.bytes[4096..]);
    check(&bytes, &[Record(at)]);
}

#[test]
fn a_record_inside_a_damaged_payload_is_not_believed() {
    let mut inner = Bytes::new(IDENTITY);
    inner.record(100);
    inner.record(40);
    // The bytes of a whole record, at its right place, as the payload of another.
    let forged = inner.bytes[168..].to_vec();
    let mut bytes = Bytes::new(IDENTITY);
    let outer = bytes.record(104 + forged.len() as u32);
    let place = (64 + 104) as usize;
    bytes.bytes[place..place + forged.len()].copy_from_slice(&forged);
    check(&bytes, &[Torn(outer, bytes.end)]);
}

#[test]
fn the_latest_use_of_a_file_is_told_from_its_records_alone() {
    let mut old = Bytes::new(Identity { sequence: 3, epoch: 1 });
    old.record(4000);
    old.record(4000);
    let mut bytes = Bytes::new(IDENTITY);
    bytes.record(100);
    let end = bytes.bytes.len();
    let mut file = vec![0; 4096];
    file.extend(&bytes.bytes);
    file.extend(&old.bytes[end..]);
    assert_eq!(Scan::identify(&file), Some(IDENTITY));
    assert_eq!(Scan::identify(&[0; 9000]), None);
}
