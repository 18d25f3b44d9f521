//! Kafka's record headers as a carrier: read from every shape rdkafka has, written to [`OwnedHeaders`]. Keys that are not
//! UTF-8 pass through untouched; nothing here knows what a header means.

use super::raw;
use crate::headers::is_owned;
use crate::{HeaderSink, HeaderSource};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Message as _, OwnedHeaders, OwnedMessage};
use std::ffi::CString;

impl HeaderSource for BorrowedMessage<'_> {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        if let Some(headers) = raw::Headers::of_message(self) {
            visit(headers, each);
        }
    }
}

impl HeaderSource for OwnedMessage {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        if let Some(headers) = self.headers() {
            headers.visit(each);
        }
    }
}

impl HeaderSource for BorrowedHeaders {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        visit(raw::Headers::of(self), each);
    }
}

impl HeaderSource for OwnedHeaders {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        visit(raw::Headers::of(self.as_borrowed()), each);
    }
}

fn visit(headers: raw::Headers<'_>, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
    for (key, value) in headers.iter() {
        each(key, value);
    }
}

/// [`OwnedHeaders::insert`] for a key of any bytes: copies a stranger's header that no `&str` could hold.
///
/// ```
/// use rdkafka::message::OwnedHeaders;
/// use throughline::{HeaderSource as _, kafka::insert_header};
///
/// let headers = insert_header(OwnedHeaders::new(), b"\xff\xfe", Some(b"value"));
/// headers.visit(&mut |key, value| assert_eq!((key, value), (&b"\xff\xfe"[..], Some(&b"value"[..]))));
/// ```
#[must_use]
pub fn insert_header(mut headers: OwnedHeaders, key: &[u8], value: Option<&[u8]>) -> OwnedHeaders {
    raw::add(&mut headers, key, value);
    headers
}

impl HeaderSink for OwnedHeaders {
    /// In place: rdkafka cannot remove a header, librdkafka can, and what stays keeps keys no `&str` could hold.
    fn replace(mut self, owned: &[&'static str], entries: &[(&'static str, &[u8])]) -> Self {
        // Copied out first: each removal frees the key it would be compared with.
        let stale: Vec<CString> = raw::Headers::of(self.as_borrowed())
            .iter()
            .filter(|(key, _)| is_owned(key, owned))
            .filter_map(|(key, _)| CString::new(key).ok())
            .collect();
        for key in &stale {
            raw::remove(&mut self, key);
        }
        entries.iter().fold(self, |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &OwnedHeaders) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let mut all = Vec::new();
        headers.visit(&mut |key, value| all.push((key.to_vec(), value.map(<[u8]>::to_vec))));
        all
    }

    #[test]
    fn replacing_leaves_one_of_ours_and_everything_foreign() {
        let mut headers = OwnedHeaders::new();
        let given: [(&[u8], Option<&[u8]>); 7] = [
            (b"Traceparent", Some(b"old")),
            (b"\xff\xfe", Some(b"binary key")),
            (b"traceparent", Some(b"older")),
            (b"null", None),
            (b"traceparent", None),
            (b"empty", Some(b"")),
            (b"null", Some(b"\x00\x01")),
        ];
        for (key, value) in given {
            raw::add(&mut headers, key, value);
        }
        let headers = headers.replace(&["traceparent", "baggage"], &[("traceparent", b"new")]);
        let want: [(&[u8], Option<&[u8]>); 5] = [
            (b"\xff\xfe", Some(b"binary key")),
            (b"null", None),
            (b"empty", Some(b"")),
            (b"null", Some(b"\x00\x01")),
            (b"traceparent", Some(b"new")),
        ];
        let want: Vec<_> = want.iter().map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))).collect();
        assert_eq!(read(&headers), want);
    }

    #[test]
    fn a_message_without_headers_has_none() {
        let message = OwnedMessage::new(None, None, "t".into(), rdkafka::Timestamp::NotAvailable, 0, 0, None);
        message.visit(&mut |_, _| panic!("no header was given"));
        assert!(read(&OwnedHeaders::new().replace(&["baggage"], &[])).is_empty());
    }
}
