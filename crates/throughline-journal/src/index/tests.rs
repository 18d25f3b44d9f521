//! An index on disk answers as a list of pairs would, and never wrongly when it is damaged.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::{Fs, sim::SimFs};

const IDENTITY: Identity = Identity { sequence: 4, epoch: 2 };

const fn extent(data_end: u32) -> Extent {
    Extent { data_end, last_record: 4096, records: 3, synced_to: data_end }
}

type Pairs = Vec<([u8; 16], u32, Vec<u8>)>;

fn entries(pairs: &Pairs) -> Entries {
    let mut entries = Entries::default();
    for (key, record, value) in pairs {
        entries.push(*record, &[(*key, &value[..])].into_iter().collect());
    }
    entries
}

fn naive(pairs: &Pairs, key: &[u8; 16]) -> Vec<Pair> {
    pairs
        .iter()
        .filter(|(found, ..)| found == key)
        .map(|(_, record, value)| (*record, value.clone()))
        .collect()
}

/// Every other one differs from its neighbour in its last bytes only.
fn key(number: u8) -> [u8; 16] {
    let mut key = [number / 2; 16];
    key[13] = number % 2;
    key
}

/// The longest value that stands in an index.
const LONGEST: usize = 64;

/// Few keys, so that they repeat and fill more than a block. Few values are too long.
fn pairs(most: usize) -> impl Strategy<Value = Pairs> {
    let key = (0_u8..40).prop_map(key);
    let length = prop_oneof![200 => 0..14_usize, 20 => LONGEST - 2..=LONGEST, 1 => LONGEST + 1..400];
    let pair = (key, length.prop_map(|length| vec![length as u8; length]));
    proptest::collection::vec(pair, 0..most).prop_map(|pairs| {
        let records = (0..).map(|n| 4096 + 8 * n);
        pairs.into_iter().zip(records).map(|((key, value), record)| (key, record, value)).collect()
    })
}

proptest! {
    #[test]
    fn open_and_sealed_answer_as_a_list_does(pairs in pairs(600)) {
        let mut entries = entries(&pairs);
        let Encoded { bytes, place, filter } = entries.encode(IDENTITY, extent(5000));
        let room = Entries::bytes_for(pairs.len() as u64, pairs.iter().map(|(.., value)| value.len() as u64).sum());
        prop_assert!(bytes.len() as u64 + u64::from(place.start) - 5000 <= room, "more than the writer keeps free");
        let mut file = vec![0; place.start as usize];
        file.extend(&bytes);
        let file = SimFs::with_file(Path::new("/s"), &file).open(Path::new("/s")).unwrap();
        let sealed = SealedIndex { file: file.as_ref(), identity: IDENTITY, records: 3, place };
        prop_assert_eq!(sealed.verify(), Ok(()));
        prop_assert_eq!(sealed.filter().unwrap(), filter.clone());
        for key in (0_u8..42).map(key) {
            let expected = naive(&pairs, &key);
            prop_assert!(expected.is_empty() || filter.may_contain(&key));
            prop_assert_eq!(&entries.find(&key), &expected);
            let in_index = expected.iter().all(|(_, value)| value.len() <= LONGEST);
            prop_assert_eq!(sealed.find(&key), in_index.then_some(expected).ok_or(Unusable));
        }
    }

    #[test]
    fn a_damaged_index_says_so_or_answers_rightly(pairs in pairs(300), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let Encoded { mut bytes, place, .. } = entries(&pairs).encode(IDENTITY, extent(4096));
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        let mut file = vec![0; place.start as usize];
        file.extend(&bytes);
        let file = SimFs::with_file(Path::new("/s"), &file).open(Path::new("/s")).unwrap();
        let sealed = SealedIndex { file: file.as_ref(), identity: IDENTITY, records: 3, place };
        for key in (0_u8..42).map(key) {
            if let Ok(found) = sealed.find(&key) {
                prop_assert_eq!(found, naive(&pairs, &key));
            }
        }
        prop_assert!(sealed.verify().is_err() || sealed.filter().is_err());
    }
}

/// Ids may begin with a clock, or be chosen by whoever wants the memory of 256 segments.
#[test]
fn what_stays_is_what_one_segment_needs_whatever_its_keys_begin_with() {
    const PAIRS: usize = 1000;
    let mut entries = Entries::default();
    for first in 0..=255 {
        let key = [first; 16];
        let longer = if first == 0 { 100 * PAIRS } else { PAIRS };
        entries.push(4096, &(0..longer).map(|_| (key, &b"value"[..])).collect());
        assert_eq!(entries.find(&key).len(), longer);
        entries.clear();
        assert!(entries.find(&key).is_empty());
    }
    let room: usize = entries.parts.iter().map(Vec::capacity).sum();
    assert!((PAIRS..=2 * PAIRS).contains(&room), "{room}");
    let (keys, pairs) = (entries.gathered.keys.capacity(), entries.gathered.places.capacity());
    assert!(keys <= 2 * PAIRS * (20 + b"value".len()) && pairs <= 2 * PAIRS, "{keys}, {pairs}");
}

#[test]
fn the_index_of_an_earlier_use_of_the_file_or_of_an_earlier_attempt_to_seal_is_not_this_ones() {
    let Encoded { bytes, place, .. } = entries(&vec![([1; 16], 4096, vec![])]).encode(IDENTITY, extent(4096));
    let mut file = vec![0; place.start as usize];
    file.extend(&bytes);
    let file = SimFs::with_file(Path::new("/s"), &file).open(Path::new("/s")).unwrap();
    for (sequence, records, found) in
        [(4, 3, Ok(vec![(4096, vec![])])), (5, 3, Err(Unusable)), (4, 2, Err(Unusable))]
    {
        let identity = Identity { sequence, epoch: 2 };
        assert_eq!(SealedIndex { file: file.as_ref(), identity, records, place }.find(&[1; 16]), found);
    }
}
