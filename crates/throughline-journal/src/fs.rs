//! The seam to the disk: every file access of the journal goes through [`Fs`] and [`File`], so that a test can tear writes,
//! fail syncs and fill the disk. It refuses to map files: mapping inflates memory and turns truncation into SIGBUS.

mod real;

pub use real::RealFs;

use std::{
    io::{self, IoSlice},
    path::{Path, PathBuf},
};

/// A file system as the journal uses one.
pub trait Fs: Send + Sync {
    /// Creates a folder and those above it.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Names of the files directly in a folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Creates a file that does not exist yet.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Renames, replacing what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file. Reads and writes name their offset, so that threads share one.
pub trait File: Send + Sync {
    /// Reads at most `buffer.len()` bytes; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes some of the bytes, and says how many.
    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;
    /// Reserves space for the file's first `bytes` bytes and makes it that long.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Returns when what was written, and the length, would survive a loss of power.
    fn sync_data(&self) -> io::Result<()>;
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;
}

/// Linux takes at most this many buffers in one call (IOV_MAX).
const MOST_BUFFERS: usize = 1024;

/// Writes all buffers, however short each call falls.
pub(crate) fn write_all(file: &dyn File, mut buffers: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    IoSlice::advance_slices(&mut buffers, 0);
    while !buffers.is_empty() {
        let some = buffers.get(..MOST_BUFFERS.min(buffers.len())).unwrap_or_default();
        match file.write_vectored_at(some, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut buffers, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `buffer` as far as the file goes; returns how much that was.
pub(crate) fn read_full(file: &dyn File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
    let mut total = 0;
    while !buffer.is_empty() {
        match file.read_at(buffer, offset) {
            Ok(0) => break,
            Ok(read) => {
                total += read;
                offset += read as u64;
                buffer = buffer.get_mut(read..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

/// Reads `length` bytes from `offset`. What lies past the file's end or in a sector the disk cannot read comes back as
/// zeros, which no checksum accepts: one bad sector must not cost the readable ones beside it.
pub(crate) fn read_salvaging(file: &dyn File, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    if read_full(file, &mut bytes, offset).is_ok() {
        return bytes;
    }
    bytes.fill(0);
    for (index, page) in bytes.chunks_mut(4096).enumerate() {
        if read_full(file, page, offset + index as u64 * 4096).is_err() {
            page.fill(0);
        }
    }
    bytes
}
