//! The ring against what the peer did with 2,000 ids, and against itself when members come and go.

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

/// The ids whose owners were recorded: the first 16 bytes of SHA-256 of `prob/0` to `prob/1999`.
fn recorded_id(number: usize) -> [u8; 16] {
    let hash = Sha256::digest(format!("prob/{number}"));
    hash.as_slice()[..16].try_into().unwrap()
}

/// One line a member list, one digit an id: the number of the member that received it from the OpenTelemetry Collector's
/// `loadbalancing` exporter 0.159.
const OWNERS: &str = include_str!("owners.txt");

#[test]
fn owners_are_the_peers() {
    let names = ["127.0.0.1:27001", "127.0.0.1:27002", "127.0.0.1:27003"];
    let mut lists = 0;
    for (members, owners) in [2, 3].into_iter().zip(OWNERS.lines()) {
        // Order and repetition of the list are of no importance.
        let list = names[..members].iter().rev().chain(&names[..1]);
        let ring = Ring::new(list.copied());
        assert_eq!(ring.members().len(), members);
        let ours: String = (0..owners.len())
            .map(|number| {
                let owner = ring.owner(&recorded_id(number)).unwrap();
                assert_eq!(ring.name(owner), names[usize::from(owner.0)]);
                char::from_digit(u32::from(owner.0), 10).unwrap()
            })
            .collect();
        assert_eq!((ours.as_str(), owners.len()), (owners, 2000));
        lists += 1;
    }
    assert_eq!(lists, 2);
}

#[test]
fn nobody_is_left_only_when_nobody_is() {
    assert_eq!(Ring::new([]).owner(b"key"), None);
    let ring = Ring::new(["a", "b", "c"]);
    for number in 0..200 {
        let key = recorded_id(number);
        let mut without = Vec::new();
        while let Some(next) = ring.owner_but(&key, &without) {
            assert!(!without.contains(&next));
            without.push(next);
        }
        assert_eq!(without.len(), 3, "each member once");
    }
}

/// Owners by name, for comparing rings.
fn owners(ring: &Ring) -> Vec<String> {
    (0..2000).map(|number| ring.name(ring.owner(&recorded_id(number)).unwrap()).to_owned()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The peer's probing lets a newcomer push a neighbour's point aside, so a few keys (under 1 %) may move between the
    /// others; all else that moves goes to the newcomer, and that is its share.
    #[test]
    fn a_newcomer_moves_only_its_share(
        names in prop::collection::hash_set("[a-z]{1,8}:[0-9]{2,5}", 2..12),
    ) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (newcomer, old) = names.split_first().unwrap();
        let before = owners(&Ring::new(old.iter().copied()));
        let after = owners(&Ring::new(names.iter().copied()));
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
        let (to_newcomer, aside): (Vec<_>, Vec<_>) = moved.partition(|(_, after)| after == newcomer);
        prop_assert!(aside.len() < 20, "{} keys moved between others", aside.len());
        let share = 2000 / names.len();
        prop_assert!(to_newcomer.len() < share * 2, "{} keys moved, its share is {share}", to_newcomer.len());
        prop_assert!(to_newcomer.len() > share / 3, "{} keys moved, its share is {share}", to_newcomer.len());
    }

    /// A redirected key goes where it would belong if the member were gone, but for points pushed aside.
    #[test]
    fn going_round_a_member_is_nearly_leaving_it_out(
        names in prop::collection::hash_set("[a-z]{1,8}:[0-9]{2,5}", 2..8),
    ) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let ring = Ring::new(names.iter().copied());
        let smaller = Ring::new(names[1..].iter().copied());
        let gone = Member(u16::try_from(ring.members().iter().position(|name| &**name == names[0]).unwrap()).unwrap());
        let mut differ = 0;
        for number in 0..2000 {
            let key = recorded_id(number);
            let round = ring.owner_but(&key, &[gone]).unwrap();
            prop_assert_ne!(round, gone);
            if ring.owner(&key) != Some(gone) {
                prop_assert_eq!(Some(round), ring.owner(&key), "others stay where they are");
            }
            differ += usize::from(ring.name(round) != smaller.name(smaller.owner(&key).unwrap()));
        }
        prop_assert!(differ < 20, "{differ} keys differ");
    }
}
