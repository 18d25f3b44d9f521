//! Writing headers against a naive model: whatever was there, afterwards there is exactly what we wrote, and every foreign
//! header is as it was.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

type List = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Names that collide with ours in all ways, and names that do not.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::sample::select(OWNED.to_vec()).prop_map(|name| name.as_bytes().to_vec()),
        prop::sample::select(OWNED.to_vec()).prop_map(|name| name.to_ascii_uppercase().into_bytes()),
        prop::sample::select(vec![
            "Traceparent",
            "traceparenT",
            "traceparent ",
            "X-Tenant-Id",
            "baggages",
            ""
        ])
        .prop_map(|name| name.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
    ]
}

fn list() -> impl Strategy<Value = List> {
    prop::collection::vec((name(), prop::option::of(prop::collection::vec(any::<u8>(), 0..20))), 0..12)
}

const WRITTEN: [(&str, &[u8]); 2] = [("traceparent", b"00-new"), ("x-correlation-id", b"order-42")];

proptest! {
    #[test]
    fn a_list_after_replace_is_the_foreign_headers_and_then_ours(before in list()) {
        let owned: Vec<String> = OWNED.iter().map(|name| (*name).to_owned()).collect();
        let mut model: List = Vec::new();
        for (name, value) in &before {
            let lower = String::from_utf8_lossy(name).to_ascii_lowercase();
            if !owned.contains(&lower) {
                model.push((name.clone(), value.clone()));
            }
        }
        for (name, value) in WRITTEN {
            model.push((name.as_bytes().to_vec(), Some(value.to_vec())));
        }
        prop_assert_eq!(before.replace(&OWNED, &WRITTEN), model);
    }

    #[test]
    fn only_the_names_given_are_replaced(before in list()) {
        let after = before.clone().replace(&["baggage"], &[]);
        let kept = before.into_iter().filter(|(name, _)| !name.eq_ignore_ascii_case(b"baggage"));
        prop_assert_eq!(after, kept.collect::<List>());
    }

    #[test]
    fn reading_sees_every_header_in_order(before in list()) {
        let mut seen: List = Vec::new();
        before.visit(&mut |name, value| seen.push((name.to_vec(), value.map(<[u8]>::to_vec))));
        prop_assert_eq!(seen, before);
    }
}

#[test]
fn every_shape_of_the_standard_library_reads_alike() {
    fn read<H: HeaderSource + ?Sized>(headers: &H) -> Vec<(String, Vec<u8>)> {
        let mut normal = normalize_headers(headers);
        normal.sort();
        normal
    }
    let expected = vec![("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())];
    let pairs = [("A", "1"), ("b", "2")];
    assert_eq!(read(&pairs), expected);
    assert_eq!(read(&pairs[..]), expected);
    assert_eq!(read(&Some(pairs.to_vec())), expected);
    assert_eq!(read(&None::<Vec<(String, String)>>), Vec::new());
    assert_eq!(read(&HashMap::from(pairs)), expected);
    assert_eq!(read(&std::collections::BTreeMap::from(pairs)), expected);
    assert_eq!(
        read(&[
            (b"a".to_vec(), Some(b"1".to_vec())),
            (b"null".to_vec(), None),
            (b"b".to_vec(), Some(b"2".to_vec()))
        ]),
        expected
    );
    let dynamic: &dyn HeaderSource = &pairs;
    assert_eq!(read(dynamic), expected);
}

#[test]
fn maps_are_written_like_lists() {
    let before =
        HashMap::from([("Traceparent".to_owned(), "old".to_owned()), ("schema".to_owned(), "7".to_owned())]);
    let after = before.replace(&OWNED, &WRITTEN);
    let expected = [("schema", "7"), ("traceparent", "00-new"), ("x-correlation-id", "order-42")];
    assert_eq!(after, HashMap::from(expected.map(|(name, value)| (name.to_owned(), value.to_owned()))));
}
