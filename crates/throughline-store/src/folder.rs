//! The store's folder: its manifest, and what is found in it on open. Owns which directories are blocks; a damaged one is
//! renamed and reported, never fatal. Refuses folders of newer versions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use throughline_otlp::UnixNanos;

use crate::aside::{self, Lying, Seen, SetAside, set_aside};
use crate::block::{self, Block, BlockId, Opened, View, directory_name, io_error, rename_away};
use crate::error::{FORMAT_VERSION, StoreError};

/// `store.json`
const MANIFEST: &str = "store.json";

/// `store.json`: which blocks there should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// [`FORMAT_VERSION`] it was written with.
    format: u32,
    /// Number of the next block. Numbers are not used twice.
    next: u64,
    /// Blocks, oldest first.
    blocks: BTreeSet<BlockId>,
    /// Highest position in a block that was dropped: if all are, this is what is committed.
    dropped_up_to: Option<u64>,
    /// What was set aside.
    #[serde(default)]
    aside: Seen,
}

/// The folder with its manifest as last written.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
    manifest: Manifest,
}

/// What opening found.
pub(crate) struct Found {
    pub(crate) folder: Folder,
    /// Oldest first.
    pub(crate) blocks: Vec<Arc<View>>,
    pub(crate) set_aside: Vec<SetAside>,
    /// Disk taken by everything that was ever set aside.
    pub(crate) set_aside_bytes: u64,
}

impl Folder {
    /// Opens the folder, creating it if need be.
    pub(crate) fn open(dir: &Path) -> Result<Found, StoreError> {
        fs::create_dir_all(dir).map_err(io_error("create", dir))?;
        let mut set_aside = Vec::new();
        let manifest = read_manifest(dir, &mut set_aside)?;
        let mut folder = Self { dir: dir.to_owned(), manifest };
        let directories = folder.directories()?;
        let mut blocks = BTreeMap::new();
        for (id, path) in &directories {
            if let Some(view) = open_or_set_aside(path, *id, &mut set_aside)? {
                blocks.insert(*id, view);
            }
        }
        verify_newest(&mut blocks, &mut set_aside)?;
        for id in folder.manifest.blocks.difference(&directories.keys().copied().collect()) {
            set_aside.push(SetAside { path: None, why: format!("{} is missing", directory_name(*id)) });
        }
        folder.manifest.blocks = blocks.keys().copied().collect();
        folder.manifest.next = folder.manifest.next.max(directories.keys().last().map_or(0, |id| id.0 + 1));
        match folder.save() {
            // On a full disk it opens all the same: all of this was found in the folder, and is found there again.
            Err(StoreError::Io { source, .. }) if is_full(&source) => {}
            saved => saved?,
        }
        let set_aside_bytes = aside::lying(dir)?.iter().map(|one| one.bytes).sum();
        Ok(Found { folder, blocks: blocks.into_values().collect(), set_aside, set_aside_bytes })
    }

    /// Up to where everything was committed before blocks were dropped.
    pub(crate) fn dropped_up_to(&self) -> Option<u64> {
        self.manifest.dropped_up_to
    }

    /// A new block, listed.
    pub(crate) fn create_block(&mut self) -> Result<Arc<Block>, StoreError> {
        let id = BlockId(self.manifest.next);
        self.manifest.next += 1;
        let block = Block::create(&self.dir, id)?;
        self.manifest.blocks.insert(id);
        self.save()?;
        Ok(block)
    }

    /// Drops a block. Renaming it is what drops it, and needs no space; so this works on a full disk, where the manifest
    /// may only be writable after the unlink.
    pub(crate) fn drop_block(&mut self, view: &View) -> Result<(), StoreError> {
        let gone = rename_away(&view.block.path, "dropped")?;
        self.manifest.blocks.remove(&view.block.id);
        self.manifest.dropped_up_to = self.manifest.dropped_up_to.max(Some(view.summary.last));
        let saved = self.save();
        fs::remove_dir_all(&gone).map_err(io_error("remove", &gone))?;
        if saved.is_err() {
            self.save()?;
        }
        Ok(())
    }

    /// Puts a damaged block out of the way.
    pub(crate) fn set_aside(&mut self, view: &View, why: &StoreError) -> Result<SetAside, StoreError> {
        let aside = set_aside(&view.block.path, why)?;
        self.manifest.blocks.remove(&view.block.id);
        self.save()?;
        Ok(aside)
    }

    /// What was ever set aside and still lies there, with when retention first saw it, oldest first.
    pub(crate) fn set_aside_by_age(&mut self, now: UnixNanos) -> Result<Vec<(u64, Lying)>, StoreError> {
        let before = self.manifest.aside.clone();
        let aged = aside::by_age(aside::lying(&self.dir)?, &mut self.manifest.aside, now);
        if self.manifest.aside != before {
            // On a full disk this may fail; then it is seen again after a restart, and only gets older.
            let _ = self.save();
        }
        Ok(aged)
    }

    /// The same as it was last seen: without a clock, what is new is the newest.
    pub(crate) fn set_aside_as_seen(&self) -> Result<Vec<Lying>, StoreError> {
        let mut lying = aside::lying(&self.dir)?;
        let since = |one: &Lying| self.manifest.aside.get(&one.name).copied().unwrap_or(u64::MAX);
        lying.sort_by(|one, other| (since(one), &one.name).cmp(&(since(other), &other.name)));
        Ok(lying)
    }

    /// Removes something that was set aside.
    pub(crate) fn remove_set_aside(&self, lying: &Lying) -> Result<(), StoreError> {
        aside::remove(&self.dir, &lying.name)
    }

    fn save(&self) -> Result<(), StoreError> {
        let path = self.dir.join(MANIFEST);
        let temporary = self.dir.join("store.json.new");
        let write = || -> io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(&serde_json::to_vec_pretty(&self.manifest)?)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(io_error("write", &path))?;
        block::sync(&self.dir)
    }

    /// Directories of blocks. What an interrupted drop left behind is removed on the way.
    fn directories(&self) -> Result<BTreeMap<BlockId, PathBuf>, StoreError> {
        let mut directories = BTreeMap::new();
        for entry in fs::read_dir(&self.dir).map_err(io_error("list", &self.dir))? {
            let path = entry.map_err(io_error("list", &self.dir))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            match name.and_then(block::parse_directory_name) {
                Some((id, None)) => drop(directories.insert(id, path)),
                Some((_, Some("dropped"))) => fs::remove_dir_all(&path).map_err(io_error("remove", &path))?,
                _ => {}
            }
        }
        Ok(directories)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The manifest; a fresh one if there is none. One that cannot be read is set aside: blocks describe themselves.
fn read_manifest(dir: &Path, aside: &mut Vec<SetAside>) -> Result<Manifest, StoreError> {
    /// Read first: a newer manifest may lack what [`Manifest`] needs.
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let fresh = Manifest {
        format: FORMAT_VERSION,
        next: 0,
        blocks: BTreeSet::new(),
        dropped_up_to: None,
        aside: Seen::new(),
    };
    let path = dir.join(MANIFEST);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(fresh),
        Err(error) => return Err(io_error("read", &path)(error)),
    };
    if let Ok(Version { format }) = serde_json::from_slice(&bytes) {
        StoreError::check_format(&path, format)?;
    }
    match serde_json::from_slice::<Manifest>(&bytes) {
        Ok(manifest) => Ok(manifest),
        Err(error) => {
            let source = io::Error::new(io::ErrorKind::InvalidData, error);
            aside.push(set_aside(&path, &io_error("read", &path)(source))?);
            Ok(fresh)
        }
    }
}

fn open_or_set_aside(
    path: &Path,
    id: BlockId,
    aside: &mut Vec<SetAside>,
) -> Result<Option<Arc<View>>, StoreError> {
    match Block::open(path, id) {
        Ok(Opened::Block(view)) => Ok(Some(Arc::new(view))),
        Ok(Opened::Empty) => {
            fs::remove_dir_all(path).map_err(io_error("remove", path))?;
            Ok(None)
        }
        Err(error) if error.is_damage() => {
            aside.push(set_aside(path, &error)?);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A crash can only have harmed what was being written. Older blocks were complete before, and reading them all would
/// make opening as slow as the store is large; what is wrong with them shows when they are read.
fn verify_newest(
    blocks: &mut BTreeMap<BlockId, Arc<View>>,
    aside: &mut Vec<SetAside>,
) -> Result<(), StoreError> {
    let Some(newest) = blocks.last_entry() else { return Ok(()) };
    let block = &newest.get().block;
    let damaged = match block.damaged_files() {
        Ok(files) if files.is_empty() => return Ok(()),
        Ok(files) => {
            let why = format!(
                "checksum mismatch in {}",
                files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ")
            );
            io_error("verify", &block.path)(io::Error::new(io::ErrorKind::InvalidData, why))
        }
        Err(error) if error.is_damage() => error,
        Err(error) => return Err(error),
    };
    aside.push(set_aside(&block.path, &damaged)?);
    newest.remove();
    Ok(())
}
