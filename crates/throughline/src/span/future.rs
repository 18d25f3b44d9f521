//! A future with a span around it: our own poll wrapper. The context is attached for each poll (and for the future's
//! destructors), a panic is recorded and resumed, a drop before the end is `cancelled`.

use super::{ActiveSpan, Span, SpanSpec};
use crate::outcome::{Outcome, panic_failure};
use opentelemetry::Context;
use pin_project_lite::pin_project;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Poll, ready};

pin_project! {
    /// A future inside an [`ActiveSpan`]; see [`ActiveSpan::instrument`].
    #[must_use = "does nothing until awaited"]
    pub struct Traced<F> {
        // Emptied when it is done, inside the context, so that whatever its destructors trace lies within the span.
        #[pin]
        inner: Option<F>,
        active: ActiveSpan,
    }

    impl<F> PinnedDrop for Traced<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.inner.is_some() {
                let _context = this.active.enter();
                this.inner.set(None);
            }
        }
    }
}

impl<F: Future<Output: Outcome>> Future for Traced<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut std::task::Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let context = this.active.enter();
        let inner = this.inner.as_mut().as_pin_mut().expect("a finished future is not polled again");
        // Unwind safe: nothing of the future is looked at after a panic, it goes straight on to the caller.
        let polled = catch_unwind(AssertUnwindSafe(|| inner.poll(task)));
        match polled {
            Ok(poll) => {
                let outcome = ready!(poll);
                this.inner.set(None);
                drop(context);
                this.active.close(outcome.failure());
                Poll::Ready(outcome)
            }
            Err(payload) => {
                drop(context);
                this.active.close(Some(panic_failure(&*payload)));
                resume_unwind(payload)
            }
        }
    }
}

impl ActiveSpan {
    /// Runs a future inside this span. Its result, its panic or its cancellation goes on exactly as it came, and ends the
    /// span accordingly.
    pub fn instrument<F: Future<Output: Outcome>>(self, future: F) -> Traced<F> {
        Traced { inner: Some(future), active: self }
    }
}

impl SpanSpec {
    /// Runs a handler inside the span, which it gets as an argument.
    ///
    /// The caller's context is taken now; the span starts at the first poll. (So the future may be made here and spawned
    /// there without losing its trace.)
    ///
    /// ```
    /// # async fn doc() {
    /// use throughline::process;
    /// let headers = vec![("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
    /// let sent: Result<usize, std::io::Error> = process("orders")
    ///     .group("email")
    ///     .headers(&headers)
    ///     .run(async |span| {
    ///         span.set("recipients", 2);
    ///         Ok(2)
    ///     })
    ///     .await;
    /// # }
    /// ```
    pub fn run<R: Outcome, F: AsyncFnOnce(Span) -> R>(mut self, handler: F) -> impl Future<Output = R> {
        let base = self.parent.take().unwrap_or_else(Context::current);
        async move {
            let active = self.start_in(&base);
            drop(base);
            let span = active.span().clone();
            active.instrument(handler(span)).await
        }
    }

    /// Runs a future inside the span; [`Span::current`] is the span within it.
    ///
    /// The caller's context is taken now; the span starts at the first poll.
    pub fn instrument<F: Future<Output: Outcome>>(mut self, future: F) -> impl Future<Output = F::Output> {
        let base = self.parent.take().unwrap_or_else(Context::current);
        async move {
            let active = self.start_in(&base);
            drop(base);
            active.instrument(future).await
        }
    }

    /// Runs a blocking handler inside the span.
    pub fn run_sync<R: Outcome>(self, handler: impl FnOnce(&Span) -> R) -> R {
        let mut active = self.start();
        let context = active.enter();
        match catch_unwind(AssertUnwindSafe(|| handler(active.span()))) {
            Ok(outcome) => {
                drop(context);
                active.close(outcome.failure());
                outcome
            }
            Err(payload) => {
                drop(context);
                active.close(Some(panic_failure(&*payload)));
                resume_unwind(payload)
            }
        }
    }
}
