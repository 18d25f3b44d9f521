//! The library's only unsafe code: record headers and error names read through rdkafka-sys, because rdkafka's own header
//! iterator panics on a key that is not UTF-8, which would make any stranger's record a poison message. It refuses
//! everything rdkafka can do safely.
//!
//! # Why it is sound
//!
//! *Layout (librdkafka 2.12, `rdkafka_header.h`).* A header is one allocation, never changed after it was added: the
//! name, a NUL, the value, a NUL. `rd_kafka_header_get_all` hands out pointers into it: the name is a C string, the value
//! is null (a null header) or points to `size` readable bytes. It answers an index past the end with an error and leaves
//! the out-pointers alone. A key with a NUL inside is seen up to it, as by every C client.
//!
//! *Lifetimes.* [`Headers`] borrows the Rust value that owns the list (a message, or a set of headers). The list of a
//! received message is parsed at the first read and then stays until the message is destroyed, which the borrow
//! excludes. The list of an [`OwnedHeaders`] changes only through `insert` (by value) and [`remove`] (`&mut`), which the
//! borrow excludes too. All slices handed out carry that borrow.
//!
//! *One assumption about rdkafka 0.39*, which gives no pointer for [`OwnedHeaders`]: its zero-sized [`BorrowedHeaders`]
//! stands at the address of the native list. The size is asserted at compile time; a property test compares every read and removal
//! with rdkafka's own. As the type covers no bytes, a pointer made from a reference to it forbids nobody to write to the list.
//!
//! *Threads.* The first read of a received message parses the headers inside librdkafka without a lock, as rdkafka's
//! own `headers()` does. [`TracedConsumer`](super::TracedConsumer) reads them before it hands the message out, which
//! leaves only pure reads to whoever shares it.
#![expect(unsafe_code, reason = "rdkafka offers no safe way to read a header whose key is not UTF-8")]

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, OwnedHeaders};
use rdkafka_sys as sys;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;

const _: () = assert!(size_of::<BorrowedHeaders>() == 0, "rdkafka changed what BorrowedHeaders is");

/// The headers of a record, read without a copy; keys are bytes.
#[derive(Clone, Copy)]
pub(super) struct Headers<'a> {
    list: *const sys::rd_kafka_headers_t,
    owner: PhantomData<&'a BorrowedHeaders>,
}

impl<'a> Headers<'a> {
    /// The headers of a message, if it has any.
    pub(super) fn of_message(message: &'a BorrowedMessage<'_>) -> Option<Self> {
        let mut list = ptr::null_mut();
        // SAFETY: the pointer is valid for as long as the message, and `list` is a place to write to. The list that is
        // written there belongs to the message.
        let error = unsafe { sys::rd_kafka_message_headers(message.ptr(), &raw mut list) };
        let found = error == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && !list.is_null();
        found.then_some(Headers { list, owner: PhantomData })
    }

    /// A set of headers that rdkafka lent.
    pub(super) fn of(headers: &'a BorrowedHeaders) -> Self {
        Headers { list: ptr::from_ref(headers).cast(), owner: PhantomData }
    }

    /// How many there are.
    pub(super) fn count(self) -> usize {
        // SAFETY: `list` is a live list of headers (type invariant: it comes from `of_message` or `of`).
        unsafe { sys::rd_kafka_header_cnt(self.list) }
    }

    /// Every header, in the order of the record.
    pub(super) fn iter(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        (0..self.count()).map_while(move |index| self.get(index))
    }

    fn get(self, index: usize) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: `list` is live; the other three are places to write to, and are written only on success.
        let error = unsafe {
            sys::rd_kafka_header_get_all(self.list, index, &raw mut name, &raw mut value, &raw mut size)
        };
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: the name ends in a NUL, and is not changed or freed while 'a lasts.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes();
        let value = (!value.is_null()).then(|| {
            // SAFETY: a value that is not null points to `size` bytes of the header's own allocation (so not more than
            // isize::MAX), which are neither changed nor freed while 'a lasts. Bytes have no alignment.
            unsafe { std::slice::from_raw_parts(value.cast::<u8>(), size) }
        });
        Some((name, value))
    }
}

/// Removes every header with exactly this key; the others stay as they are, in their order.
pub(super) fn remove(headers: &mut OwnedHeaders, key: &CStr) {
    let list = ptr::from_ref(headers.as_borrowed()).cast_mut().cast::<sys::rd_kafka_headers_t>();
    // SAFETY: the list is live and ours alone: `&mut` excludes every `Headers` and slice that reads it. The key is a C
    // string outside the list. The answer only says whether there was such a header.
    let _ = unsafe { sys::rd_kafka_header_remove(list, key.as_ptr()) };
}

/// Adds a header whose key may be any bytes.
pub(super) fn add(headers: &mut OwnedHeaders, key: &[u8], value: Option<&[u8]>) {
    let list = ptr::from_ref(headers.as_borrowed()).cast_mut().cast::<sys::rd_kafka_headers_t>();
    let (key_len, value_len) = (key.len().cast_signed(), value.map_or(0, <[u8]>::len).cast_signed());
    let value = value.map_or(ptr::null(), <[u8]>::as_ptr);
    // SAFETY: as in `remove`; librdkafka copies exactly the lengths given.
    let error =
        unsafe { sys::rd_kafka_header_add(list, key.as_ptr().cast(), key_len, value.cast(), value_len) };
    assert_eq!(error, sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
}

/// The name librdkafka has for an error code: `NOT_ENOUGH_REPLICAS`, `_MSG_TIMED_OUT`. `None` for a code it does not know.
pub(super) fn error_name(code: RDKafkaErrorCode) -> Option<&'static str> {
    static NAMES: OnceLock<Vec<Option<&'static str>>> = OnceLock::new();
    let index = usize::try_from(code as i32 - FIRST_ERROR).ok()?;
    *NAMES.get_or_init(error_names).get(index)?
}

/// The code that stands first in librdkafka's table, which has a place for every code after it.
const FIRST_ERROR: i32 = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__BEGIN as i32;

fn error_names() -> Vec<Option<&'static str>> {
    let (mut table, mut count) = (ptr::null(), 0);
    // SAFETY: both are places to write to.
    unsafe { sys::rd_kafka_get_err_descs(&raw mut table, &raw mut count) };
    let name = |index| {
        // SAFETY: the table is a constant of the library with `count` entries. Only the field `name` is read, because
        // the code of a gap need not be a value of its enum.
        let name = unsafe { (&raw const (*table.add(index)).name).read() };
        // SAFETY: a name is null or a string constant of the library.
        (!name.is_null()).then(|| unsafe { CStr::from_ptr::<'static>(name) }.to_str().ok()).flatten()
    };
    (0..count).map(name).collect()
}

/// How long the mock cluster that a client owns lets the first join of a group wait for more members.
pub(super) fn set_join_delay<C: ClientContext>(owner: &Client<C>, delay: Duration) {
    // SAFETY: the client is alive, and owns its cluster for as long as it is.
    let cluster = unsafe { sys::rd_kafka_handle_mock_cluster(owner.native_ptr()) };
    if !cluster.is_null() {
        let millis = i32::try_from(delay.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the cluster is alive, as above; the call only stores a number under the cluster's lock.
        unsafe { sys::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, millis) };
    }
}

#[cfg(test)]
mod tests;
