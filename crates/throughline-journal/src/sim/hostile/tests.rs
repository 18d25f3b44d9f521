//! The fixtures come through whole, edits reach what they are meant for, and random ones lose nothing.

use proptest::prelude::*;

use super::*;

const SEALED: &[u8] = include_bytes!("../../../tests/fixtures/v2/segment-00000000.tlj");
const OPEN: &[u8] = include_bytes!("../../../tests/fixtures/v2/segment-00000001.tlj");
const ALL: u8 = 31;

fn check(input: &[u8]) -> Result<Survivors, JournalError> {
    survivors(&segment(&[SEALED, OPEN], input))
}

#[test]
fn a_valid_segment_comes_through_whole_as_edits_and_as_it_is() {
    for (base, bytes, records) in [(0, SEALED, 5), (1 << 5, OPEN, 1)] {
        for how in [base, base | ALL] {
            assert_eq!(segment(&[SEALED, OPEN], &[how]), bytes, "what holds is not touched");
        }
        assert_eq!(check(&[base]).unwrap().records.len(), records);
        assert_eq!(check(&[&[RAW], bytes].concat()).unwrap().records.len(), records);
    }
}

/// Places of the sealed fixture: two heads, five records, the index, the footer.
#[test]
fn an_edit_is_seen_behind_a_repaired_checksum_and_is_damage_without() {
    let (payload, keys, epoch, group) = (64, 104, 32, 20);
    for (place, offset, repaired, damaged) in [
        (2, payload, 5, 4),
        (3, keys, 5, 4),
        // Of another use of the file: it does not exist, whatever its checksum says.
        (4, epoch, 4, 4),
        // A group that only rises is no damage; the records behind it are of a lower one.
        (5, group, 4, 4),
    ] {
        let edit = |how| check(&[how, place, offset, 1, 77]).unwrap();
        assert_eq!(edit(ALL).records.len(), repaired, "{place} {offset}");
        assert_eq!(edit(0).records.len(), damaged, "{place} {offset}");
    }
    let read = check(&[ALL, 2, payload, 2, 1, 2]).unwrap().records.remove(0);
    assert_eq!(read.payload[..3], [1, 2, 0]);
    let newer = check(&[ALL, 4, 4, 1, 9]).unwrap();
    assert_eq!((newer.records.len(), newer.strange), (4, vec![Position(1 << 32 | 12288)]));
    // The second record's bytes where the third was: in the wrong place, it does not exist.
    assert_eq!(check(&[ALL, 128 + 4, 0, 3]).unwrap().records.len(), 4);
}

#[test]
fn a_later_version_is_refused_under_its_checksum_and_damage_without() {
    assert!(matches!(check(&[ALL, 0, 8, 1, 2]), Err(JournalError::NewerFormat { .. })));
    assert_eq!(check(&[0, 0, 8, 1, 2]).unwrap().recovery.headers_rebuilt, 1);
}

proptest! {
    #[test]
    fn edits_lose_nothing_that_exists(
        how in 0u8..128,
        edits in prop::collection::vec((any::<u8>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..8)), 0..6),
    ) {
        let edits = edits.into_iter().flat_map(|(place, offset, data)| [vec![place, offset, data.len() as u8], data].concat());
        let _ = check(&std::iter::once(how).chain(edits).collect::<Vec<_>>());
    }
}
