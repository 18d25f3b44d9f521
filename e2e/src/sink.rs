//! An OTLP destination for tests: takes traces and logs over gRPC and HTTP on one port, counts what arrived span by span,
//! and fails as it is told to. It keeps ids, not spans, so that it is never what a measurement measures.
//!
//! Beside the export methods: `GET /stats` (JSON), `GET /traces` (`traceid n spanid…`), `POST /reset`, `POST /fault?…`
//! ([`Fault::from_query`]).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use throughline_otlp::view::{LogsView, TracesView};
use throughline_otlp::{Signal, SpanId, TraceId, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// A listening sink. Dropped, it refuses connections and those it had are cut.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    arrived: Arc<Arrived>,
    serving: JoinHandle<()>,
}

/// What has arrived, shared by sinks that stand for one.
#[derive(Debug, Default)]
pub struct Arrived {
    counts: Mutex<Counts>,
    fault: Mutex<Option<Fault>>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: u64,
    refused: u64,
    unanswered: u64,
    logs: u64,
    bytes: u64,
    /// Span ids as they came, repeated ones too.
    traces: HashMap<TraceId, Vec<SpanId>>,
    /// Headers of the last export.
    headers: HeaderMap,
}

/// Totals since the start or the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Export requests that were accepted.
    pub requests: u64,
    /// Export requests that a fault refused.
    pub refused: u64,
    /// Spans in the accepted ones, repeated ones included.
    pub spans: u64,
    /// Of these, different ones.
    pub distinct: u64,
    /// Spans in requests that were accepted and, because a fault said so, not answered: they have to come again.
    pub unanswered: u64,
    /// Traces.
    pub traces: u64,
    /// Log records.
    pub logs: u64,
    /// Bytes of the accepted ones, as they were sent.
    pub bytes: u64,
}

/// What the next export requests meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How many of them.
    pub count: u64,
    /// Before anything else.
    pub delay: Duration,
    /// And then.
    pub then: Then,
}

/// How a request ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is accepted: only the delay is the fault.
    Accept,
    /// It is accepted, and no answer comes: the connection (over HTTP/2 the stream) is cut.
    AcceptAndCut,
    /// Nothing of it is kept, the connection is cut.
    Cut,
    /// It is accepted, and the answer says that so many items were not.
    Partly {
        /// How many.
        rejected: u64,
    },
    /// It is refused.
    Answer {
        /// HTTP status.
        http: u16,
        /// gRPC status.
        grpc: u32,
        /// Seconds.
        retry_after: Option<u64>,
    },
}

impl Fault {
    /// From `status=503&grpc=14&retry_after=1&delay_ms=0&count=3`, or with `cut=1`, `cut=after` or `partly=2` in place of a
    /// status. Without a count it lasts until the next one; `count=0` ends it.
    ///
    /// # Errors
    /// What is not understood.
    pub fn from_query(query: &str) -> Result<Self, String> {
        let mut fault = Self { count: u64::MAX, delay: Duration::ZERO, then: Then::Accept };
        let (mut http, mut grpc, mut retry_after) = (None, None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair} has no value"))?;
            let number = || value.parse::<u64>().map_err(|error| format!("{pair}: {error}"));
            match key {
                "count" => fault.count = number()?,
                "delay_ms" => fault.delay = Duration::from_millis(number()?),
                "cut" => fault.then = if value == "after" { Then::AcceptAndCut } else { Then::Cut },
                "partly" => fault.then = Then::Partly { rejected: number()? },
                "status" => http = Some(number()?),
                "grpc" => grpc = Some(number()?),
                "retry_after" => retry_after = Some(number()?),
                other => return Err(format!("{other} is not known")),
            }
        }
        if http.is_some() || grpc.is_some() {
            let http = u16::try_from(http.unwrap_or(503)).map_err(|error| error.to_string())?;
            let usual = match http {
                429 => 8,
                502..=504 => 14,
                _ => 3,
            };
            let grpc = u32::try_from(grpc.unwrap_or(usual)).map_err(|error| error.to_string())?;
            fault.then = Then::Answer { http, grpc, retry_after };
        }
        Ok(fault)
    }
}

impl Sink {
    /// Listens, port 0 for a free one.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start(address: SocketAddr) -> io::Result<Self> {
        Self::start_over(address, Arc::default()).await
    }

    /// Listens, going on with what another has.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start_over(address: SocketAddr, arrived: Arc<Arrived>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(serve(listener, Arc::clone(&arrived)));
        Ok(Self { address, arrived, serving })
    }

    /// Listens where one did that was stopped, once the port is free: another process may have it for a moment.
    ///
    /// # Panics
    /// If it does not become free.
    pub async fn again(address: SocketAddr, arrived: &Arc<Arrived>) -> Self {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        let listening = async {
            loop {
                looks.tick().await;
                if let Ok(sink) = Self::start_over(address, Arc::clone(arrived)).await {
                    return sink;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), listening).await.expect("the port becomes free")
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has arrived.
    #[must_use]
    pub fn arrived(&self) -> Arc<Arrived> {
        Arc::clone(&self.arrived)
    }

    /// Refuses connections from here on, and cuts those that are open.
    pub async fn stop(mut self) -> Arc<Arrived> {
        self.serving.abort();
        // Aborted is what it is meant to be.
        let _ = (&mut self.serving).await;
        Arc::clone(&self.arrived)
    }

    /// Waits until it is told to stop, which is never.
    pub async fn run(mut self) {
        let _ = (&mut self.serving).await;
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Arrived {
    /// Totals.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counts = self.counts();
        let distinct = |spans: &Vec<SpanId>| {
            let mut spans = spans.clone();
            spans.sort_unstable();
            spans.dedup();
            spans.len() as u64
        };
        Stats {
            requests: counts.requests,
            refused: counts.refused,
            spans: counts.traces.values().map(|spans| spans.len() as u64).sum(),
            distinct: counts.traces.values().map(distinct).sum(),
            unanswered: counts.unanswered,
            traces: counts.traces.len() as u64,
            logs: counts.logs,
            bytes: counts.bytes,
        }
    }

    /// The spans of each trace, sorted, with how many arrived. One that came twice stands there twice.
    #[must_use]
    pub fn traces(&self) -> Vec<(TraceId, usize, Vec<SpanId>)> {
        let trace = |(trace, spans): (&TraceId, &Vec<SpanId>)| {
            let mut all = spans.clone();
            all.sort_unstable();
            (*trace, all.len(), all)
        };
        let mut traces: Vec<_> = self.counts().traces.iter().map(trace).collect();
        traces.sort_unstable();
        traces
    }

    /// A header of the last export request, empty without one.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        let counts = self.counts();
        counts
            .headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .unwrap_or_default()
    }

    /// What the next requests meet.
    pub fn fault(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// Forgets everything, faults too.
    pub fn reset(&self) {
        *self.counts() = Counts::default();
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_fault(&self) -> Fault {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match fault.as_mut().filter(|fault| fault.count > 0) {
            Some(fault) => {
                fault.count -= 1;
                fault.clone()
            }
            None => Fault { count: 0, delay: Duration::ZERO, then: Then::Accept },
        }
    }

    /// Returns how many spans it took.
    fn take(&self, signal: Signal, message: &[u8], size: usize, headers: HeaderMap) -> Result<u64, String> {
        let mut spans = Vec::new();
        let mut logs = 0;
        match signal {
            Signal::Traces => TracesView::new(message).for_each(&mut |_, _, span| {
                spans.extend(span.ids());
                Ok(())
            }),
            Signal::Logs => LogsView::new(message).for_each(&mut |_, _, _| {
                logs += 1;
                Ok(())
            }),
            Signal::Metrics => Ok(()),
        }
        .map_err(|error| error.to_string())?;
        let mut counts = self.counts();
        counts.requests += 1;
        counts.logs += logs;
        counts.bytes += size as u64;
        counts.headers = headers;
        let taken = spans.len() as u64;
        for (trace, span) in spans {
            counts.traces.entry(trace).or_default().push(span);
        }
        Ok(taken)
    }
}

async fn serve(listener: TcpListener, arrived: Arc<Arrived>) {
    // Connections end with the task that holds this.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(connection(stream, Arc::clone(&arrived)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, arrived: Arc<Arrived>) {
    // Fails only on a connection that is gone.
    let _ = stream.set_nodelay(true);
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol
        .http2()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .max_frame_size(1 << 20);
    let service = service_fn(move |request| answer(Arc::clone(&arrived), request));
    // A client that goes away, or is cut on purpose, is no news.
    let _ = protocol.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(arrived: Arc<Arrived>, request: Request<Incoming>) -> Result<Response<Body>, String> {
    let (head, body) = request.into_parts();
    let Some(signal) = signal(head.uri.path()) else {
        return Ok(control(&arrived, &head.method, head.uri.path(), head.uri.query().unwrap_or_default()));
    };
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    let fault = arrived.next_fault();
    if !fault.delay.is_zero() {
        // tidy: sleeps, because to be slow is what it was told.
        tokio::time::sleep(fault.delay).await;
    }
    let grpc = is(&head.headers, "content-type", "application/grpc");
    let size = body.len();
    let accept = |headers: HeaderMap| -> Result<u64, String> {
        let message = message(&headers, signal, body, grpc)?;
        arrived.take(signal, &message, size, headers)
    };
    match fault.then {
        Then::Cut => Err("cut on purpose".to_owned()),
        Then::AcceptAndCut => {
            let taken = accept(head.headers)?;
            arrived.counts().unanswered += taken;
            Err("cut on purpose".to_owned())
        }
        Then::Answer { http, grpc: code, retry_after } => {
            arrived.counts().refused += 1;
            Ok(if grpc { grpc_failure(code, retry_after) } else { http_failure(http, retry_after) })
        }
        Then::Accept | Then::Partly { .. } => {
            let rejected = if let Then::Partly { rejected } = fault.then { rejected } else { 0 };
            Ok(match accept(head.headers) {
                Ok(_) if grpc => grpc_success(&export_response(rejected)),
                Ok(_) => respond(200, "application/x-protobuf", export_response(rejected)),
                Err(_) if grpc => grpc_failure(3, None),
                Err(error) => respond(400, "text/plain", error),
            })
        }
    }
}

fn signal(path: &str) -> Option<Signal> {
    match path {
        "/v1/traces" | "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Some(Signal::Traces),
        "/v1/logs" | "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Some(Signal::Logs),
        "/v1/metrics" | "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
            Some(Signal::Metrics)
        }
        _ => None,
    }
}

fn is(headers: &HeaderMap, name: &str, prefix: &str) -> bool {
    headers.get(name).is_some_and(|value| value.as_bytes().starts_with(prefix.as_bytes()))
}

/// The protobuf request in a body.
fn message(headers: &HeaderMap, signal: Signal, body: Bytes, grpc: bool) -> Result<Bytes, String> {
    if grpc {
        let (prefix, message) = body.split_first_chunk::<5>().ok_or("no gRPC prefix")?;
        let [compressed, length @ ..] = prefix;
        if u32::from_be_bytes(*length) as usize != message.len() {
            return Err("not one gRPC message".to_owned());
        }
        let message = body.slice(5..);
        return if *compressed == 1 { gunzip(&message) } else { Ok(message) };
    }
    let body = if is(headers, "content-encoding", "gzip") { gunzip(&body)? } else { body };
    if is(headers, "content-type", "application/json") {
        return json::to_protobuf(signal, &body).map(Bytes::from).map_err(|error| error.to_string());
    }
    Ok(body)
}

fn gunzip(body: &[u8]) -> Result<Bytes, String> {
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(body).read_to_end(&mut plain).map_err(|error| error.to_string())?;
    Ok(Bytes::from(plain))
}

/// An `Export*ServiceResponse`.
fn export_response(rejected: u64) -> Vec<u8> {
    if rejected == 0 {
        return Vec::new();
    }
    let mut partial = vec![8];
    throughline_otlp::wire::put_varint(&mut partial, rejected);
    throughline_otlp::wire::put_bytes(&mut partial, 2, b"rejected on purpose");
    let mut response = Vec::new();
    throughline_otlp::wire::put_bytes(&mut response, 1, &partial);
    response
}

fn respond(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("content-type", http::HeaderValue::from_static(content_type));
    response
}

fn http_failure(status: u16, retry_after: Option<u64>) -> Response<Body> {
    let mut response = respond(status, "text/plain", "refused on purpose");
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", http::HeaderValue::from(seconds));
    }
    response
}

fn grpc_success(message: &[u8]) -> Response<Body> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    let framed = Bytes::from([&[0], length.as_slice(), message].concat());
    let trailers =
        HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), http::HeaderValue::from(0))]);
    let frames = stream::iter([Ok(Frame::data(framed)), Ok(Frame::trailers(trailers))]);
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    response
}

fn grpc_failure(code: u32, retry_after: Option<u64>) -> Response<Body> {
    let mut response = respond(200, "application/grpc", Bytes::new());
    let headers = response.headers_mut();
    headers.insert("grpc-status", http::HeaderValue::from(code));
    headers.insert("grpc-message", http::HeaderValue::from_static("refused on purpose"));
    if let Some(seconds) =
        retry_after.and_then(|seconds| u8::try_from(seconds).ok()).filter(|seconds| *seconds < 128)
    {
        // google.rpc.Status { details: [Any { RetryInfo { retry_delay: seconds } }] }
        let url = b"type.googleapis.com/google.rpc.RetryInfo";
        let mut any = Vec::new();
        throughline_otlp::wire::put_bytes(&mut any, 1, url);
        throughline_otlp::wire::put_bytes(&mut any, 2, &[10, 2, 8, seconds]);
        let mut status = Vec::new();
        throughline_otlp::wire::put_bytes(&mut status, 3, &any);
        if let Ok(value) = http::HeaderValue::try_from(base64(&status)) {
            headers.insert("grpc-status-details-bin", value);
        }
    }
    response
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            let index = (group >> (18 - 6 * digit) & 0x3f) as usize;
            encoded.extend(DIGITS.get(index).copied().map(char::from));
        }
    }
    encoded
}

fn control(arrived: &Arrived, method: &Method, path: &str, query: &str) -> Response<Body> {
    match (method.as_str(), path) {
        ("GET", "/stats") => {
            let Stats { requests, refused, spans, distinct, unanswered, traces, logs, bytes } =
                arrived.stats();
            let duplicates = spans - distinct;
            let body = format!(
                r#"{{"requests":{requests},"refused":{refused},"spans":{spans},"distinct":{distinct},"duplicates":{duplicates},"unanswered":{unanswered},"traces":{traces},"logs":{logs},"bytes":{bytes}}}"#
            );
            respond(200, "application/json", body)
        }
        ("GET", "/traces") => {
            let mut text = String::new();
            for (trace, count, spans) in arrived.traces() {
                // Writing to a text cannot fail.
                let _ = write!(text, "{trace} {count}");
                for span in spans {
                    let _ = write!(text, " {span}");
                }
                text.push('\n');
            }
            respond(200, "text/plain", text)
        }
        ("POST", "/reset") => {
            arrived.reset();
            respond(200, "text/plain", "")
        }
        ("POST", "/fault") => match Fault::from_query(query) {
            Ok(fault) => {
                arrived.fault(fault);
                respond(200, "text/plain", "")
            }
            Err(error) => respond(400, "text/plain", error),
        },
        _ => respond(404, "text/plain", "GET /stats, GET /traces, POST /reset, POST /fault, or OTLP\n"),
    }
}
