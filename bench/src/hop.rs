//! One hop: consume, handle, produce, over rdkafka's own headers, no broker. The same message for every contender.

use std::convert::Infallible;

use rdkafka::message::{Header, Headers, OwnedHeaders};
use throughline::{Span, inject_trace_headers, process, send};

/// Where the message comes from.
pub const FROM: &str = "orders";
/// Where the next one goes.
pub const TO: &str = "payments";
/// Who consumes.
pub const GROUP: &str = "payment-worker";
/// The message key.
pub const KEY: &str = "order-4711";

/// A consumed message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its headers.
    pub headers: OwnedHeaders,
    /// The rest.
    pub facts: Facts,
}

/// What a span says of a consumed message.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it was stamped, Unix milliseconds.
    pub timestamp: i64,
    /// What of ours is in its headers, as our attribute says it.
    pub found: &'static str,
    /// The payload's size, where there is a payload.
    pub size: Option<usize>,
}

/// What a row varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// Sampled, with a tracestate.
    WithTracestate,
    /// Sampled, without one.
    WithoutTracestate,
    /// Not sampled, as the sampler says when it is asked.
    Unsampled,
    /// Not sampled, and the set-up code has told us that the sampler follows its parents, as our own set-up does.
    UnsampledSamplerKnown,
}

impl Row {
    /// Whether its spans are exported.
    #[must_use]
    pub fn is_sampled(self) -> bool {
        matches!(self, Self::WithTracestate | Self::WithoutTracestate)
    }

    /// Says of the providers what this row has set-up code say.
    pub fn declare_providers(self) {
        match self {
            Self::UnsampledSamplerKnown => throughline::parent_based_providers_are_set(),
            _ => throughline::providers_are_set(),
        }
    }
}

impl Message {
    /// A message of this row: traceparent, four baggage values, a correlation id.
    #[must_use]
    pub fn new(row: Row) -> Self {
        let flags = if row.is_sampled() { "01" } else { "00" };
        let traceparent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        let put = |headers: OwnedHeaders, key, value: &str| {
            headers.insert(Header { key, value: Some(value.as_bytes()) })
        };
        let mut headers = put(OwnedHeaders::new(), "traceparent", &traceparent);
        if row == Row::WithTracestate {
            headers = put(headers, "tracestate", "ot=th:8;rv:9b8233f7e3a151,vendor=t61rcWkgMzE");
        }
        headers = put(headers, "baggage", "team=payments,sd-routing-key=blue,region=eu-1,plan=pro");
        headers = put(headers, "x-correlation-id", "order-4711-a");
        let found = if row == Row::WithTracestate {
            "traceparent,tracestate,baggage,x-correlation-id"
        } else {
            "traceparent,baggage,x-correlation-id"
        };
        let facts = Facts { partition: 2, offset: 4711, timestamp: 1_770_000_000_000, found, size: None };
        Self { headers, facts }
    }
}

/// Ours: the same hop, as a user writes it.
pub fn ours(message: &Message) -> OwnedHeaders {
    let hop = process(FROM)
        .group(GROUP)
        .key(KEY)
        .partition(message.facts.partition)
        .offset(message.facts.offset)
        .record_timestamp(message.facts.timestamp)
        .headers(&message.headers)
        .run_sync(|_| {
            let sent = |_: &Span| Ok(inject_trace_headers(OwnedHeaders::new_with_capacity(5)));
            send(TO).key(KEY).run_sync(sent)
        });
    let Ok(headers): Result<_, Infallible> = hop;
    headers
}

/// Nobody traces: the business header is carried along.
pub fn untraced(message: &Message) -> OwnedHeaders {
    untraced_headers(Some(&message.headers))
}

/// The business header of a consumed message, for the next one.
pub fn untraced_headers<H: Headers>(headers: Option<&H>) -> OwnedHeaders {
    let id = headers.and_then(|headers| headers.iter().find(|h| h.key == "x-correlation-id"));
    OwnedHeaders::new_with_capacity(1)
        .insert(Header { key: "x-correlation-id", value: id.and_then(|h| h.value) })
}
