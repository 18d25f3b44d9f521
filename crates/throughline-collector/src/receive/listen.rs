//! Sockets and connections: binding, accepting up to a bound, and ending each connection that does nothing.
//!
//! One watchdog serves both protocols: it knows only when the last request began or ended, so a client that dribbles a
//! header, opens an HTTP/2 connection and says nothing, or goes away without a word is closed all the same. A TLS handshake
//! is part of the first header's time.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::answer::Answer;
use super::stream::Stream;
use super::{Listener, Shared, grpc, http as otlp_http};
use crate::config::Limits;

/// HTTP/2 windows and frames, as measured: the defaults' small frames cost a gather copy each.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
const FRAME: u32 = 1024 * 1024;
const STREAMS: u32 = 256;
const HEADER_LIST: u32 = 16 * 1024;

/// A silent peer is pinged after this and given up after [`PING_TIMEOUT`].
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Out of file descriptors: give connections time to end instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket, not yet accepting.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) which: Listener,
    pub(crate) address: SocketAddr,
    socket: TcpListener,
}

/// Binds and listens: from here on a client's connection waits rather than being refused.
pub(crate) async fn bind(which: Listener, address: SocketAddr) -> io::Result<Bound> {
    let socket = TcpListener::bind(address).await?;
    Ok(Bound { which, address: socket.local_addr()?, socket })
}

/// Accepts until `stop` turns true, then lets the requests in progress end, for as long as `drain` at most.
pub(crate) async fn serve(bound: Bound, receiver: Shared, mut stop: watch::Receiver<bool>) {
    let limits = receiver.limits.clone();
    // Ends with this function.
    let _fresh = receiver.gate.keep_fresh(&receiver.entrance.counters);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&bound.socket, &slots) => accepted,
        };
        match accepted {
            Ok((stream, slot)) => {
                let connection = Connection::new(bound.which, Arc::clone(&receiver), stop.clone());
                connections.spawn(async move {
                    connection.run(stream).await;
                    drop(slot);
                });
            }
            // A client that left while it waited is its own affair.
            Err(error) if is_peers(&error) => {}
            Err(error) => {
                tracing::warn!(%error, listener = %bound.which, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(bound.socket);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain, drained).await.is_err() {
        tracing::warn!(open = connections.len(), listener = %bound.which, "requests cut off at shutdown");
        connections.shutdown().await;
    }
}

/// A slot first, then a connection: without a free slot the kernel's backlog holds new ones.
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

fn is_peers(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

struct Connection {
    which: Listener,
    receiver: Shared,
    stop: watch::Receiver<bool>,
    activity: Arc<Activity>,
}

/// When a connection last did something, and how much it is doing.
struct Activity {
    opened: Instant,
    in_flight: AtomicUsize,
    /// Milliseconds after `opened`, plus one; zero until the first request.
    last: AtomicU64,
}

/// One request in progress on a connection.
struct InFlight(Arc<Activity>);

impl Activity {
    fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.touch();
        InFlight(Arc::clone(self))
    }

    fn touch(&self) {
        let millis = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last.store(millis + 1, Ordering::Relaxed);
    }

    /// When the connection is to be ended if nothing happens, given what has happened; `None` while a request runs.
    fn deadline(&self, header: Duration, idle: Duration) -> Option<Instant> {
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return None;
        }
        Some(match self.last.load(Ordering::Relaxed).checked_sub(1) {
            None => self.opened + header,
            Some(last) => self.opened + Duration::from_millis(last) + idle,
        })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.touch();
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    fn new(which: Listener, receiver: Shared, stop: watch::Receiver<bool>) -> Self {
        let activity =
            Activity { opened: Instant::now(), in_flight: AtomicUsize::new(0), last: AtomicU64::new(0) };
        Self { which, receiver, stop, activity: Arc::new(activity) }
    }

    async fn run(self, stream: TcpStream) {
        let Self { which, receiver, mut stop, activity } = self;
        let Limits { header_timeout, idle_timeout, .. } = receiver.limits;
        let by = activity.opened + header_timeout;
        let stream = tokio::select! {
            stream = secured(which, &receiver, stream, by) => stream,
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let Some(stream) = stream else { return };
        let protocol = protocol(which);
        let service = service(which, receiver, Arc::clone(&activity));
        let mut connection = std::pin::pin!(protocol.serve_connection(TokioIo::new(stream), service));
        let mut stopping = false;
        loop {
            let deadline = activity.deadline(header_timeout, idle_timeout);
            // While a request runs its own timeouts hold; look again when one could have ended.
            let look = deadline.unwrap_or_else(|| Instant::now() + header_timeout);
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, listener = %which, "connection ended");
                    }
                    return;
                }
                _ = stop.wait_for(|stop| *stop), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = tokio::time::sleep_until(look) => {
                    let due = activity.deadline(header_timeout, idle_timeout);
                    if due.is_some_and(|due| due <= Instant::now()) {
                        tracing::debug!(listener = %which, "closing a connection without requests");
                        return;
                    }
                }
            }
        }
    }
}

/// The stream that requests come over: behind a TLS handshake if the listener has certificates. `None` if that failed or
/// was not done in time.
async fn secured(which: Listener, receiver: &Shared, stream: TcpStream, by: Instant) -> Option<Stream> {
    let peer = stream.peer_addr().ok();
    let error = match receiver.gate.secure(stream, by).await {
        Ok(stream) => return Some(stream),
        Err(error) => error,
    };
    receiver.entrance.counters.fail_handshake();
    tracing::debug!(%error, ?peer, listener = %which, "TLS handshake failed");
    None
}

/// Answers the requests of one connection, and notes when each begins and ends.
fn service(
    which: Listener,
    receiver: Shared,
    activity: Arc<Activity>,
) -> impl Service<Request<Incoming>, Response = Response<Answer>, Error = Infallible, Future: Send> {
    service_fn(move |request| {
        let in_flight = activity.begin();
        let receiver = Arc::clone(&receiver);
        async move {
            let response = answer(which, &receiver, request).await;
            drop(in_flight);
            Ok::<_, Infallible>(response)
        }
    })
}

async fn answer(which: Listener, receiver: &Shared, request: Request<Incoming>) -> Response<Answer> {
    match which {
        Listener::Grpc => grpc::call(receiver, request).await,
        Listener::Http => otlp_http::respond(receiver, request).await,
    }
}

fn protocol(which: Listener) -> auto::Builder<TokioExecutor> {
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    // The watchdog times headers; hyper's own timer would also cut keep-alive connections between two exports.
    protocol.http1().header_read_timeout(None);
    protocol
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_LIST)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    match which {
        Listener::Grpc => protocol.http2_only(),
        Listener::Http => protocol,
    }
}
