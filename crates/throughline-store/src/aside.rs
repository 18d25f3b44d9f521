//! What was found damaged and put out of the way: told once, never read again, and removed like the rest of the store, by
//! age and by size. Owns the names it lies under; finding damage is the reader's.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use throughline_otlp::UnixNanos;

use crate::block::{directory_bytes, io_error, rename_away};
use crate::error::StoreError;

/// What the name of a block ends in that was set aside; from the second of one number on, a count follows.
const DAMAGED: &str = "damaged";

/// A block (or the manifest) that could not be read and was put out of the way. What it may still hold is there to be
/// looked at until retention removes it: at the retention age, counted from the first time retention saw it, or before any
/// whole block once the store is too large or the disk full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is now; `None` if it was not there at all.
    pub path: Option<PathBuf>,
    /// What was wrong with it.
    pub why: String,
}

/// Something that lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lying {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// When retention first saw what lies there, by name, in Unix nanoseconds: part of the manifest.
pub(crate) type Seen = BTreeMap<String, u64>;

impl fmt::Display for SetAside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{} ({})", path.display(), self.why),
            None => f.write_str(&self.why),
        }
    }
}

/// Puts a block or the manifest out of the way.
pub(crate) fn set_aside(path: &Path, why: &StoreError) -> Result<SetAside, StoreError> {
    // The name must be free even if a block of this number was set aside before.
    let suffix = (0u32..)
        .map(|n| if n == 0 { DAMAGED.to_owned() } else { format!("{DAMAGED}-{n}") })
        .find(|suffix| !path.with_added_extension(suffix).exists())
        .unwrap_or_default();
    Ok(SetAside { path: Some(rename_away(path, &suffix)?), why: report(why) })
}

/// What lies in the store's folder.
pub(crate) fn lying(dir: &Path) -> Result<Vec<Lying>, StoreError> {
    let mut lying = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let path = entry.map_err(io_error("list", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.split_once('.').is_some_and(|(_, suffix)| is_aside(suffix)) {
            // A figure: no reason to fail.
            let file = || fs::metadata(&path).map_or(0, |metadata| metadata.len());
            let bytes = if path.is_dir() { directory_bytes(&path).unwrap_or(0) } else { file() };
            lying.push(Lying { name: name.to_owned(), bytes });
        }
    }
    Ok(lying)
}

/// `damaged`, `damaged-3`; of the manifest, `json.damaged`.
fn is_aside(suffix: &str) -> bool {
    suffix.strip_prefix("json.").unwrap_or(suffix).starts_with(DAMAGED)
}

/// Brings `seen` up to what lies there and returns it, first seen first.
pub(crate) fn by_age(mut lying: Vec<Lying>, seen: &mut Seen, now: UnixNanos) -> Vec<(u64, Lying)> {
    seen.retain(|name, _| lying.iter().any(|one| one.name == *name));
    lying.sort_by(|one, other| one.name.cmp(&other.name));
    let mut aged: Vec<_> =
        lying.into_iter().map(|one| (*seen.entry(one.name.clone()).or_insert(now.0), one)).collect();
    aged.sort_by_key(|(since, _)| *since);
    aged
}

/// Removes it for good.
pub(crate) fn remove(dir: &Path, name: &str) -> Result<(), StoreError> {
    let path = dir.join(name);
    let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    removed.map_err(io_error("remove", &path))
}

/// The error with its causes, on one line.
fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
