//! How it is sent: OTLP over gRPC from one thread, a bounded number of requests in flight, at a rate or as fast as they are
//! acknowledged. A request that is refused for now is sent again until it is taken.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use throughline_otlp::WireError;
use throughline_otlp::wire::Fields;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::spans::{Requests, SPANS_A_REQUEST};
use crate::rounds::cpu_nanos;

const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// After a refusal, before the request is sent again.
const PAUSE: Duration = Duration::from_millis(20);
/// gRPC's RESOURCE_EXHAUSTED and UNAVAILABLE: try again.
const RETRYABLE: [&str; 2] = ["8", "14"];

/// Longest that a warm-up waits for its spans.
pub const FILLING: Duration = Duration::from_secs(60);

/// Spans a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as they are acknowledged, within a limit.
    Saturated {
        /// What the configuration leaves room for.
        at_most: f64,
    },
    /// At this rate; what falls behind is sent later, and its wait counts as latency.
    Steady(f64),
}

/// How a load is sent.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// To whom.
    pub to: SocketAddr,
    /// How fast.
    pub pace: Pace,
    /// Before the window: so long, and until so many spans were sent if that takes no longer than [`FILLING`].
    pub warm_up: (Duration, u64),
    /// How long the window is; then the load goes on until every trace that was begun is complete.
    pub window: Duration,
    /// Requests in flight at most.
    pub in_flight: usize,
    /// Connections they share.
    pub connections: usize,
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    /// When, since the start.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
}

/// What was sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// Requests, every one acknowledged.
    pub requests: u64,
    /// When and how fast.
    pub acks: Vec<Ack>,
    /// Times a request was refused and sent again.
    pub refused: u64,
    /// CPU time of this process, a span.
    pub cpu_nanos: f64,
    /// When the window began, since the start.
    pub window_from: Duration,
}

impl Sent {
    /// Spans sent and acknowledged.
    #[must_use]
    pub fn spans(&self) -> u64 {
        self.requests * SPANS_A_REQUEST
    }

    /// The latency that this share of the acknowledgements since `from` and before `until` had at most.
    #[must_use]
    pub fn latency(&self, share: f64, from: Duration, until: Duration) -> Duration {
        let within = self.acks.iter().filter(|ack| (from..until).contains(&ack.at));
        let mut took: Vec<_> = within.map(|ack| ack.took).collect();
        took.sort_unstable();
        took.get((took.len() as f64 * share) as usize).copied().unwrap_or_default()
    }
}

/// Sends `requests` as `load` says; `done` counts acknowledged spans as they come.
///
/// # Errors
/// If the receiver is gone, or refuses a request for good, or takes only a part of it.
pub async fn send(requests: Arc<Requests>, load: Load, done: Arc<AtomicU64>) -> io::Result<Sent> {
    let (before, started) = (cpu_nanos(), Instant::now());
    let next = Next { number: 0, due: started, window_from: None };
    let turns = Arc::new(Turns { requests, load, started, next: Mutex::new(next) });
    let mut connections = Vec::new();
    for _ in 0..load.connections.max(1) {
        connections.push(connect(load.to).await?);
    }
    let mut workers = JoinSet::new();
    for connection in connections.iter().cycle().take(load.in_flight.max(1)) {
        let worker = Worker { turns: Arc::clone(&turns), to: connection.clone(), done: Arc::clone(&done) };
        workers.spawn(worker.run());
    }
    let mut all = Sent::default();
    while let Some(ended) = workers.join_next().await {
        let sent = ended.map_err(io::Error::other)??;
        all.requests += sent.requests;
        all.refused += sent.refused;
        all.acks.extend(sent.acks);
    }
    all.window_from =
        turns.next.lock().unwrap_or_else(PoisonError::into_inner).window_from.unwrap_or_default();
    all.cpu_nanos = (cpu_nanos() - before) as f64 / all.spans() as f64;
    Ok(all)
}

async fn connect(to: SocketAddr) -> io::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Its end shows in the requests.
    tokio::spawn(connection);
    Ok(sender)
}

/// Who sends which request when.
#[derive(Debug)]
struct Turns {
    requests: Arc<Requests>,
    load: Load,
    started: Instant,
    next: Mutex<Next>,
}

/// The next request, and when it is due.
#[derive(Debug)]
struct Next {
    number: u64,
    due: Instant,
    /// Once it has begun, since the start.
    window_from: Option<Duration>,
}

impl Turns {
    /// The next request and when it is due; `None` at the end of the load.
    fn take(&self) -> Option<(u64, Instant)> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let Next { number, due, .. } = *next;
        if self.is_over(&mut next) && self.requests.complete(number) {
            return None;
        }
        let after = |rate: f64| Duration::from_secs_f64(SPANS_A_REQUEST as f64 / rate);
        let (due, following) = match self.load.pace {
            Pace::Saturated { at_most } => {
                let due = due.max(Instant::now());
                (due, due + after(at_most))
            }
            Pace::Steady(rate) => (due, due + after(rate)),
        };
        (next.number, next.due) = (number + 1, following);
        Some((number, due))
    }

    /// Whether the window is over; it begins once everything is warm.
    fn is_over(&self, next: &mut Next) -> bool {
        let (now, (warm_up, fill)) = (self.started.elapsed(), self.load.warm_up);
        let filled = next.number * SPANS_A_REQUEST >= fill || now >= FILLING.max(warm_up);
        if next.window_from.is_none() && now >= warm_up && filled {
            next.window_from = Some(now);
        }
        next.window_from.is_some_and(|from| now >= from + self.load.window)
    }
}

struct Worker {
    turns: Arc<Turns>,
    to: SendRequest<Full<Bytes>>,
    done: Arc<AtomicU64>,
}

impl Worker {
    async fn run(mut self) -> io::Result<Sent> {
        let mut sent = Sent::default();
        let mut buffer = BytesMut::new();
        while let Some((number, due)) = self.turns.take() {
            let mut began = due;
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
                // The timer's own delay is not the receiver's.
                began = Instant::now();
            }
            self.turns.requests.write(number, &mut buffer);
            let body = buffer.freeze();
            while !self.export(body.clone()).await? {
                sent.refused += 1;
                tokio::time::sleep(PAUSE).await;
            }
            self.done.fetch_add(SPANS_A_REQUEST, Ordering::Relaxed);
            sent.requests += 1;
            sent.acks.push(Ack { at: self.turns.started.elapsed(), took: began.elapsed() });
            // The connection has let go of it, unless it is slow to: then the next gets a new one.
            buffer = body.try_into_mut().unwrap_or_default();
        }
        Ok(sent)
    }

    /// Whether it was taken; if not, it may be later.
    async fn export(&mut self, body: Bytes) -> io::Result<bool> {
        self.to.ready().await.map_err(io::Error::other)?;
        let request = Request::post(format!("http://{}{METHOD}", self.turns.load.to))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        let response = self.to.send_request(request).await.map_err(io::Error::other)?;
        let (status, message) = outcome(response).await?;
        match status.as_str() {
            "0" => match rejected(&message) {
                Ok(0) => Ok(true),
                Ok(spans) => Err(io::Error::other(format!("{spans} spans of a request were rejected"))),
                Err(error) => Err(io::Error::other(format!("the answer is no OTLP: {error}"))),
            },
            status if RETRYABLE.contains(&status) => Ok(false),
            status => Err(io::Error::other(format!("refused for good, gRPC status {status}"))),
        }
    }
}

/// `partial_success.rejected_spans` of a framed answer; the peer sends the field also where nothing was rejected.
fn rejected(framed: &[u8]) -> Result<u64, WireError> {
    for partial in Fields::new(framed.get(5..).unwrap_or_default()) {
        for field in Fields::new(partial?.bytes()?) {
            let field = field?;
            if field.number == 1 {
                return field.varint();
            }
        }
    }
    Ok(0)
}

/// gRPC's status, which stands in the trailers, or in the headers if there is nothing else; and the framed message.
async fn outcome(response: Response<Incoming>) -> io::Result<(String, Bytes)> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?;
    let trailers = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
    let status = trailers.or_else(|| head.headers.get("grpc-status"));
    let status = status.map(|status| String::from_utf8_lossy(status.as_bytes()).into_owned());
    let status = status.ok_or_else(|| io::Error::other(format!("no gRPC status, HTTP {}", head.status)))?;
    Ok((status, body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_how_many_spans_it_rejects() {
        let framed = |message: &[u8]| [&[0, 0, 0, 0, message.len() as u8], message].concat();
        let check = |message: &[u8], expect| assert_eq!(rejected(&framed(message)), expect);
        check(&[], Ok(0));
        check(&[10, 0], Ok(0));
        check(&[10, 2, 8, 7], Ok(7));
        check(&[10, 5, 18, 1, b'x', 8, 7], Ok(7));
        check(&[10, 9], Err(WireError::Truncated { at: 1 }));
        assert_eq!(rejected(&[]), Ok(0));
    }
}
