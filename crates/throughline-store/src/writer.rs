//! Everything that changes the folder: appending to the open block, closing it, dropping and setting aside. One writer
//! exists, behind the store's mutex; readers never wait for it.

use std::sync::Arc;

use tantivy::IndexWriter;
use throughline_otlp::UnixNanos;

use crate::aside::SetAside;
use crate::block::{Block, Summary, View};
use crate::compaction::{Compaction, Gathering};
use crate::document::Document;
use crate::error::StoreError;
use crate::folder::Folder;
use crate::memory::Memory;
use crate::options::StoreOptions;

/// The folder's writer.
pub(crate) struct Writer {
    folder: Folder,
    options: StoreOptions,
    open: Option<OpenBlock>,
    compaction: Compaction,
}

/// The block that takes the next commit.
struct OpenBlock {
    block: Arc<Block>,
    /// `None` until its first commit.
    summary: Option<Summary>,
    disk_bytes: u64,
    /// `None` after a failed commit: the index's writer does not survive one.
    writer: Option<IndexWriter<Document>>,
    gathering: Gathering,
}

impl Writer {
    /// The newest block stays open; the others are closed, and merged if an earlier run did not get to it.
    pub(crate) fn new(folder: Folder, blocks: &[Arc<View>], options: StoreOptions) -> Self {
        let mut compaction = Compaction::default();
        let mut open = None;
        if let Some((newest, closed)) = blocks.split_last() {
            for view in closed {
                compaction.add(Arc::clone(&view.block), view.summary.clone());
            }
            open = Some(OpenBlock {
                block: Arc::clone(&newest.block),
                summary: Some(newest.summary.clone()),
                disk_bytes: newest.disk_bytes,
                writer: None,
                gathering: Gathering::default(),
            });
        }
        Self { folder, options, open, compaction }
    }

    /// Makes what is in memory durable and returns the block it is in now.
    pub(crate) fn append(&mut self, memory: &Memory) -> Result<View, StoreError> {
        if self.open.as_ref().is_some_and(|open| open.is_full(&self.options)) {
            self.close_block();
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(OpenBlock::new(self.folder.create_block()?)),
        };
        open.append(memory)
    }

    /// Closes the open block if it is that old.
    pub(crate) fn close_if_old(&mut self, now: UnixNanos) {
        let opened = self.open.as_ref().and_then(|open| Some(open.summary.as_ref()?.arrived.earliest));
        if opened.is_some_and(|opened| age(now, opened) >= self.options.block_age.as_nanos()) {
            self.close_block();
        }
    }

    /// Lets background work go on; returns a block that it changed.
    pub(crate) fn compact(&mut self) -> Result<Option<View>, StoreError> {
        if let Some(OpenBlock { block, writer: Some(writer), gathering, .. }) = &mut self.open {
            gathering.step(block, writer)?;
        }
        self.compaction.step()
    }

    /// The closed blocks that have to go, oldest first: those past the age, then as many as it takes to fit the size.
    pub(crate) fn expired(&self, blocks: &[Arc<View>], now: UnixNanos) -> Vec<Arc<View>> {
        let mut total: u64 = blocks.iter().map(|view| view.disk_bytes).sum();
        let mut expired = Vec::new();
        for view in self.closed(blocks) {
            let too_old = age(now, view.summary.arrived.latest) > self.options.retention_age.as_nanos();
            if too_old || total > self.options.retention_bytes {
                total -= view.disk_bytes;
                expired.push(Arc::clone(view));
            }
        }
        expired
    }

    /// Removes what was set aside and is past the age, and as much of it as it takes for it and `blocks` to fit the size:
    /// what is whole does not go to make room for what is not. Returns what went and what is left, in bytes.
    pub(crate) fn retire_set_aside(
        &mut self,
        blocks: &[Arc<View>],
        now: UnixNanos,
    ) -> Result<(Vec<u64>, u64), StoreError> {
        let aside = self.folder.set_aside_by_age(now)?;
        let mut left: u64 = aside.iter().map(|(_, lying)| lying.bytes).sum();
        let whole: u64 = blocks.iter().map(|view| view.disk_bytes).sum();
        let mut gone = Vec::new();
        for (since, lying) in aside {
            let too_old = age(now, since) > self.options.retention_age.as_nanos();
            if too_old || whole + left > self.options.retention_bytes {
                self.folder.remove_set_aside(&lying)?;
                left -= lying.bytes;
                gone.push(lying.bytes);
            }
        }
        Ok((gone, left))
    }

    /// Removes what was set aside first, if anything was; returns its bytes and those left.
    pub(crate) fn drop_set_aside(&mut self) -> Result<Option<(u64, u64)>, StoreError> {
        let aside = self.folder.set_aside_as_seen()?;
        let Some((first, rest)) = aside.split_first() else { return Ok(None) };
        self.folder.remove_set_aside(first)?;
        Ok(Some((first.bytes, rest.iter().map(|lying| lying.bytes).sum())))
    }

    /// Those of `blocks` that nothing is written to any more, oldest first.
    pub(crate) fn closed<'a>(
        &self,
        blocks: &'a [Arc<View>],
    ) -> impl Iterator<Item = &'a Arc<View>> + use<'a> {
        let open = self.open.as_ref().map(|open| open.block.id);
        blocks.iter().filter(move |view| Some(view.block.id) != open)
    }

    /// Drops a block for good.
    pub(crate) fn drop_block(&mut self, view: &View) -> Result<(), StoreError> {
        self.let_go(view);
        self.folder.drop_block(view)
    }

    /// Puts a damaged block out of the way.
    pub(crate) fn set_aside(&mut self, view: &View, why: &StoreError) -> Result<SetAside, StoreError> {
        self.let_go(view);
        self.folder.set_aside(view, why)
    }

    /// Merges that failed since the store was opened.
    pub(crate) fn failed_merges(&self) -> u64 {
        self.compaction.failed()
    }

    fn let_go(&mut self, view: &View) {
        self.compaction.forget(view.block.id);
        self.open.take_if(|open| open.block.id == view.block.id);
    }

    fn close_block(&mut self) {
        let Some(OpenBlock { block, summary, mut gathering, writer, .. }) = self.open.take() else { return };
        gathering.finish();
        drop(writer);
        if let Some(summary) = summary {
            self.compaction.add(block, summary);
        }
    }
}

impl OpenBlock {
    fn new(block: Arc<Block>) -> Self {
        Self { block, summary: None, disk_bytes: 0, writer: None, gathering: Gathering::default() }
    }

    fn is_full(&self, options: &StoreOptions) -> bool {
        self.disk_bytes >= options.block_bytes
            || self.summary.as_ref().is_some_and(|summary| summary.documents() >= options.block_documents)
    }

    fn append(&mut self, memory: &Memory) -> Result<View, StoreError> {
        let summary = memory
            .chunks()
            .iter()
            .fold(self.summary.clone(), |before, chunk| Some(Summary::with(before, chunk)))
            .expect("memory without a chunk is never moved aside for writing");
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.block.writer()?,
        };
        self.block.append(&mut writer, memory.chunks(), &summary)?;
        self.writer = Some(writer);
        self.summary = Some(summary.clone());
        let view = Arc::clone(&self.block).view(summary)?;
        self.disk_bytes = view.disk_bytes;
        Ok(view)
    }
}

fn age(now: UnixNanos, then: u64) -> u128 {
    u128::from(now.0.saturating_sub(then))
}
