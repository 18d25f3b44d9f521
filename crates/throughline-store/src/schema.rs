//! The index's fields and terms. Owns how a fact becomes bytes in the index; refuses to know documents or queries.
//!
//! Every indexed field holds raw bytes: no tokenizer, no stemming, no positions. A term starts with the signal's tag, so
//! that spans and log records share the fields and never meet. Part of the format: see [`crate::FORMAT_VERSION`].

use std::ops::Range;

use tantivy::IndexSettings;
use tantivy::schema::{BytesOptions, Field, NumericOptions, Schema};
use throughline_otlp::{Signal, SpanId, SpanKind};

/// Longest term kept whole. Longer ones keep their beginning and a hash of all of it; what is found through such a term
/// is, like everything found, verified on the stored span.
const LONGEST_TERM: usize = 200;

/// From here on integers share a term with their neighbours: what is that large counts on (offsets, sizes, times), and a
/// term that occurs once costs ten times one that occurs often. Below are the values people choose: codes, ports.
const LARGE: i64 = 1 << 16;

/// Two to this many neighbours share one.
const NEIGHBOURS_BITS: u32 = 4;

/// Longest service or operation name that is listed whole.
const LONGEST_NAME: usize = 1024;

/// A field of the index; the discriminant is its number in the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Column {
    /// Stored: the span's or record's own one-item OTLP request.
    Otlp,
    /// Column: start of the span, time of the record, Unix nanoseconds; cut to what [`crate::chunk`] allows.
    Time,
    /// Column: duration of the span, nanoseconds; records have none, which tells the two apart.
    Duration,
    /// Column: the span's id as a number, likewise of the span a record was written in. A column and not a term: each is
    /// unique, a term that occurs once costs ten times what a column's value does, and nobody asks for one without its
    /// trace in a hurry.
    Span,
    /// Column: the parent's id as a number; absent on roots.
    Parent,
    /// Trace id, 16 bytes.
    Trace,
    /// What services and operations are listed from: [`operation_term`].
    Operation,
    /// Span name.
    Name,
    /// Kind, one byte.
    Kind,
    /// Only on errors.
    Error,
    /// [`Terms::push_attribute`]. The service is found as its resource's attribute.
    Attribute,
    /// Trace id a span links to, 16 bytes; not the span's own trace.
    Link,
}

const ALL: [(Column, &str); 12] = [
    (Column::Otlp, "otlp"),
    (Column::Time, "time"),
    (Column::Duration, "duration"),
    (Column::Span, "span"),
    (Column::Parent, "parent"),
    (Column::Trace, "trace"),
    (Column::Operation, "operation"),
    (Column::Name, "name"),
    (Column::Kind, "kind"),
    (Column::Error, "error"),
    (Column::Attribute, "attribute"),
    (Column::Link, "link"),
];

impl Column {
    /// Its name in the column store.
    pub(crate) fn name(self) -> &'static str {
        ALL.get(self as usize).map_or("", |(_, name)| name)
    }

    pub(crate) fn field(self) -> Field {
        Field::from_field_id(self as u32)
    }
}

/// The schema of every block.
pub(crate) fn schema() -> Schema {
    let mut builder = Schema::builder();
    for (column, name) in ALL {
        let field = match column {
            Column::Otlp => builder.add_bytes_field(name, BytesOptions::default().set_stored()),
            Column::Time | Column::Duration | Column::Span | Column::Parent => {
                builder.add_u64_field(name, NumericOptions::default().set_fast())
            }
            _ => builder.add_bytes_field(name, BytesOptions::default().set_indexed()),
        };
        debug_assert_eq!(field, column.field(), "fields are numbered in the order of ALL");
    }
    builder.build()
}

/// How stored documents are kept. A thread per segment for compression buys nothing with one writing thread.
pub(crate) fn settings() -> IndexSettings {
    IndexSettings { docstore_compress_dedicated_thread: false, ..IndexSettings::default() }
}

/// Terms of documents or of a query: many short byte strings in one allocation, each with its field.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    bytes: Vec<u8>,
    ends: Vec<(Column, u32)>,
}

/// Some of [`Terms`], in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slice<'a> {
    bytes: &'a [u8],
    start: u32,
    ends: std::slice::Iter<'a, (Column, u32)>,
}

impl Terms {
    /// Adds a term made of the parts, in this order, without anything between them.
    pub(crate) fn push(&mut self, signal: Signal, column: Column, parts: &[&[u8]]) {
        let start = self.bytes.len();
        self.bytes.push(tag(signal));
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        if column != Column::Operation {
            bound(&mut self.bytes, start);
        }
        self.ends.push((column, u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)));
    }

    /// The term that lists an operation: two bytes length of the service, service, kind, name; both as [`listed`].
    pub(crate) fn push_operation(&mut self, service: &str, kind: u8, name: &str) {
        let (service, name) = (listed(service), listed(name));
        let parts = [&service_length(service)[..], service.as_bytes(), &[kind], name.as_bytes()];
        self.push(Signal::Traces, Column::Operation, &parts);
    }

    /// The term of an attribute: key, zero byte, and the value as text; or, of a large integer however it is typed, a byte 1
    /// and the integer without its last bits.
    pub(crate) fn push_attribute(&mut self, signal: Signal, key: &str, text: &[u8]) {
        match large_integer(text) {
            Some(value) => {
                let neighbours = (value >> NEIGHBOURS_BITS).to_be_bytes();
                self.push(signal, Column::Attribute, &[key.as_bytes(), b"\0\x01", &neighbours]);
            }
            None => self.push(signal, Column::Attribute, &[key.as_bytes(), b"\0", text]),
        }
    }

    /// Number of terms.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The terms with these numbers; none if there are no such.
    pub(crate) fn slice(&self, range: Range<usize>) -> Slice<'_> {
        let before = range.start.checked_sub(1).and_then(|before| self.ends.get(before));
        let start = before.map_or(0, |(_, end)| *end);
        Slice { bytes: &self.bytes, start, ends: self.ends.get(range).unwrap_or_default().iter() }
    }

    /// All terms.
    pub(crate) fn iter(&self) -> Slice<'_> {
        self.slice(0..self.ends.len())
    }
}

impl<'a> Iterator for Slice<'a> {
    type Item = (Column, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (column, end) = *self.ends.next()?;
        let term = self.bytes.get(self.start as usize..end as usize)?;
        self.start = end;
        Some((column, term))
    }
}

/// First byte of every term of a signal.
pub(crate) fn tag(signal: Signal) -> u8 {
    match signal {
        Signal::Traces => b's',
        Signal::Logs => b'l',
        Signal::Metrics => b'm',
    }
}

/// A name as services and operations are listed: at most [`LONGEST_NAME`] bytes of it, cut between characters.
pub(crate) fn listed(name: &str) -> &str {
    name.get(..name.floor_char_boundary(LONGEST_NAME)).unwrap_or(name)
}

/// How the operation terms of a service begin, after the tag.
pub(crate) fn service_prefix(service: &str) -> Vec<u8> {
    let service = listed(service);
    [&service_length(service), service.as_bytes()].concat()
}

fn service_length(service: &str) -> [u8; 2] {
    u16::try_from(service.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// Service, kind and name of an operation term; `None` if it is none.
pub(crate) fn parse_operation(term: &[u8]) -> Option<(&str, u8, &str)> {
    let (_tag, rest) = term.split_first()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (service, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let (kind, name) = rest.split_first()?;
    Some((str::from_utf8(service).ok()?, *kind, str::from_utf8(name).ok()?))
}

/// A span id as a column has it.
pub(crate) fn number(id: SpanId) -> u64 {
    u64::from_be_bytes(id.bytes())
}

/// The kind in a term.
pub(crate) fn kind_byte(kind: SpanKind) -> u8 {
    match kind {
        SpanKind::Unspecified => b'0',
        SpanKind::Internal => b'1',
        SpanKind::Server => b'2',
        SpanKind::Client => b'3',
        SpanKind::Producer => b'4',
        SpanKind::Consumer => b'5',
    }
}

/// The kind of a term's byte.
pub(crate) fn kind_of_byte(byte: u8) -> SpanKind {
    SpanKind::from_otlp(i32::from(byte.wrapping_sub(b'0')))
}

fn large_integer(text: &[u8]) -> Option<i64> {
    // Spares nearly every value the rest.
    if text.len() < 5 || !text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-') {
        return None;
    }
    let value: i64 = str::from_utf8(text).ok()?.parse().ok()?;
    (value.unsigned_abs() >= LARGE.unsigned_abs()).then_some(value)
}

fn bound(bytes: &mut Vec<u8>, start: usize) {
    let Some(term) = bytes.get(start..) else { return };
    if term.len() > LONGEST_TERM {
        let hash = fnv1a(term).to_be_bytes();
        bytes.truncate(start + LONGEST_TERM - hash.len());
        bytes.extend_from_slice(&hash);
    }
}

/// FNV-1a, 64 bits: part of the format, so it may never change (std's hasher may).
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_numbered_as_declared() {
        let schema = schema();
        for (column, name) in ALL {
            assert_eq!((schema.get_field(name).unwrap(), name), (column.field(), column.name()));
        }
    }

    #[test]
    fn operations_read_back() {
        let mut terms = Terms::default();
        let long = "é".repeat(1000);
        for (service, name) in [("api", "send orders"), ("a\0b", ""), ("", "x\0y"), (&*long, &*long)] {
            terms.push_operation(service, b'4', name);
            let (_, term) = terms.iter().last().unwrap();
            assert_eq!(parse_operation(term), Some((listed(service), b'4', listed(name))));
        }
        assert_eq!(parse_operation(b"s"), None);
        assert_eq!(listed(&long).len(), LONGEST_NAME);
    }

    #[test]
    fn only_large_integers_share_a_term_and_only_with_their_neighbours() {
        let term = |text: &str| {
            let mut terms = Terms::default();
            terms.push_attribute(Signal::Traces, "k", text.as_bytes());
            terms.iter().map(|(_, term)| term.to_vec()).next().unwrap()
        };
        let shared =
            [("65536", "65551"), ("-65552", "-65537"), ("9223372036854775807", "9223372036854775800")];
        for (one, other) in shared {
            assert_eq!(term(one), term(other), "{one} {other}");
        }
        let apart = [
            ("65535", "65534"),
            ("65536", "65552"),
            ("65536", "-65536"),
            ("65536", "65536.0"),
            ("1-2345", "1-2346"),
        ];
        for (one, other) in apart {
            assert_ne!(term(one), term(other), "{one} {other}");
        }
    }

    #[test]
    fn long_terms_are_cut_to_one_length_and_still_differ() {
        let mut terms = Terms::default();
        let long = vec![b'x'; 10_000];
        terms.push(Signal::Traces, Column::Attribute, &[&long, b"1"]);
        terms.push(Signal::Traces, Column::Attribute, &[&long, b"2"]);
        terms.push(Signal::Traces, Column::Attribute, &[&long, b"1"]);
        let [one, two, again] = [0, 1, 2].map(|i| terms.slice(i..i + 1).next().unwrap().1.to_vec());
        assert_eq!((one.len(), two.len()), (LONGEST_TERM, LONGEST_TERM));
        assert_ne!(one, two);
        assert_eq!(one, again);
    }
}
