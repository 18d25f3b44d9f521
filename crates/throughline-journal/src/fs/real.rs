//! The operating system's file system.

use std::{
    fs,
    io::{self, IoSlice},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::{File, Fs};

/// The operating system's file system: positioned reads and writes, fallocate, fdatasync.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

impl Fs for RealFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(RealFile(fs::OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(RealFile(fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }
}

struct RealFile(fs::File);

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.0, buffers, offset)?)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            // Some file systems cannot reserve. Zeros take the space just as well, and a full disk is met here, not later.
            Err(rustix::io::Errno::OPNOTSUPP) => write_zeros(&self.0, bytes),
            result => Ok(result?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

fn write_zeros(file: &fs::File, bytes: u64) -> io::Result<()> {
    let zeros = [0; 64 << 10];
    let mut at = 0;
    while at < bytes {
        let some = zeros.len().min(usize::try_from(bytes - at).unwrap_or(zeros.len()));
        file.write_all_at(zeros.get(..some).unwrap_or(&zeros), at)?;
        at += some as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_reserve_exactly_what_was_asked() {
        let file = tempfile::tempfile().unwrap();
        write_zeros(&file, 100_001).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 100_001);
    }

    #[test]
    fn a_file_is_allocated_written_listed_renamed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        let file = RealFs.create(&from).unwrap();
        file.allocate(8192).unwrap();
        assert_eq!(file.length().unwrap(), 8192);
        let written = file.write_vectored_at(&[IoSlice::new(b"he"), IoSlice::new(b"llo")], 4096).unwrap();
        assert_eq!(written, 5);
        file.sync_data().unwrap();
        RealFs.rename(&from, &to).unwrap();
        RealFs.sync_dir(folder.path()).unwrap();
        assert_eq!(RealFs.list(folder.path()).unwrap(), std::slice::from_ref(&to));
        let mut read = [0; 5];
        assert_eq!(RealFs.open(&to).unwrap().read_at(&mut read, 4096).unwrap(), 5);
        assert_eq!(&read, b"hello");
        assert!(RealFs.create(&to).is_err(), "create must not take over a file that exists");
        RealFs.remove(&to).unwrap();
        assert!(RealFs.open(&to).is_err());
    }
}
