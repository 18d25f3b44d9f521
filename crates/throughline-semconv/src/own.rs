//! Names the registry lacks. `correlation_id` and the two `linked_trace_id_*` are the source's, kept as printed there.

/// The correlation id, on spans and logs, beside `messaging.message.conversation_id`.
pub const CORRELATION_ID: &str = "correlation_id";
/// How many distinct traces contributed to a batch (int).
pub const LINKED_TRACE_ID_COUNT: &str = "linked_trace_id_count";
/// Lineage hash: 16 hex digits over the contributors' trace ids.
pub const LINKED_TRACE_ID_HASH: &str = "linked_trace_id_hash";
/// The tenant.
pub const TENANT_ID: &str = "tenant.id";
/// Messages of a batch whose links were left out because of the cap: total number of links there would be (int).
pub const LINKS_TOTAL: &str = "throughline.links.total";
/// Oldest record timestamp of a batch's messages (int, Unix milliseconds).
pub const BATCH_OLDEST_ORIGIN: &str = "throughline.batch.oldest_origin";
/// Newest record timestamp of a batch's messages (int, Unix milliseconds).
pub const BATCH_NEWEST_ORIGIN: &str = "throughline.batch.newest_origin";
/// Messages of a batch whose handling failed (int).
pub const BATCH_FAILED_COUNT: &str = "throughline.batch.failed_count";
/// When the broker or producer stamped the record (int, Unix milliseconds). With it a queue wait can be told.
pub const RECORD_TIMESTAMP: &str = "throughline.record.timestamp";
/// What was found in a consumed message's headers: any of `traceparent`, `tracestate`, `baggage`, `x-correlation-id`,
/// `x-tenant-id`, joined by commas; `none` if nothing was.
pub const HEADERS_FOUND: &str = "throughline.headers.found";
/// `true` if the message carried two different valid `traceparent` values; the loser is linked.
pub const HEADERS_CONFLICT: &str = "throughline.headers.conflict";
/// Name of an event on the span that wrote a message, and of that event's one attribute: the names of our headers that were
/// left out of the message because of the byte budget, joined by commas (`baggage,tracestate`). One event for each message
/// that lost something; never an attribute of a span.
pub const HEADERS_DROPPED: &str = "throughline.headers.dropped";
/// Why a link is there: `parent`, `conflict`, `ambient`, `creation`, `contributor`, `caller`.
pub const LINK_REASON: &str = "throughline.link.reason";
/// On the exception event of one failed message of a batch: its place in the batch, from 0.
pub const MESSAGE_INDEX: &str = "throughline.message.index";
/// On the exception event of one failed message of a batch: the trace the message came from.
pub const MESSAGE_TRACE_ID: &str = "throughline.message.trace_id";
/// Likewise the span that sent it.
pub const MESSAGE_SPAN_ID: &str = "throughline.message.span_id";
/// `true` if a message's `x-tenant-id` and its baggage's `tenant.id` differ; the header wins.
pub const TENANT_CONFLICT: &str = "throughline.tenant.conflict";
/// Why tail sampling kept the span's trace: the policy's name, or `linked from <trace id>`. On spans in the store.
pub const SAMPLING_REASON: &str = "throughline.sampling.reason";
