//! The answer's body with the server's span in it: the span ends with the last frame, or is cancelled with the body.

use std::{
    fmt::Display,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf as _;
use http_body::{Body, Frame, SizeHint};

use super::{exchange::Exchange, step};
use crate::outcome::error_type;

pin_project_lite::pin_project! {
    /// A body that ends a span when it ends.
    #[derive(Debug)]
    pub struct TracedBody<B> {
        #[pin]
        inner: B,
        open: Open,
        // Bytes still to come, if the answer's head said how many there are: servers drop a body after them unasked.
        left: Option<u64>,
    }
}

/// The exchange, until it has ended.
pub(super) struct Open(Option<Exchange>);

impl Open {
    fn end(&mut self) {
        if let Some(exchange) = self.0.take() {
            exchange.end();
        }
    }
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "open" } else { "ended" })
    }
}

impl<B: Body> TracedBody<B> {
    /// A body whose end is the span's end; `length` is what the answer's head says of it.
    pub(super) fn new(inner: B, exchange: Exchange, length: Option<u64>) -> Self {
        let left = length.or_else(|| inner.size_hint().exact());
        let mut open = Open(Some(exchange));
        if inner.is_end_stream() || left == Some(0) {
            open.end();
        }
        TracedBody { inner, open, left }
    }

    /// A body that nobody will read: the answer to HEAD, a 204, an upgrade.
    pub(super) fn ended(inner: B, exchange: Exchange) -> Self {
        exchange.end();
        TracedBody { inner, open: Open(None), left: None }
    }
}

impl<B: Body<Error: Display + 'static>> Body for TracedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        // What a streaming body does between frames belongs to the request as well.
        let polled = step(&mut this.open.0, || this.inner.as_mut().poll_frame(task));
        match &polled {
            Poll::Ready(Some(Err(error))) => {
                if let Some(exchange) = this.open.0.take() {
                    exchange.fail(error, error_type(error));
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                *this.left = this.left.map(|left| left.saturating_sub(bytes));
                // Servers do not ask again after the last frame if the body or the head says that it was the last.
                if *this.left == Some(0) || this.inner.is_end_stream() {
                    this.open.end();
                }
            }
            Poll::Ready(None) => this.open.end(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::http::{Request, Side};
    use crate::testing::{Ids, Recorder};
    use ::http::StatusCode;
    use bytes::Bytes;
    use http_body_util::{BodyExt as _, StreamBody};
    use std::convert::Infallible;

    /// The span of an answer whose body of two frames is read so far and then dropped.
    fn span_of(status: StatusCode, length: Option<u64>, frames: usize) -> crate::testing::RecordedSpan {
        let recorder = Recorder::local(Ids::Random);
        let _active = recorder.context().attach();
        let two = ["ab", "c"].map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from(text))));
        let stream = futures_util::stream::iter(two);
        let measured = Request::begin(Side::Server, "GET");
        let mut exchange = Exchange::begin(Side::Server, crate::internal("it"), measured);
        exchange.answered(status);
        let mut body = TracedBody::new(StreamBody::new(stream), exchange, length);
        for _ in 0..frames {
            let mut task = Context::from_waker(std::task::Waker::noop());
            let frame = std::pin::pin!(body.frame()).poll(&mut task);
            assert!(matches!(frame, Poll::Ready(Some(Ok(_)))));
        }
        drop(body);
        recorder.claim("it")
    }

    #[test]
    fn a_body_of_known_length_ends_with_its_last_byte() {
        for (length, frames, error) in [
            (None, 2, Some("cancelled")),
            (Some(3), 2, None),
            (Some(3), 1, Some("cancelled")),
            (Some(0), 0, None),
        ] {
            let span = span_of(StatusCode::OK, length, frames);
            assert_eq!(span.attribute("error.type"), error.map(Into::into).as_ref(), "{length:?} {frames}");
        }
    }

    #[test]
    fn an_error_has_one_name() {
        for (frames, name) in [(2, "500"), (1, "cancelled")] {
            let span = span_of(StatusCode::INTERNAL_SERVER_ERROR, Some(3), frames);
            span.assert_error(name);
            let named = span.data().attributes.iter().filter(|kv| kv.key.as_str() == "error.type");
            assert_eq!(named.count(), 1, "the SDK exports a key twice that is set twice");
        }
    }
}
