//! A segment's index: (key, value) pairs of its records, collected while it is open, sorted into pages when it is sealed,
//! searched on disk afterwards. It refuses to understand a value.
//!
//! While a segment is open its pairs are only appended: they are sorted once, at the end, which costs a fraction of
//! keeping them sorted; a lookup in the one open segment walks them.

use crate::{
    filter::Filter,
    format::{Extent, Identity, IndexPlace, PAGE, align, checksum_holds, u32_at},
    fs::{File, read_full},
    record::Keys,
};

const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"TLJX");
const PAGE_BYTES: usize = PAGE as usize;
const BLOCK_HEAD: usize = 20;
const ENTRY_BYTES: usize = 32;
/// Entries in one page, beside its head and its checksum.
pub(crate) const ENTRIES_PER_BLOCK: usize = 127;

/// Pairs are gathered by the first byte of their key: sorting them is sorting many short lists, each in the nearest cache.
const PARTS: usize = 256;

/// The pairs of one segment, those of one part in the order its records came.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    parts: Vec<Vec<Entry>>,
    count: usize,
    values: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: [u8; 16],
    record: u32,
    value_at: u32,
    value_bytes: u32,
}

/// A pair found: which record it came with, and its value.
pub(crate) type Pair = (u32, Vec<u8>);

/// What is written when a segment is sealed.
pub(crate) struct Encoded {
    /// Blocks, values and filter, to be written at `place.start`.
    pub(crate) bytes: Vec<u8>,
    pub(crate) place: IndexPlace,
    pub(crate) filter: Filter,
}

/// The index on disk cannot be used: damaged, or its segment was recycled meanwhile.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unusable;

impl Entries {
    /// Adds the keys of the record at `record`.
    pub(crate) fn push(&mut self, record: u32, keys: &Keys) {
        self.parts.resize(PARTS, Vec::new());
        for (key, value) in keys.iter() {
            let (value_at, value_bytes) = (offset(self.values.len()), offset(value.len()));
            if let Some(part) = self.parts.get_mut(part_of(&key)) {
                part.push(Entry { key, record, value_at, value_bytes });
            }
            self.values.extend_from_slice(value);
        }
        self.count += keys.len();
    }

    /// Nothing of what was added, in memory that stays: about as much as there was. A part that was larger once gives the rest
    /// back, or segments that each fill another part would add up.
    pub(crate) fn clear(&mut self) {
        for part in &mut self.parts {
            let used = part.len();
            part.clear();
            part.shrink_to(2 * used);
        }
        let used = self.values.len();
        self.values.clear();
        self.values.shrink_to(2 * used);
        self.count = 0;
    }

    /// All pairs of a key, in the order their records came.
    pub(crate) fn find(&self, key: &[u8; 16]) -> Vec<Pair> {
        let part = self.parts.get(part_of(key)).into_iter().flatten();
        let matching = part.filter(|entry| entry.key == *key);
        matching.map(|entry| (entry.record, self.value(entry).to_vec())).collect()
    }

    fn value(&self, entry: &Entry) -> &[u8] {
        let start = entry.value_at as usize;
        self.values.get(start..start + entry.value_bytes as usize).unwrap_or_default()
    }

    /// Bytes an index of so many pairs takes at most, page alignment before it included.
    pub(crate) const fn bytes_for(pairs: u64, value_bytes: u64) -> u64 {
        let blocks = pairs.div_ceil(ENTRIES_PER_BLOCK as u64);
        PAGE as u64 + blocks * PAGE as u64 + align(value_bytes, 8) + Filter::words_for(pairs) * 8
    }

    /// Sorts the pairs and lays them out from the first page after `data_end`.
    /// `records` tells this index from one that an earlier attempt to seal left in the same place.
    pub(crate) fn encode(&self, identity: Identity, extent: Extent) -> Encoded {
        let data_end = extent.data_end;
        let sorted = self.sorted();
        let blocks = sorted.len().div_ceil(ENTRIES_PER_BLOCK);
        let mut bytes = Vec::with_capacity(blocks * PAGE_BYTES + self.values.len() + sorted.len() * 2);
        for (number, block) in sorted.chunks(ENTRIES_PER_BLOCK).enumerate() {
            let head = [BLOCK_MAGIC, identity.sequence, extent.records, offset(number), offset(block.len())];
            self.encode_block(head, block, &mut bytes);
        }
        let mut place = IndexPlace {
            start: offset(align(u64::from(data_end), u64::from(PAGE)) as usize),
            ..Default::default()
        };
        place.blocks = offset(bytes.len() / PAGE_BYTES);
        place.values_start = place.start + offset(bytes.len());
        place.values_bytes = offset(self.values.len());
        bytes.extend_from_slice(&self.values);
        bytes.resize(align(bytes.len() as u64, 8) as usize, 0);
        let mut keys: Vec<&[u8; 16]> = sorted.iter().map(|entry| &entry.key).collect();
        keys.dedup();
        let filter = Filter::build(keys.into_iter());
        let words = filter.encode();
        place.filter_start = place.start + offset(bytes.len());
        place.filter_words = offset(filter.words());
        place.filter_crc = crc32c::crc32c(&words);
        bytes.extend_from_slice(&words);
        Encoded { bytes, place, filter }
    }

    /// The pairs by key, those of one key in the order they came. Numbers are sorted instead of entries: it takes a fraction
    /// of the time.
    fn sorted(&self) -> Vec<Entry> {
        /// The bits of a number that say which entry it is: a segment of 1 GiB has no room for so many. Above them is the
        /// beginning of its key, behind the byte that all keys of a part have in common.
        const WHICH: u64 = (1 << 25) - 1;
        let beginning = |entry: &Entry| {
            let [_, a, b, c, d, e, f, g, h, ..] = entry.key;
            u64::from_be_bytes([a, b, c, d, e, f, g, h]) & !WHICH
        };
        let mut sorted: Vec<Entry> = Vec::with_capacity(self.count);
        let mut numbers: Vec<u64> = Vec::new();
        for part in &self.parts {
            numbers.clear();
            numbers.extend(part.iter().zip(0..).map(|(entry, which)| beginning(entry) | which & WHICH));
            numbers.sort_unstable();
            let begins = sorted.len();
            sorted.extend(numbers.iter().filter_map(|number| part.get((number & WHICH) as usize)));
            // Keys of one beginning are in the order they came: right if they are equal, to be sorted if not.
            let runs = sorted.get_mut(begins..).unwrap_or_default();
            for run in runs.chunk_by_mut(|one, next| beginning(one) == beginning(next)) {
                if run.len() > 1 {
                    run.sort_by_key(|entry| entry.key);
                }
            }
        }
        sorted
    }

    fn encode_block(&self, head: [u32; 5], block: &[Entry], bytes: &mut Vec<u8>) {
        let start = bytes.len();
        for field in head {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        for entry in block {
            let numbers =
                [entry.record, entry.value_at, entry.value_bytes, crc32c::crc32c(self.value(entry))];
            let numbers = numbers.into_iter().rev().fold(0, |all, number| all << 32 | u128::from(number));
            let mut encoded = [0; ENTRY_BYTES];
            let (key, rest) = encoded.split_at_mut(16);
            key.copy_from_slice(&entry.key);
            rest.copy_from_slice(&numbers.to_le_bytes());
            bytes.extend_from_slice(&encoded);
        }
        bytes.resize(start + PAGE_BYTES - 4, 0);
        let checksum = crc32c::crc32c(bytes.get(start..).unwrap_or_default());
        bytes.extend_from_slice(&checksum.to_le_bytes());
    }
}

fn part_of(key: &[u8; 16]) -> usize {
    let [first, ..] = *key;
    usize::from(first)
}

/// Segments are at most 1 GiB: every offset and length in one fits.
fn offset(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A sealed segment's index on disk.
pub(crate) struct SealedIndex<'a> {
    pub(crate) file: &'a dyn File,
    pub(crate) identity: Identity,
    /// How many records the segment had when it was sealed.
    pub(crate) records: u32,
    pub(crate) place: IndexPlace,
}

impl SealedIndex<'_> {
    /// All pairs of a key: a binary search over pages, each checked as it is read.
    pub(crate) fn find(&self, key: &[u8; 16]) -> Result<Vec<Pair>, Unusable> {
        let (mut low, mut high) = (0, self.place.blocks);
        while low < high {
            let middle = low + (high - low) / 2;
            let last = self.block(middle)?.entries().last().ok_or(Unusable)?.key;
            if last < *key { low = middle + 1 } else { high = middle }
        }
        let mut pairs = Vec::new();
        for number in low..self.place.blocks {
            let block = self.block(number)?;
            let matching: Vec<_> = block.entries().filter(|entry| entry.key == *key).collect();
            for entry in &matching {
                pairs.push((entry.record, self.value(entry)?));
            }
            if matching.is_empty() || block.entries().last().is_some_and(|last| last.key > *key) {
                break;
            }
        }
        Ok(pairs)
    }

    /// Reads the filter.
    pub(crate) fn filter(&self) -> Result<Filter, Unusable> {
        let bytes = self.read(self.place.filter_start, u64::from(self.place.filter_words) * 8)?;
        (crc32c::crc32c(&bytes) == self.place.filter_crc).then(|| Filter::decode(&bytes)).ok_or(Unusable)
    }

    /// Reads all of it.
    pub(crate) fn verify(&self) -> Result<(), Unusable> {
        for number in 0..self.place.blocks {
            for entry in self.block(number)?.entries() {
                self.value(&entry)?;
            }
        }
        Ok(())
    }

    fn block(&self, number: u32) -> Result<Block, Unusable> {
        let at = u64::from(number) * u64::from(PAGE) + u64::from(self.place.start);
        let bytes = self.read(u32::try_from(at).map_err(|_| Unusable)?, u64::from(PAGE))?;
        let field = |at| u32_at(&bytes, at);
        let ours = field(0) == Some(BLOCK_MAGIC)
            && field(4) == Some(self.identity.sequence)
            && field(8) == Some(self.records)
            && field(12) == Some(number)
            && checksum_holds(&bytes);
        let count = field(16).map_or(0, |count| count as usize);
        if ours && (1..=ENTRIES_PER_BLOCK).contains(&count) {
            Ok(Block { bytes, count })
        } else {
            Err(Unusable)
        }
    }

    fn value(&self, entry: &StoredEntry) -> Result<Vec<u8>, Unusable> {
        let start = self.place.values_start.checked_add(entry.value_at).ok_or(Unusable)?;
        let value = self.read(start, u64::from(entry.value_bytes))?;
        if crc32c::crc32c(&value) == entry.value_crc { Ok(value) } else { Err(Unusable) }
    }

    fn read(&self, at: u32, length: u64) -> Result<Vec<u8>, Unusable> {
        // A length is believed only as far as the file goes.
        if u64::from(at) + length > self.file.length().map_err(|_| Unusable)? {
            return Err(Unusable);
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| Unusable)?];
        match read_full(self.file, &mut bytes, u64::from(at)) {
            Ok(read) if read == bytes.len() => Ok(bytes),
            _ => Err(Unusable),
        }
    }
}

struct Block {
    bytes: Vec<u8>,
    count: usize,
}

struct StoredEntry {
    key: [u8; 16],
    record: u32,
    value_at: u32,
    value_bytes: u32,
    value_crc: u32,
}

impl Block {
    fn entries(&self) -> impl Iterator<Item = StoredEntry> {
        let (entries, _) = self.bytes.get(BLOCK_HEAD..).unwrap_or_default().as_chunks::<ENTRY_BYTES>();
        entries.iter().take(self.count).filter_map(|bytes| {
            Some(StoredEntry {
                key: *bytes.first_chunk()?,
                record: u32_at(bytes, 16)?,
                value_at: u32_at(bytes, 20)?,
                value_bytes: u32_at(bytes, 24)?,
                value_crc: u32_at(bytes, 28)?,
            })
        })
    }
}

#[cfg(test)]
mod tests;
