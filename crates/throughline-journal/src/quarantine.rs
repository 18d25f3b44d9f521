//! Keeps the bytes of damaged records aside before their segment is recycled, for a person to look at. It refuses to be a
//! reason not to start: a copy that fails is reported, no more.

use std::{
    io::{self, IoSlice},
    path::{Path, PathBuf},
};

use crate::{
    Position,
    fs::{Fs, write_all},
};

/// The folder in the journal's folder. Nothing removes from it but a person.
const FOLDER: &str = "quarantine";

/// Damaged bytes that intact records follow. They are skipped, and reported at each opening until the segment is recycled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Where they begin.
    pub position: Position,
    /// How many.
    pub bytes: u64,
    /// Whether anything acknowledged is lost.
    pub loss: Loss,
    /// Where the bytes are now.
    pub copy: Copied,
}

/// What damage means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// These bytes had been synced: the disk, or somebody, changed them later. Acknowledged records are gone.
    Synced,
    /// Nothing on disk says that these bytes had been synced: in all likelihood a write that a power loss tore, of which
    /// later parts happened to reach the disk. Under [`crate::Durability::Sync`] only the last group can be such.
    Unsynced,
}

/// What became of the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Copied {
    /// Written now.
    Written(PathBuf),
    /// Written at an earlier opening.
    Already(PathBuf),
    /// Could not be written; why.
    Failed(String),
}

/// Copies the bytes at `position` to a file named after it.
pub(crate) fn keep(fs: &dyn Fs, dir: &Path, position: Position, bytes: &[u8]) -> Copied {
    let folder = dir.join(FOLDER);
    let path = folder.join(format!("{:010}-{:010}.bytes", position.sequence(), position.offset()));
    if fs.open(&path).and_then(|file| file.length()).is_ok_and(|length| length == bytes.len() as u64) {
        return Copied::Already(path);
    }
    match write(fs, &folder, &path, bytes) {
        Ok(()) => Copied::Written(path),
        Err(error) => Copied::Failed(format!("cannot write {}: {error}", path.display())),
    }
}

fn write(fs: &dyn Fs, folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs.create_dir_all(folder)?;
    // A copy that is too short was cut off by a crash: it starts again.
    let _ = fs.remove(path);
    let file = fs.create(path)?;
    write_all(file.as_ref(), &mut [IoSlice::new(bytes)], 0)?;
    file.sync_data()?;
    fs.sync_dir(folder)
}
