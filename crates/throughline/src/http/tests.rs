//! The layers around in-process services: trust, answers, bodies that end early, what a client sends on.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context as Task, Poll, Waker},
};

use ::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use opentelemetry::{Context, baggage::BaggageExt as _, trace::SpanKind};
use tower_layer::Layer;
use tower_service::Service;

use super::*;
use crate::{
    HeaderSink as _, Span, extract,
    testing::{Ids, RecordedSpan, Recorder},
};

mod endings;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED_CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// A service that is a function.
#[derive(Clone)]
struct Handler<F>(F);

impl<F, A, R, E> Service<Request<()>> for Handler<F>
where
    F: FnMut(Request<()>) -> A,
    A: Future<Output = Result<Response<R>, E>>,
{
    type Response = Response<R>;
    type Error = E;
    type Future = A;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> A {
        (self.0)(request)
    }
}

/// Runs what never waits for anything outside.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Task::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

fn request(headers: &[(&'static str, &'static str)]) -> Request<()> {
    let mut request = Request::post("http://shop.example:8080/orders/7?token=secret").body(()).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    request
}

fn answer(status: StatusCode) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::from("done")).unwrap()
}

/// Sends one request through `layer`, reads the answer to its end, and gives back its head.
fn serve(layer: &ServerLayer, request: Request<()>, status: StatusCode) -> HeaderMap {
    let mut service = layer.layer(Handler(move |_| async move { Ok::<_, Infallible>(answer(status)) }));
    let response = now(service.call(request)).unwrap();
    let head = response.headers().clone();
    assert_eq!(now(response.into_body().collect()).unwrap().to_bytes(), "done");
    head
}

/// Runs `test` under a recorder of its own.
fn recorded(test: impl FnOnce(&Recorder)) {
    let recorder = Recorder::local(Ids::Random);
    let _active = recorder.context().attach();
    test(&recorder);
}

#[test]
fn an_internal_callers_trace_goes_on_and_is_named_in_the_answer() {
    recorded(|recorder| {
        let seen = Arc::new(Mutex::new(None));
        let inside = Arc::clone(&seen);
        let layer = ServerLayer::new(Trust::Internal);
        let mut service = layer.layer(Handler(move |_| {
            let inside = Arc::clone(&inside);
            async move {
                let current = Context::current();
                let tenant = current.baggage().get("plan").map(ToString::to_string);
                *inside.lock().unwrap() = Some((Span::current().correlation_id().to_string(), tenant));
                Ok::<_, Infallible>(answer(StatusCode::OK))
            }
        }));
        let headers = [("traceparent", CALLER), ("baggage", "plan=gold"), ("x-correlation-id", "order-42")];
        let response = now(service.call(request(&headers))).unwrap();
        let (head, body) = response.into_parts();
        now(body.collect()).unwrap();

        let span = recorder.claim("POST");
        span.assert_kind(SpanKind::Server)
            .assert_ok()
            .assert_attribute("http.request.method", "POST")
            .assert_attribute("http.response.status_code", 200)
            .assert_attribute("url.path", "/orders/7")
            .assert_attribute("url.scheme", "http")
            .assert_attribute("server.address", "shop.example")
            .assert_attribute("correlation_id", "order-42")
            .assert_no_attribute("url.query");
        assert_eq!(span.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(span.parent().unwrap().to_string(), "b7ad6b7169203331");
        assert_eq!(span.links().count(), 0);
        assert_eq!(head.headers["x-trace-id"], "0af7651916cd43dd8448eb211c80319c");
        let response = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", span.span_id());
        assert_eq!(head.headers["traceresponse"], response.as_str());
        assert_eq!(*seen.lock().unwrap(), Some(("order-42".to_owned(), Some("gold".to_owned()))));
    });
}

#[test]
fn a_public_caller_is_linked_and_believed_in_nothing_but_a_label() {
    recorded(|recorder| {
        let layer = ServerLayer::new(Trust::PublicEdge);
        let seen = Arc::new(Mutex::new(None));
        let inside = Arc::clone(&seen);
        let mut service = layer.layer(Handler(move |_| {
            let baggage = Context::current().baggage().len();
            let tenant = crate::tenant(&Context::current());
            *inside.lock().unwrap() = Some((baggage, tenant));
            async { Ok::<_, Infallible>(answer(StatusCode::OK)) }
        }));
        let headers = [
            ("traceparent", UNSAMPLED_CALLER),
            ("baggage", "tenant.id=evil,plan=gold"),
            ("x-tenant-id", "evil"),
            ("x-correlation-id", "order-42"),
        ];
        now(now(service.call(request(&headers))).unwrap().into_body().collect()).unwrap();

        // The caller said "do not sample": recorded all the same.
        let span = recorder.claim("POST");
        span.assert_root().assert_attribute("correlation_id", "order-42").assert_no_attribute("tenant.id");
        let [link] = span.links().collect::<Vec<_>>()[..] else { panic!("one link") };
        assert_eq!(link.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_ne!(span.trace_id(), link.trace_id());
        assert_eq!(*seen.lock().unwrap(), Some((0, None)));
    });
}

#[test]
fn a_correlation_id_out_of_bounds_is_not_adopted_at_either_edge() {
    for trust in [Trust::Internal, Trust::PublicEdge] {
        recorded(|recorder| {
            serve(&ServerLayer::new(trust), request(&[("x-correlation-id", "white space")]), StatusCode::OK);
            let span = recorder.claim("POST");
            let derived = span.trace_id().to_string()[..16].to_owned();
            span.assert_attribute("correlation_id", derived);
        });
    }
}

#[test]
fn an_unsampled_internal_caller_is_followed() {
    recorded(|_nothing_recorded| {
        let head = serve(
            &ServerLayer::new(Trust::Internal),
            request(&[("traceparent", UNSAMPLED_CALLER)]),
            StatusCode::OK,
        );
        assert_eq!(head["x-trace-id"], "0af7651916cd43dd8448eb211c80319c");
        assert!(head["traceresponse"].to_str().unwrap().ends_with("-00"));
    });
}

#[test]
fn an_answer_never_names_the_callers_own_span() {
    // A provider that makes no spans any more, as a sampler that skips them.
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
    let _active = crate::with_tracer_provider(&Context::new(), &provider).attach();
    provider.shutdown().unwrap();
    let layer = ServerLayer::new(Trust::Internal);
    let head = serve(&layer, request(&[("traceparent", CALLER)]), StatusCode::OK);
    assert_eq!(head["x-trace-id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(head.get("traceresponse"), None);
}

#[test]
fn a_conflict_of_two_callers_is_on_the_span() {
    for trust in [Trust::Internal, Trust::PublicEdge] {
        recorded(|recorder| {
            let other = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            let two = request(&[("traceparent", other), ("traceparent", CALLER)]);
            serve(&ServerLayer::new(trust), two, StatusCode::OK);
            let span = recorder.claim("POST");
            span.assert_attribute("throughline.headers.conflict", true);
            assert!(span.links().any(|link| link.trace_id().to_string().starts_with("4bf92f")));
        });
    }
}

#[test]
fn names_follow_method_and_route() {
    let route =
        |extensions: &::http::Extensions| extensions.get::<&'static str>().map(|route| (*route).to_owned());
    for (method, template, expected) in [
        ("POST", Some("/orders/{id}"), "POST /orders/{id}"),
        ("DELETE", None, "DELETE"),
        ("BREW", Some("/coffee"), "HTTP /coffee"),
    ] {
        recorded(|recorder| {
            let mut request = request(&[]);
            *request.method_mut() = method.parse().unwrap();
            if let Some(template) = template {
                request.extensions_mut().insert(template);
            }
            serve(&ServerLayer::new(Trust::Internal).route(route), request, StatusCode::OK);
            let span = recorder.claim(expected);
            match template {
                Some(template) => span.assert_attribute("http.route", template),
                None => span.assert_no_attribute("http.route"),
            };
        });
    }
}

#[test]
fn a_status_of_500_and_above_is_an_error_and_a_bad_request_is_not() {
    for (status, error) in [
        (StatusCode::NOT_FOUND, None),
        (StatusCode::BAD_REQUEST, None),
        (StatusCode::INTERNAL_SERVER_ERROR, Some("500")),
        (StatusCode::SERVICE_UNAVAILABLE, Some("503")),
    ] {
        recorded(|recorder| {
            serve(&ServerLayer::new(Trust::Internal), request(&[]), status);
            let span = recorder.claim("POST");
            span.assert_attribute("http.response.status_code", i64::from(status.as_u16()));
            match error {
                Some(error) => span.assert_error(error),
                None => span.assert_ok(),
            };
        });
    }
}

/// Calls through the client layer inside a span; gives back the client's span, the outer one, and the headers sent.
fn call(recorder: &Recorder, outer: &Context, status: StatusCode) -> (RecordedSpan, HeaderMap) {
    let sent = Arc::new(Mutex::new(HeaderMap::new()));
    let seen = Arc::clone(&sent);
    let mut client = ClientLayer::new().layer(Handler(move |request: Request<()>| {
        *seen.lock().unwrap() = request.headers().clone();
        async move { Ok::<_, Infallible>(answer(status)) }
    }));
    let _active = outer.clone().attach();
    let mut request = request(&[("traceparent", CALLER), ("accept", "*/*")]);
    *request.uri_mut() = "http://user:pw@stock.example/items/9?key=secret".parse().unwrap();
    now(client.call(request)).unwrap();
    let headers = sent.lock().unwrap().clone();
    (recorder.claim("POST"), headers)
}

#[test]
fn a_call_carries_the_trace_the_correlation_id_and_allowed_baggage() {
    crate::settings::set_baggage_allow_list(["plan"]);
    recorded(|recorder| {
        let incoming = extract(&vec![("baggage", "plan=gold,secret=x"), ("x-correlation-id", "order-42")]);
        let outer = Context::current();
        let outer = crate::span::tracer::carry_over(&outer, incoming.context().clone());
        let (span, headers) = call(recorder, &outer, StatusCode::OK);
        span.assert_kind(SpanKind::Client)
            .assert_ok()
            .assert_attribute("server.address", "stock.example")
            .assert_attribute("server.port", 80)
            .assert_attribute("url.full", "http://stock.example/items/9")
            .assert_attribute("http.response.status_code", 200);
        let traceparents: Vec<_> = headers.get_all("traceparent").iter().collect();
        let expected = format!("00-{}-{}-01", span.trace_id(), span.span_id());
        assert_eq!(traceparents, [expected.as_str()]);
        assert_eq!(headers["baggage"], "plan=gold");
        assert_eq!(headers["x-correlation-id"], "order-42");
        assert_eq!(headers["accept"], "*/*");
    });
}

#[test]
fn a_call_that_is_refused_is_an_error() {
    for (status, error) in [
        (StatusCode::FOUND, None),
        (StatusCode::NOT_FOUND, Some("404")),
        (StatusCode::BAD_GATEWAY, Some("502")),
    ] {
        recorded(|recorder| {
            let (span, _) = call(recorder, &Context::current(), status);
            match error {
                Some(error) => span.assert_error(error),
                None => span.assert_ok(),
            };
        });
    }
    recorded(|recorder| {
        let refused =
            async |_| Err::<Response<()>, _>(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        now(ClientLayer::new().layer(Handler(refused)).call(request(&[]))).unwrap_err();
        recorder.claim("POST").assert_error("ConnectionRefused");
    });
}

#[test]
fn a_header_map_is_a_carrier_like_any_other() {
    let mut headers = HeaderMap::new();
    headers.append("traceparent", HeaderValue::from_static(CALLER));
    headers.append(
        "traceparent",
        HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    );
    headers.append("x-binary", HeaderValue::from_bytes(&[0xff, 0xfe]).unwrap());
    let incoming = extract(&headers);
    assert_eq!(incoming.trace_id().unwrap().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(incoming.conflicts().len(), 1);

    let written = headers.replace(&["traceparent"], &[("traceparent", b"new"), ("baggage", b"bad\nvalue")]);
    assert_eq!(written.get_all("traceparent").iter().collect::<Vec<_>>(), ["new"]);
    assert_eq!(written.get("baggage"), None);
    assert_eq!(written["x-binary"].as_bytes(), [0xff, 0xfe]);
}
