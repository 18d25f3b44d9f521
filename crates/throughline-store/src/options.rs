//! The store's limits, each with its default. Owns no policy: when limits are applied is [`crate::Store`]'s.

use std::time::Duration;

/// Limits of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Blocks whose newest arrival is older than this are dropped by `enforce_retention`. Default 7 days. A damaged block is
    /// kept as long from when it was set aside.
    pub retention_age: Duration,
    /// Blocks are dropped, oldest first, while all of them together take more disk than this. Default 10 GiB.
    /// Damaged blocks that were set aside count, and go first: what is whole does not go to make room for what is not.
    pub retention_bytes: u64,
    /// A block is closed once it has this many documents (spans and log records). Default 500,000.
    pub block_documents: u64,
    /// A block is closed once it takes this much disk. Default 256 MiB; never more than an eighth of `retention_bytes`, so
    /// that dropping one block never drops most of the store.
    pub block_bytes: u64,
    /// A block is closed once its first arrival is this old. Default 6 hours; never more than an eighth of
    /// `retention_age`.
    pub block_age: Duration,
    /// `ingest` commits by itself once this many documents are in memory. Default 20,000.
    pub memory_documents: usize,
    /// `ingest` commits by itself once this many bytes of OTLP are in memory. Default 16 MiB. With their terms spans take
    /// about three times their OTLP bytes, and during a commit as much again may arrive: some 100 MiB with the default.
    pub memory_bytes: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            retention_age: Duration::from_secs(7 * 24 * 3600),
            retention_bytes: 10 << 30,
            block_documents: 500_000,
            block_bytes: 256 << 20,
            block_age: Duration::from_secs(6 * 3600),
            memory_documents: 20_000,
            memory_bytes: 16 << 20,
        }
    }
}

impl StoreOptions {
    /// The same with the block limits cut to an eighth of the retention limits.
    pub(crate) fn bounded(self) -> Self {
        Self {
            block_bytes: self.block_bytes.min(self.retention_bytes / 8),
            block_age: self.block_age.min(self.retention_age / 8),
            ..self
        }
    }
}
