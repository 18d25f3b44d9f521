//! Turns groups of appends into bytes on disk: places records, writes, syncs, seals, begins segments. One thread owns
//! it. It takes the time from its caller and starts no thread, so that a simulation can drive it step by step.
//!
//! A failed sync, and a failed write other than for want of space, is final: the kernel may have dropped the pages and
//! would report success the next time. The caller must not come back after `Err`.

use std::{
    io::{self, IoSlice},
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::Duration,
};

use crate::{
    Durability, Full, Options, Position, Refused,
    catalog::Catalog,
    entry::{Entry, Placement},
    format::{Extent, Identity, PAGE, RECORD_HEADER_BYTES, align},
    fs::{Fs, write_all},
    index::Entries,
    record::Keys,
    recovery::Numbering,
    segment::{self, SegmentFile},
    stats::Counters,
};

mod files;

/// The writing side of a journal.
pub(crate) struct Writer {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    segment_bytes: u32,
    durability: Durability,
    numbering: Numbering,
    catalog: Arc<Catalog>,
    counters: Arc<Counters>,
    tail: Option<Tail>,
    staged: Vec<Staged>,
    /// When the first write came that no sync has covered yet.
    unsynced_since: Option<Duration>,
}

/// Why nothing more may be written.
pub(crate) type Poison = Arc<str>;

/// The open segment.
struct Tail {
    file: Arc<SegmentFile>,
    identity: Identity,
    /// With what is staged.
    progress: Progress,
    /// Without it: what a failed write goes back to.
    written: Progress,
    group: u32,
    /// A write failed after the last one that did not: there may be whole records behind the cursor that do not count.
    soiled: bool,
    /// A footer was written, at least in part: a record behind it would not be found again.
    sealing: bool,
    /// Begun from the reserve, when requests found no room.
    reserved: bool,
}

#[derive(Clone, Copy)]
struct Progress {
    /// Where the next record starts.
    cursor: u32,
    extent: Extent,
    pairs: u64,
    value_bytes: u64,
}

/// A record with its place, not written yet.
struct Staged {
    at: u32,
    header: [u8; RECORD_HEADER_BYTES],
    entry: Entry,
}

/// Why an entry got no place.
enum Obstacle {
    Refused(Refused),
    Poison(Poison),
}

impl Writer {
    pub(crate) fn new(
        fs: Arc<dyn Fs>,
        dir: PathBuf,
        options: &Options,
        numbering: Numbering,
        catalog: Arc<Catalog>,
        counters: Arc<Counters>,
    ) -> Self {
        let Options { segment_bytes, durability, .. } = *options;
        let (tail, staged, unsynced_since) = (None, Vec::new(), None);
        Self {
            fs,
            dir,
            segment_bytes,
            durability,
            numbering,
            catalog,
            counters,
            tail,
            staged,
            unsynced_since,
        }
    }

    /// Writes a group and tells each entry how it ended. After an error every entry was told so.
    pub(crate) fn commit(&mut self, entries: Vec<Entry>, now: Duration) -> Result<(), Poison> {
        let mut entries = entries.into_iter();
        // Why there is no room: for requests, then for what may use the reserve. Others of the kind would only find the same:
        // the next group tries again.
        let mut full: [Option<Refused>; 2] = [None, None];
        while let Some(entry) = entries.next() {
            let [of_requests, of_books] = &mut full;
            let known = if entry.may_use_reserve() { of_books } else { of_requests };
            if let Some(why) = known {
                let why = why.clone();
                self.refuse(entry, why);
                continue;
            }
            match self.place(&entry, now) {
                Ok(()) => self.stage(entry),
                Err(Obstacle::Refused(why @ Refused::Full(_))) => {
                    *known = Some(why.clone());
                    self.refuse(entry, why);
                }
                Err(Obstacle::Refused(why)) => self.refuse(entry, why),
                Err(Obstacle::Poison(why)) => {
                    self.fail(std::iter::once(entry).chain(entries), &why);
                    return Err(why);
                }
            }
        }
        self.flush(now)
    }

    /// When [`Writer::sync`] must be called, under [`Durability::Batch`].
    pub(crate) fn sync_due(&self) -> Option<Duration> {
        match self.durability {
            Durability::Batch { window } => Some(self.unsynced_since?.saturating_add(window)),
            Durability::Sync | Durability::None => None,
        }
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync(&mut self) -> Result<(), Poison> {
        let Some(tail) = self.tail.as_mut().filter(|_| self.unsynced_since.is_some()) else { return Ok(()) };
        tail.file.file.sync_data().map_err(|error| describe("sync", &tail.file, &error))?;
        tail.synced();
        self.unsynced_since = None;
        self.counters.syncs.add(1);
        Ok(())
    }

    /// Writes and syncs what is left, and seals the open segment. If only the seal finds no room, nothing is lost: the
    /// next opening writes it.
    pub(crate) fn close(&mut self, now: Duration) -> Result<(), Poison> {
        match self.finish(now) {
            Ok(()) | Err(Obstacle::Refused(_)) => Ok(()),
            Err(Obstacle::Poison(why)) => Err(why),
        }
    }

    fn finish(&mut self, now: Duration) -> Result<(), Obstacle> {
        self.flush(now).and_then(|()| self.sync()).map_err(Obstacle::Poison)?;
        let Some(tail) = self.tail.as_mut().filter(|tail| tail.progress.extent.records > 0) else {
            return Ok(());
        };
        tail.sealing = true;
        let extent = tail.progress.extent;
        // Sorted under the lock that lookups take, written without it.
        let entries = self.catalog.entries();
        let index = entries.lock().unwrap_or_else(PoisonError::into_inner).encode(tail.identity, extent);
        // Their memory serves the next segment, if nobody else holds them.
        drop(entries);
        let sealed = tail.file.seal(tail.identity, extent, index);
        let sealed = sealed.map_err(|error| obstacle("seal", &tail.file, &error))?;
        tail.file.file.sync_data().map_err(|error| Obstacle::Poison(describe("sync", &tail.file, &error)))?;
        self.catalog.seal(sealed);
        self.tail = None;
        self.counters.sealed.add(1);
        Ok(())
    }

    /// Sees to it that the open segment has room for the entry and for what the entry adds to the index.
    fn place(&mut self, entry: &Entry, now: Duration) -> Result<(), Obstacle> {
        let fits = |progress: Progress| {
            let end = u64::from(progress.cursor) + entry.total_bytes();
            let pairs = progress.pairs + entry.keys.len() as u64;
            let value_bytes = progress.value_bytes + u64::from(entry.keys.value_bytes());
            segment::fits(self.segment_bytes, end, pairs, value_bytes)
        };
        if !fits(Progress::EMPTY) {
            let (bytes, limit) = (entry.bytes(), largest_record(self.segment_bytes, &entry.keys));
            return Err(Obstacle::Refused(Refused::TooLarge { bytes, limit }));
        }
        let may_use_reserve = entry.may_use_reserve();
        let takes = |tail: &Tail| !tail.sealing && fits(tail.progress) && (may_use_reserve || !tail.reserved);
        if self.tail.as_ref().is_some_and(takes) {
            return Ok(());
        }
        // A reserved segment is not given up before there is another.
        let reserved = self.tail.as_ref().is_some_and(|tail| tail.reserved);
        let file = if reserved { Some(self.obtain(may_use_reserve)?) } else { None };
        if let Err(obstacle) = self.finish(now) {
            file.into_iter().for_each(|(file, _)| self.catalog.give_back(file));
            return Err(obstacle);
        }
        let file = match file {
            Some(file) => file,
            None => self.obtain(may_use_reserve)?,
        };
        self.begin(file)
    }

    fn stage(&mut self, entry: Entry) {
        let Some(tail) = &mut self.tail else { return };
        let Progress { cursor: at, extent, pairs, value_bytes } = tail.progress;
        let header = entry.header(&Placement {
            position: tail.position(at),
            epoch: tail.identity.epoch,
            group: tail.group,
            synced_to: extent.synced_to,
            follows: extent.data_end,
        });
        // `place` has seen to it that the end is within the segment.
        let end = at.saturating_add(u32::try_from(entry.total_bytes()).unwrap_or(u32::MAX));
        tail.progress = Progress {
            cursor: end,
            extent: Extent { data_end: end, last_record: at, records: extent.records + 1, ..extent },
            pairs: pairs + entry.keys.len() as u64,
            value_bytes: value_bytes + u64::from(entry.keys.value_bytes()),
        };
        self.staged.push(Staged { at, header, entry });
    }

    /// Writes what is staged, makes it as durable as promised, readable, and acknowledged: in this order.
    fn flush(&mut self, now: Duration) -> Result<(), Poison> {
        let staged = std::mem::take(&mut self.staged);
        let Some(tail) = self.tail.as_mut().filter(|_| !staged.is_empty()) else { return Ok(()) };
        let written = write(tail, &staged);
        // Whatever reached the disk of an attempt that failed has a lower group than what overwrites it.
        tail.group = tail.group.saturating_add(1);
        match written {
            Ok(()) => (tail.written, tail.soiled) = (tail.progress, false),
            Err(error) if is_full(&error) => {
                (tail.progress, tail.soiled) = (tail.written, true);
                let why = Refused::Full(Full::Disk(describe("write", &tail.file, &error)));
                staged.into_iter().for_each(|staged| self.refuse(staged.entry, why.clone()));
                return Ok(());
            }
            Err(error) => {
                let why = describe("write", &tail.file, &error);
                self.fail(staged.into_iter().map(|staged| staged.entry), &why);
                return Err(why);
            }
        }
        self.unsynced_since.get_or_insert(now);
        if self.durability == Durability::Sync
            && let Err(why) = self.sync()
        {
            self.fail(staged.into_iter().map(|staged| staged.entry), &why);
            return Err(why);
        }
        self.acknowledge(staged);
        Ok(())
    }

    fn acknowledge(&self, staged: Vec<Staged>) {
        let Some(tail) = &self.tail else { return };
        self.catalog
            .publish(tail.written.extent, staged.iter().map(|staged| (staged.at, &staged.entry.keys)));
        self.counters.groups.add(1);
        self.counters.records.add(staged.len() as u64);
        for Staged { at, entry, .. } in staged {
            self.counters.bytes.add(entry.bytes());
            entry.stored(tail.position(at));
        }
    }

    fn refuse(&self, entry: Entry, why: Refused) {
        self.counters.refused(&why);
        entry.refuse(why);
    }

    fn fail(&self, entries: impl Iterator<Item = Entry>, why: &Poison) {
        for entry in entries {
            self.counters.failed.add(1);
            entry.fail(why);
        }
    }

    /// Begins a segment. Its number is used up whether or not this succeeds.
    fn begin(&mut self, (file, reserved): (Arc<SegmentFile>, bool)) -> Result<(), Obstacle> {
        let identity = Identity { sequence: self.numbering.next_sequence, epoch: self.numbering.epoch };
        let Some(next) = identity.sequence.checked_add(1) else {
            return Err(Obstacle::Poison(
                "every segment number is used: start with an empty data folder".into(),
            ));
        };
        self.numbering.next_sequence = next;
        if let Err(error) = file.begin(identity) {
            let obstacle = obstacle("begin", &file, &error);
            self.catalog.give_back(file);
            return Err(obstacle);
        }
        file.file.sync_data().map_err(|error| Obstacle::Poison(describe("sync", &file, &error)))?;
        self.catalog.begin(Arc::clone(&file), identity);
        let (progress, written) = (Progress::EMPTY, Progress::EMPTY);
        self.tail = Some(Tail {
            file,
            identity,
            progress,
            written,
            group: 0,
            soiled: false,
            sealing: false,
            reserved,
        });
        Ok(())
    }
}

impl Progress {
    const EMPTY: Self = Self {
        cursor: PAGE,
        extent: Extent { data_end: PAGE, last_record: 0, records: 0, synced_to: PAGE },
        pairs: 0,
        value_bytes: 0,
    };
}

impl Tail {
    fn position(&self, offset: u32) -> Position {
        Position::new(self.identity.sequence, offset)
    }

    /// Everything written is durable. The next record starts on a page of its own: no write comes near these bytes again.
    /// Not so after a failed write: what that left must be overwritten from where it starts, or it would look like a record.
    fn synced(&mut self) {
        self.written.extent.synced_to = self.written.extent.data_end;
        if !self.soiled {
            let cursor = align(u64::from(self.written.cursor), u64::from(PAGE));
            self.written.cursor = u32::try_from(cursor).unwrap_or(u32::MAX);
        }
        self.progress = self.written;
    }
}

/// Payload and keys a record with these keys may have at most: their index must fit beside it.
pub(crate) fn largest_record(segment_bytes: u32, keys: &Keys) -> u64 {
    let index = Entries::bytes_for(keys.len() as u64, u64::from(keys.value_bytes()));
    let taken = u64::from(PAGE) + RECORD_HEADER_BYTES as u64 + index;
    u64::from(segment::data_limit(segment_bytes)).saturating_sub(taken)
}

/// One write for the group, padded to whole pages: a part of a page that is not cached would have to be read first.
fn write(tail: &Tail, staged: &[Staged]) -> io::Result<()> {
    let zeros = [0; PAGE as usize];
    let zeros = |count: usize| IoSlice::new(zeros.get(..count).unwrap_or_default());
    let mut buffers = Vec::with_capacity(staged.len() * 4 + 1);
    for Staged { header, entry, .. } in staged {
        buffers.extend([
            IoSlice::new(header),
            IoSlice::new(entry.payload()),
            IoSlice::new(entry.keys.encoded()),
        ]);
        buffers.push(zeros(entry.padding()));
    }
    let end = u64::from(tail.progress.cursor);
    buffers.push(zeros((align(end, u64::from(PAGE)) - end) as usize));
    write_all(tail.file.file.as_ref(), &mut buffers, u64::from(tail.written.cursor))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn describe(action: &str, file: &SegmentFile, error: &io::Error) -> Arc<str> {
    format!("cannot {action} {}: {error}", file.path.display()).into()
}

/// Want of space passes. Any other failure is final.
fn obstacle(action: &str, file: &SegmentFile, error: &io::Error) -> Obstacle {
    let why = describe(action, file, error);
    if is_full(error) { Obstacle::Refused(Refused::Full(Full::Disk(why))) } else { Obstacle::Poison(why) }
}
