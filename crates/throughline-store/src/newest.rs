//! Matches of a query, newest first, over memory and all blocks: a heap of candidates that opens a block only when no
//! candidate at hand is newer than the block's latest. Newest by the time at which an item is [placed](crate::chunk). Owns the order; refuses to know what the matches are for.

use std::collections::BinaryHeap;
use std::sync::Arc;

use tantivy::DocAddress;
use throughline_otlp::{LogRecord, Signal, Span, decode_logs, decode_traces};

use crate::block::{View, block_error};
use crate::chunk::Chunk;
use crate::error::StoreError;
use crate::memory::Slot;
use crate::query::Query;
use crate::schema::Terms;
use crate::snapshot::Snapshot;

/// A verified match.
#[derive(Debug)]
pub(crate) struct Match {
    pub(crate) item: Item,
    pub(crate) otlp: Vec<u8>,
}

/// What matched.
#[derive(Debug)]
pub(crate) enum Item {
    Span(Span),
    Log(LogRecord),
}

/// A block that turned out to be damaged while it was read.
pub(crate) struct Damage {
    pub(crate) view: Arc<View>,
    pub(crate) error: StoreError,
}

/// Matches, newest first. Blocks that turn out to be damaged are left out and collected.
pub(crate) struct Newest<'a> {
    query: &'a Query,
    heap: BinaryHeap<Entry>,
    chunks: &'a [Arc<Chunk>],
    /// Blocks not yet looked into, the one with the latest times last.
    ahead: Vec<Arc<View>>,
    opened: Vec<Arc<View>>,
    pub(crate) damaged: Vec<Damage>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    time: u64,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Number of the chunk, of the item.
    Memory(usize, usize),
    /// Number in `opened`, address.
    Block(usize, DocAddress),
}

impl<'a> Newest<'a> {
    /// Starts with what is in memory.
    pub(crate) fn new(snapshot: &'a Snapshot, query: &'a Query) -> Self {
        let mut ahead = snapshot.blocks.clone();
        ahead.sort_by_key(|view| latest(view));
        let heap = in_memory(&snapshot.chunks, query);
        Self { query, heap, chunks: &snapshot.chunks, ahead, opened: Vec::new(), damaged: Vec::new() }
    }

    /// The next match; `None` when there is none left.
    pub(crate) fn next(&mut self) -> Result<Option<Match>, StoreError> {
        loop {
            self.open_newer_blocks()?;
            let Some(entry) = self.heap.pop() else { return Ok(None) };
            if let Some(found) = self.load(entry)? {
                return Ok(Some(found));
            }
        }
    }

    fn open_newer_blocks(&mut self) -> Result<(), StoreError> {
        while let Some(view) =
            self.ahead.pop_if(|view| self.heap.peek().is_none_or(|top| top.time <= latest(view)))
        {
            let number = self.opened.len();
            let mut found = Vec::new();
            let read = view.candidates(self.query, |candidate| {
                found.push(Entry { time: candidate.time, place: Place::Block(number, candidate.address) });
            });
            if intact(&view, read, &mut self.damaged)?.is_some() {
                self.heap.append(&mut BinaryHeap::from(found));
            }
            self.opened.push(view);
        }
        Ok(())
    }

    /// The match behind an entry; `None` if it is none after all, or its block is damaged.
    fn load(&mut self, entry: Entry) -> Result<Option<Match>, StoreError> {
        match entry.place {
            Place::Memory(chunk, index) => {
                let Some(chunk) = self.chunks.get(chunk) else { return Ok(None) };
                let found = of_slot(&Slot { chunk: Arc::clone(chunk), index });
                Ok(found.filter(|found| found.item.matches(self.query)))
            }
            Place::Block(number, address) => {
                let Some(view) = self.opened.get(number).map(Arc::clone) else { return Ok(None) };
                if self.damaged.iter().any(|damage| Arc::ptr_eq(&damage.view, &view)) {
                    return Ok(None);
                }
                let read = of_block(&view, address, self.query.signal);
                let found = intact(&view, read, &mut self.damaged)?;
                Ok(found.filter(|found| found.item.matches(self.query)))
            }
        }
    }
}

/// Turns damage into a finding; other errors stay errors.
pub(crate) fn intact<T>(
    view: &Arc<View>,
    read: Result<T, StoreError>,
    damaged: &mut Vec<Damage>,
) -> Result<Option<T>, StoreError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_damage() => {
            damaged.push(Damage { view: Arc::clone(view), error });
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl Item {
    /// Whether it meets every condition.
    pub(crate) fn matches(&self, query: &Query) -> bool {
        match self {
            Self::Span(span) => query.matches_span(span),
            Self::Log(log) => query.matches_log(log),
        }
    }
}

/// What memory holds, as a match.
pub(crate) fn of_slot(slot: &Slot) -> Option<Match> {
    decoded(slot.chunk.otlp(slot.index)?.to_vec(), slot.chunk.signal)
}

/// `None` if it is not exactly one item.
fn decoded(otlp: Vec<u8>, signal: Signal) -> Option<Match> {
    let item = match signal {
        Signal::Traces => decode_traces(&otlp).ok().and_then(|mut spans| spans.pop()).map(Item::Span),
        Signal::Logs => decode_logs(&otlp).ok().and_then(|mut logs| logs.pop()).map(Item::Log),
        Signal::Metrics => None,
    };
    item.map(|item| Match { item, otlp })
}

fn of_block(view: &View, address: DocAddress, signal: Signal) -> Result<Match, StoreError> {
    decoded(view.otlp(address)?, signal).ok_or_else(|| {
        let DocAddress { segment_ord, doc_id } = address;
        let comment = format!("document {doc_id} of segment {segment_ord} is not one OTLP item");
        let corruption = tantivy::error::DataCorruption::comment_only(comment);
        block_error("read a document of", &view.block.path)(corruption.into())
    })
}

/// Items that have every term of the query and fit its columns, by number, with their times.
pub(crate) fn candidates<'a>(
    chunk: &'a Chunk,
    query: &'a Query,
    terms: &'a Terms,
) -> impl Iterator<Item = (usize, u64)> + 'a {
    let items = if chunk.signal == query.signal && !query.is_contradiction() { chunk.items() } else { &[] };
    items
        .iter()
        .enumerate()
        .filter(|(_, item)| query.admits(item.time, item.duration, || item.span, || item.parent))
        .filter(|(index, _)| chunk.has_all(*index, terms))
        .map(|(index, item)| (index, item.time))
}

fn in_memory(chunks: &[Arc<Chunk>], query: &Query) -> BinaryHeap<Entry> {
    let terms = query.terms();
    let mut found = Vec::new();
    for (number, chunk) in chunks.iter().enumerate() {
        let entry = |(index, time)| Entry { time, place: Place::Memory(number, index) };
        found.extend(candidates(chunk, query, &terms).map(entry));
    }
    BinaryHeap::from(found)
}

fn latest(view: &View) -> u64 {
    view.summary.times.map_or(0, |times| times.latest)
}
