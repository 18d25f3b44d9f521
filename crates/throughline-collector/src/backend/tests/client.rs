//! A client that says exactly what it is told to, right or wrong.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;

use ::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

pub(super) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub(super) const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
pub(super) const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Header names and values.
pub(super) type Headers = &'static [(&'static str, &'static str)];

/// One HTTP/2 connection; clones share it.
#[derive(Clone)]
pub(super) struct Grpc(http2::SendRequest<BoxBody<Bytes, Infallible>>);

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Called {
    /// `grpc-status`
    pub(super) status: u32,
    /// `grpc-message`
    pub(super) message: String,
    /// Whether `grpc-status-details-bin` holds a `RetryInfo`.
    pub(super) retry: bool,
    /// The message, without its prefix.
    pub(super) body: Bytes,
}

impl Grpc {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap()).await
    }

    pub(super) async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Sends `frames` as DATA frames of one call.
    pub(super) async fn send(&mut self, path: &str, headers: &[(&str, &str)], frames: Vec<Bytes>) -> Called {
        let mut request = Request::post(format!("http://localhost{path}")).header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let frames = frames.into_iter().map(|frame| Ok(Frame::data(frame)));
        let body = BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)));
        self.0.ready().await.unwrap();
        let response = self.0.send_request(request.body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let (head, body) = response.into_parts();
        assert_eq!(head.headers["content-type"], "application/grpc");
        let collected = body.collect().await.unwrap();
        // A failure without a message says everything in its headers.
        let end = collected.trailers().cloned().unwrap_or(head.headers);
        let text = |name: &str| end.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        Called {
            status: text("grpc-status").parse().unwrap(),
            message: text("grpc-message"),
            // "google.rpc.RetryInfo" in base64, at the offset at which it stands behind our type prefix.
            retry: !text("grpc-status-details-bin").is_empty()
                && details_say_retry(&text("grpc-status-details-bin")),
            body: unprefixed(&collected.to_bytes()),
        }
    }

    /// A well-formed call.
    pub(super) async fn export(&mut self, path: &str, message: &[u8]) -> Called {
        self.send(path, &[GRPC], vec![framed(0, message)]).await
    }
}

pub(super) const GRPC: (&str, &str) = ("content-type", "application/grpc");

pub(super) fn framed(flag: u8, message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], length.as_slice(), message].concat().into()
}

pub(super) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn unprefixed(body: &Bytes) -> Bytes {
    if body.is_empty() {
        return Bytes::new();
    }
    let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
    assert_eq!((body[0], body.len()), (0, 5 + length));
    body.slice(5..)
}

fn details_say_retry(base64: &str) -> bool {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    for chunk in base64.as_bytes().chunks(4) {
        let group = chunk.iter().fold(0_u32, |group, c| group << 6 | u32::from(digit(*c)));
        let group = group << (6 * (4 - chunk.len()));
        bytes.extend_from_slice(&group.to_be_bytes()[1..chunk.len()]);
    }
    bytes.windows(20).any(|window| window == b"google.rpc.RetryInfo")
}

/// An HTTP answer.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answered {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// One HTTP/1.1 request on a connection of its own.
pub(super) async fn http(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answered {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answered { status: head.status.as_u16(), headers: head.headers, body }
}

pub(super) const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
pub(super) const JSON: (&str, &str) = ("content-type", "application/json");
