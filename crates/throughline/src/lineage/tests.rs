//! Lineage against a naive model, and its independence of order.

use super::*;
use crate::extract;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn message(trace: Option<u128>, span: u64) -> Vec<(String, Vec<u8>)> {
    trace
        .map(|trace| ("traceparent".to_owned(), format!("00-{trace:032x}-{span:016x}-01").into_bytes()))
        .into_iter()
        .collect()
}

#[test]
fn the_vector() {
    let ids = [0x0af7651916cd43dd8448eb211c80319c_u128, 0x4bf92f3577b34da6a3ce929d0e0e4736];
    let messages: Vec<_> = ids.iter().map(|id| message(Some(*id), 1)).collect();
    let of_headers = extract_batch_lineage(&messages, 10);
    let incoming: Vec<Incoming> = messages.iter().map(extract).collect();
    let of_incoming = extract_batch_lineage(&incoming, 10);
    for lineage in [of_headers, of_incoming] {
        assert_eq!(lineage.linked_trace_id_hash.as_deref(), Some("2b011da7875bd41d"));
        assert_eq!((lineage.linked_trace_id_count, lineage.links.len(), lineage.messages), (2, 2, 2));
    }
}

#[test]
fn no_contributors_no_hash() {
    for messages in [vec![], vec![message(None, 1)]] {
        let lineage = extract_batch_lineage(&messages, 10);
        assert_eq!((lineage.linked_trace_id_count, lineage.linked_trace_id_hash), (0, None));
        assert_eq!(lineage.messages, messages.len());
    }
}

proptest! {
    #[test]
    fn count_hash_and_origins_do_not_depend_on_order(
        (first, second) in prop::collection::vec((prop::option::of(1u128..6), prop::option::of(-5i64..5)), 0..12)
            .prop_flat_map(|messages| (Just(messages.clone()), Just(messages).prop_shuffle())),
        cap in 0usize..15,
    ) {
        let lineage = |messages: &[(Option<u128>, Option<i64>)]| {
            let all = messages.iter().zip(1..).map(|((trace, stamp), span)| Contribution {
                incoming: extract(&message(*trace, span)),
                record_timestamp: *stamp,
                ..Contribution::default()
            });
            extract_batch_lineage(all, cap)
        };
        let (a, b) = (lineage(&first), lineage(&second));
        prop_assert_eq!(&a.linked_trace_id_hash, &b.linked_trace_id_hash);
        prop_assert_eq!(a.linked_trace_id_count, b.linked_trace_id_count);
        prop_assert_eq!((a.oldest_origin, a.newest_origin), (b.oldest_origin, b.newest_origin));

        // The naive model.
        let distinct: BTreeSet<String> = first.iter().filter_map(|(trace, _)| *trace).map(|t| format!("{t:032x}")).collect();
        prop_assert_eq!(a.linked_trace_id_count, distinct.len());
        let joined = distinct.into_iter().collect::<Vec<_>>().join("|");
        prop_assert_eq!(a.linked_trace_id_hash, (!joined.is_empty()).then(|| short_hash(joined.as_bytes())));
        let spans: Vec<u64> = first.iter().zip(1..).filter(|((trace, _), _)| trace.is_some()).map(|(_, span)| span).collect();
        prop_assert_eq!(a.links_total, spans.len());
        let newest = &spans[spans.len().saturating_sub(cap)..];
        let linked: Vec<u64> = a.links.iter().map(|l| u64::from_be_bytes(l.span_context.span_id().to_bytes())).collect();
        prop_assert_eq!(linked, newest);
    }
}

#[test]
fn a_loser_is_linked_beside_its_message() {
    let mut both = message(Some(1), 1);
    both.extend(message(Some(2), 2));
    let lineage = extract_batch_lineage([&both], 10);
    assert!(lineage.conflict);
    assert_eq!((lineage.links_total, lineage.linked_trace_id_count), (2, 1), "the loser contributes nothing");
    assert_eq!(extract_batch_lineage([&both], 1).links[0].span_context.trace_id(), TraceId::from(2));
}
