//! Kept spans and logs, searchable, in blocks. Synchronous; knows no network, no clock and no journal.
//!
//! The store is derived from the journal: it remembers the position up to which it is committed and is filled again from
//! there after a crash. In data-path order:
//!
//! - [`Store`] takes requests in ([`Store::ingest`]) and writes them out ([`Store::commit`]); what is not written yet is
//!   answered from `memory`, so a span is found as soon as it was accepted.
//! - `document`, `schema`, `attribute`: what of a span is indexed, and under which term.
//! - `block`, `writer`, `compaction`, `folder`: one directory per stretch of arrival time, each one index; merged to one
//!   segment once closed; dropped whole by [`Store::enforce_retention`].
//! - `query`, `read`, `newest`, `answers`: a [`Search`] becomes terms that find candidates and a check that decides.
//!
//! Terms only narrow down. Every candidate is decoded from its own stored OTLP and checked against the whole question, so
//! a cut or colliding term costs time and never a wrong answer.
//!
//! # On disk, format version 1
//!
//! ```text
//! store.json                  manifest: format, next (block number), blocks, dropped_up_to (journal position)
//! block-0000000000/           a tantivy 0.27 index; meta.json names its segments and carries, as the payload of the last
//!                             commit, the block's summary: format, first and last (journal positions), arrived and times
//!                             (earliest, latest; Unix nanoseconds), spans, logs
//! block-0000000000.dropped/   renamed by retention, being removed; removed on open
//! block-0000000000.damaged/   put aside, never read again, never removed
//! ```
//!
//! | field | kind | holds |
//! |---|---|---|
//! | `otlp` | stored | the item's own request: one span or one record with its resource and scope |
//! | `time`, `duration` | column, u64 | start and duration of a span, time of a record (which has no duration) |
//! | `span`, `parent` | column, u64 | span ids, big-endian |
//! | `trace`, `link` | term | 16 bytes of trace id; links to the span's own trace left out |
//! | `service`, `name` | term | text |
//! | `operation` | term | two bytes length of the service (big-endian), service, kind, name; each name at most 1 KiB |
//! | `kind` | term | one digit, OTLP's number |
//! | `error` | term | nothing; on errors only |
//! | `attribute` | term | today's key, zero byte, value as text |
//!
//! Every term begins with one byte, `s` for spans, `l` for records. Over 200 bytes it is its first 192 and a 64-bit FNV-1a
//! hash of all of it, big-endian (`operation` excepted).

mod store;

mod attribute;
mod document;
mod memory;
mod schema;

mod block;
mod compaction;
mod folder;
mod writer;

mod answers;
mod newest;
mod query;
mod read;
mod search;

mod error;
mod options;

pub use answers::TraceData;
pub use block::FORMAT_VERSION;
pub use error::StoreError;
pub use folder::SetAside;
pub use options::StoreOptions;
pub use search::{Errors, Hit, Hop, Operation, Search};
pub use store::{Ingest, Retired, Store, StoreStats};
