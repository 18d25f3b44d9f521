//! How a request's span ends: with the last byte, or because something broke off, which is named.

use std::panic::{AssertUnwindSafe, catch_unwind};

use http_body::Frame;
use http_body_util::{Empty, StreamBody};

use super::*;

/// How a request may end badly, and what stands on its span.
#[test]
fn what_breaks_off_is_named() {
    fn check(expected: &str, act: impl FnOnce()) {
        recorded(|recorder| {
            act();
            recorder.claim("POST").assert_error(expected);
        });
    }
    let layer = ServerLayer::new(Trust::Internal);
    check("cancelled", || {
        let pending = std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>;
        drop(layer.layer(Handler(move |_| pending())).call(request(&[])));
    });
    check("cancelled", || {
        let response = now(layer
            .layer(Handler(async |_| Ok::<_, Infallible>(answer(StatusCode::OK))))
            .call(request(&[])));
        drop(response.unwrap().into_body());
    });
    check("panic", || {
        let boom = async |_| -> Result<Response<Full<Bytes>>, Infallible> { panic!("boom") };
        let call = layer.layer(Handler(boom)).call(request(&[]));
        let payload = catch_unwind(AssertUnwindSafe(|| now(call))).err().unwrap();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"boom"));
    });
    let boom = || -> Response<Full<Bytes>> { panic!("boom") };
    check("panic", || {
        let early = move |_| std::future::ready(Ok::<_, Infallible>(boom()));
        catch_unwind(AssertUnwindSafe(|| layer.layer(Handler(early)).call(request(&[])))).err().unwrap();
    });
    check("panic", || {
        let frames = std::iter::repeat_with(|| -> Result<Frame<Bytes>, Infallible> { panic!("boom") });
        let mut body = Some(StreamBody::new(Frames(frames)));
        let handler =
            Handler(move |_| std::future::ready(Ok::<_, Infallible>(Response::new(body.take().unwrap()))));
        let response = now(layer.layer(handler).call(request(&[]))).unwrap();
        catch_unwind(AssertUnwindSafe(|| now(response.into_body().frame()))).err().unwrap();
    });
    check("panic", || {
        let late = move |_| async move { Ok::<_, Infallible>(boom()) };
        let call = ClientLayer::new().layer(Handler(late)).call(request(&[]));
        catch_unwind(AssertUnwindSafe(|| now(call))).err().unwrap();
    });
    check("panic", || {
        let early = move |_| std::future::ready(Ok::<_, Infallible>(boom()));
        let mut client = ClientLayer::new().layer(Handler(early));
        catch_unwind(AssertUnwindSafe(|| client.call(request(&[])))).err().unwrap();
    });
    check("ConnectionReset", || {
        let reset = async |_| {
            Err::<Response<Full<Bytes>>, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
        };
        now(layer.layer(Handler(reset)).call(request(&[]))).unwrap_err();
    });
    check("BrokenPipe", || {
        let frames =
            [Ok(Frame::data(Bytes::from("a"))), Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe))];
        let body = move || StreamBody::new(Frames(frames.into_iter()));
        let mut body = Some(body());
        let handler =
            Handler(move |_| std::future::ready(Ok::<_, Infallible>(Response::new(body.take().unwrap()))));
        let response = now(layer.layer(handler).call(request(&[]))).unwrap();
        now(response.into_body().collect()).unwrap_err();
    });
}

/// A stream that is always ready.
struct Frames<I>(I);

impl<I: Iterator + Unpin> futures_util::Stream for Frames<I> {
    type Item = I::Item;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, _: &mut Task<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }
}

#[test]
fn the_span_ends_with_the_last_frame_and_not_before() {
    recorded(|recorder| {
        let frames = ["a", "b"].map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from(text))));
        let mut body = Some(StreamBody::new(Frames(frames.into_iter())));
        let handler =
            Handler(move |_| std::future::ready(Ok::<_, Infallible>(Response::new(body.take().unwrap()))));
        let response = now(ServerLayer::new(Trust::Internal).layer(handler).call(request(&[]))).unwrap();
        let mut body = response.into_body();
        for text in ["a", "b"] {
            assert_eq!(now(body.frame()).unwrap().unwrap().into_data().unwrap(), text);
            assert!(recorder.claim_all("POST").is_empty());
        }
        assert!(now(body.frame()).is_none());
        recorder.claim("POST").assert_ok();
    });
}

#[test]
fn a_body_that_nobody_reads_does_not_cancel() {
    for (method, status) in [("HEAD", StatusCode::OK), ("POST", StatusCode::NO_CONTENT)] {
        recorded(|recorder| {
            let mut request = request(&[]);
            *request.method_mut() = method.parse().unwrap();
            let handler = Handler(move |_| async move { Ok::<_, Infallible>(answer(status)) });
            drop(now(ServerLayer::new(Trust::Internal).layer(handler).call(request)).unwrap());
            recorder.claim(method).assert_ok();
        });
    }
    recorded(|recorder| {
        let handler = Handler(async |_| Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())));
        drop(now(ServerLayer::new(Trust::Internal).layer(handler).call(request(&[]))).unwrap());
        recorder.claim("POST").assert_ok();
    });
}
