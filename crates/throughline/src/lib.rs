//! End-to-end tracing for event-driven systems: one trace through every queue.
//!
//! Every message carries its trace, correlation id, baggage and tenant in its headers; whoever handles it is in the same
//! trace, with nothing to wire by hand. Built on OpenTelemetry's API, for its plain users and for users of `tracing`.
//!
//! ```
//! use throughline::{Meta, inject_trace_headers, internal, with_consumer_span, with_producer_span};
//!
//! # futures_executor(async {
//! // One service sends ...
//! let message = internal("POST /checkout")
//!     .run(async |_| {
//!         with_producer_span("orders", Meta::key("order-42"), async || {
//!             Ok::<_, std::io::Error>(inject_trace_headers(Vec::<(String, Vec<u8>)>::new()))
//!         })
//!         .await
//!     })
//!     .await?;
//!
//! // ... another one handles: same trace, same correlation id.
//! with_consumer_span("orders", "email-worker", &message, Meta::position(2, 17), async || {
//!     Ok::<_, std::io::Error>(())
//! })
//! .await
//! # }).unwrap();
//! # fn futures_executor<T>(f: impl Future<Output = T>) -> T {
//! #     let mut f = std::pin::pin!(f);
//! #     loop {
//! #         let mut task = std::task::Context::from_waker(std::task::Waker::noop());
//! #         if let std::task::Poll::Ready(v) = f.as_mut().poll(&mut task) { break v }
//! #     }
//! # }
//! ```
//!
//! # Map, in the order of a message's life
//!
//! - [`headers`](HeaderSource): reading and writing headers of any client.
//! - [`context`](Incoming): what one message carried, and how it goes on.
//! - [`correlation`](correlation_id): the correlation id and the tenant.
//! - [`span`](SpanSpec): send, process, poll and commit spans; [`ContextMode`], [`Outcome`].
//! - [`lineage`](Lineage): batches.
//! - `http`, `kafka`: one client each, behind a feature each.
//! - [`metrics`]: what is timed and counted, sampled or not.
//! - `telemetry`: one line that sets SDK, exporters and logs up. `testing`: a span recorder for your tests.
//! - [`settings`] and [`counters`](counters()): what can be set, and what was left out.
//!
//! # Features
//!
//! | feature | default | what it brings |
//! |---|---|---|
//! | `telemetry` | yes | the set-up of SDK, OTLP over HTTP, and logs |
//! | `http` | yes | tower layers for servers and clients |
//! | `tokio` | yes | `spawn` and `spawn_blocking` that stay in the trace |
//! | `kafka` | no | drop-in clients for rdkafka |
//! | `otlp-grpc` | no | OTLP over gRPC as well (tonic) |
//! | `otlp-tls` | no | OTLP to an `https` endpoint |
//! | `testing` | no | the span recorder |
//!
//! Without any of them the core works with every client whose headers can be read and written.
//!
//! # One OpenTelemetry
//!
//! The crate works with exactly one version of `opentelemetry`, re-exported as [`opentelemetry`]. A second version in a
//! build has its own globals and its own current context: it compiles, and then its spans have no parents and ours are
//! no-ops. `cargo tree -d` shows it; use the re-export and it cannot happen.
//!
//! # Traps
//!
//! - A plain `tokio::spawn` inside a handler loses the context: use [`spawn`], or `.with_current_context()`.
//! - Handlers are taken as a future or as `async |span| …`, never as an async closure over a *borrowed* argument: such a
//!   closure does not compile inside `tokio::spawn`.
//! - A function of yours that is generic over a handler and spawns it takes `F: Future + Send`; an `AsyncFnOnce`'s future
//!   cannot be bound as `Send` on stable Rust.
//! - With [`ActiveSpan`] every early `?` leaves the span marked `cancelled`: prefer `run` and `instrument`.
//! - Under `tracing`, leave context activation of `tracing-opentelemetry` on (its default), and filter globally rather than
//!   per layer: a per-layer filter beside a `log` bridge loses spans in silence.

mod context;
mod correlation;
mod counters;
mod headers;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
mod lineage;
pub mod metrics;
mod outcome;
pub mod settings;
mod span;
#[cfg(feature = "tokio")]
mod spawn;
#[cfg(feature = "telemetry")]
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod text;

/// The README's code compiles.
#[cfg(all(doctest, feature = "kafka", feature = "telemetry"))]
#[doc = include_str!("../../../README.md")]
struct Readme;

pub use opentelemetry;
pub use throughline_semconv as semconv;

pub use context::{
    Found, Incoming, Propagator, TraceParent, extract, inject_context, inject_trace_headers, retain_baggage,
};
pub use correlation::{InvalidId, MAX_ID_LENGTH, correlation_id, tenant, with_correlation_id, with_tenant};
pub use counters::{Counters, counters};
pub use headers::{HeaderSink, HeaderSource, HeaderValue, OWNED, is_owned, normalize_headers};
pub use lineage::{Contribution, Contributor, Lineage, extract_batch_lineage};
pub use outcome::{ErrorRef, Failure, NameError, Outcome, name_by_cause, name_errors};
pub use settings::{Profile, set_profile};
pub use span::{
    ActiveSpan, ContextMode, Meta, Payload, ProcessingSpan, Span, SpanSpec, Traced, commit, internal,
    parent_based_providers_are_set, poll, process, providers_are_set, send, send_keeping_context,
    with_consumer_span, with_processing_span, with_producer_span, with_tracer_provider,
};
#[cfg(feature = "tokio")]
pub use spawn::{spawn, spawn_blocking};
