//! The seam between a sampler and whoever knows the other processes that decide about the same traffic: peers of a tier, or
//! the samplers of other partitions. A sampler that is connected to nobody owns every trace.

use throughline_sampling::decision::Wish;

use super::record::Decided;

/// Who owns the traces that are not this process's.
pub(crate) trait Elsewhere: Send + Sync {
    /// Takes a wish for a trace that another process owns, to be delivered there; hands back one for a trace of this
    /// process. Called on a shard's thread: it must not block.
    fn take(&self, pipeline: &str, wish: Wish) -> Option<Wish>;

    /// Decisions that are about to be journalled. Told again if the journal does not take them at once. Called on a shard's
    /// thread: it must not block.
    fn deciding(&self, _decided: &Decided) {}

    /// They stand in the journal at `position`, and the outlets have heard of them. Called on the journal's thread.
    fn decided(&self, _position: u64, _decided: &Decided) {}
}
