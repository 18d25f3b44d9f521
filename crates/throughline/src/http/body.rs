//! The answer's body with the server's span in it: the span ends with the last frame, or is cancelled with the body.

use std::{
    fmt::Display,
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};

use crate::{ActiveSpan, outcome::error_type};

pin_project_lite::pin_project! {
    /// A body that ends a span when it ends.
    #[derive(Debug)]
    pub struct TracedBody<B> {
        #[pin]
        inner: B,
        span: Open,
    }
}

/// The span, until it has ended.
pub(super) struct Open(Option<ActiveSpan>);

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "open" } else { "ended" })
    }
}

impl<B: Body> TracedBody<B> {
    /// A body whose end is the span's end.
    pub(super) fn new(inner: B, span: ActiveSpan) -> Self {
        let span = if inner.is_end_stream() {
            span.end();
            None
        } else {
            Some(span)
        };
        TracedBody { inner, span: Open(span) }
    }

    /// A body that nobody will read: the answer to HEAD, a 204, an upgrade.
    pub(super) fn ended(inner: B, span: ActiveSpan) -> Self {
        span.end();
        TracedBody { inner, span: Open(None) }
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
        let current = this.span.0.as_ref().map(ActiveSpan::enter);
        let polled = this.inner.as_mut().poll_frame(task);
        drop(current);
        match &polled {
            Poll::Ready(Some(Err(error))) => {
                if let Some(span) = this.span.0.take() {
                    span.fail(error, error_type(error));
                }
            }
            // Servers do not ask again after the last frame if the body says that it was the last.
            Poll::Ready(frame) if frame.is_none() || this.inner.is_end_stream() => {
                if let Some(span) = this.span.0.take() {
                    span.end();
                }
            }
            Poll::Ready(Some(Ok(_)) | None) | Poll::Pending => {}
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
