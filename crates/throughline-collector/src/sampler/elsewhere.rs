//! The seam between a sampler and whoever knows the other processes that decide about the same traffic: peers of a tier, or
//! the samplers of other partitions. A sampler that is connected to nobody owns every trace.

use std::sync::Arc;

use throughline_otlp::{TraceId, UnixNanos};
use throughline_sampling::decision::{Heard, Held, Wish};

use super::Sampler;
use super::record::Decided;

/// Who owns the traces that are not this process's, and who may hold a part of those that are.
pub(crate) trait Elsewhere: Send + Sync {
    /// Takes a wish for a trace that another process owns, to be delivered there; hands back one for a trace of this
    /// process. Called on a shard's thread: it must not block.
    fn take(&self, pipeline: &str, wish: Wish) -> Option<Wish>;

    /// Another process may hold spans of the trace that came before this time. Called on a shard's thread: it must not block.
    fn holds_before(&self, _trace: TraceId) -> Option<UnixNanos> {
        None
    }

    /// Asks what others hold of these traces: each is answered by [`Sampler::told`], in any case. Called on a shard's thread:
    /// it must not block.
    fn ask(&self, sampler: &Arc<Sampler>, traces: Vec<TraceId>) {
        traces.into_iter().for_each(|trace| sampler.told(trace, Heard::Answer(Held::default())));
    }

    /// Decisions that are about to be journalled. Told again if the journal does not take them at once. Called on a shard's
    /// thread: it must not block.
    fn deciding(&self, _decided: &Decided) {}

    /// They stand in the journal at `position`, and the outlets have heard of them. Called on the journal's thread.
    fn decided(&self, _position: u64, _decided: &Decided) {}
}
