//! One POST to a server that is not an OTLP destination, over the same connections: whole body out, whole answer back.

use std::time::Duration;

use ::http::uri::PathAndQuery;
use ::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use http_body_util::Full;

use super::connection::{self, Connections};
use super::endpoint::{Endpoint, Scheme};
use super::framed::Framed;
use super::{Encoding, OtlpSettings, Protocol, Route, Security, answer};
use crate::export::SettingError;
use crate::export::tls::TlsSettings;

/// A server, by host and port.
pub(crate) struct Caller {
    route: Route,
    headers: HeaderMap,
    timeout: Duration,
    /// What is read of an answer. A longer one is an error.
    answer_bytes: usize,
}

/// What came back.
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

/// How a [`Caller`] calls.
pub(crate) struct CallSettings {
    pub(crate) tls: Option<TlsSettings>,
    /// Of every request.
    pub(crate) headers: HeaderMap,
    /// From connecting to the whole answer.
    pub(crate) timeout: Duration,
    pub(crate) answer_bytes: usize,
}

impl Caller {
    /// Reads certificates and keys; connects to nothing yet.
    pub(crate) fn new(host: &str, port: u16, settings: CallSettings) -> Result<Self, SettingError> {
        let CallSettings { tls, headers, timeout, answer_bytes } = settings;
        let scheme = if tls.is_some() { Scheme::Https } else { Scheme::Http };
        let endpoint = Endpoint::at(host, port, scheme)?;
        let settings = OtlpSettings {
            security: tls.map_or(Security::Plain, Security::Tls),
            ..OtlpSettings::new(Protocol::Http(Encoding::Proto), String::new())
        };
        let connections = std::sync::Arc::new(Connections::new(&settings, &endpoint)?);
        Ok(Self { route: Route { endpoint, connections }, headers, timeout, answer_bytes })
    }

    /// Sends `body` to `path` and waits for the answer.
    pub(crate) async fn post(&self, path: &'static str, body: Bytes) -> Result<Answered, String> {
        let exchange = self.exchange(path, body);
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.route.connections.forget().await;
                Err(format!("no answer within {:?}", self.timeout))
            }
        }
    }

    async fn exchange(&self, path: &'static str, body: Bytes) -> Result<Answered, String> {
        let mut request = Request::new(Full::new(Framed::new(Bytes::new(), body.into())));
        *request.method_mut() = Method::POST;
        *request.headers_mut() = self.headers.clone();
        let path = PathAndQuery::from_static(path);
        let route = Route {
            endpoint: self.route.endpoint.with_path(path),
            connections: self.route.connections.clone(),
        };
        let (response, connection) = route.answered(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let read = answer(response.into_body(), self.answer_bytes).await;
        let (body, _) = read.map_err(|error| connection::described(&error))?;
        route.connections.give_back(connection).await;
        Ok(Answered { status, body })
    }
}
