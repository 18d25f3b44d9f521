//! What a query reads, whatever goes on meanwhile.

use std::sync::Arc;

use crate::block::View;
use crate::chunk::Chunk;

/// What a query reads: fixed at one moment, whatever is committed meanwhile.
pub(crate) struct Snapshot {
    pub(crate) chunks: Vec<Arc<Chunk>>,
    pub(crate) blocks: Vec<Arc<View>>,
}
