//! Connections to one server, kept open between requests: one over HTTP/2, shared, or as many over HTTP/1.1 as there are
//! requests at one time.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{HOST, HeaderValue};
use ::http::uri::Authority;
use ::http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::endpoint::{Endpoint, Scheme};
use super::framed::Framed;
use super::{Keepalive, OtlpSettings, Protocol, Security, WhileIdle};
use crate::export::SettingError;
use crate::export::tls::{Client, TlsSettings};

/// A body in one piece.
pub(super) type Payload = Full<Framed>;

/// As measured for the receiving side: smaller ones stall, larger ones gain nothing.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// HTTP/1.1 connections that wait for the next request.
const IDLE: usize = 16;

/// After a failure to connect, whoever asks within this time is told of that failure: a hundred requests that wait for a
/// host which does not answer wait once, not one after the other.
const PAUSE: Duration = Duration::from_millis(200);

/// An own limit, below that of the whole request, so that a host which does not answer is known as that.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

pub(super) struct Connections {
    host: String,
    port: u16,
    tls: Option<(Arc<Client>, ServerName<'static>)>,
    /// HTTP/2 without asking, as gRPC has it; else only if TLS agrees on it.
    always_http2: bool,
    keepalive: Option<Keepalive>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    http2: Option<http2::SendRequest<Payload>>,
    http1: Vec<http1::SendRequest<Payload>>,
    failed: Option<(Instant, Arc<str>)>,
}

/// A connection in use.
pub(super) enum Sender {
    Http1(http1::SendRequest<Payload>),
    Http2(http2::SendRequest<Payload>),
}

/// Whether a connection has been used before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    New,
    Kept,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    Connect(Arc<str>),
    Broken(hyper::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(why) => write!(f, "cannot connect: {why}"),
            Self::Broken(error) => f.write_str(&described(error)),
        }
    }
}

/// hyper's errors name their cause only as their source.
pub(super) fn described(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl Connections {
    pub(super) fn new(settings: &OtlpSettings, endpoint: &Endpoint) -> Result<Self, SettingError> {
        let always_http2 = settings.protocol == Protocol::Grpc;
        let tls = match endpoint.scheme {
            Scheme::Http => None,
            Scheme::Https => {
                let defaults = TlsSettings::default();
                let tls = match &settings.security {
                    Security::Tls(tls) => tls,
                    Security::Plain => &defaults,
                };
                let protocols: &[&[u8]] = if always_http2 { &[b"h2"] } else { &[b"h2", b"http/1.1"] };
                // Named like the peer's: an override first, then the authority, then where it is.
                let authority = settings.authority.as_ref().and_then(|text| text.parse::<Authority>().ok());
                let authority = authority.map(|authority| authority.host().to_owned());
                let name = tls.server_name.clone().or(authority).unwrap_or_else(|| endpoint.host.clone());
                let name = ServerName::try_from(name)
                    .map_err(|error| SettingError::new("tls.server_name_override", error.to_string()))?;
                Some((Arc::new(Client::open(tls, protocols)?), name))
            }
        };
        let (host, port, keepalive) = (endpoint.host.clone(), endpoint.port, settings.keepalive);
        Ok(Self { host, port, tls, always_http2, keepalive, open: Mutex::default() })
    }

    /// A connection that is open as far as is known.
    pub(super) async fn take(&self) -> Result<(Sender, Origin), Failure> {
        // Held while connecting: who comes meanwhile shares what comes of it.
        let mut open = self.open.lock().await;
        if let Some(http2) = open.http2.as_ref().filter(|http2| !http2.is_closed()) {
            return Ok((Sender::Http2(http2.clone()), Origin::Kept));
        }
        while let Some(http1) = open.http1.pop() {
            if http1.is_ready() {
                return Ok((Sender::Http1(http1), Origin::Kept));
            }
        }
        if let Some((at, why)) = &open.failed
            && at.elapsed() < PAUSE
        {
            return Err(Failure::Connect(Arc::clone(why)));
        }
        let connected = match tokio::time::timeout(CONNECT_LIMIT, self.connect()).await {
            Ok(connected) => connected.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no connection within {CONNECT_LIMIT:?}")),
        };
        match connected {
            Ok(sender) => {
                open.failed = None;
                if let Sender::Http2(http2) = &sender {
                    open.http2 = Some(http2.clone());
                }
                Ok((sender, Origin::New))
            }
            Err(why) => {
                let why = Arc::<str>::from(why);
                open.failed = Some((Instant::now(), Arc::clone(&why)));
                Err(Failure::Connect(why))
            }
        }
    }

    /// For the next request, if the connection can take one.
    pub(super) async fn give_back(&self, sender: Sender) {
        let Sender::Http1(http1) = sender else { return };
        let mut open = self.open.lock().await;
        if !http1.is_closed() && open.http1.len() < IDLE {
            open.http1.push(http1);
        }
    }

    /// What is open is not used again. Requests on their way over it go on.
    pub(super) async fn forget(&self) {
        let mut open = self.open.lock().await;
        open.http2 = None;
        open.http1.clear();
    }

    async fn connect(&self) -> Result<Sender, Box<dyn Error + Send + Sync>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let Some((tls, name)) = &self.tls else {
            return self.handshake(stream, self.always_http2).await;
        };
        let tls = tls.connector().await;
        let stream = tls.connect(name.clone(), stream).await.map_err(|error| format!("TLS: {error}"))?;
        let agreed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        self.handshake(stream, self.always_http2 || agreed).await
    }

    async fn handshake<S>(&self, stream: S, http2: bool) -> Result<Sender, Box<dyn Error + Send + Sync>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let io = TokioIo::new(stream);
        if !http2 {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::spawn(async move { ended(connection.await) });
            return Ok(Sender::Http1(sender));
        }
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        if let Some(keepalive) = self.keepalive {
            builder
                .keep_alive_interval(keepalive.time)
                .keep_alive_timeout(keepalive.timeout)
                .keep_alive_while_idle(keepalive.idle == WhileIdle::Ping);
        }
        let (sender, connection) = builder.handshake(io).await?;
        tokio::spawn(async move { ended(connection.await) });
        Ok(Sender::Http2(sender))
    }
}

fn ended(result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(error = described(&error), "a connection to a destination ended");
    }
}

impl Sender {
    /// The request with the URI in the form that this version of HTTP has.
    pub(super) fn addressed(&self, mut request: Request<Payload>, endpoint: &Endpoint) -> Request<Payload> {
        match self {
            Self::Http2(_) => *request.uri_mut() = endpoint.uri(),
            Self::Http1(_) => {
                *request.uri_mut() = Uri::from(endpoint.path.clone());
                // A header of the configuration wins.
                if !request.headers().contains_key(HOST)
                    && let Ok(host) = HeaderValue::from_str(&endpoint.authority)
                {
                    request.headers_mut().insert(HOST, host);
                }
            }
        }
        request
    }

    pub(super) async fn send(&mut self, request: Request<Payload>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(http1) => {
                http1.ready().await?;
                http1.send_request(request).await
            }
            Self::Http2(http2) => {
                http2.ready().await?;
                http2.send_request(request).await
            }
        }
    }
}
