//! The server side: a SERVER span from the request to the end of the answer's body.

use std::{
    fmt::Display,
    pin::Pin,
    sync::Arc,
    task::{Context as Task, Poll, ready},
};

use ::http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, HOST},
};
use http_body::Body;
use opentelemetry::{Context, trace::TraceContextExt as _};
use throughline_semconv::{attribute, header, own};
use tower_layer::Layer;
use tower_service::Service;

use super::{TracedBody, Trust, exchange::Exchange, method_name, scheme, span_name, step};
use crate::{
    Incoming, Span, SpanSpec, TraceParent, correlation, extract,
    metrics::http::{Request as Measured, Side},
    outcome::error_type,
    span::{serve, tracer},
};

type Route = Arc<dyn Fn(&Extensions) -> Option<String> + Send + Sync>;

/// Wraps a service so that each request is a SERVER span. See the [module](super).
#[derive(Clone)]
pub struct ServerLayer {
    trust: Trust,
    route: Option<Route>,
}

impl ServerLayer {
    /// A layer for callers that are trusted so far.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        ServerLayer { trust, route: None }
    }

    /// How to tell the route's template (`/orders/{id}`) from a request's extensions, for the span's name and
    /// `http.route`. Where the router leaves it depends on the framework; with axum it is `MatchedPath`.
    #[must_use]
    pub fn route(mut self, route: impl Fn(&Extensions) -> Option<String> + Send + Sync + 'static) -> Self {
        self.route = Some(Arc::new(route));
        self
    }
}

impl std::fmt::Debug for ServerLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerLayer").field("trust", &self.trust).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = Server<S>;

    fn layer(&self, inner: S) -> Server<S> {
        Server { inner, layer: self.clone() }
    }
}

/// A service whose requests are SERVER spans.
#[derive(Clone, Debug)]
pub struct Server<S> {
    inner: S,
    layer: ServerLayer,
}

impl<S, B, R> Service<Request<B>> for Server<S>
where
    S: Service<Request<B>, Response = Response<R>, Error: Display + 'static>,
    R: Body,
{
    type Response = Response<TracedBody<R>>;
    type Error = S::Error;
    type Future = ServerFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut exchange = Some(self.layer.begin(&request));
        let bodiless = request.method() == Method::HEAD;
        let inner = step(&mut exchange, || self.inner.call(request));
        ServerFuture { inner, exchange, bodiless }
    }
}

impl ServerLayer {
    fn begin<B>(&self, request: &Request<B>) -> Exchange {
        let method = method_name(request.method());
        let scheme = scheme(request.uri());
        let route = self.route.as_ref().and_then(|route| route(request.extensions()));
        let mut measured = Measured::begin(Side::Server, method);
        measured.label(attribute::URL_SCHEME, scheme);
        let mut spec = serve(span_name(method, route.as_deref()))
            .set(attribute::HTTP_REQUEST_METHOD, method)
            .set(attribute::URL_PATH, request.uri().path().to_owned())
            .set(attribute::URL_SCHEME, scheme);
        if let Some(route) = route {
            measured.label(attribute::HTTP_ROUTE, route.clone());
            spec = spec.set(attribute::HTTP_ROUTE, route);
        }
        Exchange::begin(Side::Server, self.with_caller(request, spec), measured)
    }

    /// Who calls, and how far that is believed.
    fn with_caller<B>(&self, request: &Request<B>, mut spec: SpanSpec) -> SpanSpec {
        let incoming = extract(request.headers());
        if let Some(host) = host(request) {
            spec = spec.set(attribute::SERVER_ADDRESS, host);
        }
        if !incoming.conflicts().is_empty() {
            spec = spec.set(own::HEADERS_CONFLICT, true);
        }
        for loser in incoming.conflicts() {
            spec = spec.link_to(loser.clone(), "conflict");
        }
        match self.trust {
            Trust::Internal => spec.parent(here(incoming.context().clone())),
            Trust::PublicEdge => at_the_edge(spec, &incoming),
        }
    }
}

/// A new trace: of the caller's only a link and the correlation id are left.
fn at_the_edge(spec: SpanSpec, incoming: &Incoming) -> SpanSpec {
    let id = correlation::adopted(incoming.context());
    let parent =
        id.and_then(|id| correlation::with_correlation_id(&Context::new(), id).ok()).unwrap_or_default();
    let spec = spec.parent(here(parent));
    match incoming.trace_id() {
        Some(_) => spec.link_to(incoming.span_context(), "caller"),
        None => spec,
    }
}

/// A request's context as it came, but traced by whoever traces here.
fn here(parent: Context) -> Context {
    tracer::carry_over(&Context::current(), parent)
}

/// The host the caller asked for, without the port.
fn host<B>(request: &Request<B>) -> Option<String> {
    let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let authority = named.and_then(|host| host.parse::<::http::uri::Authority>().ok());
    authority.as_ref().or(request.uri().authority()).map(|authority| authority.host().to_owned())
}

pin_project_lite::pin_project! {
    /// The answer to one request, on its way.
    #[must_use = "does nothing until awaited"]
    pub struct ServerFuture<F> {
        #[pin]
        inner: F,
        exchange: Option<Exchange>,
        bodiless: bool,
    }
}

impl<F, R, E> Future for ServerFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
    E: Display + 'static,
{
    type Output = Result<Response<TracedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(step(this.exchange, || this.inner.poll(task)));
        let exchange = this.exchange.take().expect("a finished future is not polled again");
        Poll::Ready(match answer {
            Ok(response) => Ok(answered(response, exchange, *this.bodiless)),
            Err(error) => {
                exchange.fail(&error, error_type(&error));
                Err(error)
            }
        })
    }
}

/// Puts the status on the span and the trace into the answer; the span goes on in the body.
fn answered<R: Body>(
    mut response: Response<R>,
    mut exchange: Exchange,
    bodiless: bool,
) -> Response<TracedBody<R>> {
    let status = response.status();
    exchange.answered(status);
    name_trace(response.headers_mut(), exchange.span());
    let bodiless = bodiless
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    response.map(|body| {
        if bodiless { TracedBody::ended(body, exchange) } else { TracedBody::new(body, exchange, length) }
    })
}

/// `traceresponse` names our span: where there is none (the caller does not sample), its id would be the caller's own.
fn name_trace(headers: &mut HeaderMap, span: &Span) {
    let current = span.context().span();
    let current = current.span_context();
    let Some(parent) = TraceParent::new(current.trace_id(), current.span_id(), current.trace_flags().to_u8())
    else {
        return; // telemetry is switched off: there is no trace to name
    };
    let response = (!current.is_remote()).then(|| (header::TRACERESPONSE, parent.to_string()));
    for (name, value) in [(header::X_TRACE_ID, parent.trace_id.to_string())].into_iter().chain(response) {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}
