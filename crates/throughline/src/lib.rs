//! End-to-end tracing for event-driven systems: one trace through every queue.
