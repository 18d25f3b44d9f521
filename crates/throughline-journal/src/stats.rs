//! Figures of a journal, for metrics and readiness. Counters only rise; nothing here is ever read to decide.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::Position;

/// Figures of a journal at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records acknowledged since the journal was opened.
    pub records: u64,
    /// Bytes of their payloads and keys.
    pub bytes: u64,
    /// Groups written: records divided by groups is what one write serves.
    pub groups: u64,
    /// Times fdatasync was called for records.
    pub syncs: u64,
    /// Segments sealed.
    pub sealed: u64,
    /// Segments that reused a file.
    pub recycled: u64,
    /// Appends refused because too much waited to be written.
    pub refused_queue: u64,
    /// Appends refused because every segment up to the cap was pinned.
    pub refused_cap: u64,
    /// Appends refused because the disk had no room for a segment.
    pub refused_disk: u64,
    /// Appends refused because they are larger than a segment.
    pub refused_too_large: u64,
    /// Appends that failed or were refused because a write or a sync failed.
    pub failed: u64,
    /// Records waiting to be written.
    pub waiting_records: u64,
    /// Bytes waiting to be written.
    pub waiting_bytes: u64,
    /// Segments that hold records, and the open one.
    pub segments: usize,
    /// Bytes of all segment files.
    pub file_bytes: u64,
    /// Bytes of the segments that some consumer still needs, the open one included.
    pub pinned_bytes: u64,
    /// Whether there is no room for one more segment: the next takes the place of an old one.
    pub at_cap: bool,
    /// Where the oldest segment starts.
    pub first: Option<Position>,
    /// The last record that may be read.
    pub last: Option<Position>,
    /// Why nothing is accepted any more, if so.
    pub poisoned: Option<Arc<str>>,
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) records: Counter,
    pub(crate) bytes: Counter,
    pub(crate) groups: Counter,
    pub(crate) syncs: Counter,
    pub(crate) sealed: Counter,
    pub(crate) recycled: Counter,
    pub(crate) refused_queue: Counter,
    pub(crate) refused_cap: Counter,
    pub(crate) refused_disk: Counter,
    pub(crate) refused_too_large: Counter,
    pub(crate) failed: Counter,
}

/// A number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counters {
    pub(crate) fn refused(&self, why: &crate::Refused) {
        use crate::{Full, Refused};
        match why {
            Refused::Full(Full::Queue) => self.refused_queue.add(1),
            Refused::Full(Full::Cap(_)) => self.refused_cap.add(1),
            Refused::Full(Full::Disk(_)) => self.refused_disk.add(1),
            Refused::TooLarge { .. } => self.refused_too_large.add(1),
            Refused::Poisoned(_) => self.failed.add(1),
            Refused::CodecNotBuilt | Refused::Closed => {}
        }
    }

    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            records: self.records.get(),
            bytes: self.bytes.get(),
            groups: self.groups.get(),
            syncs: self.syncs.get(),
            sealed: self.sealed.get(),
            recycled: self.recycled.get(),
            refused_queue: self.refused_queue.get(),
            refused_cap: self.refused_cap.get(),
            refused_disk: self.refused_disk.get(),
            refused_too_large: self.refused_too_large.get(),
            failed: self.failed.get(),
            ..Stats::default()
        }
    }
}
