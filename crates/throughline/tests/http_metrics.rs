//! The HTTP layers' metrics: what is a label, and above all what is none. In a binary of its own, for the meter provider is
//! the process's.

#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::pin::pin;
use std::task::{Context as Task, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use opentelemetry::global;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use throughline::http::{ClientLayer, ServerLayer, Trust};
use throughline::settings::{Metrics, set_metrics};
use tower_layer::Layer as _;
use tower_service::Service;

/// What the request's path says shall happen: `/500` is answered with 500, `/reset` with an error.
#[derive(Clone)]
struct AsAsked;

impl Service<Request<()>> for AsAsked {
    type Response = Response<Full<Bytes>>;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Self::Response, std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        std::future::ready(match request.uri().path().trim_start_matches('/').parse::<StatusCode>() {
            Ok(status) => Ok(Response::builder().status(status).body(Full::from("done")).unwrap()),
            Err(_) => Err(std::io::ErrorKind::ConnectionReset.into()),
        })
    }
}

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Task::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

fn request(method: &str, uri: &str) -> Request<()> {
    Request::builder().method(method).uri(uri).header("host", "made-up.example").body(()).unwrap()
}

/// The series of a histogram and how many measurements each has; checks unit and buckets on the way.
fn series(exporter: &InMemoryMetricExporter, name: &str) -> Vec<(String, u64)> {
    let exported = exporter.get_finished_metrics().unwrap();
    let scopes = exported.last().unwrap().scope_metrics();
    let metric = scopes.flat_map(|scope| scope.metrics()).find(|metric| metric.name() == name).unwrap();
    let AggregatedMetrics::F64(MetricData::Histogram(histogram)) = metric.data() else {
        panic!("a histogram")
    };
    assert_eq!(metric.unit(), "s");
    let mut series: Vec<_> = histogram
        .data_points()
        .map(|point| {
            let buckets = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
            assert_eq!(point.bounds().collect::<Vec<_>>(), buckets);
            let mut labels: Vec<_> =
                point.attributes().map(|kv| format!("{}={}", kv.key, kv.value)).collect();
            labels.sort();
            (labels.join(" "), point.count())
        })
        .collect();
    series.sort();
    series
}

fn expected(series: &[(&str, u64)]) -> Vec<(String, u64)> {
    series.iter().map(|(labels, count)| ((*labels).to_owned(), *count)).collect()
}

#[test]
fn one_series_for_a_kind_of_request_and_none_for_what_a_caller_makes_up() {
    let exporter = InMemoryMetricExporter::default();
    let meters =
        SdkMeterProvider::builder().with_reader(PeriodicReader::builder(exporter.clone()).build()).build();
    global::set_meter_provider(meters.clone());
    throughline::providers_are_set();

    // No tracer provider: metrics do not depend on spans.
    let route =
        |extensions: &http::Extensions| extensions.get::<&'static str>().map(|&route| route.to_owned());
    let mut server = ServerLayer::new(Trust::PublicEdge).route(route).layer(AsAsked);
    let mut serve = |mut request: Request<()>, routed: bool| {
        if routed {
            request.extensions_mut().insert("/orders/{id}");
        }
        now(server.call(request)).map(Response::into_body)
    };
    for path in ["/200", "/200?id=1", "http://other.example/200"] {
        now(serve(request("POST", path), true).unwrap().collect()).unwrap();
    }
    now(serve(request("GET", "https://shop.example/404"), false).unwrap().collect()).unwrap();
    now(serve(request("BREW", "gopher://shop.example/404"), false).unwrap().collect()).unwrap();
    now(serve(request("GET", "/503"), true).unwrap().collect()).unwrap();
    serve(request("GET", "/reset"), true).err().unwrap();
    drop(serve(request("GET", "/200"), true).unwrap());
    set_metrics(Metrics::Off);
    now(serve(request("GET", "/200"), true).unwrap().collect()).unwrap();
    set_metrics(Metrics::On);

    let mut client = ClientLayer::new().layer(AsAsked);
    for uri in ["http://stock.example/200", "http://stock.example:80/200?q=1", "https://stock.example/200"] {
        now(client.call(request("GET", uri))).unwrap();
    }
    now(client.call(request("GET", "http://stock.example:8080/404"))).unwrap();
    now(client.call(request("GET", "http://stock.example/reset"))).unwrap_err();

    meters.force_flush().unwrap();
    assert_eq!(
        series(&exporter, "http.server.request.duration"),
        expected(&[
            (
                "error.type=503 http.request.method=GET http.response.status_code=503 http.route=/orders/{id} url.scheme=http",
                1
            ),
            ("error.type=ConnectionReset http.request.method=GET http.route=/orders/{id} url.scheme=http", 1),
            (
                "error.type=cancelled http.request.method=GET http.response.status_code=200 http.route=/orders/{id} url.scheme=http",
                1
            ),
            ("http.request.method=GET http.response.status_code=404 url.scheme=https", 1),
            (
                "http.request.method=POST http.response.status_code=200 http.route=/orders/{id} url.scheme=http",
                3
            ),
            ("http.request.method=_OTHER http.response.status_code=404 url.scheme=http", 1),
        ])
    );
    let stock = |labels: &str, rest: &str| format!("{labels}server.address=stock.example server.port={rest}");
    assert_eq!(
        series(&exporter, "http.client.request.duration"),
        [
            (stock("error.type=404 http.request.method=GET http.response.status_code=404 ", "8080"), 1),
            (stock("error.type=ConnectionReset http.request.method=GET ", "80"), 1),
            (stock("http.request.method=GET http.response.status_code=200 ", "443"), 1),
            (stock("http.request.method=GET http.response.status_code=200 ", "80"), 2),
        ]
    );
}
