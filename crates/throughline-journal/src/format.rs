//! The bytes on disk, as FORMAT.md draws them: one file for each structure. It refuses to do I/O: bytes in, fields out.
//!
//! All integers are little-endian. Each structure starts with a magic number and ends with a CRC32C of what precedes it.

mod footer;
mod manifest;
mod record;
mod segment;

pub(crate) use footer::{FOOTER_BYTES, Footer, IndexPlace};
pub(crate) use manifest::Manifest;
pub(crate) use record::{RECORD_HEADER_BYTES, RecordHeader};
pub(crate) use segment::{HEADER_PLACES, SegmentHeader};

/// The format this program writes, and the newest it reads.
pub(crate) const VERSION: u16 = 1;

/// A sync ends on such a boundary, so that no later write touches a page that holds acknowledged bytes.
pub(crate) const PAGE: u32 = 4096;

/// Segment header and manifest: 64 bytes, of which the first ten and the last four keep their meaning in every version.
pub(crate) const HEAD_BYTES: usize = 64;

/// Who a segment is: what its records must agree with, or they are left over from an earlier use of the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Identity {
    /// Rises with every segment begun; the upper half of each position in it.
    pub(crate) sequence: u32,
    /// Rises with every opening of the journal.
    pub(crate) epoch: u32,
}

/// What is written of a segment so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    pub(crate) data_end: u32,
    pub(crate) last_record: u32,
    pub(crate) records: u32,
    /// Everything before this offset is known to have been synced while the segment was written.
    pub(crate) synced_to: u32,
}

/// What a head (the fixed 64 bytes) says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Head<T> {
    /// Intact.
    Valid(T),
    /// Not there, torn, or damaged.
    Invalid,
    /// Intact, of a later format version.
    Newer(u16),
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Rounds up to a multiple of `to`, a power of two.
pub(crate) const fn align(value: u64, to: u64) -> u64 {
    (value + to - 1) & !(to - 1)
}

/// `N` bytes filled field by field; what is not filled is zero, the last four bytes become the checksum.
pub(crate) struct Fields<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Fields<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], at: 0 }
    }

    pub(crate) fn put(mut self, field: &[u8]) -> Self {
        let end = self.at + field.len();
        if let Some(place) = self.bytes.get_mut(self.at..end) {
            place.copy_from_slice(field);
        }
        debug_assert!(end <= N - 4, "a structure outgrew its {N} bytes");
        self.at = end;
        self
    }

    pub(crate) fn u32(self, field: u32) -> Self {
        self.put(&field.to_le_bytes())
    }

    /// With the checksum in the last four bytes.
    pub(crate) fn sealed(mut self) -> [u8; N] {
        let (body, checksum) = self.bytes.split_at_mut(N - 4);
        checksum.copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
        self.bytes
    }
}

/// True if the last four bytes are the checksum of the others.
pub(crate) fn checksum_holds(bytes: &[u8]) -> bool {
    let Some((body, checksum)) = bytes.split_last_chunk::<4>() else { return false };
    u32::from_le_bytes(*checksum) == crc32c::crc32c(body)
}

/// The checks every head shares. The version is believed only under a checksum that holds: a damaged head is not a newer one.
fn head<T>(bytes: &[u8], magic: &[u8; 8], read: impl FnOnce(&[u8]) -> Option<T>) -> Head<T> {
    let Some(head) = bytes.get(..HEAD_BYTES).filter(|head| head.starts_with(magic) && checksum_holds(head))
    else {
        return Head::Invalid;
    };
    match u16_at(head, 8) {
        Some(version) if version > VERSION => Head::Newer(version),
        Some(VERSION) => read(head).map_or(Head::Invalid, Head::Valid),
        _ => Head::Invalid,
    }
}

#[cfg(test)]
mod tests;
