//! Temporary data folders of processes that were killed, which had no time to remove them. Owns what they are called and
//! which of them are dead; refuses to touch anything that is not marked as temporary, that is another user's, or that a
//! living process holds.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::{LOCK, MANIFEST, Manifest};

const PREFIX: &str = "throughline-";
const RANDOM: usize = 6;

/// How a temporary folder is called.
pub(super) fn named() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).rand_bytes(RANDOM);
    builder
}

/// Removes the dead ones in `base`. What cannot be removed is said and left: it is no reason not to start.
pub(super) fn remove(base: &Path) {
    // A base that cannot be listed is found out by whoever makes a folder in it.
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten().filter(|entry| is_named_so(&entry.file_name())) {
        let path = entry.path();
        match remove_if_dead(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, folder = %path.display(), "cannot remove what a killed process left");
            }
            // Not found: somebody else was here first.
            Ok(()) | Err(_) => {}
        }
    }
}

fn is_named_so(name: &OsStr) -> bool {
    let random = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
    random.is_some_and(|random| random.len() == RANDOM && random.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn remove_if_dead(path: &Path) -> io::Result<()> {
    // Of the name itself: a link is not followed.
    let found = fs::symlink_metadata(path)?;
    // The mark before the lock: who is just starting takes the lock, then writes the mark, and must find the lock free.
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() || !is_marked(path)? {
        return Ok(());
    }
    let lock = File::open(path.join(LOCK))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    }
    // Again: somebody may have made it their own meanwhile. Now that the lock is held nobody can.
    if is_marked(path)? { fs::remove_dir_all(path) } else { Ok(()) }
}

/// Whether the folder was made to go with its process.
fn is_marked(path: &Path) -> io::Result<bool> {
    let manifest: Result<Manifest, _> = serde_json::from_slice(&fs::read(path.join(MANIFEST))?);
    Ok(manifest.is_ok_and(|manifest| manifest.ephemeral))
}
