//! The unsafe reads against a plain model and against rdkafka's own iterator.

use super::{Headers, add, error_name, remove};
use proptest::prelude::*;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Headers as _, OwnedHeaders};
use std::ffi::CString;

type Model = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn read(headers: &OwnedHeaders) -> Model {
    let headers = Headers::of(headers.as_borrowed());
    headers.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect()
}

fn build(model: &Model) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new_with_capacity(0);
    for (key, value) in model {
        add(&mut headers, key, value.as_deref());
    }
    headers
}

/// Few distinct keys, so that duplicates and removals meet; no NUL, which no C client can see past.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::sample::select(vec![
            b"".to_vec(),
            b"a".to_vec(),
            b"A".to_vec(),
            b"\xff\xfe".to_vec(),
            b"ab".to_vec()
        ]),
        prop::collection::vec(1_u8.., 0..40),
    ]
}

fn model() -> impl Strategy<Value = Model> {
    prop::collection::vec((key(), prop::option::of(prop::collection::vec(any::<u8>(), 0..80))), 0..40)
}

proptest! {
    #[test]
    fn what_was_added_is_read_and_what_is_removed_is_gone(model in model(), gone in prop::collection::vec(key(), 0..4)) {
        let mut headers = build(&model);
        prop_assert_eq!(&read(&headers), &model);
        let mut rest = model;
        for key in gone {
            remove(&mut headers, &CString::new(key.clone()).unwrap());
            rest.retain(|(name, _)| *name != key);
            prop_assert_eq!(&read(&headers), &rest);
        }
        // rdkafka copies the list through its own pointer to it: both are the same list.
        prop_assert_eq!(&read(&headers.clone()), &rest);
        prop_assert_eq!(headers.count(), rest.len());
    }

    #[test]
    fn utf8_headers_read_as_rdkafka_reads_them(model in model()) {
        let utf8: Model = model.into_iter().filter(|(key, _)| std::str::from_utf8(key).is_ok()).collect();
        let headers = build(&utf8);
        let theirs: Model =
            headers.iter().map(|h| (h.key.as_bytes().to_vec(), h.value.map(<[u8]>::to_vec))).collect();
        prop_assert_eq!(read(&headers), theirs);
    }
}

#[test]
fn the_end_of_the_list_is_the_end() {
    let headers = build(&vec![(b"only".to_vec(), None)]);
    let headers = Headers::of(headers.as_borrowed());
    assert_eq!(headers.get(0), Some((&b"only"[..], None)));
    assert_eq!(headers.get(1), None);
    assert_eq!(headers.get(i32::MAX as usize), None);
}

#[test]
fn error_codes_have_the_names_of_librdkafka() {
    let cases = [
        (RDKafkaErrorCode::NotEnoughReplicas, "NOT_ENOUGH_REPLICAS"),
        (RDKafkaErrorCode::MessageTimedOut, "_MSG_TIMED_OUT"),
        (RDKafkaErrorCode::UnknownTopicOrPartition, "UNKNOWN_TOPIC_OR_PART"),
        (RDKafkaErrorCode::QueueFull, "_QUEUE_FULL"),
        (RDKafkaErrorCode::BadMessage, "_BAD_MSG"),
        (RDKafkaErrorCode::RebootstrapRequired, "REBOOTSTRAP_REQUIRED"),
        (RDKafkaErrorCode::NoError, "NO_ERROR"),
    ];
    for (code, name) in cases {
        assert_eq!(error_name(code), Some(name));
    }
    assert_eq!(error_name(RDKafkaErrorCode::EndAll), None);
}

#[test]
fn the_table_is_whole() {
    let named = super::error_names().into_iter().flatten().count();
    assert!(named > 150, "only {named} error codes have a name");
}
