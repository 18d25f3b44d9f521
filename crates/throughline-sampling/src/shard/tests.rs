//! A shard from outside: scripts of arrivals and what comes out, the same against a naive model, and its bounds.

mod bounds;
mod properties;
mod rig;
mod scripts;
mod tier;
