//! Tail sampling: spans in, decisions out. No I/O, no clock, no runtime.
//!
//! In data-path order:
//!
//! - [`settings`]: what a `tail_sampling` block says, as plain data.
//! - `span`: what is read of a span on the wire, borrowed.
//! - `condition`: what a span is asked while it passes; `ottl` and `pattern` (regular expressions in Go's syntax) are asked there.
//! - `policy`: one policy per file, compiled (`builder`) into conditions on spans and a judgement of traces.
//! - [`plan`](Plan): the settings compiled, once. One walk over a request gives the facts that the policies need.
//! - [`facts`]: what one request says of each of its traces, taken from the wire while it passes. No bodies.
//! - `judge`: facts of a trace in, verdict and reason out.
//! - [`shard`](Shard): owns its traces from the first span to long after the decision: deadlines, late spans, linked
//!   traces.
//! - [`decision`]: what comes out, and what is remembered.
//!
//! The crate refuses to read a clock (every call takes [`Now`]), to hold a span's body, and to know what a journal is: a
//! record is a number that the caller gave.

pub mod decision;
pub mod facts;
pub mod settings;

mod budget;
mod builder;
mod condition;
mod error;
mod judge;
mod ottl;
mod pattern;
mod plan;
mod policy;
pub mod shard;
mod span;
#[cfg(test)]
mod testing;

pub use budget::Budgets;
pub use error::{PlanError, Step};
pub use facts::Now;
pub use judge::{Judge, Judgement};
pub use plan::{Layout, MAX_REST, Merit, Plan, Stretch, Survey};
pub use shard::Shard;
