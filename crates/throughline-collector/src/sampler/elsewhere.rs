//! The seam between a sampler and whoever knows the other processes that decide about the same traffic: peers of a tier, or
//! the samplers of other partitions. A sampler that is connected to nobody owns every trace.

use throughline_sampling::decision::Wish;

/// Who owns the traces that are not this process's.
pub(crate) trait Elsewhere: Send + Sync {
    /// Takes a wish for a trace that another process owns, to be delivered there; hands back one for a trace of this
    /// process. Called on a shard's thread: it must not block.
    fn take(&self, pipeline: &str, wish: Wish) -> Option<Wish>;
}
