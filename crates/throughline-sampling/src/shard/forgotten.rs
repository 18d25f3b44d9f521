//! Which traces a shard has forgotten: a Bloom filter in generations, so that a new trace need not be looked for in History. It
//! may take one in a hundred for forgotten that is new, never the other way round; of what its oldest generation held it knows
//! only until when that came.

use std::collections::VecDeque;

use super::table::Hash;

/// Beyond so many the oldest goes.
const GENERATIONS: usize = 4;

/// A block is one line of the cache: a question reads one of each generation.
const WORDS: usize = 8;
const BLOCK_BITS: usize = WORDS * 64;

/// Traces in a block, at 16 bits each.
const TRACES_A_BLOCK: usize = BLOCK_BITS / 16;

/// Bits set for a trace: as many numbers below [`BLOCK_BITS`] as a hash of 64 bits holds.
const PROBES: u32 = 7;

#[derive(Debug)]
pub(super) struct Forgotten {
    generations: VecDeque<Generation>,
    /// Most traces in each.
    each: usize,
    /// Seconds: what came before this may be forgotten, and not be known here.
    lost: Option<u32>,
}

#[derive(Debug)]
struct Generation {
    blocks: Vec<[u64; WORDS]>,
    traces: usize,
    /// The youngest of them came at this second.
    newest: u32,
}

impl Forgotten {
    pub(super) fn new(each: usize) -> Self {
        Self { generations: VecDeque::new(), each: each.max(1), lost: None }
    }

    /// A trace that came at this second is forgotten.
    pub(super) fn add(&mut self, trace: Hash, seconds: u32) {
        if self.generations.back().is_none_or(|last| last.traces >= self.each) {
            self.begin();
        }
        let Some(last) = self.generations.back_mut() else { return };
        last.traces += 1;
        last.newest = last.newest.max(seconds);
        let (block, mut bits) = place(trace, last.blocks.len());
        let Some(block) = last.blocks.get_mut(block) else { return };
        for _ in 0..PROBES {
            let bit = bits as usize % BLOCK_BITS;
            if let Some(word) = block.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
            bits >>= BLOCK_BITS.trailing_zeros();
        }
    }

    fn begin(&mut self) {
        if self.generations.len() >= GENERATIONS
            && let Some(oldest) = self.generations.pop_front()
        {
            self.lose(oldest.newest);
        }
        let blocks = vec![[0; WORDS]; self.each.div_ceil(TRACES_A_BLOCK)];
        self.generations.push_back(Generation { blocks, traces: 0, newest: 0 });
    }

    /// Traces that came before this second are forgotten, and nobody says which.
    pub(super) fn lose(&mut self, seconds: u32) {
        self.lost = self.lost.max(Some(seconds));
    }

    /// Until when traces came of which it cannot say whether they are forgotten; `None` if there are none.
    pub(super) fn lost(&self) -> Option<u32> {
        self.lost
    }

    /// Whether it was added, perhaps.
    pub(super) fn may_contain(&self, trace: Hash) -> bool {
        self.generations.iter().any(|generation| generation.may_contain(trace))
    }

    pub(super) fn bytes(&self) -> usize {
        self.generations.iter().map(|generation| generation.blocks.len() * WORDS * 8).sum()
    }
}

impl Generation {
    fn may_contain(&self, trace: Hash) -> bool {
        let (block, mut bits) = place(trace, self.blocks.len());
        let Some(block) = self.blocks.get(block) else { return false };
        (0..PROBES).all(|_| {
            let bit = bits as usize % BLOCK_BITS;
            bits >>= BLOCK_BITS.trailing_zeros();
            block.get(bit / 64).is_some_and(|word| word & (1 << (bit % 64)) != 0)
        })
    }
}

/// The block of a trace, and its bits in there.
fn place(trace: Hash, blocks: usize) -> (usize, u64) {
    let hash = trace.bits();
    let block = (u128::from(hash) * blocks as u128) >> 64;
    let mixed = u128::from(hash ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
    (usize::try_from(block).unwrap_or_default(), mixed as u64 ^ (mixed >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use throughline_otlp::TraceId;

    use super::super::table::Table;
    use super::*;

    fn hash(number: u128) -> Hash {
        Table::new(7).hash(TraceId::new((number + 1).to_be_bytes()).unwrap())
    }

    /// Adds so many, and says how many of those and of as many others it takes for forgotten, and until when it knows nothing.
    fn added(each: usize, count: u128) -> (usize, usize, Option<u32>) {
        let mut forgotten = Forgotten::new(each);
        (0..count).for_each(|number| forgotten.add(hash(number), u32::try_from(number).unwrap()));
        let taken = |from: u128| (from..from + count).filter(|it| forgotten.may_contain(hash(*it))).count();
        assert_eq!(forgotten.bytes(), forgotten.generations.len() * each.div_ceil(TRACES_A_BLOCK) * 64);
        (taken(0), taken(count), forgotten.lost())
    }

    #[test]
    fn what_was_added_is_known_and_little_else() {
        assert_eq!(added(3, 0), (0, 0, None));
        let (known, others, lost) = added(50_000, 200_000);
        assert_eq!((known, lost), (200_000, None));
        assert!(others < 4_000, "{others} of 200,000 others");
    }

    #[test]
    fn of_the_oldest_only_their_time_is_known() {
        let (known, _, lost) = added(10_000, 40_001);
        assert_eq!(lost, Some(9_999));
        assert!((30_001..31_000).contains(&known), "{known}");
        assert_eq!(added(1, 9).2, Some(4));
        let mut forgotten = Forgotten::new(8);
        forgotten.lose(5);
        forgotten.lose(3);
        assert_eq!(forgotten.lost(), Some(5));
    }
}
