//! What can go wrong, by what the caller does next: refuse to start, ask its client to retry, or report a lost record.

use std::{io, path::PathBuf, sync::Arc};

use crate::Position;

/// A journal cannot be opened or closed in order.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// An operation on a file or folder failed.
    #[error("journal: cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Written by a later version of this program.
    #[error(
        "journal: {path} has format version {found}, this program reads up to {known}: start the version that wrote it, \
         or give another data folder", path = path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// The newest version this program knows.
        known: u16,
    },
    /// Two files say they are the same segment: somebody copied one.
    #[error("journal: {first} and {second} both hold segment {sequence}: move one of them out of the folder",
        first = first.display(), second = second.display())]
    SameSegment {
        /// Which segment.
        sequence: u32,
        /// A file.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// An option is out of range.
    #[error("journal: option {option} is {value}, allowed is {allowed}")]
    Option {
        /// Which.
        option: &'static str,
        /// Its value.
        value: u64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// All sequence numbers are used up: 2^32 segments.
    #[error("journal: no position is left after {after}: start with an empty data folder")]
    Exhausted {
        /// The last position.
        after: Position,
    },
    /// The committer's thread could not be started.
    #[error("journal: cannot start the committer thread: {0}")]
    Thread(io::Error),
    /// The journal stopped after a failed write or sync; what was acknowledged before is safe.
    #[error("journal: closed after a failure: {0}")]
    Poisoned(Arc<str>),
}

/// An append is refused before anything was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No room: ask the client to retry later.
    #[error("journal is full: {0}")]
    Full(Full),
    /// An earlier write or sync failed. Nothing more is accepted: restart, and recovery reads what the disk really holds.
    #[error("journal is stopped: {0}: restart after the disk is repaired")]
    Poisoned(Arc<str>),
    /// The record does not fit into a segment: retrying cannot help.
    #[error("record of {bytes} bytes is larger than a segment holds ({limit} bytes): send smaller requests")]
    TooLarge {
        /// Payload and keys.
        bytes: u64,
        /// What fits.
        limit: u64,
    },
    /// [`crate::Codec::Lz4`] is reserved and not built.
    #[error("codec lz4 is reserved: this build cannot write it")]
    CodecNotBuilt,
    /// The journal was closed.
    #[error("journal is closed")]
    Closed,
}

/// What is full. All of it passes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Too much waits to be written: the disk is slower than the clients.
    #[error("too much waits to be written")]
    Queue,
    /// Every segment up to the cap is pinned by a consumer.
    #[error("all segments up to the cap are still needed by {0}")]
    Cap(Arc<str>),
    /// No new segment could be made, or a file system that does not keep what it reserved had no room for the record. In
    /// the second case a crash before the next append may bring the record back: its client has sent it again by then.
    #[error("no room on the disk: {0}")]
    Disk(Arc<str>),
}

/// An append did not become durable as promised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// It was refused; nothing of it counts.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The write or the sync failed: the record may or may not be there after a restart.
    #[error("journal: record not stored: {0}")]
    Failed(Arc<str>),
}

/// A record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing was ever published there.
    #[error("journal has no record at {0}")]
    Unknown(Position),
    /// Its segment was released by every consumer and is used again.
    #[error("record at {0} was released and its segment recycled")]
    Recycled(Position),
    /// The bytes are not what was written.
    #[error("{bytes} bytes from {position} are damaged: their checksum fails")]
    Damaged {
        /// Where the record before ends: padding may come first.
        position: Position,
        /// How far it goes.
        bytes: u64,
    },
    /// Written with lz4, which this build cannot read.
    #[error("record at {0} is compressed with lz4, which this build cannot read")]
    CodecNotBuilt(Position),
    /// Intact, and written by a later version of this program.
    #[error(
        "record at {position} has version {version}, kind {kind}: this program knows version 1, kinds 1 to 5"
    )]
    Newer {
        /// Where.
        position: Position,
        /// Its version.
        version: u8,
        /// Its kind's code.
        kind: u8,
    },
    /// The read itself failed.
    #[error("cannot read the segment of {position}: {source}")]
    Io {
        /// Where.
        position: Position,
        /// Why not.
        source: io::Error,
    },
}
