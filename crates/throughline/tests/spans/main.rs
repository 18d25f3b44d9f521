//! Spans as an application gets them: parents and links, outcomes, tasks, batches, the wire between two services, names.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod batches;
mod modes;
mod names;
mod outcomes;
mod tasks;
mod wire;
