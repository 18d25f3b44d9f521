//! The data folder: one owner (a lock), a versioned manifest, and the names of what lies in it.
//!
//! ```text
//! lock            held with flock while a backend runs; holds its process id as text
//! manifest.json   {"format": 1, "written_by": "0.1.0"}, "ephemeral": true if it goes with the process, and the names of
//!                 receivers by their number
//! peers.json      which nodes were on the list of peers, with `extensions: throughline: peers`
//! journal/        accepted requests, throughline-journal's
//! store/          searchable blocks, throughline-store's
//! ```
//!
//! Refuses a folder that another process holds, that a newer throughline wrote, or that holds something else. What a
//! killed process left behind is [`leftovers`]'.

mod leftovers;
mod receivers;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::config::DataFolder;

/// Version of the folder's layout that this build reads and writes.
const FORMAT: u32 = 1;

const LOCK: &str = "lock";
const MANIFEST: &str = "manifest.json";

/// Spans hold personal data more often than anybody plans: only the owner reads the folder and what is below it.
const PRIVATE: u32 = 0o700;

/// A data folder this process owns until the value is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    // Removed before the lock is let go of: else another process could take it for a leftover and remove it as well.
    temporary: Option<TempDir>,
    // Holds the flock: the kernel lets go of it when the file is closed, however the process ends.
    _lock: File,
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process has it open.
    #[error(
        "data folder {} is in use by {}; stop it, or choose another folder with --data-dir or --ephemeral",
        path.display(),
        .holder.as_deref().map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Process id of who holds it, if it could be read.
        holder: Option<String>,
    },
    /// Written by a later version.
    #[error(
        "data folder {} has format {found}, written by throughline {written_by}; this build reads up to format {FORMAT}: use that version, or another folder",
        path.display()
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The version that wrote it.
        written_by: String,
    },
    /// Not empty, and not ours.
    #[error("{} is not a throughline data folder: it holds {entry:?} and no {MANIFEST}; choose an empty folder", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Something that was found there.
        entry: OsString,
    },
    /// The manifest makes no sense.
    #[error("cannot read {}: {source}", path.display())]
    Manifest {
        /// The manifest's path.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Every number that a record of the journal has room for stands for a receiver.
    #[error(
        "data folder {} has seen 65,536 names of receivers, as many as it can tell apart; use another folder, or names that were used before",
        path.display()
    )]
    TooManyReceivers {
        /// The folder.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// The manifest as it stands on disk.
#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    written_by: String,
    /// Whether nobody wants the folder once its process is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ephemeral: bool,
    /// Names of receivers; a receiver's number is its place here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    receivers: Vec<String>,
}

/// Where data goes if nobody says: `$XDG_DATA_HOME/throughline`, else `~/.local/share/throughline`. `None` without a home.
#[must_use]
pub fn default_data_folder(environment: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("throughline"))
}

impl Folder {
    /// Creates what is missing, takes the lock, then checks the manifest: in this order, so that two starters cannot
    /// both believe the folder is new. What is not ours is refused before the lock, which would be the first file of
    /// ours in it.
    pub(crate) fn open(data: &DataFolder) -> Result<Self, FolderError> {
        Self::open_under(&std::env::temp_dir(), data)
    }

    /// As [`Folder::open`], with temporary folders in `base`.
    fn open_under(base: &Path, data: &DataFolder) -> Result<Self, FolderError> {
        let (path, temporary) = match data {
            DataFolder::Persistent(path) => (path.clone(), None),
            DataFolder::Ephemeral => {
                leftovers::remove(base);
                let dir = leftovers::named()
                    .permissions(Permissions::from_mode(PRIVATE))
                    .tempdir_in(base)
                    .map_err(io_error("create a folder in", base))?;
                (dir.path().to_path_buf(), Some(dir))
            }
        };
        create(&path)?;
        refuse_foreign(&path)?;
        let lock = take_lock(&path)?;
        check_manifest(&path, data)?;
        let folder = Self { path, temporary, _lock: lock };
        // Journal and store would make them too, but open to everybody in a folder that the user made so.
        create(&folder.journal())?;
        create(&folder.store())?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    pub(crate) fn peers(&self) -> PathBuf {
        self.path.join("peers.json")
    }

    /// Whether the folder goes with the process.
    pub(crate) fn is_ephemeral(&self) -> bool {
        self.temporary.is_some()
    }

    /// Lets go of the folder, and removes it if it was temporary.
    pub(crate) fn close(self) -> Result<(), FolderError> {
        match self.temporary {
            Some(dir) => dir.close().map_err(io_error("remove", &self.path)),
            None => Ok(()),
        }
    }
}

fn create(path: &Path) -> Result<(), FolderError> {
    fs::DirBuilder::new().recursive(true).mode(PRIVATE).create(path).map_err(io_error("create", path))
}

fn take_lock(folder: &Path) -> Result<File, FolderError> {
    let path = folder.join(LOCK);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let holder = file.read_to_string(&mut text).ok().map(|_| text.trim().to_owned());
            return Err(FolderError::Locked {
                path: folder.to_path_buf(),
                holder: holder.filter(|pid| !pid.is_empty()),
            });
        }
        Err(errno) => return Err(io_error("lock", &path)(errno.into())),
    }
    file.set_len(0).map_err(io_error("write", &path))?;
    writeln!(file, "{}", std::process::id()).map_err(io_error("write", &path))?;
    Ok(file)
}

fn check_manifest(folder: &Path, data: &DataFolder) -> Result<(), FolderError> {
    let path = folder.join(MANIFEST);
    let ours = || Manifest {
        format: FORMAT,
        written_by: env!("CARGO_PKG_VERSION").to_owned(),
        ephemeral: *data == DataFolder::Ephemeral,
        receivers: Vec::new(),
    };
    let manifest = match read_manifest(&path) {
        Err(FolderError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            refuse_foreign(folder)?;
            return write_manifest(folder, &path, &ours());
        }
        read => read?,
    };
    // Format 1 is the first: there is no older one to migrate.
    if manifest.format > FORMAT {
        return Err(FolderError::Newer {
            path: folder.to_path_buf(),
            found: manifest.format,
            written_by: manifest.written_by,
        });
    }
    if manifest.ephemeral && *data != DataFolder::Ephemeral {
        // Somebody wants what a killed process left behind: from now on nobody removes it.
        write_manifest(folder, &path, &Manifest { receivers: manifest.receivers, ..ours() })?;
    }
    Ok(())
}

fn read_manifest(path: &Path) -> Result<Manifest, FolderError> {
    let text = fs::read(path).map_err(io_error("read", path))?;
    serde_json::from_slice(&text).map_err(|source| FolderError::Manifest { path: path.to_path_buf(), source })
}

/// A mistyped path must not fill somebody's home with segments. A file system's own `lost+found` is nobody's data.
fn refuse_foreign(folder: &Path) -> Result<(), FolderError> {
    for entry in fs::read_dir(folder).map_err(io_error("list", folder))? {
        let entry = entry.map_err(io_error("list", folder))?.file_name();
        let new = entry == LOCK || entry == "lost+found" || entry == OsString::from(unfinished_manifest());
        // Looked for last: another starter writes it before anything that stands beside it.
        if !new && !folder.join(MANIFEST).exists() {
            return Err(FolderError::Foreign { path: folder.to_path_buf(), entry });
        }
    }
    Ok(())
}

fn unfinished_manifest() -> String {
    format!("{MANIFEST}.new")
}

/// Written aside, synced, renamed, and the name synced too: after a power loss there is a whole manifest or none.
fn write_manifest(folder: &Path, path: &Path, manifest: &Manifest) -> Result<(), FolderError> {
    let text = serde_json::to_vec(manifest)
        .map_err(|source| FolderError::Manifest { path: path.to_path_buf(), source })?;
    let aside = folder.join(unfinished_manifest());
    let write = || -> io::Result<()> {
        let mut file = File::create(&aside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(io_error("write", path))
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_path_buf();
    move |source| FolderError::Io { what, path, source }
}

#[cfg(test)]
mod tests;
