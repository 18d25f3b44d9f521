//! The OTLP wire: ids, zero-copy views, splice, JSON. No I/O, no clock.
//!
//! In data-path order: [`check()`] at the door (JSON first becomes protobuf, [`json::to_protobuf`]; what is odd is made
//! [`sound()`]), [`view`] on the hot path, [`Splice`] into the store, [`model`] and [`json`] for everything a person or program
//! reads back.

pub mod ids;
pub mod json;
pub mod metrics;
pub mod model;
pub mod view;
pub mod wire;

mod check;
mod decode;
mod schema;
mod select;
mod sound;
mod splice;

pub use check::{Counts, Visit, check, check_spans};
pub use decode::{decode_logs, decode_traces};
pub use ids::{SpanId, TraceId, UnixNanos};
pub use model::{LogRecord, Span, SpanKind, Status, Value};
pub use select::{
    Attributes, Choice, Choose, OfPart, OfTrace, Parts, Unit, count_items, select_items, select_resources,
    select_traces, select_traces_annotated, select_traces_around, service_name, split_by_trace, trace_id,
};
pub use sound::sound;
pub use splice::Splice;
pub use wire::WireError;

/// Which of OTLP's three requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// `ExportTraceServiceRequest`
    Traces,
    /// `ExportLogsServiceRequest`
    Logs,
    /// `ExportMetricsServiceRequest`
    Metrics,
}

#[cfg(test)]
mod tests;
