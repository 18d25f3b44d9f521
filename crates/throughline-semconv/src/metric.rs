//! The messaging and HTTP metrics of v1.44, and ours.

/// Histogram, seconds: one client operation (send, receive, settle).
pub const CLIENT_OPERATION_DURATION: &str = "messaging.client.operation.duration";
/// Histogram, seconds: one run of a handler.
pub const PROCESS_DURATION: &str = "messaging.process.duration";
/// Counter, `{message}`: messages sent.
pub const CLIENT_SENT_MESSAGES: &str = "messaging.client.sent.messages";
/// Counter, `{message}`: messages delivered to the application; one delivery counts once.
pub const CLIENT_CONSUMED_MESSAGES: &str = "messaging.client.consumed.messages";
/// Histogram, seconds: one request answered.
pub const HTTP_SERVER_REQUEST_DURATION: &str = "http.server.request.duration";
/// Histogram, seconds: one request made.
pub const HTTP_CLIENT_REQUEST_DURATION: &str = "http.client.request.duration";
/// Bucket boundaries that the conventions advise for each of these histograms, seconds.
pub const DURATION_BUCKETS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Counter, `{event}`, ours: what the library left out, refused or found in conflict.
pub const THROUGHLINE_EVENTS: &str = "throughline.events";
/// Its label: which of the counters.
pub const THROUGHLINE_EVENT: &str = "throughline.event";
