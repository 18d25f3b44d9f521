//! The answer's body with the server's span in it: the span ends with the last frame, or is cancelled with the body.

use std::{
    fmt::Display,
    pin::Pin,
    task::{Context, Poll},
};

use ::http::StatusCode;
use bytes::Buf as _;
use http_body::{Body, Frame, SizeHint};

use super::{server::failed, step};
use crate::{ActiveSpan, outcome::error_type};

pin_project_lite::pin_project! {
    /// A body that ends a span when it ends.
    #[derive(Debug)]
    pub struct TracedBody<B> {
        #[pin]
        inner: B,
        span: Open,
        // Bytes still to come, if the answer's head said how many there are: servers drop a body after them unasked.
        left: Option<u64>,
    }
}

/// The span, until it has ended, and the status if that is an error: how the span ends if nothing worse comes.
pub(super) struct Open {
    span: Option<ActiveSpan>,
    error: Option<StatusCode>,
}

impl Open {
    fn end(&mut self) {
        if let Some(span) = self.span.take() {
            end(span, self.error);
        }
    }
}

fn end(span: ActiveSpan, error: Option<StatusCode>) {
    if let Some(status) = error {
        failed(span.span(), status);
    }
    span.end();
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.span.is_some() { "open" } else { "ended" })
    }
}

impl<B: Body> TracedBody<B> {
    /// A body whose end is the span's end; `length` is what the answer's head says of it.
    pub(super) fn new(inner: B, span: ActiveSpan, error: Option<StatusCode>, length: Option<u64>) -> Self {
        let left = length.or_else(|| inner.size_hint().exact());
        let mut span = Open { span: Some(span), error };
        if inner.is_end_stream() || left == Some(0) {
            span.end();
        }
        TracedBody { inner, span, left }
    }

    /// A body that nobody will read: the answer to HEAD, a 204, an upgrade.
    pub(super) fn ended(inner: B, span: ActiveSpan, error: Option<StatusCode>) -> Self {
        end(span, error);
        TracedBody { inner, span: Open { span: None, error }, left: None }
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
        let polled = step(&mut this.span.span, || this.inner.as_mut().poll_frame(task));
        match &polled {
            Poll::Ready(Some(Err(error))) => {
                if let Some(span) = this.span.span.take() {
                    span.fail(error, error_type(error));
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                *this.left = this.left.map(|left| left.saturating_sub(bytes));
                // Servers do not ask again after the last frame if the body or the head says that it was the last.
                if *this.left == Some(0) || this.inner.is_end_stream() {
                    this.span.end();
                }
            }
            Poll::Ready(None) => this.span.end(),
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
    use crate::testing::{Ids, Recorder};
    use bytes::Bytes;
    use http_body_util::{BodyExt as _, StreamBody};
    use std::convert::Infallible;

    /// The span of an answer whose body of two frames is read so far and then dropped.
    fn span_of(
        error: Option<StatusCode>,
        length: Option<u64>,
        frames: usize,
    ) -> crate::testing::RecordedSpan {
        let recorder = Recorder::local(Ids::Random);
        let _active = recorder.context().attach();
        let two = ["ab", "c"].map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from(text))));
        let stream = futures_util::stream::iter(two);
        let mut body = TracedBody::new(StreamBody::new(stream), crate::internal("it").start(), error, length);
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
            let span = span_of(None, length, frames);
            assert_eq!(span.attribute("error.type"), error.map(Into::into).as_ref(), "{length:?} {frames}");
        }
    }

    #[test]
    fn an_error_has_one_name() {
        for (frames, name) in [(2, "500"), (1, "cancelled")] {
            let span = span_of(Some(StatusCode::INTERNAL_SERVER_ERROR), Some(3), frames);
            span.assert_error(name);
            let named = span.data().attributes.iter().filter(|kv| kv.key.as_str() == "error.type");
            assert_eq!(named.count(), 1, "the SDK exports a key twice that is set twice");
        }
    }
}
