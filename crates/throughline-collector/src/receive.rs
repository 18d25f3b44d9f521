//! OTLP off the network: two listeners, one path behind them.
//!
//! [`listen`] owns sockets and connections and lets none of them live for ever; [`grpc`] and [`http`] each turn one
//! request into bytes and one result into an answer; [`host`] and [`cors`] know whom browsers may speak for, [`body`] bounds
//! what is read, [`answer`] is what goes back. What a request means is [`crate::intake`]'s.

mod answer;
mod body;
mod cors;
mod grpc;
mod host;
mod http;
mod listen;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::budget::Reservation;
use crate::inflate::inflate;
use crate::intake::Intake;
use crate::refusal::Refusal;

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
    /// Both, in the order of their metric labels.
    pub(crate) const ALL: [Self; 2] = [Self::Grpc, Self::Http];

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

/// What every request needs, shared by all connections of one receiver.
pub(crate) struct Receiver {
    /// Its number in the journal's records.
    pub(crate) number: u16,
    pub(crate) intake: Arc<Intake>,
    pub(crate) cors_origins: Vec<String>,
    pub(crate) allow_hosts: Vec<String>,
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
