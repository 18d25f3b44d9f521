//! Where peers call: plain HTTP or TLS, one token, two paths. Bodies, connections and time are bounded; what is refused is
//! counted under its reason. An answer of 200 to a wish is a promise: what it acknowledges is in the journal.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::answering::Answering;
use super::wire::CALL_BYTES;
use super::{HOLDS_PATH, KEEP_PATH};
use crate::receive::Gate;

/// Peers are few: what goes beyond waits in the kernel.
const CONNECTIONS: usize = 64;
/// A header or a handshake must come within this.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// A connection without a call for so long is closed; calls without the token are none. Longer than [`CALL_TIME`].
const SILENCE: Duration = Duration::from_secs(30);
/// A call must be read and answered within this.
const CALL_TIME: Duration = Duration::from_secs(10);
/// A peer makes two calls at a time.
const STREAMS: u32 = 8;
/// Out of file descriptors: give connections time to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket, and what stands before it.
pub(crate) struct Door {
    socket: TcpListener,
    gate: Gate,
}

/// Calls that were refused, by reason.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    unauthenticated: AtomicU64,
    malformed: AtomicU64,
    unknown: AtomicU64,
    unavailable: AtomicU64,
}

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Unauthenticated,
    /// Not what it claims to be, too long or too slow.
    Malformed(StatusCode, String),
    /// No such path, or no such pipeline.
    Unknown(String),
    /// The journal does not take it now.
    Unavailable(String),
}

impl Refused {
    fn count(&self, refusal: &Refusal) -> u64 {
        let counter = match refusal {
            Refusal::Unauthenticated => &self.unauthenticated,
            Refusal::Malformed(..) => &self.malformed,
            Refusal::Unknown(_) => &self.unknown,
            Refusal::Unavailable(_) => &self.unavailable,
        };
        counter.fetch_add(1, Ordering::Relaxed)
    }

    /// By metric label.
    pub(super) fn by_reason(&self) -> [(&'static str, u64); 4] {
        let Self { unauthenticated, malformed, unknown, unavailable } = self;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("unauthenticated", of(unauthenticated)),
            ("malformed", of(malformed)),
            ("unknown", of(unknown)),
            ("unavailable", of(unavailable)),
        ]
    }
}

impl Door {
    pub(super) async fn open(address: SocketAddr, gate: Gate) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(address).await?, gate })
    }

    /// Serves until `stop` turns true, then ends what is in progress.
    pub(crate) async fn serve(self, answering: Arc<Answering>, mut stop: watch::Receiver<bool>) {
        let Self { socket, gate } = self;
        let (gate, slots) = (Arc::new(gate), Arc::new(Semaphore::new(CONNECTIONS)));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&socket, &slots) => accepted,
            };
            match accepted {
                Ok((stream, slot)) => {
                    let (gate, answering) = (Arc::clone(&gate), Arc::clone(&answering));
                    connections.spawn(async move {
                        connection(stream, gate, answering).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a peer's connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // A call without an answer is made again: there is nothing to wait for.
        connections.shutdown().await;
    }
}

async fn accept(
    socket: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = socket.accept().await?;
    // Fails only on a connection that is gone, which the first read finds out.
    let _ = stream.set_nodelay(true);
    Ok((stream, slot))
}

async fn connection(stream: TcpStream, gate: Arc<Gate>, answering: Arc<Answering>) {
    let stream = match gate.secure(stream, Instant::now() + HEADER_TIME).await {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, "a peer's TLS handshake failed"),
    };
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    protocol
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(HEADER_TIME)
        .keep_alive_timeout(CALL_TIME);
    let (calls, last_call) = watch::channel(Instant::now());
    let calls = Arc::new(calls);
    let service = service_fn(move |request| {
        let (gate, answering, calls) = (Arc::clone(&gate), Arc::clone(&answering), Arc::clone(&calls));
        async move { Ok::<_, Infallible>(respond(&gate, &answering, &calls, request).await) }
    });
    tokio::select! {
        ended = protocol.serve_connection(TokioIo::new(stream), service) => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a peer's connection ended");
            }
        }
        () = silence(last_call) => tracing::debug!("closing a connection on the peers' port without calls"),
    }
}

/// Until no call has begun for a while: whoever holds a connection open without the token takes nobody's place for long.
async fn silence(mut last_call: watch::Receiver<Instant>) {
    loop {
        let until = *last_call.borrow_and_update() + SILENCE;
        if tokio::time::timeout_at(until, last_call.changed()).await.is_err() {
            return;
        }
    }
}

async fn respond(
    gate: &Gate,
    answering: &Answering,
    calls: &watch::Sender<Instant>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let slow = || Refusal::Malformed(StatusCode::REQUEST_TIMEOUT, "the call took too long".to_owned());
    let called = match gate.admit(request.headers()) {
        Err(_) => Err(Refusal::Unauthenticated),
        Ok(()) => {
            calls.send_replace(Instant::now());
            timeout(CALL_TIME, call(answering, request)).await.unwrap_or_else(|_| Err(slow()))
        }
    };
    let refusal = match called {
        Ok(body) => {
            let mut response = Response::new(Full::new(Bytes::from(body)));
            let kind = HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            return response;
        }
        Err(refusal) => refusal,
    };
    if answering.refused().count(&refusal) == 0 {
        // Once: a peer with a wrong token calls every few seconds.
        tracing::warn!(reason = ?refusal, "a call on the peers' port was refused");
    }
    answer_of(refusal)
}

fn answer_of(refusal: Refusal) -> Response<Full<Bytes>> {
    let (status, text) = match refusal {
        Refusal::Unauthenticated => {
            (StatusCode::UNAUTHORIZED, "peers::token is not the one of this node".to_owned())
        }
        Refusal::Malformed(status, text) => (status, text),
        Refusal::Unknown(text) => (StatusCode::NOT_FOUND, text),
        Refusal::Unavailable(text) => (StatusCode::SERVICE_UNAVAILABLE, text),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

async fn call(answering: &Answering, request: Request<Incoming>) -> Result<Vec<u8>, Refusal> {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return Err(Refusal::Malformed(StatusCode::METHOD_NOT_ALLOWED, "POST only".to_owned()));
    }
    let (path, caller) = (head.uri.path(), answering.caller(&head.headers));
    let keeps = path == KEEP_PATH;
    if !keeps && path != HOLDS_PATH {
        return Err(Refusal::Unknown(format!("{path} is no call of peers")));
    }
    let body = Limited::new(body, CALL_BYTES).collect().await.map_err(|error| {
        let status = match error.downcast_ref::<LengthLimitError>() {
            Some(_) => StatusCode::PAYLOAD_TOO_LARGE,
            None => StatusCode::BAD_REQUEST,
        };
        Refusal::Malformed(status, error.to_string())
    })?;
    let body = body.to_bytes();
    if keeps { answering.keep(body).await } else { answering.holds(body, caller).await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_calls_is_not_kept() {
        let (calls, last_call) = watch::channel(Instant::now());
        let begun = Instant::now();
        let ended = tokio::spawn(silence(last_call));
        tokio::time::advance(SILENCE / 2).await;
        calls.send_replace(Instant::now());
        ended.await.unwrap();
        assert_eq!(begun.elapsed(), SILENCE + SILENCE / 2);
    }
}
