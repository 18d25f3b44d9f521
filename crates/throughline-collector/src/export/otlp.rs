//! OTLP out: one request over gRPC or HTTP, one [`Outcome`]. hyper and our own five bytes of framing; nothing is decoded.
//!
//! `call` posts what is not OTLP over the same connections; `endpoint` is where requests go, `connection` keeps connections open, `grpc` and `http` make a request and read an
//! answer without doing either. Nothing is queued here and nothing tried again, but for a connection that turns out to
//! have been closed while it was idle.

mod call;
mod connection;
mod endpoint;
mod framed;
mod grpc;
mod http;

use std::fmt;
use std::io::Write as _;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use throughline_otlp::{Signal, json};

pub(crate) use self::call::{CallSettings, Caller};
use self::connection::{Connections, Failure, Payload, Sender};
use self::endpoint::Endpoint;
use super::bearer::{Bearer, BearerSettings};
use super::tls::TlsSettings;
use super::{Body, Outcome, SettingError};

/// `otlp`, `otlp_grpc`, `otlphttp` and `otlp_http`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpSettings {
    /// Which of the two.
    pub protocol: Protocol,
    /// gRPC: `host:port`, or with `http://` or `https://` before it. HTTP: a base URL, to which `/v1/traces` is added.
    pub endpoint: String,
    /// gRPC: `authority`, the name by which the server is addressed, if it is not the endpoint's.
    pub authority: Option<String>,
    /// HTTP: `traces_endpoint`, used as it is.
    pub traces_endpoint: Option<String>,
    /// HTTP: `logs_endpoint`, likewise.
    pub logs_endpoint: Option<String>,
    /// gRPC without a scheme; with one, and over HTTP, the scheme decides, and only what TLS needs is taken from here.
    pub security: Security,
    /// Headers of every request.
    pub headers: Vec<(String, String)>,
    /// `auth`: a token that every request shows.
    pub bearer: Option<BearerSettings>,
    /// Time for everything from connecting to the whole answer. Default 5 s over gRPC, 30 s over HTTP.
    pub timeout: Option<Duration>,
    /// Compression of requests. Default gzip.
    pub compression: Compression,
    /// gRPC: when a silent connection is asked for a sign of life.
    pub keepalive: Option<Keepalive>,
}

/// How a request travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// HTTP/1.1, or HTTP/2 where TLS agrees on it.
    Http(Encoding),
}

/// `encoding` of OTLP over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// `proto`
    #[default]
    Proto,
    /// `json`; fields of later versions of OTLP have no names, so these are lost.
    Json,
}

/// Whether a connection is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// `insecure: true`
    Plain,
    /// Everything else.
    Tls(TlsSettings),
}

/// `compression`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// `none`, or an empty text.
    None,
    /// `gzip`
    #[default]
    Gzip,
}

/// `keepalive`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence after which a ping is sent while a request waits.
    pub time: Duration,
    /// A ping not answered by then ends the connection.
    pub timeout: Duration,
    /// When pings are sent.
    pub idle: WhileIdle,
}

/// `permit_without_stream`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhileIdle {
    /// Pings only while a request waits: many servers close a connection that pings without one.
    Silent,
    /// Pings at any time.
    Ping,
}

impl OtlpSettings {
    /// Settings with the peer's defaults.
    #[must_use]
    pub fn new(protocol: Protocol, endpoint: impl Into<String>) -> Self {
        let seconds = if protocol == Protocol::Grpc { 5 } else { 30 };
        Self {
            protocol,
            endpoint: endpoint.into(),
            authority: None,
            traces_endpoint: None,
            logs_endpoint: None,
            security: Security::Tls(TlsSettings::default()),
            headers: Vec::new(),
            bearer: None,
            timeout: Some(Duration::from_secs(seconds)),
            compression: Compression::default(),
            keepalive: None,
        }
    }
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "" | "none" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            other => Err(format!("compression {other:?} is not supported here; use gzip or none")),
        }
    }
}

/// A destination that speaks OTLP. Requests may be sent from many tasks at once; connections are shared.
pub struct OtlpExporter {
    settings: OtlpSettings,
    headers: HeaderMap,
    bearer: Option<Arc<Bearer>>,
    /// A signal without an endpoint cannot be sent.
    traces: Option<Route>,
    logs: Option<Route>,
}

/// Where one signal goes.
struct Route {
    endpoint: Endpoint,
    connections: Arc<Connections>,
}

impl fmt::Debug for OtlpExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold secrets.
        f.debug_struct("OtlpExporter").field("endpoint", &self.settings.endpoint).finish_non_exhaustive()
    }
}

/// Above this a body is compressed off the runtime's threads.
const INLINE_BYTES: usize = 64 * 1024;
/// What is read of an answer: a count and a sentence fit many times over.
const ANSWER_BYTES: usize = 64 * 1024;

const USER_AGENT: &str = concat!("throughline/", env!("CARGO_PKG_VERSION"));

impl OtlpExporter {
    /// Reads certificates and keys; connects to nothing yet.
    ///
    /// # Errors
    /// [`SettingError`], with the key that has to change.
    pub fn new(settings: OtlpSettings) -> Result<Self, SettingError> {
        let headers = headers(&settings)?;
        let bearer = settings.bearer.as_ref().map(Bearer::open).transpose()?.map(Arc::new);
        let route = |signal, before: Option<&Route>| -> Result<Option<Route>, SettingError> {
            let Some(endpoint) = Endpoint::of(&settings, signal)? else { return Ok(None) };
            let same = before.filter(|route| route.endpoint.same_server(&endpoint));
            let connections = match same {
                Some(route) => Arc::clone(&route.connections),
                None => Arc::new(Connections::new(&settings, &endpoint)?),
            };
            Ok(Some(Route { endpoint, connections }))
        };
        let traces = route(Signal::Traces, None)?;
        let logs = route(Signal::Logs, traces.as_ref())?;
        if traces.is_none() && logs.is_none() {
            return Err(SettingError::new(
                "endpoint",
                "is missing; name where to send, http://127.0.0.1:4318 say",
            ));
        }
        Ok(Self { headers, bearer, traces, logs, settings })
    }

    /// Sends one request and waits for its answer.
    pub async fn send(&self, signal: Signal, request: Body) -> Outcome {
        let (route, key) = match signal {
            Signal::Traces => (&self.traces, "traces_endpoint"),
            Signal::Logs => (&self.logs, "logs_endpoint"),
            Signal::Metrics => return Outcome::Refused { why: "metrics are not exported".to_owned() },
        };
        let Some(route) = route else {
            return Outcome::Refused { why: format!("there is neither `endpoint` nor `{key}`") };
        };
        let request = match self.request(route, signal, request).await {
            Ok(request) => request,
            Err(why) => return Outcome::Refused { why },
        };
        let exchange = self.exchange(route, signal, request);
        let Some(limit) = self.settings.timeout else { return exchange.await };
        match tokio::time::timeout(limit, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => {
                // Whatever holds that connection up, the next request is not to wait behind it.
                route.connections.forget().await;
                Outcome::unreachable(format!("{}: no answer within {limit:?}", route.endpoint))
            }
        }
    }

    /// The request as it goes out, compressed and framed.
    async fn request(
        &self,
        route: &Route,
        signal: Signal,
        message: Body,
    ) -> Result<Request<Payload>, String> {
        let Self { settings, .. } = self;
        let (protocol, compression) = (settings.protocol, settings.compression);
        let message = if message.len() <= INLINE_BYTES {
            prepared(protocol, compression, signal, message)?
        } else {
            tokio::task::spawn_blocking(move || prepared(protocol, compression, signal, message))
                .await
                .map_err(|_| "the collector is stopping".to_owned())??
        };
        let mut request = match protocol {
            Protocol::Grpc => grpc::request(&route.endpoint, compression, settings.timeout, message)?,
            Protocol::Http(encoding) => http::request(&route.endpoint, encoding, compression, message),
        };
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        if let Some(bearer) = &self.bearer {
            bearer.show(request.headers_mut()).await;
        }
        Ok(request)
    }

    async fn exchange(&self, route: &Route, signal: Signal, request: Request<Payload>) -> Outcome {
        let broken = |error: &dyn fmt::Display| Outcome::unreachable(format!("{}: {error}", route.endpoint));
        let (response, connection) = match route.answered(request).await {
            Ok(answered) => answered,
            Err(failure) => return broken(&failure),
        };
        let (head, body) = response.into_parts();
        let (answer, trailers) = match answer(body, ANSWER_BYTES).await {
            Ok(answer) => answer,
            Err(error) => return broken(&connection::described(&error)),
        };
        route.connections.give_back(connection).await;
        match self.settings.protocol {
            Protocol::Grpc => grpc::outcome(&head, trailers.as_ref(), &answer),
            Protocol::Http(_) => http::outcome(&head, &answer, signal, SystemTime::now()),
        }
    }
}

impl Route {
    /// The head of the answer. A connection that was idle may have been closed by the other side just then: that is
    /// found out by using it, and another is used in its place, once.
    async fn answered(&self, request: Request<Payload>) -> Result<(Response<Incoming>, Sender), Failure> {
        let (head, body) = request.into_parts();
        let mut replaced = false;
        loop {
            let (mut connection, origin) = self.connections.take().await?;
            let request =
                connection.addressed(Request::from_parts(head.clone(), body.clone()), &self.endpoint);
            match connection.send(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(error) => {
                    self.connections.forget().await;
                    if replaced || origin == connection::Origin::New {
                        return Err(Failure::Broken(error));
                    }
                    replaced = true;
                }
            }
        }
    }
}

/// The answer's body and trailers. One longer than what is waited for is read to its end, as the status stands behind
/// it, and not kept.
async fn answer(mut body: Incoming, limit: usize) -> Result<(Vec<u8>, Option<HeaderMap>), hyper::Error> {
    let (mut whole, mut length, mut trailers) = (Vec::new(), 0, None);
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        match frame?.into_data() {
            Ok(data) => {
                length += data.len();
                if length <= limit {
                    whole.extend_from_slice(&data);
                } else {
                    whole = Vec::new();
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok().or(trailers),
        }
    }
    Ok((whole, trailers))
}

/// JSON and compression, as configured.
fn prepared(
    protocol: Protocol,
    compression: Compression,
    signal: Signal,
    message: Body,
) -> Result<Body, String> {
    let message = match (protocol, signal) {
        (Protocol::Http(Encoding::Json), Signal::Logs) => as_json(json::logs(pieces(&message)))?,
        (Protocol::Http(Encoding::Json), _) => as_json(json::traces(pieces(&message)))?,
        _ => message,
    };
    match compression {
        Compression::None => Ok(message),
        Compression::Gzip => gzip(&message).map_err(|error| format!("cannot compress: {error}")),
    }
}

fn pieces(message: &Body) -> impl Iterator<Item = &[u8]> {
    message.pieces().iter().map(|piece| &**piece)
}

fn as_json(json: Result<serde_json::Value, throughline_otlp::WireError>) -> Result<Body, String> {
    json.map(|json| json.to_string().into()).map_err(|error| format!("not OTLP: {error}"))
}

fn gzip(plain: &Body) -> std::io::Result<Body> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Level::default());
    pieces(plain).try_for_each(|piece| encoder.write_all(piece))?;
    encoder.finish().map(Body::from)
}

fn headers(settings: &OtlpSettings) -> Result<HeaderMap, SettingError> {
    let mut headers = HeaderMap::with_capacity(settings.headers.len() + 1);
    headers.insert(::http::header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    for (name, value) in &settings.headers {
        let problem = |what: &str| SettingError::new("headers", format!("{name:?}: {what}"));
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| problem("not a header name"))?;
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| problem("its value has characters no header can have"))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

#[cfg(test)]
pub(crate) mod tests;
