//! The simulated disk's state: what is visible now, what would survive, and the faults to come. It refuses nothing a real
//! disk allows: of what is not synced any part may be on it, in any order.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use super::{Random, Tear};

pub(super) struct Disk {
    random: Random,
    /// Names as a process sees them, and as they would be found after a loss of power.
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names that no sync of their folder has covered, in order: a file system's journal keeps a beginning of them.
    renames: Vec<Rename>,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    /// Changes until the power goes; 0: it is gone.
    pub(super) cut_after: Option<u64>,
    pub(super) failing_syncs: u32,
    pub(super) failing_write: Option<(u32, io::ErrorKind)>,
    pub(super) capacity: Option<u64>,
    pub(super) short_writes: bool,
    pub(super) unreadable: Vec<(PathBuf, Range<u64>)>,
    pub(super) syncs: u64,
}

/// A name that changed: what it now leads to.
#[derive(Clone)]
struct Rename {
    path: PathBuf,
    inode: Option<u64>,
}

#[derive(Clone, Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last sync.
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Length(usize),
    Bytes { at: usize, bytes: Vec<u8> },
}

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            renames: Vec::new(),
            inodes: BTreeMap::new(),
            next_inode: 0,
            cut_after: None,
            failing_syncs: 0,
            failing_write: None,
            capacity: None,
            short_writes: false,
            unreadable: Vec::new(),
            syncs: 0,
        }
    }

    /// Counts one change; an error if the power is gone.
    pub(super) fn change(&mut self) -> io::Result<()> {
        match &mut self.cut_after {
            None => Ok(()),
            Some(0) => Err(off()),
            Some(left) => {
                *left -= 1;
                if *left == 0 { Err(off()) } else { Ok(()) }
            }
        }
    }

    pub(super) fn install(&mut self, path: &Path, bytes: &[u8]) {
        let inode = self.names.get(path).copied().unwrap_or_else(|| self.new_inode());
        self.names.insert(path.to_owned(), inode);
        self.durable_names.insert(path.to_owned(), inode);
        let file = Inode { current: bytes.to_vec(), durable: bytes.to_vec(), unsynced: Vec::new() };
        self.inodes.insert(inode, file);
    }

    fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.inodes.insert(self.next_inode, Inode::default());
        self.next_inode
    }

    pub(super) fn names(&self) -> Vec<PathBuf> {
        self.names.keys().cloned().collect()
    }

    pub(super) fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        Some(self.inodes.get(self.names.get(path)?)?.current.clone())
    }

    pub(super) fn inode(&self, path: &Path) -> io::Result<u64> {
        if self.cut_after == Some(0) {
            return Err(off());
        }
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<u64> {
        self.change()?;
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = self.new_inode();
        self.name(path, Some(inode));
        Ok(inode)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.inode(from)?;
        self.change()?;
        self.name(to, Some(inode));
        self.name(from, None);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.inode(path)?;
        self.change()?;
        self.name(path, None);
        Ok(())
    }

    fn name(&mut self, path: &Path, inode: Option<u64>) {
        let change = Rename { path: path.to_owned(), inode };
        change.apply(&mut self.names);
        self.renames.push(change);
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.change()?;
        let (synced, left) = std::mem::take(&mut self.renames)
            .into_iter()
            .partition(|r: &Rename| r.path.parent() == Some(dir));
        self.renames = left;
        let synced: Vec<Rename> = synced;
        synced.iter().for_each(|rename| rename.apply(&mut self.durable_names));
        Ok(())
    }

    fn file(&mut self, inode: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn read(&mut self, inode: u64, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.cut_after == Some(0) {
            return Err(off());
        }
        let asked = offset..offset + buffer.len() as u64;
        let bad = |(path, range): &(PathBuf, Range<u64>)| {
            self.names.get(path) == Some(&inode) && range.start < asked.end && asked.start < range.end
        };
        if self.unreadable.iter().any(bad) {
            return Err(io::Error::other("simulated: unreadable sector"));
        }
        let bytes = self.file(inode)?.current.get(offset as usize..).unwrap_or_default();
        let length = bytes.len().min(buffer.len());
        buffer.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Ok(length)
    }

    pub(super) fn write(&mut self, inode: u64, mut bytes: Vec<u8>, offset: u64) -> io::Result<usize> {
        let end = offset + bytes.len() as u64;
        if end > self.length(inode)? && self.room().is_some_and(|room| room < bytes.len() as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.cut_after == Some(0) {
            return Err(off());
        }
        let changed = self.change();
        let failed = match changed {
            Err(error) => Some(error),
            Ok(()) => self.fault(),
        };
        // A write that fails, and one in which the power goes, is done in part, now and then in whole.
        if failed.is_some() || (self.short_writes && self.random.chance(30)) {
            let kept = self.random.below(bytes.len() as u64 * 4 / 3 + 1) as usize;
            bytes.truncate(if failed.is_some() { kept } else { kept.max(1) });
        }
        let written = bytes.len();
        let file = self.file(inode)?;
        let change = Change::Bytes { at: offset as usize, bytes };
        change.apply(&mut file.current);
        file.unsynced.push(change);
        failed.map_or(Ok(written), Err)
    }

    /// The error of this write, if it is the one to fail.
    fn fault(&mut self) -> Option<io::Error> {
        match self.failing_write.take() {
            Some((0, kind)) => Some(kind.into()),
            Some((passing, kind)) => {
                self.failing_write = Some((passing - 1, kind));
                None
            }
            None => None,
        }
    }

    /// Bytes left for files to grow.
    fn room(&self) -> Option<u64> {
        let used: u64 = self
            .names
            .values()
            .filter_map(|inode| self.inodes.get(inode))
            .map(|file| file.current.len() as u64)
            .sum();
        Some(self.capacity?.saturating_sub(used))
    }

    pub(super) fn allocate(&mut self, inode: u64, bytes: u64) -> io::Result<()> {
        self.change()?;
        let grown = bytes.saturating_sub(self.length(inode)?);
        if self.room().is_some_and(|room| room < grown) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = self.file(inode)?;
        let change = Change::Length(bytes as usize);
        change.apply(&mut file.current);
        file.unsynced.push(change);
        Ok(())
    }

    pub(super) fn sync_data(&mut self, inode: u64) -> io::Result<()> {
        self.change()?;
        if self.failing_syncs > 0 {
            self.failing_syncs -= 1;
            // The pages count as clean from now on, whatever part of them reached the disk.
            let mut random = self.random.clone();
            self.random.next();
            let file = self.file(inode)?;
            file.durable = file.after_power_loss(&mut random, Tear::Sectors);
            file.unsynced.clear();
            return Err(io::Error::other("simulated: sync failed"));
        }
        self.syncs += 1;
        let file = self.file(inode)?;
        for change in std::mem::take(&mut file.unsynced) {
            change.apply(&mut file.durable);
        }
        Ok(())
    }

    pub(super) fn length(&mut self, inode: u64) -> io::Result<u64> {
        Ok(self.file(inode)?.current.len() as u64)
    }

    pub(super) fn after_power_loss(&mut self, tear: Tear) -> Self {
        let mut disk = Self::new(self.random.next());
        disk.capacity = self.capacity;
        disk.short_writes = self.short_writes;
        disk.durable_names = self.durable_names.clone();
        let kept = self.random.below(self.renames.len() as u64 + 1) as usize;
        self.renames.iter().take(kept).for_each(|rename| rename.apply(&mut disk.durable_names));
        disk.names = disk.durable_names.clone();
        disk.next_inode = self.next_inode;
        for (number, file) in &self.inodes {
            let durable = file.after_power_loss(&mut self.random, tear);
            disk.inodes.insert(*number, Inode { current: durable.clone(), durable, unsynced: Vec::new() });
        }
        disk
    }
}

impl Rename {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self.inode {
            Some(inode) => drop(names.insert(self.path.clone(), inode)),
            None => drop(names.remove(&self.path)),
        }
    }
}

impl Inode {
    /// What is durable, with an arbitrary part of what is not.
    fn after_power_loss(&self, random: &mut Random, tear: Tear) -> Vec<u8> {
        let mut durable = self.durable.clone();
        // Some losses take almost all, some almost nothing, most something between.
        let luck = [0, 20, 50, 80, 100].get(random.below(5) as usize).copied().unwrap_or(50);
        for change in &self.unsynced {
            match change {
                Change::Length(_) if random.chance(luck) => change.apply(&mut durable),
                Change::Length(_) => {}
                Change::Bytes { at, bytes } => tear_into(&mut durable, *at, bytes, (random, luck, tear)),
            }
        }
        durable
    }
}

/// Puts an arbitrary selection of a write's pieces into the file.
fn tear_into(file: &mut Vec<u8>, at: usize, bytes: &[u8], (random, luck, tear): (&mut Random, u64, Tear)) {
    let mut rest = bytes;
    let mut start = at;
    while !rest.is_empty() {
        let sector = 512 - start % 512;
        let piece = match tear {
            Tear::Sectors => sector,
            Tear::Bytes => 1 + random.below(sector as u64) as usize,
        };
        let (piece, left) = rest.split_at_checked(piece).unwrap_or((rest, &[]));
        if random.chance(luck) {
            Change::Bytes { at: start, bytes: piece.to_vec() }.apply(file);
        }
        start += piece.len();
        rest = left;
    }
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Length(length) => file.resize(file.len().max(*length), 0),
            Self::Bytes { at, bytes } => {
                let end = at + bytes.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                if let Some(place) = file.get_mut(*at..end) {
                    place.copy_from_slice(bytes);
                }
            }
        }
    }
}

fn off() -> io::Error {
    io::Error::other("simulated: power is off")
}
