//! A segment's index: (key, value) pairs of its records, collected while it is open, sorted into blocks when it is sealed,
//! searched on disk afterwards. It refuses to understand a value.
//!
//! While a segment is open, the keys of its records are only laid aside as they are. They are gone through when somebody asks,
//! and else once, at the end: those of a whole segment at once take a fraction of what they take one record at a time.

use crate::{
    filter::Filter,
    format::{Extent, Identity, IndexPlace, PAGE, align},
    fs::{File, read_full},
    record::{self, Keys},
};

mod blocks;

use blocks::{Block, Blocks, Entry};

/// Pairs are gathered by the first byte of their key: sorting them is sorting many short lists, each in the nearest cache.
const PARTS: usize = 256;

/// The pairs of one segment.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    gathered: Gathered,
    /// Each record, and where its keys end.
    records: Vec<(u32, usize)>,
    /// How many of the records were gone through,
    through: usize,
    /// and the numbers of their pairs by the first byte of the key.
    parts: Vec<Vec<Number>>,
}

/// Pairs by number.
#[derive(Debug, Default)]
struct Gathered {
    /// The keys of all records, one after the other, as they stand there.
    keys: Vec<u8>,
    places: Vec<Place>,
}

/// The record of a pair, and where the pair stands among all keys.
#[derive(Clone, Copy, Debug)]
struct Place {
    record: u32,
    at: u32,
}

/// The beginning of a key behind the byte that all keys of a part have in common; in the lowest bits which pair it is.
/// Numbers are sorted instead of pairs: it takes a fraction of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number(u64);

/// A pair found: which record it came with, and its value.
pub(crate) type Pair = (u32, Vec<u8>);

/// What is written when a segment is sealed.
pub(crate) struct Encoded {
    /// Blocks and filter, to be written at `place.start`.
    pub(crate) bytes: Vec<u8>,
    pub(crate) place: IndexPlace,
    pub(crate) filter: Filter,
}

/// The index on disk cannot be used: damaged, of another version, or its segment was recycled meanwhile; or it has not the
/// value that was asked for, which was too long for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unusable;

impl Number {
    /// The bits that say which pair it is: a segment of 1 GiB has no room for so many.
    const WHICH: u64 = (1 << 25) - 1;

    fn new(key: &[u8; 16], which: usize) -> Self {
        let [_, a, b, c, d, e, f, g, h, ..] = *key;
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]) & !Self::WHICH | which as u64 & Self::WHICH)
    }

    fn which(self) -> usize {
        (self.0 & Self::WHICH) as usize
    }

    fn begins_as(self, other: Self) -> bool {
        (self.0 ^ other.0) & !Self::WHICH == 0
    }
}

impl Gathered {
    fn pair(&self, number: Number) -> Option<Entry<'_>> {
        let Place { record, at } = *self.places.get(number.which())?;
        let (key, value) = record::first_pair(self.keys.get(at as usize..)?)?;
        Some(Entry { record, key, value })
    }
}

impl Entries {
    /// Adds the keys of the record at `record`.
    pub(crate) fn push(&mut self, record: u32, keys: &Keys) {
        self.gathered.keys.extend_from_slice(keys.encoded());
        self.records.push((record, self.gathered.keys.len()));
    }

    /// Nothing of what was added, in memory that stays: about as much as there was. A part that was larger once gives the rest
    /// back, or segments that each fill another part would add up.
    pub(crate) fn clear(&mut self) {
        self.parts.iter_mut().for_each(empty);
        empty(&mut self.gathered.keys);
        empty(&mut self.gathered.places);
        empty(&mut self.records);
        self.through = 0;
    }

    /// All pairs of a key, in the order their records came.
    pub(crate) fn find(&mut self, key: &[u8; 16]) -> Vec<Pair> {
        self.go_through();
        let sought = Number::new(key, 0);
        let part = self.parts.get(part_of(key)).into_iter().flatten();
        let mut alike: Vec<Number> = part.filter(|number| number.begins_as(sought)).copied().collect();
        alike.sort_unstable();
        let pairs = alike.into_iter().filter_map(|number| self.gathered.pair(number));
        pairs.filter(|pair| pair.key == key).map(|pair| (pair.record, pair.value.to_vec())).collect()
    }

    /// Gathers what came since this was done last.
    fn go_through(&mut self) {
        let Self { gathered: Gathered { keys, places }, records, through, parts } = self;
        parts.resize(PARTS, Vec::new());
        let before = through.checked_sub(1).and_then(|last| records.get(last));
        let mut at = before.map_or(0, |(_, end)| *end);
        for (record, end) in records.iter().skip(*through) {
            while let Some((key, value)) = keys.get(at..*end).and_then(record::first_pair) {
                if let Some(part) = parts.get_mut(part_of(key)) {
                    part.push(Number::new(key, places.len()));
                }
                places.push(Place { record: *record, at: offset(at) });
                at += record::pair_bytes(value);
            }
            at = *end;
        }
        *through = records.len();
    }

    /// Bytes an index of so many pairs takes at most, page alignment before it included.
    pub(crate) const fn bytes_for(pairs: u64, value_bytes: u64) -> u64 {
        PAGE as u64 + Blocks::most(pairs, value_bytes) * PAGE as u64 + Filter::words_for(pairs) * 8
    }

    /// Sorts the pairs and lays them out from the first page after `data_end`.
    /// `records` tells this index from one that an earlier attempt to seal left in the same place.
    pub(crate) fn encode(&mut self, identity: Identity, extent: Extent) -> Encoded {
        self.go_through();
        self.sort();
        let mut keys: Vec<&[u8; 16]> = Vec::with_capacity(self.gathered.places.len());
        let mut blocks = Blocks::new(identity, extent.records, self.gathered.keys.len());
        for pair in self.parts.iter().flatten().filter_map(|number| self.gathered.pair(*number)) {
            blocks.push(&pair);
            if keys.last() != Some(&pair.key) {
                keys.push(pair.key);
            }
        }
        let filter = Filter::build(keys.into_iter());
        let (mut bytes, words) = (blocks.finish(), filter.encode());
        let start = offset(align(u64::from(extent.data_end), u64::from(PAGE)) as usize);
        let place = IndexPlace {
            start,
            blocks: offset(bytes.len() / PAGE as usize),
            filter_start: start.saturating_add(offset(bytes.len())),
            filter_words: offset(filter.words()),
            filter_crc: crc32c::crc32c(&words),
        };
        bytes.extend_from_slice(&words);
        Encoded { bytes, place, filter }
    }

    /// By key, those of one key in the order they came.
    fn sort(&mut self) {
        let Self { gathered, parts, .. } = self;
        for part in parts {
            part.sort_unstable();
            // Keys of one beginning are in the order they came: right if they are equal, to be sorted if not.
            for run in part.chunk_by_mut(|one, next| one.begins_as(*next)) {
                let key = |number: &Number| gathered.pair(*number).map(|pair| pair.key);
                if run.len() > 1 && !run.is_sorted_by_key(key) {
                    run.sort_by_key(key);
                }
            }
        }
    }
}

fn empty<T>(list: &mut Vec<T>) {
    let used = list.len();
    list.clear();
    list.shrink_to(2 * used);
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
    /// All pairs of a key: a binary search over blocks, each checked as it is read.
    pub(crate) fn find(&self, key: &[u8; 16]) -> Result<Vec<Pair>, Unusable> {
        let (mut low, mut high) = (0, self.place.blocks);
        while low < high {
            let middle = low + (high - low) / 2;
            let last = *self.block(middle)?.pairs().last().ok_or(Unusable)?.key;
            if last < *key { low = middle + 1 } else { high = middle }
        }
        let mut pairs = Vec::new();
        for number in low..self.place.blocks {
            let mut ends_with_key = false;
            for pair in self.block(number)?.pairs() {
                ends_with_key = pair.key == key;
                if ends_with_key {
                    pairs.push((pair.record, pair.value.ok_or(Unusable)?.to_vec()));
                }
            }
            if !ends_with_key {
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
        (0..self.place.blocks).try_for_each(|number| self.block(number).map(drop))
    }

    fn block(&self, number: u32) -> Result<Block, Unusable> {
        let at = u64::from(number) * u64::from(PAGE) + u64::from(self.place.start);
        let bytes = self.read(u32::try_from(at).map_err(|_| Unusable)?, u64::from(PAGE))?;
        Block::new(bytes, self.identity, self.records, number)
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

#[cfg(test)]
mod tests;
