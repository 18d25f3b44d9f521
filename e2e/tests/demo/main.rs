//! `throughline demo` and the commands that ask it, as processes: what a user starts, sees and kills.
//!
//! The binary is `THROUGHLINE_BIN`, else `target/release/throughline`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod cli;
mod once;
mod process;
mod real_kafka;
mod stays_up;
mod unheard;
