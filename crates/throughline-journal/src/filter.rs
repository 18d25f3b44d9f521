//! A sealed segment's filter: says of most keys that they are not in the segment, without touching the disk. It never says
//! so of a key that is there. A Bloom filter: ten bits a key, seven probes, one wrong "perhaps" in about a hundred.

use crate::format::align;

const BITS_PER_KEY: u64 = 10;
const PROBES: u64 = 7;

/// The filter, as on disk: 64-bit words.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Filter {
    words: Box<[u64]>,
}

impl Filter {
    /// Words a filter of so many distinct keys takes.
    pub(crate) const fn words_for(keys: u64) -> u64 {
        align(keys * BITS_PER_KEY, 64) / 64
    }

    /// A filter of these keys, which are distinct.
    pub(crate) fn build<'a>(keys: impl ExactSizeIterator<Item = &'a [u8; 16]>) -> Self {
        let count = usize::try_from(Self::words_for(keys.len() as u64)).unwrap_or(usize::MAX);
        let mut words = vec![0_u64; count].into_boxed_slice();
        let bits = words.len() as u64 * 64;
        for key in keys {
            for bit in probes(key, bits) {
                if let Some(word) = words.get_mut((bit / 64) as usize) {
                    *word |= 1 << (bit % 64);
                }
            }
        }
        Self { words }
    }

    /// False only if the key is certainly not in the segment.
    pub(crate) fn may_contain(&self, key: &[u8; 16]) -> bool {
        let bits = self.words.len() as u64 * 64;
        bits > 0
            && probes(key, bits).all(|bit| {
                self.words.get((bit / 64) as usize).is_some_and(|word| word & (1 << (bit % 64)) != 0)
            })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.words.len() * 8);
        self.words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        Self { words: words.iter().map(|word| u64::from_le_bytes(*word)).collect() }
    }

    pub(crate) fn words(&self) -> usize {
        self.words.len()
    }
}

/// The bits of a key among `bits`: double hashing. Trace ids are random for most, but not for all (a 64-bit id fills
/// only half of the bytes), so both halves are mixed.
fn probes(key: &[u8; 16], bits: u64) -> impl Iterator<Item = u64> {
    let number = u128::from_le_bytes(*key);
    let first = mix((number as u64) ^ mix((number >> 64) as u64));
    let step = mix(first) | 1;
    (0..PROBES).map(move |probe| first.wrapping_add(probe.wrapping_mul(step)) % bits.max(1))
}

/// The finaliser of SplitMix64.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_that_is_there_is_never_denied(keys in proptest::collection::btree_set(any::<[u8; 16]>(), 0..300)) {
            let filter = Filter::build(keys.iter());
            let read = Filter::decode(&filter.encode());
            prop_assert_eq!(&read, &filter);
            for key in &keys {
                prop_assert!(read.may_contain(key));
            }
        }
    }

    /// Random ids, ids of 64 bits, and ids that count up: none may defeat the filter.
    #[test]
    fn at_most_three_in_a_hundred_absent_keys_pass() {
        let shapes: [fn(u64) -> [u8; 16]; 3] = [
            |n| ((u128::from(mix(n)) << 64) | u128::from(mix(n + 1))).to_be_bytes(),
            |n| u128::from(mix(n)).to_be_bytes(),
            |n| u128::from(n).to_be_bytes(),
        ];
        for key in shapes {
            let present: Vec<_> = (0..10_000).map(key).collect();
            let filter = Filter::build(present.iter());
            let passed = (1_000_000..1_010_000).map(key).filter(|absent| filter.may_contain(absent)).count();
            assert!(passed < 300, "{passed} of 10000 absent keys passed");
        }
    }

    #[test]
    fn the_filter_of_a_segment_without_keys_denies_all() {
        assert!(!Filter::build([].iter()).may_contain(&[1; 16]));
    }
}
