//! Tail sampling: spans in, decisions out. No I/O, no clock, no runtime.
//!
//! In data-path order:
//!
//! - [`settings`]: what a `tail_sampling` block says, as plain data.
//! - [`plan`](Plan): the settings compiled, once. It knows which facts the policies need of a span.
//! - `ottl`: conditions in OTTL, parsed and evaluated on a span.
//! - `pattern`: regular expressions in Go's syntax.
//! - [`facts`]: what one request says of each of its traces, taken from the wire while it passes. No bodies.
//! - `judge`: facts of a trace in, verdict and reason out; one policy per file under `policy`.
//! - [`shard`](Shard): owns its traces from the first span to long after the decision: deadlines, late spans, linked
//!   traces.
//! - [`decision`]: what comes out, and what is remembered.
//!
//! The crate refuses to read a clock (every call takes [`Now`]), to hold a span's body, and to know what a journal is: a
//! record is a number that the caller gave.

pub mod decision;
pub mod facts;
pub mod settings;

mod judge;
mod ottl;
mod pattern;
mod plan;
mod policy;
pub mod shard;
#[cfg(test)]
mod testing;

pub use facts::Now;
pub use judge::{Judge, Judgement, Merit};
pub use plan::{Layout, MAX_REST, Plan, PlanError, Step, Stretch, Survey};
pub use policy::Budgets;
pub use shard::Shard;
