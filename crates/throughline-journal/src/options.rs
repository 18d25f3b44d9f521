//! How a journal behaves: sizes, limits, durability. It refuses nothing itself; [`Options::checked`] is called at open.

use std::fmt;
use std::time::Duration;

use crate::{JournalError, Position};

/// When an append is acknowledged, and so what a loss of power may take. A process that is killed loses nothing that
/// was acknowledged under any of them: what is written is in the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// After fdatasync. A loss of power takes nothing that was acknowledged.
    Sync,
    /// After the write; synced at most `window` after the first write that was not. A loss of power takes at most what
    /// was acknowledged within the last `window`.
    Batch {
        /// The longest time an acknowledged record stays unsynced. [`Durability::DEFAULT_WINDOW`] is 100 ms.
        window: Duration,
    },
    /// After the write; synced only when a segment is sealed. A loss of power takes at most what was acknowledged since
    /// then: up to one segment, however old.
    None,
}

impl Durability {
    /// The window of [`Durability::Batch`] where nobody chose another.
    pub const DEFAULT_WINDOW: Duration = Duration::from_millis(100);
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sync => f.write_str("sync"),
            Self::Batch { window } => write!(f, "batch ({window:?})"),
            Self::None => f.write_str("none"),
        }
    }
}

/// How much of what is on disk is read when a journal is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verify {
    /// Every record's checksum: about a second for each gigabyte. Damage is found, reported and quarantined at once.
    Everything,
    /// Only segments that were not sealed before the crash. Damage elsewhere is found when it is read.
    Unsealed,
}

/// How a journal behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of a segment. A change applies to new segments; those of another size stay readable and are removed when released.
    pub segment_bytes: u32,
    /// Most bytes all segments may take. When every one of them is pinned, requests and marks are refused until a consumer
    /// releases; decisions and acknowledgements are not, as they bring that about: until then they may exceed the cap.
    /// One file descriptor is held for each segment, so raise the process's limit beyond `cap_bytes / segment_bytes`.
    pub cap_bytes: u64,
    /// Segments of the cap that only decisions and acknowledgements may use: those are what lets other segments
    /// go, and must find room when requests find none, on a full disk too. Their files are made at open. 0 if
    /// nothing of that kind is written.
    pub reserve_segments: u32,
    /// Released segments stay readable while all segments together take no more than this, or until they are said to be too
    /// old ([`crate::Journal::expire`]): look-back for disk space.
    /// 0 reuses them at once, which keeps them in the page cache.
    pub look_back_bytes: u64,
    /// When an append is acknowledged.
    pub durability: Durability,
    /// How long a first, lonely record waits for company under [`Durability::Sync`], so that one sync serves several.
    pub group_wait: Duration,
    /// Most bytes that wait to be written. Beyond, appends are refused with [`crate::Full::Queue`].
    pub queue_bytes: usize,
    /// Most records that wait to be written.
    pub queue_records: usize,
    /// Consumers that will register: until each has, no segment is recycled.
    pub consumers: Vec<String>,
    /// Every new position is greater than this: the furthest a consumer remembers. It keeps positions unique even
    /// if somebody removed the journal's folder and left the consumer's.
    pub after: Option<Position>,
    /// How much is read at open.
    pub verify: Verify,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            cap_bytes: 1 << 30,
            reserve_segments: 0,
            look_back_bytes: 0,
            durability: Durability::Sync,
            group_wait: Duration::from_millis(2),
            queue_bytes: 64 << 20,
            queue_records: 16_384,
            consumers: Vec::new(),
            after: None,
            verify: Verify::Everything,
        }
    }
}

/// Smallest and largest segment: the smallest still holds a record beside header, index and footer.
pub(crate) const SEGMENT_BYTES: std::ops::RangeInclusive<u32> = (64 << 10)..=(1 << 30);

impl Options {
    pub(crate) fn checked(self) -> Result<Self, JournalError> {
        if !SEGMENT_BYTES.contains(&self.segment_bytes) || !self.segment_bytes.is_multiple_of(4096) {
            return Err(JournalError::Option {
                option: "segment_bytes",
                value: u64::from(self.segment_bytes),
                allowed: "a multiple of 4096 from 65536 to 1073741824",
            });
        }
        if self.cap_bytes < 2 * u64::from(self.segment_bytes) {
            return Err(JournalError::Option {
                option: "cap_bytes",
                value: self.cap_bytes,
                allowed: "at least two segments",
            });
        }
        let least = 2 + u64::from(self.reserve_segments);
        if self.cap_bytes < least.saturating_mul(u64::from(self.segment_bytes)) {
            return Err(JournalError::Option {
                option: "reserve_segments",
                value: u64::from(self.reserve_segments),
                allowed: "so few that two segments of the cap are left",
            });
        }
        Ok(self)
    }
}
