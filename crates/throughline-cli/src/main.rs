//! The binary throughline: demo, serve, trace, search, lineage.
fn main() {}
