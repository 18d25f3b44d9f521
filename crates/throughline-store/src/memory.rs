//! What is ingested and not yet committed. Owns the memory; refuses to know files. Bounded by [`crate::StoreOptions`]:
//! the store commits when [`Memory::is_full`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use throughline_otlp::{OneLog, OneSpan, TraceId, UnixNanos};

use crate::options::StoreOptions;

/// How much later than its arrival an item may claim to be.
const AHEAD: u64 = 3600 * 1_000_000_000;

/// One ingested request, immutable from then on, so that readers share it without holding a lock.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) position: u64,
    pub(crate) arrived: UnixNanos,
    pub(crate) content: Content,
}

/// Its items.
#[derive(Debug)]
pub(crate) enum Content {
    Spans(Vec<OneSpan>),
    Logs(Vec<OneLog>),
}

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

impl Chunk {
    /// The time under which an item is ordered and found: its own, but no later than an hour after it arrived. The spans
    /// of a clock that is far ahead would otherwise be the newest for ever.
    pub(crate) fn placed(&self, time: UnixNanos) -> u64 {
        time.0.min(self.arrived.0.saturating_add(AHEAD))
    }

    /// Its spans; none if it holds records.
    pub(crate) fn spans(&self) -> &[OneSpan] {
        match &self.content {
            Content::Spans(spans) => spans,
            Content::Logs(_) => &[],
        }
    }

    /// Items.
    pub(crate) fn len(&self) -> usize {
        match &self.content {
            Content::Spans(spans) => spans.len(),
            Content::Logs(logs) => logs.len(),
        }
    }

    /// Bytes of OTLP.
    pub(crate) fn bytes(&self) -> usize {
        match &self.content {
            Content::Spans(spans) => spans.iter().map(|one| one.otlp.len()).sum(),
            Content::Logs(logs) => logs.iter().map(|one| one.otlp.len()).sum(),
        }
    }

    /// The OTLP bytes of an item.
    pub(crate) fn otlp(&self, index: usize) -> Option<&[u8]> {
        match &self.content {
            Content::Spans(spans) => spans.get(index).map(|one| one.otlp.as_slice()),
            Content::Logs(logs) => logs.get(index).map(|one| one.otlp.as_slice()),
        }
    }

    /// Distinct trace ids in the order of their first item.
    pub(crate) fn traces(&self) -> Vec<TraceId> {
        let mut seen = std::collections::HashSet::new();
        self.trace_ids().flatten().filter(|id| seen.insert(*id)).collect()
    }

    fn trace_ids(&self) -> Box<dyn Iterator<Item = Option<TraceId>> + '_> {
        match &self.content {
            Content::Spans(spans) => Box::new(spans.iter().map(|one| Some(one.span.trace_id))),
            Content::Logs(logs) => Box::new(logs.iter().map(|one| one.log.trace_id)),
        }
    }
}

impl Slot {
    /// The span, if it is one.
    pub(crate) fn span(&self) -> Option<&OneSpan> {
        match &self.chunk.content {
            Content::Spans(spans) => spans.get(self.index),
            Content::Logs(_) => None,
        }
    }

    /// The record, if it is one.
    pub(crate) fn log(&self) -> Option<&OneLog> {
        match &self.chunk.content {
            Content::Spans(_) => None,
            Content::Logs(logs) => logs.get(self.index),
        }
    }
}

impl Memory {
    /// Takes a chunk in.
    pub(crate) fn insert(&mut self, chunk: Arc<Chunk>) {
        let number = u32::try_from(self.chunks.len()).unwrap_or(u32::MAX);
        for (index, trace) in (0..).zip(chunk.trace_ids()) {
            let Some(trace) = trace else { continue };
            match self.by_trace.entry(trace) {
                Entry::Occupied(mut slots) => slots.get_mut().push((number, index)),
                Entry::Vacant(vacant) => drop(vacant.insert(vec![(number, index)])),
            }
        }
        self.documents += chunk.len();
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
