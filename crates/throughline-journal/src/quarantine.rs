//! Keeps the bytes of damaged records aside before their segment is recycled, for a person to look at. It refuses to be a
//! reason not to start: a copy that fails is reported, no more.

use std::{
    fmt,
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

/// What, where and what became of it, on one line for a log.
impl fmt::Display for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, bytes, loss, copy } = self;
        write!(f, "{bytes} bytes at {position}; {loss}; {copy}")
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Synced => "acknowledged records are lost",
            Self::Unsynced => "never known to be synced, probably torn by a loss of power",
        })
    }
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(path) | Self::Already(path) => write!(f, "copied to {}", path.display()),
            Self::Failed(why) => write!(f, "not copied: {why}"),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_reads_as_a_sentence() {
        let path = PathBuf::from("q/0000000002-0000014360.bytes");
        for (loss, copy, expected) in [
            (
                Loss::Synced,
                Copied::Written(path.clone()),
                "96 bytes at 2+14360; acknowledged records are lost; copied to q/0000000002-0000014360.bytes",
            ),
            (
                Loss::Unsynced,
                Copied::Failed("disk full".to_owned()),
                "96 bytes at 2+14360; never known to be synced, probably torn by a loss of power; not copied: disk full",
            ),
        ] {
            let found = Quarantined { position: Position::new(2, 14360), bytes: 96, loss, copy };
            assert_eq!(found.to_string(), expected);
        }
    }
}
