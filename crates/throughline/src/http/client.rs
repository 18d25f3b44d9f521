//! The client side: a CLIENT span around one call, and our headers on it.

use std::{
    fmt::Display,
    pin::Pin,
    task::{Context as Task, Poll, ready},
};

use ::http::{Request, Response, Uri};
use throughline_semconv::attribute;
use tower_layer::Layer;
use tower_service::Service;

use super::{exchange::Exchange, method_name, span_name, step};
use crate::{
    inject_context,
    metrics::http::{Request as Measured, Side},
    outcome::error_type,
    retain_baggage,
    settings::is_baggage_allowed,
    span::call,
};

/// Wraps a client so that each call is a CLIENT span and carries the trace, the correlation id, the tenant and the baggage
/// on the allow-list ([`set_baggage_allow_list`](crate::settings::set_baggage_allow_list); empty until it is set).
///
/// For services of your own: what a stranger should not know must not be layered.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientLayer;

impl ClientLayer {
    /// The layer.
    #[must_use]
    pub fn new() -> Self {
        ClientLayer
    }
}

impl<S> Layer<S> for ClientLayer {
    type Service = Client<S>;

    fn layer(&self, inner: S) -> Client<S> {
        Client { inner }
    }
}

/// A client whose calls are CLIENT spans.
#[derive(Clone, Debug)]
pub struct Client<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Client<S>
where
    S: Service<Request<B>, Response = Response<R>, Error: Display + 'static>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ClientFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let exchange = begin(&request);
        let outgoing = retain_baggage(exchange.span().context(), is_baggage_allowed);
        let headers = std::mem::take(request.headers_mut());
        *request.headers_mut() = inject_context(&outgoing, headers);
        let mut exchange = Some(exchange);
        let inner = step(&mut exchange, || self.inner.call(request));
        ClientFuture { inner, exchange }
    }
}

fn begin<B>(request: &Request<B>) -> Exchange {
    let method = method_name(request.method());
    let uri = request.uri();
    let mut spec = call(span_name(method, None)).set(attribute::HTTP_REQUEST_METHOD, method);
    let mut measured = Measured::begin(Side::Client, method);
    if let Some(host) = uri.host() {
        measured.label(attribute::SERVER_ADDRESS, host.to_owned());
        spec =
            spec.set(attribute::SERVER_ADDRESS, host.to_owned()).set(attribute::URL_FULL, shown(uri, host));
    }
    if let Some(port) = uri.port_u16().or_else(|| default_port(uri)) {
        measured.label(attribute::SERVER_PORT, i64::from(port));
        spec = spec.set(attribute::SERVER_PORT, i64::from(port));
    }
    Exchange::begin(Side::Client, spec, measured)
}

/// The URL without credentials and query, either of which may hold a secret.
fn shown(uri: &Uri, host: &str) -> String {
    let port = uri.port_u16().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{host}{port}{}", uri.scheme_str().unwrap_or("http"), uri.path())
}

fn default_port(uri: &Uri) -> Option<u16> {
    match uri.scheme_str()? {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

pin_project_lite::pin_project! {
    /// The answer to one call, on its way.
    #[must_use = "does nothing until awaited"]
    pub struct ClientFuture<F> {
        #[pin]
        inner: F,
        exchange: Option<Exchange>,
    }
}

impl<F, R, E> Future for ClientFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Display + 'static,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(step(this.exchange, || this.inner.poll(task)));
        let mut exchange = this.exchange.take().expect("a finished future is not polled again");
        match &answer {
            Ok(response) => {
                exchange.answered(response.status());
                exchange.end();
            }
            Err(error) => exchange.fail(error, error_type(error)),
        }
        Poll::Ready(answer)
    }
}
