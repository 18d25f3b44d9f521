//! Tasks that stay in their trace. A plain `tokio::spawn` inside a handler loses the OpenTelemetry context, and with it the
//! trace, the correlation id and the baggage.

use opentelemetry::Context;
use opentelemetry::context::FutureExt;
use tokio::task::JoinHandle;

/// `tokio::spawn`, in the caller's context.
///
/// For a future that is spawned by somebody else's code use `.with_current_context()` of
/// [`opentelemetry::context::FutureExt`], which does the same to any future.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(future.with_context(Context::current()))
}

/// `tokio::task::spawn_blocking`, in the caller's context.
pub fn spawn_blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
    let context = Context::current();
    tokio::task::spawn_blocking(move || {
        let _context = context.attach();
        work()
    })
}
