//! Where it arrives: OTLP over gRPC and HTTP on one port, counted by trace. A trace's number is in its id, so a count is a
//! byte; of a span nothing but its trace id is read. Refuses nothing: what is not OTLP is counted as foreign.
//!
//! Beside the export methods: `GET /totals` (text), `GET /counts` (a byte a trace, by number), `POST /reset`.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use throughline_otlp::WireError;
use throughline_otlp::wire::Fields;
use tokio::net::{TcpListener, TcpStream};

use super::spans::trace_of;

/// More traces than a run can send: a number beyond is not the load's.
const MOST_TRACES: u64 = 1 << 30;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What has arrived.
#[derive(Clone, Debug, Default)]
pub struct Arrived {
    /// Totals.
    pub totals: Totals,
    /// Spans of each trace, by its number; 255 is that many or more.
    pub counts: Vec<u8>,
}

/// Totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests.
    pub requests: u64,
    /// Spans.
    pub spans: u64,
    /// Spans that are not of the load, and requests that are not OTLP.
    pub foreign: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.requests, self.spans, self.foreign)
    }
}

impl Totals {
    /// As [`fmt::Display`] writes them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
        Some(Self { requests: numbers.next()??, spans: numbers.next()??, foreign: numbers.next()?? })
    }
}

impl Arrived {
    /// Counts the spans of a request.
    pub fn take(&mut self, request: &[u8]) {
        self.totals.requests += 1;
        let read = traces(request, &mut |id| match trace_of(id).filter(|trace| *trace < MOST_TRACES) {
            Some(trace) => self.count(trace as usize),
            None => self.totals.foreign += 1,
        });
        self.totals.foreign += u64::from(read.is_err());
    }

    fn count(&mut self, trace: usize) {
        self.totals.spans += 1;
        if trace >= self.counts.len() {
            self.counts.resize((trace + 1).next_power_of_two(), 0);
        }
        if let Some(count) = self.counts.get_mut(trace) {
            *count = count.saturating_add(1);
        }
    }
}

/// Calls back with the trace id of each span; of a span no more is read than that.
fn traces(request: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<(), WireError> {
    let inner = |message, number| {
        Fields::new(message).filter(move |field| !matches!(field, Ok(field) if field.number != number))
    };
    for resource in inner(request, 1) {
        for scope in inner(resource?.bytes()?, 2) {
            for span in inner(scope?.bytes()?, 2) {
                let id = inner(span?.bytes()?, 1).next();
                found(id.transpose()?.map_or(Ok(&[][..]), |id| id.bytes())?);
            }
        }
    }
    Ok(())
}

/// Listens until the process ends.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let arrived = Arc::new(Mutex::new(Arrived::default()));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, Arc::clone(&arrived)));
    }
}

async fn connection(stream: TcpStream, arrived: Arc<Mutex<Arrived>>) {
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol
        .http2()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .max_frame_size(1 << 20);
    let service = service_fn(move |request| answer(Arc::clone(&arrived), request));
    // A client that goes away is no news: it is killed at the end of each run.
    let _ = protocol.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    arrived: Arc<Mutex<Arrived>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(match head.uri.path() {
        "/totals" => plain(arrived.totals.to_string()),
        "/counts" => plain(arrived.counts.clone()),
        "/reset" => {
            *arrived = Arrived::default();
            plain("")
        }
        "/v1/traces" => {
            let gzip = head.headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip");
            arrived.take(&inflated(body, gzip));
            plain("")
        }
        _ => {
            let gzip = body.first() == Some(&1);
            arrived.take(&inflated(body.slice(body.len().min(5)..), gzip));
            grpc()
        }
    })
}

/// What cannot be inflated stays as it is, and is then no OTLP.
fn inflated(body: Bytes, gzip: bool) -> Bytes {
    let mut plain = Vec::new();
    if gzip && flate2::read::MultiGzDecoder::new(body.as_ref()).read_to_end(&mut plain).is_ok() {
        return Bytes::from(plain);
    }
    body
}

fn plain(body: impl Into<Bytes>) -> Response<Body> {
    Response::new(Full::new(body.into()).boxed_unsync())
}

/// An empty message, and that all is well.
fn grpc() -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Ok(Frame::data(Bytes::from_static(&[0; 5]))), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::collector::spans::{Requests, SPANS_A_TRACE, Shape};

    #[test]
    fn what_was_sent_is_what_is_counted() {
        for shape in [Shape::Interleaved { apart: 8 }, Shape::Whole] {
            let requests = Requests::new(shape, 1, 0);
            let (mut arrived, mut buffer) = (Arrived::default(), BytesMut::new());
            for number in 0..64 {
                requests.write(number, &mut buffer);
                arrived.take(&buffer[5..]);
            }
            assert_eq!(arrived.totals, Totals { requests: 64, spans: 64 * 512, foreign: 0 });
            let traces = Requests::traces_before(64) as usize;
            assert_eq!(arrived.counts[..traces], vec![SPANS_A_TRACE as u8; traces]);
        }
    }

    #[test]
    fn what_is_not_of_the_load_is_foreign() {
        // A span whose trace id is another's, a span without one, half a field.
        let mut span = vec![10, 16];
        span.extend([7; 16]);
        let wrap = |number: u8, inner: &[u8]| [&[number << 3 | 2, inner.len() as u8], inner].concat();
        let mut arrived = Arrived::default();
        for bytes in [wrap(1, &wrap(2, &wrap(2, &span))), wrap(1, &wrap(2, &wrap(2, &[]))), vec![10, 9]] {
            arrived.take(&bytes);
        }
        assert_eq!(arrived.totals, Totals { requests: 3, spans: 0, foreign: 3 });
        assert_eq!(Totals::parse(&arrived.totals.to_string()), Some(arrived.totals));
    }
}
