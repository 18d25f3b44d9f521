//! Finds the records in a segment's bytes: the one walk that recovery and reading share. It refuses to trust anything
//! but checksums: what it yields was written whole, in this use of the file, and not overwritten since.
//!
//! Three things lie between records: padding, damage, and what an earlier use of the file left. A record's `follows`
//! says where its predecessor ends, so a gap up to there held a record (a hole) and the rest of the gap is padding. What
//! lies behind the last intact record is a torn tail, unless a footer says that more was written.

use crate::{
    format::{Identity, PAGE, RECORD_HEADER_BYTES, RecordHeader},
    record::Keys,
};

/// One step of a scan.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// An intact record.
    Record(Intact<'a>),
    /// Bytes that held at least one record, of which the checksum fails.
    Hole(Span),
}

/// An intact record in a segment's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intact<'a> {
    pub(crate) header: RecordHeader,
    /// Where it starts.
    pub(crate) at: u32,
    /// Where the next one may start.
    pub(crate) end: u32,
    pub(crate) payload: &'a [u8],
    pub(crate) keys: &'a [u8],
}

/// A stretch of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) from: u32,
    pub(crate) to: u32,
}

/// Walks the records of one segment.
pub(crate) struct Scan<'a> {
    bytes: &'a [u8],
    base: u32,
    identity: Identity,
    /// Where the next record may start; what comes before is dealt with.
    at: u32,
    /// The end of the last record known, or `None` if the scan began at a place nobody vouches for.
    expected: Option<u32>,
    group: u32,
    /// A record whose hole in front was yielded first.
    ready: Option<Intact<'a>>,
    torn: Option<Span>,
}

impl<'a> Scan<'a> {
    /// Scans `bytes`, which start at offset `base` of the segment `identity`, where a record starts or the first would.
    pub(crate) fn new(bytes: &'a [u8], base: u32, identity: Identity) -> Self {
        Self { bytes, base, identity, at: base, expected: Some(base), group: 0, ready: None, torn: None }
    }

    /// The same from somewhere in the segment: damage before the first record found cannot be told from what was skipped.
    pub(crate) fn from_anywhere(bytes: &'a [u8], base: u32, identity: Identity) -> Self {
        Self { expected: None, ..Self::new(bytes, base, identity) }
    }

    /// Goes on after a record of this group: one of a lower group does not count.
    pub(crate) fn after_group(self, group: u32) -> Self {
        Self { group, ..self }
    }

    /// What the records must belong to, if the header is gone: of all intact records the latest. A recycled file holds
    /// records of several uses, and only the last counts.
    pub(crate) fn identify(bytes: &[u8]) -> Option<Identity> {
        let mut latest = None;
        let mut at = PAGE;
        while (at as usize) < bytes.len() {
            let rest = bytes.get(at as usize..).unwrap_or_default();
            let header = RecordHeader::decode(rest).filter(|header| header.position.offset() == at);
            match header.filter(|header| body(rest, header).is_some()) {
                Some(header) => {
                    latest = latest.max(Some(header.identity()));
                    at = end_of(at, &header).unwrap_or(u32::MAX);
                }
                None => at += 8,
            }
        }
        latest
    }

    /// A record of which the header is intact and the payload is not, behind the last intact one: a torn write.
    pub(crate) fn torn(&self) -> Option<Span> {
        self.torn
    }

    /// After a hole: where the record stands that follows it. A scan that goes on at the hole's end instead would have to
    /// believe that no record begins before.
    pub(crate) fn next_record(&self) -> Option<u32> {
        self.ready.map(|record| record.at)
    }

    /// Where the last record found ends.
    pub(crate) fn end(&self) -> u32 {
        self.expected.unwrap_or(self.base)
    }

    fn limit(&self) -> u32 {
        self.base.saturating_add(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX))
    }

    fn rest(&self, at: u32) -> &'a [u8] {
        self.bytes.get((at.saturating_sub(self.base)) as usize..).unwrap_or_default()
    }

    /// The header at `at`, if it belongs to this use of the segment and to an attempt that was not overwritten.
    fn header(&self, at: u32) -> Option<(RecordHeader, u32)> {
        let header = RecordHeader::decode(self.rest(at))?;
        let end = end_of(at, &header)?;
        let ours = header.identity() == self.identity
            && header.position.offset() == at
            && header.group >= self.group
            && end <= self.limit();
        ours.then_some((header, end))
    }

    /// The next intact record from `self.at` on.
    fn search(&mut self) -> Option<Intact<'a>> {
        self.torn = None;
        while u64::from(self.at) + RECORD_HEADER_BYTES as u64 <= u64::from(self.limit()) {
            let at = self.at;
            let Some((header, end)) = self.header(at) else {
                self.at += 8;
                continue;
            };
            self.at = end;
            let Some((payload, keys)) = body(self.rest(at), &header) else {
                // Its length is known, so nothing inside it is mistaken for a record.
                self.torn.get_or_insert(Span { from: at, to: end }).to = end;
                continue;
            };
            self.torn = None;
            self.group = header.group;
            return Some(Intact { header, at, end, payload, keys });
        }
        None
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        let record = match self.ready.take() {
            Some(record) => record,
            None => {
                let record = self.search()?;
                let hole = self.expected.filter(|end| record.header.follows > *end);
                if let Some(from) = hole.filter(|_| record.header.follows <= record.at) {
                    self.ready = Some(record);
                    return Some(Found::Hole(Span { from, to: record.header.follows }));
                }
                record
            }
        };
        self.expected = Some(record.end);
        Some(Found::Record(record))
    }
}

impl Intact<'_> {
    pub(crate) fn keys(&self) -> Keys {
        Keys::decode(self.keys)
    }
}

fn end_of(at: u32, header: &RecordHeader) -> Option<u32> {
    u32::try_from(u64::from(at) + header.total_bytes()).ok()
}

/// Payload and keys behind a header, if their checksum holds.
fn body<'a>(record: &'a [u8], header: &RecordHeader) -> Option<(&'a [u8], &'a [u8])> {
    let end = RECORD_HEADER_BYTES.checked_add(usize::try_from(header.body_bytes()).ok()?)?;
    let body = record.get(RECORD_HEADER_BYTES..end)?;
    (crc32c::crc32c(body) == header.body_crc).then(|| body.split_at_checked(header.payload_bytes as usize))?
}

#[cfg(test)]
mod tests;
