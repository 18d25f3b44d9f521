//! Opening a journal's folder: what is there, what is damaged, where numbering goes on. It cuts a torn tail and nothing
//! else: every record whose checksum holds is kept, and damaged bytes before one are set aside.
//!
//! It never appends to a segment it found. A new segment with a new sequence number follows, so that no position is used
//! twice and nothing left over behind a cut can ever be mistaken for a record.

mod manifest;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    JournalError, Options, Position, Verify,
    format::{Extent, Footer, Head, Identity, PAGE, VERSION},
    fs::Fs,
    index::Entries,
    options::SEGMENT_BYTES,
    quarantine::{self, Loss, Quarantined},
    scan::{Found, Scan, Span},
    segment::{self, Sealed, SegmentFile},
};

/// What was found when the journal was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments that hold records.
    pub segments: usize,
    /// Records in them, as far as they were read or their footers say.
    pub records: u64,
    /// The last record's position.
    pub last: Option<Position>,
    /// Writes that a crash cut off: no intact record follows.
    pub torn: Vec<Torn>,
    /// Damage that intact records follow.
    pub quarantined: Vec<Quarantined>,
    /// Segment headers that were damaged and written again from their records.
    pub headers_rebuilt: usize,
    /// Indexes written: of the segment that was open at the crash, and of those that were damaged.
    pub indexes_built: usize,
    /// True if the manifest was missing or damaged beside segments that were not; it was written again from them.
    pub manifest_rebuilt: bool,
}

/// A write that a crash cut off. Under [`crate::Durability::Sync`] it was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Where it begins.
    pub position: Position,
    /// How much its header announced.
    pub bytes: u64,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {}", self.bytes, self.position)
    }
}

/// What the journal goes on with.
pub(crate) struct Recovered {
    pub(crate) sealed: BTreeMap<u32, Arc<Sealed>>,
    /// Files without a record, to be used first.
    pub(crate) spare: Vec<Arc<SegmentFile>>,
    pub(crate) numbering: Numbering,
    pub(crate) recovery: Recovery,
}

/// Where numbering goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbering {
    pub(crate) epoch: u32,
    pub(crate) next_sequence: u32,
    pub(crate) next_slot: u32,
}

/// Reads the folder and leaves it with every segment sealed and the manifest of a new epoch written.
pub(crate) fn recover(fs: &dyn Fs, dir: &Path, options: &Options) -> Result<Recovered, JournalError> {
    fs.create_dir_all(dir).map_err(io("create", dir))?;
    let manifest = manifest::read(fs, dir)?;
    let mut folder = Folder {
        fs,
        dir,
        options,
        sealed: BTreeMap::new(),
        spare: Vec::new(),
        used: Identity { sequence: 0, epoch: 0 },
        recovery: Recovery::default(),
    };
    let mut next_slot = 0;
    for path in fs.list(dir).map_err(io("list", dir))? {
        if let Some(slot) = segment::slot(&path) {
            next_slot = next_slot.max(slot.saturating_add(1));
            folder.take(path)?;
        }
    }
    folder.recovery.manifest_rebuilt = manifest.is_none() && !folder.sealed.is_empty();
    folder.recovery.last = folder.sealed.values().next_back().map(|sealed| sealed.last());
    let numbering = manifest::next(manifest, folder.used, options.after, next_slot)?;
    manifest::write(fs, dir, numbering)?;
    let Folder { sealed, spare, recovery, .. } = folder;
    Ok(Recovered { sealed, spare, numbering, recovery })
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { action, path, source }
}

struct Folder<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    options: &'a Options,
    sealed: BTreeMap<u32, Arc<Sealed>>,
    spare: Vec<Arc<SegmentFile>>,
    /// The highest numbers any header names, also those of segments of which a power loss took every record.
    used: Identity,
    recovery: Recovery,
}

/// What the records of a segment say.
struct Scanned {
    extent: Option<Extent>,
    entries: Entries,
    holes: Vec<(Span, Vec<u8>)>,
    torn: Option<Span>,
    synced_to: u32,
}

impl Folder<'_> {
    fn take(&mut self, path: PathBuf) -> Result<(), JournalError> {
        let file = self.fs.open(&path).map_err(io("open", &path))?;
        let length = file.length().map_err(io("measure", &path))?;
        let length = u32::try_from(length).unwrap_or(u32::MAX).min(*SEGMENT_BYTES.end());
        let mut file = SegmentFile { path, file, bytes: length };
        let identity = self.identity(&mut file)?;
        let file = Arc::new(file);
        let sealed = match identity {
            Some(identity) => {
                self.used.sequence = self.used.sequence.max(identity.sequence);
                self.used.epoch = self.used.epoch.max(identity.epoch);
                self.segment(&file, identity)?
            }
            None => None,
        };
        match sealed {
            Some(sealed) => self.add(sealed),
            None if file.bytes == self.options.segment_bytes && file.bytes == length => {
                self.spare.push(file);
                Ok(())
            }
            // Of another size, or cut off while it was created; and without a record.
            None => self.fs.remove(&file.path).map_err(file.error("remove")),
        }
    }

    fn add(&mut self, sealed: Sealed) -> Result<(), JournalError> {
        self.recovery.segments += 1;
        self.recovery.records += u64::from(sealed.footer.records);
        let sequence = sealed.sequence();
        match self.sealed.insert(sequence, Arc::new(sealed)) {
            None => Ok(()),
            Some(first) => Err(JournalError::SameSegment {
                sequence,
                first: first.file.path.clone(),
                second: self.sealed.get(&sequence).map(|second| second.file.path.clone()).unwrap_or_default(),
            }),
        }
    }

    /// Whose records the file holds. If both headers are intact, the later one says so. If one is not, it may have been
    /// torn while the file was recycled, before records that are released, or damaged later, before records that are
    /// needed: then the records are asked too, and what is latest counts.
    fn identity(&mut self, file: &mut SegmentFile) -> Result<Option<Identity>, JournalError> {
        let mut latest = None;
        let mut intact = true;
        for head in file.headers() {
            match head {
                Head::Newer(found) => {
                    return Err(JournalError::NewerFormat { path: file.path.clone(), found, known: VERSION });
                }
                Head::Valid(header) => {
                    file.bytes = header.segment_bytes;
                    latest = latest.max(Some(header.identity));
                }
                Head::Invalid => intact = false,
            }
        }
        if intact || !SEGMENT_BYTES.contains(&file.bytes) {
            return Ok(latest);
        }
        let latest = latest.max(Scan::identify(&file.read(0, file.bytes as usize)));
        if let Some(identity) = latest {
            file.begin(identity)
                .and_then(|()| file.file.sync_data())
                .map_err(file.error("write the header of"))?;
            self.recovery.headers_rebuilt += 1;
        }
        Ok(latest)
    }

    /// Brings a segment into its sealed state. `None` if it holds no record.
    fn segment(
        &mut self,
        file: &Arc<SegmentFile>,
        identity: Identity,
    ) -> Result<Option<Sealed>, JournalError> {
        let footer = file.footer(identity);
        if let (Some(footer), Verify::Unsealed) = (footer, self.options.verify)
            && let Ok(sealed) = Sealed::load(file, footer, Verify::Unsealed)
        {
            return Ok(Some(sealed));
        }
        let mut scanned = scan(file, identity, footer);
        self.report(&scanned, identity, footer);
        if let Some(Ok(sealed)) = footer.map(|footer| Sealed::load(file, footer, Verify::Everything)) {
            return Ok(Some(sealed));
        }
        let of_footer = |footer: Footer| Extent {
            data_end: footer.data_end,
            last_record: footer.last_record,
            records: footer.records,
            synced_to: footer.synced_to,
        };
        let Some(extent) = footer.map(of_footer).or(scanned.extent) else { return Ok(None) };
        // Perhaps only the page cache holds it: the process was killed, not the machine. A footer proves that it is on disk.
        file.file.sync_data().map_err(file.error("sync"))?;
        let index = scanned.entries.encode(identity, extent);
        let sealed = file.seal(identity, extent, index).map_err(file.error("seal"))?;
        file.file.sync_data().map_err(file.error("sync"))?;
        self.recovery.indexes_built += 1;
        Ok(Some(sealed))
    }

    fn report(&mut self, scanned: &Scanned, identity: Identity, footer: Option<Footer>) {
        let position = |at| Position::new(identity.sequence, at);
        if let Some(torn) = scanned.torn.filter(|_| footer.is_none()) {
            self.recovery
                .torn
                .push(Torn { position: position(torn.from), bytes: u64::from(torn.to - torn.from) });
        }
        let synced_to = footer.map_or(scanned.synced_to, |footer| footer.synced_to);
        for (hole, bytes) in &scanned.holes {
            let synced = hole.to <= synced_to;
            self.recovery.quarantined.push(Quarantined {
                position: position(hole.from),
                bytes: bytes.len() as u64,
                loss: if synced { Loss::Synced } else { Loss::Unsynced },
                copy: quarantine::keep(self.fs, self.dir, position(hole.from), bytes),
            });
        }
    }
}

fn scan(file: &SegmentFile, identity: Identity, footer: Option<Footer>) -> Scanned {
    let end = footer.map_or(segment::data_limit(file.bytes), |footer| footer.data_end);
    let bytes = file.read(PAGE, end.saturating_sub(PAGE) as usize);
    let copy = |hole: Span| {
        bytes.get((hole.from - PAGE) as usize..(hole.to - PAGE) as usize).unwrap_or_default().to_vec()
    };
    let mut scan = Scan::new(&bytes, PAGE, identity);
    let mut scanned =
        Scanned { extent: None, entries: Entries::default(), holes: Vec::new(), torn: None, synced_to: 0 };
    let (mut pairs, mut value_bytes) = (0, 0);
    for found in scan.by_ref() {
        match found {
            Found::Hole(hole) => scanned.holes.push((hole, copy(hole))),
            Found::Record(record) => {
                let keys = record.keys();
                (pairs, value_bytes) =
                    (pairs + keys.len() as u64, value_bytes + u64::from(keys.value_bytes()));
                scanned.entries.push(record.at, &keys);
                scanned.synced_to = scanned.synced_to.max(record.header.synced_to);
                let records = scanned.extent.map_or(0, |extent| extent.records) + 1;
                let synced_to = scanned.synced_to;
                scanned.extent =
                    Some(Extent { data_end: record.end, last_record: record.at, records, synced_to });
            }
        }
    }
    if footer.is_some() && scan.end() < end {
        let hole = Span { from: scan.end(), to: end };
        scanned.holes.push((hole, copy(hole)));
    }
    scanned.torn = scan.torn();
    // The writer keeps room for the index. Bytes that no writer of ours wrote need not have: then lookups find nothing here.
    let data_end =
        footer.map(|footer| footer.data_end).or(scanned.extent.map(|extent| extent.data_end)).unwrap_or(PAGE);
    if !segment::fits(file.bytes, u64::from(data_end), pairs, value_bytes) {
        scanned.entries = Entries::default();
    }
    scanned
}

#[cfg(test)]
mod tests;
