//! The blocks of an index: pages of entries by key, each with a checksum. It refuses a block that is not whole, or not the one
//! that was asked for.

use super::Unusable;
use crate::format::{Identity, PAGE, checksum_holds, u32_at};

const MAGIC: u32 = u32::from_le_bytes(*b"TLJY");
const PAGE_BYTES: usize = PAGE as usize;
const HEAD_BYTES: usize = 20;
/// Where a block's entries must end: behind them is its checksum.
const ENTRIES_END: usize = PAGE_BYTES - 4;

/// An entry but for its value: offset of the record, length of the value, key.
const ENTRY_BYTES: usize = 4 + 1 + 16;
/// A value that is longer stands with its record only.
const LONGEST_VALUE: usize = 64;
/// Said instead of its length.
const WITH_RECORD: u8 = 255;

/// A pair as an index gives it.
pub(super) struct Entry<'a> {
    pub(super) record: u32,
    pub(super) key: &'a [u8; 16],
    pub(super) value: &'a [u8],
}

/// Blocks being written.
pub(super) struct Blocks {
    sequence: u32,
    records: u32,
    bytes: Vec<u8>,
    /// Where the last block begins, and its entries.
    begin: usize,
    count: u32,
}

impl Blocks {
    /// Most blocks that so many pairs take: one is left for the next when the longest entry might not fit in any more.
    pub(super) const fn most(pairs: u64, value_bytes: u64) -> u64 {
        const FILLED: usize = ENTRIES_END - HEAD_BYTES - ENTRY_BYTES - LONGEST_VALUE;
        (pairs * ENTRY_BYTES as u64 + value_bytes).div_ceil(FILLED as u64)
    }

    /// None yet, with room for entries of about so many bytes.
    pub(super) fn new(identity: Identity, records: u32, bytes: usize) -> Self {
        let bytes = Vec::with_capacity(bytes + bytes / 16 + PAGE_BYTES);
        Self { sequence: identity.sequence, records, bytes, begin: 0, count: 0 }
    }

    /// Adds an entry, behind those of lower keys.
    pub(super) fn push(&mut self, entry: &Entry<'_>) {
        let (length, value) = match u8::try_from(entry.value.len()) {
            Ok(length) if entry.value.len() <= LONGEST_VALUE => (length, entry.value),
            _ => (WITH_RECORD, &[][..]),
        };
        if self.count > 0 && self.bytes.len() - self.begin + ENTRY_BYTES + value.len() > ENTRIES_END {
            self.end();
        }
        if self.count == 0 {
            self.bytes.resize(self.begin + HEAD_BYTES, 0);
        }
        let mut head = [length; ENTRY_BYTES];
        let (record, rest) = head.split_at_mut(4);
        record.copy_from_slice(&entry.record.to_le_bytes());
        if let Some(key) = rest.last_chunk_mut() {
            *key = *entry.key;
        }
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(value);
        self.count += 1;
    }

    /// Head and checksum of the last block.
    fn end(&mut self) {
        self.bytes.resize(self.begin + ENTRIES_END, 0);
        let number = u32::try_from(self.begin / PAGE_BYTES).unwrap_or(u32::MAX);
        let head = [MAGIC, self.sequence, self.records, number, self.count];
        let block = self.bytes.get_mut(self.begin..).unwrap_or_default();
        for (place, field) in block.as_chunks_mut::<4>().0.iter_mut().zip(head) {
            *place = field.to_le_bytes();
        }
        let checksum = crc32c::crc32c(block);
        self.bytes.extend_from_slice(&checksum.to_le_bytes());
        (self.begin, self.count) = (self.bytes.len(), 0);
    }

    /// All of them, whole pages.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.end();
        }
        self.bytes
    }
}

/// A block that was read.
pub(super) struct Block {
    bytes: Vec<u8>,
    count: usize,
}

/// A pair of a block; its value, unless it stands with the record.
pub(super) struct Found<'a> {
    pub(super) record: u32,
    pub(super) key: &'a [u8; 16],
    pub(super) value: Option<&'a [u8]>,
}

impl Block {
    /// Takes the bytes of a page for block `number` of a segment with so many records.
    pub(super) fn new(
        bytes: Vec<u8>,
        identity: Identity,
        records: u32,
        number: u32,
    ) -> Result<Self, Unusable> {
        let head = [MAGIC, identity.sequence, records, number];
        let ours = (0..).step_by(4).zip(head).all(|(at, field)| u32_at(&bytes, at) == Some(field));
        let count = u32_at(&bytes, 16).map_or(0, |count| count as usize);
        if ours && count > 0 && checksum_holds(&bytes) { Ok(Self { bytes, count }) } else { Err(Unusable) }
    }

    /// Its pairs by key.
    pub(super) fn pairs(&self) -> impl Iterator<Item = Found<'_>> {
        let mut rest = self.bytes.get(HEAD_BYTES..ENTRIES_END).unwrap_or_default();
        let pairs = std::iter::from_fn(move || {
            let (head, behind) = rest.split_first_chunk::<ENTRY_BYTES>()?;
            let &[a, b, c, d, length, ..] = head;
            let bytes = if length == WITH_RECORD { 0 } else { usize::from(length) };
            let (value, behind) = behind.split_at_checked(bytes)?;
            rest = behind;
            let value = (length != WITH_RECORD).then_some(value);
            Some(Found { record: u32::from_le_bytes([a, b, c, d]), key: head.last_chunk()?, value })
        });
        pairs.take(self.count)
    }
}
