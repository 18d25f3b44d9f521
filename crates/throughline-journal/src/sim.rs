//! A simulated disk, for tests: what is not synced may be lost, in any part; syncs fail, writes fall short, space runs out,
//! sectors become unreadable. It refuses to be kinder than a real disk, and everything in it follows from a seed.
//!
//! What it does not simulate: a disk that lies about a sync, and damage to sectors that were synced (tests do that with [`SimFs::damage`]).

mod disk;
pub mod hostile;
mod random;

pub use random::Random;

use std::{
    io::{self, IoSlice},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{File, Fs, JournalError, Options, Recovery, recovery::recover};
use disk::Disk;

/// A file system in memory that forgets what was not synced.
#[derive(Clone)]
pub struct SimFs(Arc<Mutex<Disk>>);

/// How small a piece of a write survives a loss of power by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// Sectors of 512 bytes: each whole or not at all.
    Sectors,
    /// Any byte may be the last of a sector that made it.
    Bytes,
}

impl SimFs {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk::new(seed))))
    }

    /// A disk that holds one file, synced: for fuzzing and for tests of damage.
    #[must_use]
    pub fn with_file(path: &Path, bytes: &[u8]) -> Self {
        let fs = Self::new(0);
        fs.lock().install(path, bytes);
        fs
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power goes with the `operations`-th change from now: that one may happen in part, and all after it fail.
    pub fn cut_power_after(&self, operations: u64) {
        self.lock().cut_after = Some(operations);
    }

    /// Takes the power away now.
    pub fn cut_power(&self) {
        self.lock().cut_after = Some(0);
    }

    /// True once the power went.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.lock().cut_after == Some(0)
    }

    /// The disk as it is found when power is back: everything synced, and of the rest arbitrary parts.
    #[must_use]
    pub fn restart(&self, tear: Tear) -> Self {
        Self(Arc::new(Mutex::new(self.lock().after_power_loss(tear))))
    }

    /// The next `count` syncs of file data fail, and what they should have saved is forgotten by the next ones, as on Linux.
    pub fn fail_syncs(&self, count: u32) {
        self.lock().failing_syncs = count;
    }

    /// The next write, after `passing` others, fails with this error after a part was written.
    pub fn fail_write(&self, passing: u32, kind: io::ErrorKind) {
        self.lock().failing_write = Some((passing, kind));
    }

    /// No write fails any more.
    pub fn heal_writes(&self) {
        self.lock().failing_write = None;
    }

    /// Most bytes all files may have; `None` for no end.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Writes fall short, at random.
    pub fn shorten_writes(&self) {
        self.lock().short_writes = true;
    }

    /// These bytes of a file can no longer be read.
    pub fn make_unreadable(&self, path: &Path, bytes: Range<u64>) {
        self.lock().unreadable.push((path.to_owned(), bytes));
    }

    /// Changes a file behind everybody's back, durably.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.lock();
        let mut bytes = disk.bytes(path).unwrap_or_default();
        change(&mut bytes);
        disk.install(path, &bytes);
    }

    /// A file's bytes.
    #[must_use]
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        self.lock().bytes(path)
    }

    /// All files.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.lock().names()
    }

    /// Successful syncs of file data so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }
}

/// Recovers a folder that holds nothing but one segment file of these bytes: whatever they are, recovery must not panic, and
/// must not need more memory than they are long. For the fuzz target.
pub fn recover_bytes(bytes: &[u8]) -> Result<Recovery, JournalError> {
    let dir = Path::new("/journal");
    let fs = SimFs::with_file(&crate::segment::path(dir, 0), bytes);
    let options = Options { segment_bytes: 64 << 10, ..Options::default() };
    recover(&fs, dir, &options).map(|recovered| recovered.recovery)
}

impl Fs for SimFs {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        self.lock().change()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.lock().names().into_iter().filter(|path| path.parent() == Some(dir)).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let inode = self.lock().inode(path)?;
        Ok(Box::new(SimFile { fs: self.clone(), inode }))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let inode = self.lock().create(path)?;
        Ok(Box::new(SimFile { fs: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.lock().rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.lock().remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.lock().sync_dir(dir)
    }
}

struct SimFile {
    fs: SimFs,
    inode: u64,
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fs.lock().read(self.inode, buffer, offset)
    }

    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let bytes: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.iter().copied()).collect();
        self.fs.lock().write(self.inode, bytes, offset)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.fs.lock().allocate(self.inode, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fs.lock().sync_data(self.inode)
    }

    fn length(&self) -> io::Result<u64> {
        self.fs.lock().length(self.inode)
    }
}

#[cfg(test)]
mod power_loss;
#[cfg(test)]
mod tests;
