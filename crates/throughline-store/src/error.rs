//! What can go wrong, with where and what to do. Owns [`StoreError`]; a damaged block is not an error but a finding
//! ([`crate::SetAside`]), because the rest of the store still answers.

use std::cmp::Ordering;
use std::io;
use std::path::{Path, PathBuf};

use tantivy::TantivyError;
use tantivy::directory::error::OpenReadError;
use throughline_otlp::WireError;

/// Version of what the store writes: manifest, directories, summaries, fields and terms.
pub const FORMAT_VERSION: u32 = 2;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory could not be read or written.
    #[error("store: cannot {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The index of a block could not be read or written.
    #[error("store: cannot {doing} block {}", path.display())]
    Block {
        /// What was being done.
        doing: &'static str,
        /// Directory of the block.
        path: PathBuf,
        /// What the index says.
        source: TantivyError,
    },
    /// A newer throughline wrote this.
    #[error(
        "store: {} has format {found}, this version reads up to {supported}: use a newer throughline or another data folder",
        path.display()
    )]
    NewerFormat {
        /// The manifest or block.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest this version reads.
        supported: u32,
    },
    /// An older throughline wrote this, and what it indexed is not what this version looks for.
    #[error(
        "store: {} has format {found}, this version reads {supported}: use the throughline that wrote it, or another data \
         folder; what it holds can only be read by the former",
        path.display()
    )]
    OlderFormat {
        /// The manifest or block.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The one this version reads.
        supported: u32,
    },
    /// The request handed to `ingest` is not OTLP. Nothing of it was kept; the next position may be ingested.
    #[error("store: the request at journal position {position} is not valid OTLP")]
    Wire {
        /// Its position.
        position: u64,
        /// What is wrong with it.
        source: WireError,
    },
    /// The store keeps traces and logs only.
    #[error("store: metrics are not stored (position {position})")]
    Metrics {
        /// The request's position.
        position: u64,
    },
    /// Whoever asked for the trace did not want to keep so much of it in memory.
    #[error("store: the trace takes more memory than it was given")]
    NotAdmitted,
}

impl StoreError {
    /// Whether what says it has format `found` can be read by this version.
    pub(crate) fn check_format(path: &Path, found: u32) -> Result<(), Self> {
        let (path, supported) = (path.to_owned(), FORMAT_VERSION);
        match found.cmp(&supported) {
            Ordering::Less => Err(Self::OlderFormat { path, found, supported }),
            Ordering::Equal => Ok(()),
            Ordering::Greater => Err(Self::NewerFormat { path, found, supported }),
        }
    }

    /// Whether a block's own files are broken or missing, as opposed to the store not being able to reach them.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Block { source, .. } => is_damage(source),
            Self::Io { .. }
            | Self::NewerFormat { .. }
            | Self::OlderFormat { .. }
            | Self::Wire { .. }
            | Self::Metrics { .. }
            | Self::NotAdmitted => false,
        }
    }
}

fn is_damage(error: &TantivyError) -> bool {
    match error {
        TantivyError::DataCorruption(_)
        | TantivyError::DeserializeError(_)
        | TantivyError::SchemaError(_)
        | TantivyError::FieldNotFound(_)
        | TantivyError::OpenReadError(OpenReadError::FileDoesNotExist(_)) => true,
        TantivyError::IoError(error)
        | TantivyError::OpenReadError(OpenReadError::IoError { io_error: error, .. }) => {
            matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound
            )
        }
        _ => false,
    }
}
