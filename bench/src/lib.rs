//! What the benchmarks share: CPU time of the process, paired rounds, and a stock OpenTelemetry pipeline that encodes.
//!
//! Absolute times on a shared machine are noise; every figure that counts is a ratio of two contenders that took turns in
//! one run.

pub mod collector;
pub mod hand;
pub mod hop;
pub mod loops;
pub mod pipeline;
pub mod process;
pub mod rounds;
pub mod server;
