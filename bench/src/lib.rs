//! Benchmarks: ours, the peer and untraced, in one run.
