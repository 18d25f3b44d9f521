//! How headers are read and written, whatever the client: the two carrier traits and the names throughline owns.
//! Knows nothing of what the values mean (that is [`crate::context`]), and never fails on a foreign header.

mod carriers;
mod precedence;
#[cfg(test)]
mod tests;

pub use carriers::HeaderValue;
pub(crate) use precedence::{Best, Spelling};
use throughline_semconv::header;

/// The headers throughline owns. [`HeaderSink::replace`] removes them in any spelling before it writes.
pub const OWNED: [&str; 6] = [
    header::TRACEPARENT,
    header::TRACESTATE,
    header::BAGGAGE,
    header::TL_PATHWAY,
    header::X_TENANT_ID,
    header::X_CORRELATION_ID,
];

/// The read side: anything that has headers.
///
/// A visitor rather than an iterator: it is object-safe, borrows whatever the client borrows, and costs no allocation.
/// Keys and values are bytes, because brokers promise no more; a null value is `None`.
///
/// ```
/// use throughline::HeaderSource;
/// let headers = vec![("traceparent", Some(b"00-...".to_vec())), ("schema", None)];
/// let mut names = Vec::new();
/// headers.visit(&mut |name, value| names.push((name.to_vec(), value.is_some())));
/// assert_eq!(names, [(b"traceparent".to_vec(), true), (b"schema".to_vec(), false)]);
/// ```
pub trait HeaderSource {
    /// Calls `each` once for every header, in the order of the message.
    #[expect(clippy::type_complexity, reason = "an alias would hide from implementers what they are handed")]
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>));
}

/// The write side: takes a whole set of headers and gives it back with ours in it.
///
/// By value and all at once, because some clients (rdkafka's `OwnedHeaders`) can neither remove nor overwrite a header in
/// place and have to be rebuilt. Whatever can be written can be read: a correlation id that the application put there is
/// kept, so the writer has to see it.
pub trait HeaderSink: HeaderSource + Sized {
    /// Removes every header whose name is in `owned` (compared without regard to ASCII case), then appends `entries`.
    ///
    /// Every other header survives byte for byte and in its order, null and non-UTF-8 values included.
    #[must_use]
    fn replace(self, owned: &[&'static str], entries: &[(&'static str, &[u8])]) -> Self;
}

/// Whether `name` is one of `owned`, without regard to ASCII case. For implementations of [`HeaderSink`].
#[must_use]
pub fn is_owned(name: &[u8], owned: &[&'static str]) -> bool {
    owned.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
}

/// All headers with a value, owned, names in lower case: the source's `normalizeHeaders`, for those who store headers
/// beside a payload and trace later.
///
/// A name that is not UTF-8 is written with replacement characters; it is foreign, nothing of ours is lost.
///
/// ```
/// let headers = [("TraceParent", "00-…"), ("Schema", "7")];
/// let normal = throughline::normalize_headers(&headers[..]);
/// assert_eq!(normal[1], ("schema".to_owned(), b"7".to_vec()));
/// ```
#[must_use]
pub fn normalize_headers<H: HeaderSource + ?Sized>(headers: &H) -> Vec<(String, Vec<u8>)> {
    let mut normal = Vec::new();
    headers.visit(&mut |name, value| {
        if let Some(value) = value {
            normal.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()));
        }
    });
    normal
}
