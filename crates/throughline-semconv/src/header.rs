//! Headers of a message. Read case-insensitively, written as here.

/// W3C Trace Context.
pub const TRACEPARENT: &str = "traceparent";
/// W3C Trace Context, vendor state.
pub const TRACESTATE: &str = "tracestate";
/// W3C Baggage.
pub const BAGGAGE: &str = "baggage";
/// The correlation id.
pub const X_CORRELATION_ID: &str = "x-correlation-id";
/// The tenant.
pub const X_TENANT_ID: &str = "x-tenant-id";
/// Queue latency that survives sampling (reserved; written by a later version).
pub const TL_PATHWAY: &str = "tl-pathway";
/// HTTP answer: the trace id, 32 hex digits.
pub const X_TRACE_ID: &str = "x-trace-id";
/// HTTP answer: W3C trace context of the server span.
pub const TRACERESPONSE: &str = "traceresponse";
