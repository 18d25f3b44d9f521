//! The store itself: memory in front, blocks behind. Owns the order of ingest, commit and retention and what readers
//! see meanwhile; the answers are in [`crate::answers`].
//!
//! Two locks, always in this order: `writer` (one commit, merge or drop at a time, held across I/O) and `shared` (what
//! readers take a snapshot of, never held across I/O).

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use throughline_otlp::{Signal, TraceId, UnixNanos};

use crate::aside::SetAside;
use crate::block::View;
use crate::chunk::Chunk;
use crate::error::StoreError;
use crate::figures::{Retired, StoreStats};
use crate::folder::Folder;
use crate::memory::{Memory, Slot};
use crate::newest::Damage;
use crate::options::StoreOptions;
use crate::snapshot::Snapshot;
use crate::writer::Writer;

/// Kept spans and log records, searchable. All methods take `&self`; share it in an `Arc`.
///
/// The folder belongs to one store at a time; keeping others out is the caller's (the data folder's lock).
pub struct Store {
    options: StoreOptions,
    writer: Mutex<Writer>,
    shared: RwLock<Shared>,
}

/// One accepted request.
#[derive(Clone, Copy, Debug)]
pub struct Ingest<'a> {
    /// Its place in the journal. Requests come in the order of their positions.
    pub position: u64,
    /// When it arrived.
    pub arrived: UnixNanos,
    /// Traces or logs.
    pub signal: Signal,
    /// The request as protobuf.
    pub otlp: &'a [u8],
}

#[derive(Default)]
struct Shared {
    active: Memory,
    /// What a commit is writing, or failed to write and will try again.
    flushing: Option<Arc<Memory>>,
    /// Oldest first.
    blocks: Vec<Arc<View>>,
    committed: Option<u64>,
    failed_merges: u64,
    set_aside: Vec<SetAside>,
    set_aside_bytes: u64,
}

impl Store {
    /// Opens the store in `dir`, creating it if need be. Blocks that cannot be read are renamed to `….damaged` and
    /// reported in [`StoreStats::set_aside`].
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`] if a newer version wrote it; [`StoreError::Io`] or [`StoreError::Block`] if it cannot be
    /// reached at all.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let options = options.bounded();
        let found = Folder::open(dir)?;
        let committed =
            found.blocks.iter().map(|view| view.summary.last).max().max(found.folder.dropped_up_to());
        let writer = Writer::new(found.folder, &found.blocks, options.clone());
        let shared = Shared {
            blocks: found.blocks,
            committed,
            set_aside: found.set_aside,
            set_aside_bytes: found.set_aside_bytes,
            ..Shared::default()
        };
        Ok(Self { options, writer: Mutex::new(writer), shared: RwLock::new(shared) })
    }

    /// Journal position up to and including which everything is on disk. After a crash, ingest again from after it.
    pub fn committed(&self) -> Option<u64> {
        self.read().committed
    }

    /// Takes a request in. Its spans and records are found by queries when this returns, and are on disk after the next
    /// [`Store::commit`]. Returns the distinct traces it speaks of, in order of appearance.
    ///
    /// A position at or below [`Store::committed`] is known already: skipped, no traces. If memory is full this commits
    /// first, so it may take as long as a commit, and fail as one: then nothing was taken in.
    ///
    /// # Errors
    /// [`StoreError::Wire`] or [`StoreError::Metrics`] if the request cannot be stored by anyone; else what the commit met.
    pub fn ingest(&self, ingest: Ingest<'_>) -> Result<Vec<TraceId>, StoreError> {
        if self.committed().is_some_and(|committed| ingest.position <= committed) {
            return Ok(Vec::new());
        }
        let chunk = Arc::new(read(ingest)?);
        let traces = chunk.traces();
        loop {
            {
                let mut shared = self.write();
                if !shared.active.is_full(&self.options) {
                    shared.active.insert(chunk);
                    return Ok(traces);
                }
            }
            let mut writer = self.lock_writer();
            // Another caller may have committed while this one waited for the lock.
            if self.read().active.is_full(&self.options) {
                self.commit_with(&mut writer)?;
            }
        }
    }

    /// Writes what is in memory to the current block and returns the new [`Store::committed`]. Readers and
    /// [`Store::ingest`] go on meanwhile. If it fails, what was in memory still is, and the next commit tries again.
    ///
    /// Also lets background merges go on. About ten file syncs a call: every one to five seconds is a good rhythm.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Block`]: a full disk, most likely.
    pub fn commit(&self) -> Result<Option<u64>, StoreError> {
        self.commit_with(&mut self.lock_writer())
    }

    /// Closes the current block if it is old enough, and drops the blocks that are past the age or over the size; what was
    /// set aside as damaged counts, and goes first. What is
    /// dropped is dropped from disk at once, readers that are still in it finish undisturbed.
    ///
    /// # Errors
    /// [`StoreError::Io`] if a block cannot be removed.
    pub fn enforce_retention(&self, now: UnixNanos) -> Result<Retired, StoreError> {
        let mut writer = self.lock_writer();
        writer.close_if_old(now);
        let blocks = self.read().blocks.clone();
        let (gone, left) = writer.retire_set_aside(&blocks, now)?;
        let mut retired = Retired { blocks: gone.len(), set_aside: gone.len(), ..Retired::default() };
        retired.bytes = gone.iter().sum();
        self.write().set_aside_bytes = left;
        for view in writer.expired(&blocks, now) {
            self.retire(&mut writer, &view, &mut retired)?;
        }
        self.compact(&mut writer)?;
        Ok(retired)
    }

    /// Drops the oldest block whatever its age and the store's size: what is left to do when the disk is full. First those
    /// that were set aside as damaged; never the block that is being written. If there is no other, nothing is dropped.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the block cannot be removed.
    pub fn drop_oldest(&self) -> Result<Retired, StoreError> {
        let mut writer = self.lock_writer();
        if let Some((bytes, left)) = writer.drop_set_aside()? {
            self.write().set_aside_bytes = left;
            return Ok(Retired { blocks: 1, set_aside: 1, bytes, ..Retired::default() });
        }
        let blocks = self.read().blocks.clone();
        let mut retired = Retired::default();
        if let Some(view) = writer.closed(&blocks).next().cloned() {
            self.retire(&mut writer, &view, &mut retired)?;
        }
        Ok(retired)
    }

    fn retire(&self, writer: &mut Writer, view: &View, retired: &mut Retired) -> Result<(), StoreError> {
        self.write().blocks.retain(|other| other.block.id != view.block.id);
        writer.drop_block(view)?;
        retired.blocks += 1;
        retired.spans += view.summary.spans;
        retired.logs += view.summary.logs;
        retired.bytes += view.disk_bytes;
        Ok(())
    }

    /// Figures. Does not wait for a commit.
    pub fn stats(&self) -> StoreStats {
        let shared = self.read();
        let memories = || shared.flushing.as_deref().into_iter().chain([&shared.active]);
        StoreStats {
            blocks: shared.blocks.len(),
            segments: shared.blocks.iter().map(|view| view.searcher.segment_readers().len()).sum(),
            spans: shared.blocks.iter().map(|view| view.summary.spans).sum(),
            logs: shared.blocks.iter().map(|view| view.summary.logs).sum(),
            disk_bytes: shared.blocks.iter().map(|view| view.disk_bytes).sum(),
            memory_documents: memories().map(Memory::documents).sum(),
            memory_bytes: memories().map(Memory::bytes).sum(),
            committed: shared.committed,
            failed_merges: shared.failed_merges,
            set_aside: shared.set_aside.clone(),
            set_aside_bytes: shared.set_aside_bytes,
        }
    }

    /// Everything, as it is now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let shared = self.read();
        let memories = shared.flushing.as_deref().into_iter().chain([&shared.active]);
        Snapshot {
            chunks: memories.flat_map(Memory::chunks).map(Arc::clone).collect(),
            blocks: shared.blocks.clone(),
        }
    }

    /// As [`Store::snapshot`], of memory only what belongs to the trace.
    pub(crate) fn snapshot_of(&self, id: TraceId) -> (Vec<Slot>, Snapshot) {
        let shared = self.read();
        let memories = shared.flushing.as_deref().into_iter().chain([&shared.active]);
        let slots = memories.flat_map(|memory| memory.trace(id)).collect();
        (slots, Snapshot { chunks: Vec::new(), blocks: shared.blocks.clone() })
    }

    /// Puts blocks that turned out to be damaged out of the way; the query that found out has its answer without them.
    pub(crate) fn set_aside(&self, damaged: Vec<Damage>) -> Result<(), StoreError> {
        if damaged.is_empty() {
            return Ok(());
        }
        let mut writer = self.lock_writer();
        for Damage { view, error } in damaged {
            // Another query may have been here first.
            let listed = self.read().blocks.iter().any(|other| other.block.id == view.block.id);
            if listed {
                self.write().blocks.retain(|other| other.block.id != view.block.id);
                let aside = writer.set_aside(&view, &error)?;
                let mut shared = self.write();
                shared.set_aside.push(aside);
                shared.set_aside_bytes += view.disk_bytes;
            }
        }
        Ok(())
    }

    fn commit_with(&self, writer: &mut Writer) -> Result<Option<u64>, StoreError> {
        // First what an earlier commit could not write, then what came since.
        self.flush(writer)?;
        if self.start_flush() {
            self.flush(writer)?;
        }
        self.compact(writer)?;
        Ok(self.committed())
    }

    /// Moves the active memory aside for writing; `false` if there is nothing in it.
    fn start_flush(&self) -> bool {
        let mut shared = self.write();
        if shared.active.is_empty() {
            return false;
        }
        shared.flushing = Some(Arc::new(std::mem::take(&mut shared.active)));
        true
    }

    fn flush(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let Some(memory) = self.read().flushing.clone() else { return Ok(()) };
        let view = writer.append(&memory)?;
        let mut shared = self.write();
        // In one step: nothing is ever missing, and nothing is there twice.
        shared.publish(view);
        shared.flushing = None;
        shared.committed = shared.committed.max(memory.last_position());
        Ok(())
    }

    fn compact(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let changed = writer.compact()?;
        let mut shared = self.write();
        shared.failed_merges = writer.failed_merges();
        if let Some(view) = changed {
            shared.publish(view);
        }
        Ok(())
    }

    fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Shared> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shared> {
        self.shared.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Shows a block as it is now.
    fn publish(&mut self, view: View) {
        let view = Arc::new(view);
        match self.blocks.iter_mut().find(|known| known.block.id == view.block.id) {
            Some(known) => *known = view,
            None => self.blocks.push(view),
        }
    }
}

fn read(ingest: Ingest<'_>) -> Result<Chunk, StoreError> {
    let Ingest { position, arrived, signal, otlp } = ingest;
    match signal {
        Signal::Traces | Signal::Logs => Chunk::read(position, arrived, signal, otlp)
            .map_err(|source| StoreError::Wire { position, source }),
        Signal::Metrics => Err(StoreError::Metrics { position }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::search::Search;

    /// Longer than a busy machine needs; waiting for the writer would be for ever.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn figures_and_answers_wait_for_no_commit() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let (answered, answer) = mpsc::channel();
        thread::scope(|scope| {
            // What a commit, a merge and a drop hold all the time.
            let _writer = store.lock_writer();
            scope.spawn(|| {
                let found = store.search(&Search::default()).unwrap();
                answered.send((store.stats().blocks, found.len())).unwrap();
            });
            assert_eq!(answer.recv_timeout(PATIENCE), Ok((0, 0)));
        });
    }
}
