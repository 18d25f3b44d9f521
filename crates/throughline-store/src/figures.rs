//! What the store says about itself. Owns the figures and how they read; counting is [`crate::Store`]'s.

use std::fmt;

use crate::aside::SetAside;

/// What a call of [`crate::Store::enforce_retention`] or [`crate::Store::drop_oldest`] dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Retired {
    /// Blocks, damaged ones that had been set aside included.
    pub blocks: usize,
    /// How many of them had been set aside: nobody knows what was in those.
    pub set_aside: usize,
    /// Spans in the others.
    pub spans: u64,
    /// Log records in them.
    pub logs: u64,
    /// Disk all of them took.
    pub bytes: u64,
}

/// Figures of a store.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// Blocks on disk.
    pub blocks: usize,
    /// Segments in them: one a block once background merges are through.
    pub segments: usize,
    /// Committed spans, duplicates counted.
    pub spans: u64,
    /// Committed log records, duplicates counted.
    pub logs: u64,
    /// Disk taken by blocks.
    pub disk_bytes: u64,
    /// Spans and records not yet committed.
    pub memory_documents: usize,
    /// Their bytes of OTLP.
    pub memory_bytes: usize,
    /// Journal position up to which everything is on disk.
    pub committed: Option<u64>,
    /// Merges that failed since open; harmless, reads take longer.
    pub failed_merges: u64,
    /// What was found damaged, on open or since.
    pub set_aside: Vec<SetAside>,
    /// Disk taken by what was set aside, now or by an earlier open: not part of `disk_bytes`. Retention counts both, and
    /// removes this at the retention age, or first.
    pub set_aside_bytes: u64,
}

impl fmt::Display for Retired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { blocks, set_aside, spans, logs, bytes } = self;
        write!(f, "{blocks} blocks with {spans} spans and {logs} log records, {bytes} bytes")?;
        match set_aside {
            0 => Ok(()),
            _ => write!(f, "; {set_aside} of them had been set aside as damaged"),
        }
    }
}
