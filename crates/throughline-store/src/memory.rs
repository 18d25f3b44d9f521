//! What is ingested and not yet committed. Owns the memory; refuses to know files. Bounded by [`crate::StoreOptions`]:
//! the store commits when [`Memory::is_full`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use throughline_otlp::TraceId;

use crate::chunk::Chunk;
use crate::options::StoreOptions;

/// A span or record in memory.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) chunk: Arc<Chunk>,
    pub(crate) index: usize,
}

/// Chunks in the order they came, with a map of their traces.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    chunks: Vec<Arc<Chunk>>,
    by_trace: HashMap<TraceId, Vec<(u32, u32)>>,
    documents: usize,
    bytes: usize,
    last_position: Option<u64>,
}

impl Memory {
    /// Takes a chunk in.
    pub(crate) fn insert(&mut self, chunk: Arc<Chunk>) {
        let number = u32::try_from(self.chunks.len()).unwrap_or(u32::MAX);
        for (index, item) in (0..).zip(chunk.items()) {
            let Some(trace) = item.trace else { continue };
            match self.by_trace.entry(trace) {
                Entry::Occupied(mut slots) => slots.get_mut().push((number, index)),
                Entry::Vacant(vacant) => drop(vacant.insert(vec![(number, index)])),
            }
        }
        self.documents += chunk.items().len();
        self.bytes += chunk.bytes();
        self.last_position = self.last_position.max(Some(chunk.position));
        self.chunks.push(chunk);
    }

    /// Whether a commit is due before more is taken in.
    pub(crate) fn is_full(&self, options: &StoreOptions) -> bool {
        self.documents >= options.memory_documents || self.bytes >= options.memory_bytes
    }

    /// Whether nothing was ingested. Requests without a span count: their position has to be committed too.
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Spans and records.
    pub(crate) fn documents(&self) -> usize {
        self.documents
    }

    /// Bytes of OTLP.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Highest position.
    pub(crate) fn last_position(&self) -> Option<u64> {
        self.last_position
    }

    /// All chunks.
    pub(crate) fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    /// Everything of one trace.
    pub(crate) fn trace(&self, id: TraceId) -> impl Iterator<Item = Slot> {
        self.by_trace.get(&id).into_iter().flatten().filter_map(|(chunk, index)| {
            let chunk = Arc::clone(self.chunks.get(*chunk as usize)?);
            Some(Slot { chunk, index: *index as usize })
        })
    }
}
