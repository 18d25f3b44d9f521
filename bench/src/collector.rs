//! The collector beside its peer: one load, one configuration, one sink, two programs that take turns.
//!
//! In data-path order:
//!
//! - [`spans`]: what is sent: requests encoded once, ids and times patched in place; a trace's number is in its id.
//! - [`load`]: how it is sent: gRPC, at a rate or as fast as it is acknowledged.
//! - [`configuration`]: the fixtures with ports replaced: the same text for both programs.
//! - [`sink`]: where it arrives: a process that counts spans by trace.
//! - [`kept`]: which traces must arrive, and what is wrong with those that did.
//! - [`contender`]: the programs and how they are started.
//! - [`run`]: one row, one program: warm up, measure, drain, check.

pub mod configuration;
pub mod contender;
pub mod kept;
pub mod load;
pub mod run;
pub mod sink;
pub mod spans;
