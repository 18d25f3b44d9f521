//! Spans to one assembled trace across links: tree, waits, findings. Pure.
