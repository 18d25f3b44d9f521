//! From trace id to cell number: 8 bytes an entry at a load between 53 and 80 %. Split in 256 parts that grow on their own,
//! so that growing never stops a shard for longer than it takes to move 1/256 of it.
//!
//! Trace ids are random, but a hostile sender chooses them: the hash is keyed. The table holds no ids; who asks compares.

use throughline_otlp::TraceId;

use super::slab::NONE;

const PARTS: usize = 256;

/// Numbers by hash.
#[derive(Debug)]
pub(super) struct Table {
    parts: Vec<Part>,
    key: (u64, u64),
}

#[derive(Clone, Debug, Default)]
struct Part {
    cells: Vec<(u32, u32)>,
    used: usize,
}

/// A trace id's hash: the part in its upper bits, the place in its lower ones.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hash(u64);

impl Hash {
    pub(super) fn bits(self) -> u64 {
        self.0
    }
}

impl Table {
    pub(super) fn new(seed: u64) -> Self {
        Self { parts: vec![Part::default(); PARTS], key: (mix(seed), mix(seed ^ 0x9e37_79b9_7f4a_7c15)) }
    }

    #[inline]
    pub(super) fn hash(&self, trace: TraceId) -> Hash {
        let bytes = u128::from_le_bytes(trace.bytes());
        let (low, high) = (bytes as u64 ^ self.key.0, (bytes >> 64) as u64 ^ self.key.1);
        let product = u128::from(low) * u128::from(high);
        Hash(mix(product as u64 ^ (product >> 64) as u64 ^ self.key.1))
    }

    /// Reads the place where a search for this hash begins.
    #[inline]
    pub(super) fn touch(&self, hash: Hash) -> u32 {
        let Some(part) = self.parts.get(hash.part()) else { return 0 };
        part.cells.get(part.home(hash.place())).map_or(0, |cell| cell.0)
    }

    #[inline]
    pub(super) fn find(&self, hash: Hash, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.parts.get(hash.part())?.find(hash.place(), is)
    }

    pub(super) fn insert(&mut self, hash: Hash, number: u32) {
        if let Some(part) = self.parts.get_mut(hash.part()) {
            part.insert(hash.place(), number);
        }
    }

    /// The entry that says `old` says `new` from now on.
    pub(super) fn replace(&mut self, hash: Hash, old: u32, new: u32) {
        if let Some(cell) = self.parts.get_mut(hash.part()).and_then(|part| part.cell(hash.place(), old)) {
            cell.1 = new;
        }
    }

    pub(super) fn remove(&mut self, hash: Hash, number: u32) {
        if let Some(part) = self.parts.get_mut(hash.part()) {
            part.remove(hash.place(), number);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.used).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.cells.capacity() * size_of::<(u32, u32)>()).sum()
    }
}

/// The finaliser of splitmix64.
#[inline]
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Hash {
    #[inline]
    fn part(self) -> usize {
        (self.0 >> 56) as usize
    }

    #[inline]
    fn place(self) -> u32 {
        self.0 as u32
    }
}

impl Part {
    #[inline]
    fn home(&self, place: u32) -> usize {
        ((u64::from(place) * self.cells.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        if at + 1 == self.cells.len() { 0 } else { at + 1 }
    }

    #[inline]
    fn find(&self, place: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.home(place);
        loop {
            let (found, number) = *self.cells.get(at)?;
            if number == NONE {
                return None;
            }
            if found == place && is(number) {
                return Some(number);
            }
            at = self.after(at);
        }
    }

    fn position(&self, place: u32, number: u32) -> Option<usize> {
        let mut at = self.home(place);
        loop {
            let cell = *self.cells.get(at)?;
            if cell == (place, number) {
                return Some(at);
            }
            if cell.1 == NONE {
                return None;
            }
            at = self.after(at);
        }
    }

    fn cell(&mut self, place: u32, number: u32) -> Option<&mut (u32, u32)> {
        let at = self.position(place, number)?;
        self.cells.get_mut(at)
    }

    fn insert(&mut self, place: u32, number: u32) {
        if (self.used + 1) * 5 > self.cells.len() * 4 {
            self.grow();
        }
        self.put(place, number);
        self.used += 1;
    }

    fn put(&mut self, place: u32, number: u32) {
        let mut at = self.home(place);
        while let Some(cell) = self.cells.get_mut(at) {
            if cell.1 == NONE {
                *cell = (place, number);
                return;
            }
            at = self.after(at);
        }
    }

    fn grow(&mut self) {
        let size = (self.cells.len() * 3 / 2).max(16);
        let old = std::mem::replace(&mut self.cells, vec![(0, NONE); size]);
        for (place, number) in old.into_iter().filter(|cell| cell.1 != NONE) {
            self.put(place, number);
        }
    }

    /// Closes the gap by moving back those behind it that would otherwise no longer be found: no tombstones.
    fn remove(&mut self, place: u32, number: u32) {
        let Some(mut gap) = self.position(place, number) else { return };
        self.used -= 1;
        let mut at = gap;
        loop {
            at = self.after(at);
            let Some(&cell) = self.cells.get(at) else { return };
            if cell.1 == NONE {
                break;
            }
            let home = self.home(cell.0);
            // `cell` may move to the gap unless its home lies behind the gap, in cyclic order.
            let stays = if gap < at { gap < home && home <= at } else { gap < home || home <= at };
            if !stays {
                if let Some(free) = self.cells.get_mut(gap) {
                    *free = cell;
                }
                gap = at;
            }
        }
        if let Some(free) = self.cells.get_mut(gap) {
            *free = (0, NONE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn trace(number: u8) -> TraceId {
        TraceId::new([number.max(1); 16]).unwrap()
    }

    proptest! {
        /// Few places, so that runs of entries collide and wrap around the end.
        #[test]
        fn a_part_is_a_map(steps in proptest::collection::vec((any::<bool>(), 0_u32..64), 0..400), spread in 0_u32..3) {
            let mut part = Part::default();
            let mut model = BTreeMap::new();
            for (insert, number) in steps {
                let place = match spread {
                    0 => number << 26,
                    1 => u32::MAX - number % 4,
                    _ => number % 2,
                };
                if insert && model.insert(number, place).is_none() {
                    part.insert(place, number);
                } else if !insert && model.remove(&number).is_some() {
                    part.remove(place, number);
                }
                for (number, place) in &model {
                    prop_assert_eq!(part.find(*place, |found| found == *number), Some(*number));
                }
                prop_assert_eq!(part.used, model.len());
                prop_assert_eq!(part.cells.iter().filter(|cell| cell.1 != NONE).count(), model.len());
            }
        }
    }

    #[test]
    fn the_seed_decides_where_an_id_goes() {
        let places =
            |seed| (1..=255).map(|number| Table::new(seed).hash(trace(number)).0).collect::<Vec<_>>();
        assert_eq!(places(1), places(1));
        assert!(places(1).iter().zip(places(2)).all(|(one, other)| *one != other));
        let mut distinct = places(3);
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 255);
    }
}
