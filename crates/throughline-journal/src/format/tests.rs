//! Every structure reads back as written, no single damaged byte passes, and a later version is named as such.

use super::*;
use crate::Position;

const IDENTITY: Identity = Identity { sequence: 7, epoch: 3 };

fn header() -> RecordHeader {
    RecordHeader {
        version: RecordHeader::version(),
        kind: 2,
        codec: 0,
        pipeline: 9,
        payload_bytes: 100,
        keys_bytes: 21,
        group: 5,
        position: Position::new(7, 8192),
        epoch: 3,
        synced_to: 4096,
        follows: 4200,
        arrived: 1_700_000_000_000_000_000,
        body_crc: 0xdead_beef,
    }
}

fn footer() -> Footer {
    let index = IndexPlace { start: 8192, blocks: 1, filter_start: 12288, filter_words: 2, filter_crc: 77 };
    Footer { identity: IDENTITY, data_end: 8000, last_record: 4096, records: 12, synced_to: 7000, index }
}

/// Reads back, and no longer does once any one bit is wrong.
fn check<T: PartialEq + std::fmt::Debug>(bytes: &[u8], decode: impl Fn(&[u8]) -> Option<T>, value: &T) {
    assert_eq!(decode(bytes).as_ref(), Some(value));
    for at in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 0x10;
        assert_eq!(decode(&damaged), None, "damage at byte {at} went unnoticed");
        assert_eq!(decode(&bytes[..at]), None, "{at} bytes of {} were taken for the whole", bytes.len());
    }
}

fn valid<T>(head: Head<T>) -> Option<T> {
    match head {
        Head::Valid(value) => Some(value),
        Head::Invalid | Head::Newer(_) => None,
    }
}

#[test]
fn structures_read_back_and_notice_any_damaged_byte() {
    let segment = SegmentHeader { identity: IDENTITY, segment_bytes: 65536 };
    check(&segment.encode(), |bytes| valid(SegmentHeader::decode(bytes)), &segment);
    let manifest = Manifest { epoch: 3, next_sequence: 8 };
    check(&manifest.encode(), |bytes| valid(Manifest::decode(bytes)), &manifest);
    check(&header().encode(), RecordHeader::decode, &header());
    check(&footer().encode(), |bytes| Footer::decode(bytes, IDENTITY), &footer());
}

#[test]
fn a_footer_of_an_earlier_use_of_the_file_is_not_this_ones() {
    let later = Identity { sequence: 8, epoch: 3 };
    assert_eq!(Footer::decode(&footer().encode(), later), None);
}

#[test]
fn an_intact_head_of_a_later_version_is_newer_and_a_damaged_one_is_not() {
    let mut bytes = Manifest { epoch: 1, next_sequence: 1 }.encode();
    bytes[8] = 2;
    assert_eq!(Manifest::decode(&bytes), Head::Invalid);
    let checksum = crc32c::crc32c(&bytes[..60]).to_le_bytes();
    bytes[60..].copy_from_slice(&checksum);
    assert_eq!(Manifest::decode(&bytes), Head::Newer(2));
}

#[test]
fn lengths_round_up_to_their_boundary() {
    for (value, to, expected) in [(0, 8, 0), (1, 8, 8), (8, 8, 8), (4097, 4096, 8192)] {
        assert_eq!(align(value, to), expected);
    }
}
