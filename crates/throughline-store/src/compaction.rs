//! Merging segments: a closed block becomes one segment in the background, and the open block's small segments are
//! gathered so that committing every second for hours does not leave thousands. Owns when; the merge itself is the
//! index's, on a thread of its own. Nothing here blocks for long, and nothing here is needed for correctness.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tantivy::index::{SegmentId, SegmentMeta};
use tantivy::{FutureResult, IndexWriter};

use crate::block::{Block, BlockId, Summary, View};
use crate::document::Document;
use crate::error::StoreError;

/// Segments with fewer documents than this are small.
const SMALL_SEGMENT: u32 = 4_000;
/// So many small segments are merged into one.
const SMALL_SEGMENTS: usize = 16;

/// A running merge.
pub(crate) struct Merge(FutureResult<Option<SegmentMeta>>);

impl Merge {
    /// Whether it is over, and how.
    fn poll(&mut self) -> Option<Result<(), tantivy::TantivyError>> {
        match Pin::new(&mut self.0).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result.map(drop)),
            Poll::Pending => None,
        }
    }
}

/// Gathers the open block's small segments, one merge at a time.
#[derive(Default)]
pub(crate) struct Gathering(Option<Merge>);

impl Gathering {
    /// Starts a merge if one is due. Its result shows at the next commit. A merge that fails leaves the segments as they
    /// were, and another is tried once more have come.
    pub(crate) fn step(
        &mut self,
        block: &Block,
        writer: &mut IndexWriter<Document>,
    ) -> Result<(), StoreError> {
        if self.0.as_mut().is_some_and(|merge| merge.poll().is_none()) {
            return Ok(());
        }
        self.0 = None;
        let small: Vec<SegmentId> = block
            .segments()?
            .into_iter()
            .filter(|(_, documents)| *documents < SMALL_SEGMENT)
            .map(|(id, _)| id)
            .collect();
        if small.len() >= SMALL_SEGMENTS {
            self.0 = Some(Merge(writer.merge(&small)));
        }
        Ok(())
    }

    /// Waits for the running merge: less than a second, the segments are small.
    pub(crate) fn finish(&mut self) {
        if let Some(Merge(merge)) = self.0.take() {
            // Its failure changes nothing: the segments are still there, and the block's own merge follows.
            drop(merge.wait());
        }
    }
}

/// Closed blocks on their way to one segment, one at a time, oldest first.
#[derive(Default)]
pub(crate) struct Compaction {
    waiting: VecDeque<Target>,
    running: Option<Running>,
    failed: u64,
}

struct Target {
    block: Arc<Block>,
    summary: Summary,
}

struct Running {
    target: Target,
    merge: Merge,
    /// Keeps the merge alive.
    _writer: IndexWriter<Document>,
}

impl Compaction {
    /// Takes on a closed block.
    pub(crate) fn add(&mut self, block: Arc<Block>, summary: Summary) {
        self.waiting.push_back(Target { block, summary });
    }

    /// Gives up on a block that is about to go.
    pub(crate) fn forget(&mut self, id: BlockId) {
        self.waiting.retain(|target| target.block.id != id);
        self.running.take_if(|running| running.target.block.id == id);
    }

    /// Merges that failed since the store was opened. Their blocks answer as before, from several segments.
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// Collects a merge that is over and starts the next. Returns the block as it is now.
    pub(crate) fn step(&mut self) -> Result<Option<View>, StoreError> {
        let view = self.collect()?;
        while self.running.is_none() {
            let Some(target) = self.waiting.pop_front() else { break };
            let ids: Vec<SegmentId> = target.block.segments()?.into_iter().map(|(id, _)| id).collect();
            if ids.len() > 1 {
                let mut writer = target.block.writer()?;
                let merge = Merge(writer.merge(&ids));
                self.running = Some(Running { target, merge, _writer: writer });
            }
        }
        Ok(view)
    }

    fn collect(&mut self) -> Result<Option<View>, StoreError> {
        let Some(result) = self.running.as_mut().and_then(|running| running.merge.poll()) else {
            return Ok(None);
        };
        let Some(Running { target, .. }) = self.running.take() else { return Ok(None) };
        match result {
            Ok(()) => target.block.view(target.summary).map(Some),
            Err(_) => {
                self.failed += 1;
                Ok(None)
            }
        }
    }
}
