//! The OTLP wire: ids, zero-copy views, splice, JSON. No I/O, no clock.

pub mod ids;
pub mod json;
pub mod model;

pub use ids::{SpanId, TraceId, UnixNanos};
pub use model::{LogRecord, Span, SpanKind, Status, Value};
