//! A block: one directory with one index over what arrived in one stretch of time. Owns the directory's lifetime and the
//! [`Summary`] that stands in each commit. Reading it is [`crate::read`]'s, deciding when to start another the store's.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tantivy::directory::MmapDirectory;
use tantivy::index::SegmentId;
use tantivy::indexer::{IndexWriterOptions, NoMergePolicy, UserOperation};
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, TantivyError};
use throughline_otlp::Signal;

use crate::chunk::Chunk;
use crate::document::{self, Document};
use crate::error::{FORMAT_VERSION, StoreError};
use crate::schema;

/// Memory in which the index gathers a commit before it becomes a segment on disk.
const WRITER_MEMORY_BYTES: usize = 30_000_000;

/// Decompressed 16 KiB pieces of stored documents kept per segment: the spans of a trace are neighbours.
const CACHED_PIECES: usize = 8;

/// Number of a block; also its age, as numbers only rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct BlockId(pub(crate) u64);

/// A block's manifest. It is the payload of each commit of its index, not a file of its own: so it can never disagree
/// with the documents it speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// [`FORMAT_VERSION`] it was written with.
    pub(crate) format: u32,
    /// Lowest journal position in it.
    pub(crate) first: u64,
    /// Highest: everything up to here is committed.
    pub(crate) last: u64,
    /// Arrivals, Unix nanoseconds.
    pub(crate) arrived: Range,
    /// Starts of its spans and times of its records as the time column has them; `None` without any.
    pub(crate) times: Option<Range>,
    /// Spans, duplicates counted.
    pub(crate) spans: u64,
    /// Log records.
    pub(crate) logs: u64,
}

/// Earliest and latest, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Range {
    pub(crate) earliest: u64,
    pub(crate) latest: u64,
}

impl Range {
    fn at(value: u64) -> Self {
        Self { earliest: value, latest: value }
    }

    fn including(self, value: u64) -> Self {
        Self { earliest: self.earliest.min(value), latest: self.latest.max(value) }
    }
}

impl Summary {
    /// The summary after `chunk` joined what `before` sums up.
    pub(crate) fn with(before: Option<Self>, chunk: &Chunk) -> Self {
        let mut summary = before.unwrap_or(Self {
            format: FORMAT_VERSION,
            first: chunk.position,
            last: chunk.position,
            arrived: Range::at(chunk.arrived.0),
            times: None,
            spans: 0,
            logs: 0,
        });
        summary.first = summary.first.min(chunk.position);
        summary.last = summary.last.max(chunk.position);
        summary.arrived = summary.arrived.including(chunk.arrived.0);
        for item in chunk.items() {
            let at = Range::at(item.time);
            summary.times = Some(summary.times.map_or(at, |times| times.including(item.time)));
        }
        let count = match chunk.signal {
            Signal::Traces => &mut summary.spans,
            Signal::Logs | Signal::Metrics => &mut summary.logs,
        };
        *count += chunk.items().len() as u64;
        summary
    }

    /// Spans and records.
    pub(crate) fn documents(&self) -> u64 {
        self.spans + self.logs
    }
}

/// An open block.
pub(crate) struct Block {
    pub(crate) id: BlockId,
    pub(crate) path: PathBuf,
    index: Index,
    reader: IndexReader,
}

/// A block as it stood at its last commit: what queries read. Immutable; a commit or merge makes a new one.
pub(crate) struct View {
    pub(crate) block: Arc<Block>,
    pub(crate) searcher: Searcher,
    pub(crate) summary: Summary,
    /// Size of the directory.
    pub(crate) disk_bytes: u64,
}

/// What opening a directory found.
pub(crate) enum Opened {
    /// A block with at least one commit.
    Block(View),
    /// A block that was created and never committed to.
    Empty,
}

impl Block {
    /// Creates the directory and an empty index in it.
    pub(crate) fn create(dir: &Path, id: BlockId) -> Result<Arc<Self>, StoreError> {
        let path = dir.join(directory_name(id));
        fs::create_dir(&path).map_err(io_error("create", &path))?;
        let build = || -> Result<Block, TantivyError> {
            let directory = MmapDirectory::open(&path)?;
            let index = Index::create(directory, schema::schema(), schema::settings())?;
            let reader = reader(&index)?;
            Ok(Block { id, path: path.clone(), index, reader })
        };
        let block = build().map_err(block_error("create", &path))?;
        sync(dir)?;
        Ok(Arc::new(block))
    }

    /// Opens a block.
    pub(crate) fn open(path: &Path, id: BlockId) -> Result<Opened, StoreError> {
        let error = block_error("open", path);
        let build = || -> Result<(Block, Option<String>), TantivyError> {
            let index = Index::open_in_dir(path)?;
            let payload = index.load_metas()?.payload;
            let reader = reader(&index)?;
            Ok((Block { id, path: path.to_owned(), index, reader }, payload))
        };
        let (block, payload) = build().map_err(&error)?;
        let Some(payload) = payload else { return Ok(Opened::Empty) };
        let summary = parse_summary(path, &payload)?;
        if block.index.schema() != schema::schema() {
            return Err(error(TantivyError::SchemaError("unknown fields".to_owned())));
        }
        Arc::new(block).view(summary).map(Opened::Block)
    }

    /// The files whose checksum does not match.
    pub(crate) fn damaged_files(&self) -> Result<Vec<PathBuf>, StoreError> {
        let damaged = self.index.validate_checksum().map_err(block_error("verify", &self.path))?;
        Ok(damaged.into_iter().collect())
    }

    /// The block as of its last commit.
    pub(crate) fn view(self: Arc<Self>, summary: Summary) -> Result<View, StoreError> {
        self.reader.reload().map_err(block_error("read", &self.path))?;
        let searcher = self.reader.searcher();
        let disk_bytes = directory_bytes(&self.path)?;
        Ok(View { block: self, searcher, summary, disk_bytes })
    }

    /// A writer of this block: at most one at a time.
    pub(crate) fn writer(&self) -> Result<IndexWriter<Document>, StoreError> {
        let options = IndexWriterOptions::builder()
            .memory_budget_per_thread(WRITER_MEMORY_BYTES)
            .num_worker_threads(1)
            .num_merge_threads(1)
            .build();
        let writer = self.index.writer_with_options(options).map_err(block_error("write", &self.path))?;
        // Which segments are merged, and when, is decided in one place: crate::compaction.
        writer.set_merge_policy(Box::new(NoMergePolicy));
        Ok(writer)
    }

    /// Adds the chunks and commits them together with the summary. Durable when it returns.
    pub(crate) fn append(
        &self,
        writer: &mut IndexWriter<Document>,
        chunks: &[Arc<Chunk>],
        summary: &Summary,
    ) -> Result<(), StoreError> {
        let error = block_error("commit to", &self.path);
        for chunk in chunks {
            writer.run(document::of_chunk(chunk).map(UserOperation::Add)).map_err(&error)?;
        }
        let payload = serde_json::to_string(summary).map_err(|e| error(io::Error::other(e).into()))?;
        let mut commit = writer.prepare_commit().map_err(&error)?;
        commit.set_payload(&payload);
        commit.commit().map_err(&error)?;
        // The index renames its list of segments into place and does not sync the directory after it: without this, a
        // power loss could take back a commit whose requests the journal has let go of.
        sync(&self.path)
    }

    /// Segments and their number of documents.
    pub(crate) fn segments(&self) -> Result<Vec<(SegmentId, u32)>, StoreError> {
        let metas =
            self.index.searchable_segment_metas().map_err(block_error("list the segments of", &self.path))?;
        Ok(metas.iter().map(|meta| (meta.id(), meta.num_docs())).collect())
    }
}

fn reader(index: &Index) -> Result<IndexReader, TantivyError> {
    index
        .reader_builder()
        .reload_policy(ReloadPolicy::Manual)
        .doc_store_cache_num_blocks(CACHED_PIECES)
        .try_into()
}

fn parse_summary(path: &Path, payload: &str) -> Result<Summary, StoreError> {
    /// Read first: a newer summary may lack what [`Summary`] needs.
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let error = |e: serde_json::Error| {
        let source = io::Error::new(io::ErrorKind::InvalidData, e);
        block_error("read the summary of", path)(source.into())
    };
    let Version { format: found } = serde_json::from_str(payload).map_err(error)?;
    StoreError::check_format(path, found)?;
    serde_json::from_str(payload).map_err(error)
}

/// `block-0000000007`
pub(crate) fn directory_name(id: BlockId) -> String {
    format!("block-{:010}", id.0)
}

/// Number and suffix (`dropped`, `damaged`) of a directory's name; `None` if it is no block's.
pub(crate) fn parse_directory_name(name: &str) -> Option<(BlockId, Option<&str>)> {
    let rest = name.strip_prefix("block-")?;
    let (number, suffix) = match rest.split_once('.') {
        Some((number, suffix)) => (number, Some(suffix)),
        None => (rest, None),
    };
    Some((BlockId(number.parse().ok()?), suffix))
}

/// Renames a block out of the way, so that it is no longer one, and returns where it is now. Needs no free space.
pub(crate) fn rename_away(path: &Path, suffix: &str) -> Result<PathBuf, StoreError> {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(suffix);
    let target = PathBuf::from(name);
    fs::rename(path, &target).map_err(io_error("rename", path))?;
    path.parent().map_or(Ok(()), sync)?;
    Ok(target)
}

/// Makes renames and new files in a directory durable.
pub(crate) fn sync(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", dir))
}

pub(crate) fn directory_bytes(path: &Path) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for entry in fs::read_dir(path).map_err(io_error("list", path))? {
        // A file that a finished merge has just removed takes no space.
        let metadata = entry.and_then(|entry| entry.metadata());
        bytes += metadata.map_or(0, |metadata| metadata.len());
    }
    Ok(bytes)
}

pub(crate) fn io_error(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { doing, path: path.clone(), source }
}

pub(crate) fn block_error(doing: &'static str, path: &Path) -> impl Fn(TantivyError) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Block { doing, path: path.clone(), source }
}
