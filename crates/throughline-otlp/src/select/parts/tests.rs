//! Dealing out against choosing for each part by itself.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::select::tests::{edited, field, later};
use crate::select::{Choice, select_items, select_resources};
use crate::tests::generate;

/// The part of an item: some go to none, some to one that is not there.
fn part_of(bytes: &[u8], parts: usize) -> Option<usize> {
    let sum = bytes.iter().fold(7_usize, |sum, byte| sum.wrapping_mul(31) ^ usize::from(*byte));
    (sum % 5 != 0).then_some(sum / 5 % (parts + 1))
}

fn dealt(requests: &[&[u8]], unit: Unit, parts: usize) -> Result<Vec<OfPart>, WireError> {
    let mut dealing = Parts::new(parts);
    for request in requests {
        dealing.deal(request, unit, |bytes| Ok(part_of(bytes, parts)))?;
    }
    Ok(dealing.into_requests())
}

/// Each part chosen by itself.
fn chosen(requests: &[&[u8]], unit: Unit, parts: usize) -> Result<Vec<OfPart>, WireError> {
    let mut all = Vec::new();
    for number in 0..parts {
        let mut part = OfPart { number, request: Vec::new(), items: 0 };
        for request in requests {
            let mut choose = |_: usize, bytes: &[u8]| {
                Ok(if part_of(bytes, parts) == Some(number) { Choice::Keep } else { Choice::Drop })
            };
            part.items += match unit {
                Unit::Item => select_items(request, &mut choose, &mut part.request)?,
                Unit::Resource => select_resources(request, &mut choose, &mut part.request)?,
            };
        }
        all.push(part);
    }
    all.retain(|part| !part.request.is_empty());
    Ok(all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn each_part_is_what_choosing_it_gives(
        one in generate::traces(),
        two in generate::traces(),
        parts in 1..5_usize,
        unit in prop_oneof![Just(Unit::Item), Just(Unit::Resource)],
    ) {
        let (one, two) = (one.encode_to_vec(), two.encode_to_vec());
        let requests = [&one[..], &two[..]];
        prop_assert_eq!(dealt(&requests, unit, parts), chosen(&requests, unit, parts));
    }

    /// Fields out of order, twice, of a later version; and what is not OTLP is an error of both.
    #[test]
    fn odd_encodings_are_dealt_as_they_are_chosen(
        request in generate::traces(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 0..4),
        parts in 1..4_usize,
    ) {
        let bytes = edited(request.encode_to_vec(), &edits);
        let (dealt, chosen) = (dealt(&[&bytes], Unit::Item, parts), chosen(&[&bytes], Unit::Item, parts));
        prop_assert_eq!(dealt.is_err(), chosen.is_err());
        let read = |all: Vec<OfPart>| -> Vec<_> {
            let each = |part: OfPart| (part.number, part.items, ExportTraceServiceRequest::decode(&part.request[..]).ok());
            all.into_iter().map(each).map(|part| format!("{part:?}")).collect()
        };
        prop_assert_eq!(dealt.ok().map(read), chosen.ok().map(read));
    }
}

/// What is around an item goes to each part that has one of its group, in its place, whenever the part's first item comes.
#[test]
fn what_is_around_goes_with_each_part() {
    let item = |name: &[u8]| field(2, name);
    let scope = |items: [&[u8]; 3]| {
        field(
            2,
            &[
                field(1, b"scope"),
                items[0].to_vec(),
                later(1),
                items[1].to_vec(),
                field(3, b"url"),
                items[2].to_vec(),
                later(2),
            ]
            .concat(),
        )
    };
    let group = |scopes: &[Vec<u8>]| {
        field(1, &[field(3, b"first"), scopes.concat(), later(4), field(1, b"resource")].concat())
    };
    let (a, b, c) = (item(b"a"), item(b"b"), item(b"c"));
    let request = [
        later(6),
        group(&[scope([&a, &b, &a]), scope([&b, &b, &b])]),
        group(&[scope([&c, &c, &c])]),
        later(5),
    ]
    .concat();
    let mut parts = Parts::new(2);
    let whom = |bytes: &[u8]| {
        Ok(match bytes {
            b"a" => Some(0),
            b"b" => Some(1),
            _ => None,
        })
    };
    parts.deal(&request, Unit::Item, whom).unwrap();
    let expected = [
        [later(6), group(&[scope([&a, b"", &a])]), later(5)].concat(),
        [later(6), group(&[scope([b"", &b, b""]), scope([&b, &b, &b])]), later(5)].concat(),
    ];
    let requests = parts.into_requests();
    assert_eq!(requests.iter().map(|part| (part.number, part.items)).collect::<Vec<_>>(), [(0, 2), (1, 4)]);
    for (part, expected) in requests.iter().zip(&expected) {
        assert_eq!(part.request, *expected);
        assert_eq!(part.request.capacity(), expected.len(), "one buffer of the exact size");
    }
}
