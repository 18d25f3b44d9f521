//! Finding the rows of many arrivals at once, because memory is what an arrival costs: with a million traces pending each
//! waits for it three or four times in a row, and nothing can be done meanwhile unless others wait as well.

use throughline_otlp::TraceId;

use super::row::State;
use super::slab::NONE;
use super::table::Hash;
use super::traces::{Known, MEMO, Traces};
use crate::facts::TraceFacts;

/// Arrivals whose memory is fetched together.
pub(super) const BLOCK: usize = 32;

impl Traces {
    /// Finds the rows of a block of arrivals, and reads them and the last of their records. Each arrival waits for memory three or
    /// four times in a row; in steps without a branch on what is read, the waits of the whole block overlap.
    pub(super) fn warm(&self, block: &[TraceFacts]) -> [u32; BLOCK] {
        let mut hashes = [Hash::default(); BLOCK];
        let mut read = 0;
        for (hash, facts) in hashes.iter_mut().zip(block) {
            *hash = self.table.hash(facts.trace);
            read ^= self.table.touch(*hash);
        }
        let mut numbers = [NONE; BLOCK];
        for (number, hash) in numbers.iter_mut().zip(hashes).take(block.len()) {
            *number = self.table.find(hash, |_| true).unwrap_or(NONE);
        }
        let mut chains = [NONE; BLOCK];
        for (chain, number) in chains.iter_mut().zip(numbers).filter(|(_, number)| number & MEMO == 0) {
            let row = self.rows.at(number);
            read ^= row.spans;
            *chain = row.chain;
        }
        for chain in chains.into_iter().filter(|chain| *chain != NONE) {
            read ^= self.blocks.at(chain).prev;
        }
        std::hint::black_box(read);
        numbers
    }

    /// As [`Traces::find`]. What [`Traces::warm`] found is right if it is an undecided row of that trace: such a row neither
    /// moves nor goes while requests are handled.
    #[inline]
    pub(super) fn find_warm(&self, number: u32, trace: TraceId) -> Known {
        if number & MEMO == 0 {
            let row = self.rows.at(number);
            if row.trace == trace && row.state == State::Undecided {
                return Known::Row(number);
            }
        }
        self.find(trace)
    }
}
