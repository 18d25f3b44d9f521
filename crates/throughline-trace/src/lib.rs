//! Spans to one assembled trace, across links. Pure: no I/O, no clock (`now` is handed in), nothing but what was
//! received.
//!
//! In the order data flows:
//!
//! - [`model`]: what goes in and the assembled picture that comes out;
//! - `tree`: parents, missing parents, loops, duplicates; depth-first order;
//! - [`hop`]: which message a span sent or processed, and how long that message waited;
//! - `message`: which processing is of which send, where no context says so;
//! - `linked`: the traces this one came from and went into;
//! - [`finding`]: what is wrong with the trace, and at which hop;
//! - [`text`], [`json`]: the picture written down; [`time`]: durations and times as people read them.
//!
//! It never invents: a parent that was not received is a ghost that says what is known of it, a negative wait is
//! stated as clock skew and not clamped, and the order in which spans arrived makes no difference.

mod assemble;
pub mod finding;
pub mod hop;
mod id;
pub mod json;
mod linked;
mod message;
pub mod model;
pub mod text;
pub mod time;
mod tree;

pub use assemble::assemble;
pub use finding::{Cause, Finding, FindingKind, Hop, Severity};
pub use hop::{HopKey, Wait, WaitSource};
pub use message::{open_hops, other_halves};
pub use model::{
    Direction, Input, Lineage, LinkedTrace, Missing, Neighbour, Node, NodeId, NodeKind, State, Trace,
};

#[cfg(test)]
mod cases;
#[cfg(test)]
mod tests;
