//! The journal's manifest: read, renewed at each opening. It has two places that are written in turn, so that one is always
//! whole, and it refuses to need new space for that: a journal on a full disk must open, or nothing could ever free it.

use std::{
    io::{self, IoSlice},
    path::Path,
};

use super::{Numbering, io as failed};
use crate::{
    JournalError, Position,
    format::{HEAD_BYTES, Head, Identity, Manifest, PAGE, VERSION},
    fs::{File, Fs, read_full, write_all},
};

const NAME: &str = "MANIFEST";
const BYTES: u64 = 2 * PAGE as u64;

/// The manifest, or `None` if there is none or it is damaged: then the segments say what it said.
pub(super) fn read(fs: &dyn Fs, dir: &Path) -> Result<Option<Manifest>, JournalError> {
    let path = dir.join(NAME);
    let file = match fs.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", &path)(error)),
    };
    let mut latest: Option<Manifest> = None;
    for place in [0, u64::from(PAGE)] {
        let mut bytes = [0; HEAD_BYTES];
        read_full(file.as_ref(), &mut bytes, place).map_err(failed("read", &path))?;
        match Manifest::decode(&bytes) {
            Head::Valid(manifest) if latest.is_none_or(|latest| latest.epoch < manifest.epoch) => {
                latest = Some(manifest);
            }
            Head::Valid(_) | Head::Invalid => {}
            Head::Newer(found) => return Err(JournalError::NewerFormat { path, found, known: VERSION }),
        }
    }
    Ok(latest)
}

/// Numbers above all that were ever used.
pub(super) fn next(
    manifest: Option<Manifest>,
    used: Identity,
    after: Option<Position>,
    next_slot: u32,
) -> Result<Numbering, JournalError> {
    let Identity { sequence, epoch } = used;
    let used = sequence.max(after.map_or(0, Position::sequence));
    let exhausted = || JournalError::Exhausted { after: Position::new(used, u32::MAX) };
    let next_sequence = used.checked_add(1).ok_or_else(exhausted)?;
    let epoch =
        epoch.max(manifest.map_or(0, |manifest| manifest.epoch)).checked_add(1).ok_or_else(exhausted)?;
    let next_sequence = next_sequence.max(manifest.map_or(0, |manifest| manifest.next_sequence));
    Ok(Numbering { epoch, next_sequence, next_slot })
}

/// Writes the place that the epoch before did not.
pub(super) fn write(fs: &dyn Fs, dir: &Path, numbering: Numbering) -> Result<(), JournalError> {
    let path = dir.join(NAME);
    let Numbering { epoch, next_sequence, .. } = numbering;
    let bytes = Manifest { epoch, next_sequence }.encode();
    let renew = || {
        let file = open(fs, dir, &path)?;
        write_all(file.as_ref(), &mut [IoSlice::new(&bytes)], u64::from(epoch % 2 * PAGE))?;
        file.sync_data()
    };
    renew().map_err(failed("write", &path))
}

fn open(fs: &dyn Fs, dir: &Path, path: &Path) -> io::Result<Box<dyn File>> {
    let file = match fs.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs.create(path)?,
        opened => opened?,
    };
    if file.length()? < BYTES {
        file.allocate(BYTES)?;
    }
    // Also for a file that is not new: the crash may have come before its creation was synced.
    fs.sync_dir(dir)?;
    Ok(file)
}
