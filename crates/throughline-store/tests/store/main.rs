//! The store through its public API: what it promises, case by case and against a naive model.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod behaviour;
mod build;
mod concurrency;
mod damage;
mod lookup;
mod model;
mod property;
mod retention;
