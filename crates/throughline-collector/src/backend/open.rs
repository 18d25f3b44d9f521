//! Opening what lies in the folder, off the runtime's threads: store, journal, and the pipelines with what they remember.

use std::io;
use std::sync::Arc;

use throughline_journal::{Fs, Journal, Options, Position};
use throughline_store::{Store, StoreOptions};

use super::StartError;
use crate::build::{self, Built};
use crate::config::{Config, Limits};
use crate::folder::Folder;
use crate::keep::Keep;
use crate::ledger::{Clerk, Ledger, STORE};
use crate::pipeline::Bounds;
use crate::topology::Topology;

/// Runs what waits for a disk off the runtime's threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StartError::Thread(io::Error::other(error)))
}

pub(super) struct Opened {
    pub(super) store: Arc<Store>,
    pub(super) journal: Journal,
    pub(super) keep: Arc<Keep>,
    pub(super) built: Built,
    pub(super) ledger: Arc<Ledger>,
}

impl Opened {
    pub(super) async fn open(
        folder: &Folder,
        config: &Config,
        topology: Topology,
        fs: Arc<dyn Fs>,
    ) -> Result<Self, StartError> {
        let (path, store_dir, journal_dir) = (folder.path().to_path_buf(), folder.store(), folder.journal());
        let receivers = folder.receivers()?;
        let config = config.clone();
        blocking(move || {
            let options = StoreOptions {
                retention_age: config.retention_age,
                retention_bytes: config.retention_bytes,
                ..StoreOptions::default()
            };
            let store = Arc::new(Store::open(&store_dir, options).map_err(StartError::Store)?);
            let options = journal_options(&config, &topology, store.committed())?;
            let (journal, recovery) = Journal::open(fs, &journal_dir, options)?;
            let Limits { queue_bytes, commit_every, .. } = config.limits;
            let bounds = Bounds { queue_bytes, commit_every };
            let feeds = build::feeds(&topology);
            let keep = Keep::recovered(journal.clone(), Arc::clone(&store), path, bounds, feeds, &recovery);
            let built = build::build(&topology, &journal, &keep, &config);
            built.report(&receivers);
            let ledger = built.books(&journal);
            Ok(Self { store, journal, keep, built, ledger })
        })
        .await?
    }
}

fn journal_options(
    config: &Config,
    topology: &Topology,
    committed: Option<u64>,
) -> Result<Options, StartError> {
    let (bytes, least) = (config.journal_bytes, config.least_journal_bytes());
    if bytes < least {
        return Err(StartError::SmallJournal { bytes, message_bytes: config.limits.message_bytes, least });
    }
    Ok(Options {
        segment_bytes: u32::try_from(config.segment_bytes()).unwrap_or(u32::MAX),
        cap_bytes: bytes,
        durability: config.durability,
        look_back_bytes: config.look_back_bytes,
        reserve_segments: u32::from(topology.writes_books()),
        consumers: vec![STORE.to_owned()],
        after: committed.map(Position),
        ..Options::default()
    })
}

/// Writes how far the exporters are, before anything new comes: one that no record names is a new one.
pub(super) async fn begin_books(ledger: Arc<Ledger>) -> Result<Clerk, StartError> {
    let begin = move || {
        ledger.resume();
        ledger.look();
        ledger.start()
    };
    blocking(begin).await?.map_err(StartError::Thread)
}
