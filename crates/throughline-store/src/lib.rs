//! Kept spans and logs, searchable, in blocks. Synchronous; knows no network, no clock and no journal.
//!
//! The store is derived from the journal: it remembers the position up to which it is committed and is filled again from
//! there after a crash. In data-path order:
//!
//! - [`Store`] takes requests in ([`Store::ingest`]) and writes them out ([`Store::commit`]); what is not written yet is
//!   answered from `memory`, so a span is found as soon as it was accepted.
//! - `chunk`, `schema`, `attribute`: what of a span is indexed, and under which term; `document` hands it to the index.
//! - `block`, `writer`, `compaction`, `folder`, `aside`: one directory per stretch of arrival time, each one index; merged to one
//!   segment once closed; dropped whole by [`Store::enforce_retention`].
//! - `query`, `read`, `newest`, `answers`: a [`Search`] becomes terms that find candidates and a check that decides.
//!
//! Terms only narrow down. Every candidate is decoded from its own stored OTLP and checked against the whole question, so
//! a cut or colliding term costs time and never a wrong answer.
//!
//! What it writes to disk is drawn in FORMAT.md.

mod snapshot;
mod store;

mod attribute;
mod chunk;
mod document;
mod memory;
mod schema;

mod aside;
mod block;
mod compaction;
mod folder;
mod writer;

mod answers;
mod hop;
mod newest;
mod query;
mod read;
mod search;

mod error;
mod figures;
mod options;

pub use answers::TraceData;
pub use aside::SetAside;
pub use error::{FORMAT_VERSION, StoreError};
pub use figures::{Retired, StoreStats};
pub use hop::Hop;
pub use options::StoreOptions;
pub use search::{Errors, Hit, Operation, Search};
pub use store::{Ingest, Store};
