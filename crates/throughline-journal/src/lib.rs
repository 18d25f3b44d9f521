//! Accepted requests on disk: segments, group commit, recovery, retention.
//!
//! What is appended is opaque: bytes, a kind, and keys to find it by. It is written to segments of fixed size that are
//! preallocated and used again in place, synced in groups, acknowledged, and kept until every registered consumer has
//! released it. FORMAT.md draws every byte.
//!
//! The crate refuses to know what a payload is, to run on an async runtime, to map files, and to take the time from
//! anywhere but its caller (the committer's timeouts excepted).
//!
//! In the order of the data path:
//!
//! - [`journal`](Journal): the handle; [`options`](Options); [`record`](Record); [`position`](Position); errors.
//! - `entry` -> `committer` (queue, group commit, one thread) -> `writer` (places, writes, syncs, seals).
//! - `segment`, `format`, `index`, `filter`: what is written.
//! - `catalog`, `consumers`: which segments there are, and who still needs them.
//! - `read`: by position, in order, by key. `scan`: the walk over a segment's bytes that reading and recovery share.
//! - `recovery`, `quarantine`: opening a folder after whatever happened to it.
//! - [`fs`]: the seam to the disk; `sim`: a disk that loses power.
//! - [`stats`](Stats).

mod catalog;
mod committer;
mod consumers;
mod entry;
mod error;
mod filter;
mod format;
pub mod fs;
mod index;
mod journal;
mod options;
mod parts;
mod position;
mod quarantine;
mod read;
mod record;
mod recovery;
mod scan;
mod segment;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod stats;
mod writer;

pub use error::{AppendError, Full, JournalError, ReadError, Refused};
pub use fs::{File, Fs, RealFs};
pub use journal::{Consumer, Journal};
pub use options::{Durability, Options, Verify};
pub use parts::Choose;
pub use position::Position;
pub use quarantine::{Copied, Loss, Quarantined};
pub use read::{Hit, Reader, Records};
pub use record::{Codec, Keys, OwnedRecord, Pairs, ReadRecord, Record, RecordKind};
pub use recovery::{Recovery, Torn};
pub use stats::Stats;
