//! OTLP off the network: two listeners, one path behind them.
//!
//! [`listen`] owns sockets and connections and lets none of them live for ever; [`tls`] and [`guard`], behind one [`gate`],
//! say who may come in; [`grpc`] and [`http`] each turn one request into bytes and one result into an answer; [`host`] and
//! [`cors`] know whom browsers may speak for, [`body`] bounds what is read, [`answer`] is what goes back. What a request means
//! is [`crate::intake`]'s.

mod answer;
mod body;
mod cors;
mod gate;
mod grpc;
mod guard;
mod host;
mod http;
pub(crate) mod kafka;
mod listen;
mod stream;
mod tls;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::budget::Reservation;
use crate::config::Limits;
use crate::inflate::inflate;
use crate::intake::{Entrance, Intake};
use crate::refusal::Refusal;
use crate::topology::{Server, Web};

pub(crate) use gate::Gate;
pub(crate) use listen::{Bound, bind, serve};

/// One of the two places OTLP is received on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP.
    Http,
}

impl Listener {
    /// The metric label, as the OpenTelemetry Collector names it.
    pub(crate) fn transport(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }

    /// The command line's flag for its port.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Grpc => "--otlp-grpc-port",
            Self::Http => "--otlp-http-port",
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grpc => "OTLP over gRPC",
            Self::Http => "OTLP over HTTP",
        })
    }
}

/// What every request needs, shared by all connections of one listener.
pub(crate) struct Receiver {
    entrance: Entrance,
    intake: Arc<Intake>,
    limits: Limits,
    gate: Gate,
    web: Web,
    cors: Option<cors::Policy>,
    allow_hosts: Vec<String>,
}

impl Receiver {
    /// A listener of `intake`. What `server` does not limit, `limits` does.
    pub(crate) fn new(
        entrance: Entrance,
        intake: Arc<Intake>,
        limits: &Limits,
        server: &Server,
        gate: Gate,
        web: Web,
        allow_hosts: Vec<String>,
    ) -> Self {
        let limits = Limits {
            message_bytes: server.message_bytes.unwrap_or(limits.message_bytes),
            header_timeout: server.header_timeout.unwrap_or(limits.header_timeout),
            idle_timeout: server.idle_timeout.unwrap_or(limits.idle_timeout),
            ..limits.clone()
        };
        let token = gate.guard.as_ref().map(|guard| guard.header());
        let cors = web.cors.as_ref().and_then(|cors| cors::Policy::new(cors, token));
        Self { entrance, intake, limits, gate, web, cors, allow_hosts }
    }

    /// Whether whoever sent this may.
    fn admit(&self, headers: &::http::HeaderMap) -> Result<(), Refusal> {
        self.gate.admit(headers)
    }
}

/// Above this a body is inflated or translated off the runtime's threads, which have other connections to serve.
const INLINE_BYTES: usize = 64 * 1024;

/// Runs `work` here if `size` is small, else where blocking is allowed.
async fn offload<T: Send + 'static>(
    size: usize,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    if size <= INLINE_BYTES {
        return work();
    }
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Refusal::Unavailable("the backend is stopping".to_owned())))
}

/// Inflates a gzip body within the limit, accounting for what it becomes.
async fn gunzip(
    body: Bytes,
    limit: usize,
    mut reservation: Reservation,
) -> Result<(Bytes, Reservation), Refusal> {
    offload(body.len(), move || Ok((inflate(&body, limit, &mut reservation)?, reservation))).await
}

/// Shared by all connections of both listeners.
pub(crate) type Shared = Arc<Receiver>;
