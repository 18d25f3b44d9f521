//! What can go wrong, with where and what to do. Owns [`StoreError`]; a damaged block is not an error but a finding
//! ([`crate::SetAside`]), because the rest of the store still answers.

use std::io;
use std::path::PathBuf;

use tantivy::TantivyError;
use tantivy::directory::error::OpenReadError;
use throughline_otlp::WireError;

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
}

impl StoreError {
    /// Whether a block's own files are broken or missing, as opposed to the store not being able to reach them.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Block { source, .. } => is_damage(source),
            Self::Io { .. } | Self::NewerFormat { .. } | Self::Wire { .. } | Self::Metrics { .. } => false,
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
