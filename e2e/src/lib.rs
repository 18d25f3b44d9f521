//! Tests across processes and real brokers.
