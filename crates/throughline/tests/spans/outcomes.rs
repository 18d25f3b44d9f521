//! How a span ends: result, panic, cancellation, each passed on exactly as it came.

use crate::support::*;
use opentelemetry::trace::Status;
use opentelemetry_sdk::trace::SpanData;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use throughline::{Outcome, SpanSpec, name_by_cause, name_errors, process};

#[derive(Debug)]
struct Declined(u16);

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "card declined: {}", self.0)
    }
}

impl Error for Declined {}

/// An error type like anyhow's: no `Error`, no `Clone`, just `Display`.
struct Opaque(&'static str);

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

fn ended_with<R: Outcome>(outcome: R) -> SpanData {
    let pipeline = Pipeline::new();
    let returned = pipeline.block_on(async || process("orders").run(async |_| outcome).await);
    let _ = returned.failure();
    pipeline.span("process orders")
}

#[track_caller]
fn assert_failed(span: &SpanData, error_type: &str, message: &str) {
    assert_eq!(text(span, "error.type").as_deref(), Some(error_type));
    assert_eq!(span.status, Status::error(message.to_owned()));
    let exception = span.events.iter().next().expect("an exception event");
    let said: Vec<_> = exception.attributes.iter().map(|kv| kv.value.as_str().into_owned()).collect();
    assert_eq!(
        (exception.name.as_ref(), said),
        ("exception", vec![error_type.to_owned(), message.to_owned()])
    );
    assert_eq!(span.events.len(), 1);
}

#[test]
fn results_are_read_and_not_changed() {
    name_errors(|error| {
        error.downcast_cause::<Declined>().map(|declined| Cow::from(format!("DECLINED_{}", declined.0)))
    });
    let fine = ended_with(Ok::<_, Opaque>(7));
    assert_eq!((fine.status, fine.events.len()), (Status::Unset, 0));
    assert_eq!(attribute(&ended_with(()), "error.type"), None);

    assert_failed(&ended_with(Err::<(), _>(Declined(51))), "DECLINED_51", "card declined: 51");
    let boxed: Box<dyn Error + Send + Sync> = Box::new(Declined(5));
    assert_failed(&ended_with(Err::<(), _>(boxed)), "DECLINED_5", "card declined: 5");
    assert_failed(&ended_with(Err::<(), _>(Opaque("no"))), "spans::outcomes::Opaque", "no");
    assert_failed(&ended_with(Err::<(), _>("plain words".to_owned())), "_OTHER", "plain words");
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    assert_failed(&ended_with(Err::<(), _>(refused)), "ConnectionRefused", "connection refused");
    let wrapped: Box<dyn Error> = "words in a box".into();
    assert_failed(&ended_with(Err::<(), _>(wrapped)), "_OTHER", "words in a box");
}

/// An error of the application's own around another one.
#[derive(Debug)]
struct Checkout<const KNOWN: bool>(Option<Box<dyn Error>>);

impl<const KNOWN: bool> fmt::Display for Checkout<KNOWN> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no checkout")
    }
}

impl<const KNOWN: bool> Error for Checkout<KNOWN> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.as_deref()
    }
}

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl Error for Refused {}

#[test]
fn an_error_is_named_by_its_causes_where_that_was_asked_for() {
    type Wrapped = Checkout<true>;
    name_errors(|error| error.downcast_cause::<Refused>().map(|_| Cow::from("REFUSED")));
    name_by_cause::<Wrapped>();
    let io = || Box::new(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
    let own_name = std::any::type_name::<Wrapped>();
    for (error, name) in [
        (Checkout(Some(Box::new(Refused))), "REFUSED"),
        (Checkout(Some(Box::new(Checkout::<true>(Some(Box::new(Refused)))))), "REFUSED"),
        (Checkout(Some(io())), "BrokenPipe"),
        (Checkout(Some("words".into())), own_name),
        (Checkout(None), own_name),
    ] {
        assert_failed(&ended_with(Err::<(), Wrapped>(error)), name, "no checkout");
    }
    let name = std::any::type_name::<Checkout<false>>();
    let silent = Checkout::<false>(Some(Box::new(Refused)));
    assert_failed(&ended_with(Err::<(), _>(silent)), name, "no checkout");
}

#[test]
fn a_handler_may_never_return() {
    async fn works_for_ever() -> ! {
        loop {
            std::future::pending::<()>().await;
        }
    }
    let pipeline = Pipeline::new();
    pipeline.block_on(async || {
        let mut task = std::task::Context::from_waker(std::task::Waker::noop());
        let mut handler = Box::pin(process("orders").instrument(works_for_ever()));
        assert!(handler.as_mut().poll(&mut task).is_pending());
    });
    assert_failed(&pipeline.span("process orders"), "cancelled", "dropped before it finished");
    let ended = ended_with(Ok::<_, std::convert::Infallible>(1));
    assert_eq!(ended.status, Status::Unset);
}

#[test]
fn the_value_comes_back_as_it_was() {
    struct NotClone(String);
    let pipeline = Pipeline::new();
    let value = pipeline.block_on(async || {
        process("orders").run(async |_| Ok::<_, Opaque>(NotClone("same".to_owned()))).await
    });
    assert_eq!(value.ok().unwrap().0, "same");
}

#[test]
fn a_panic_is_recorded_and_goes_on() {
    for (run, says) in [
        (panics_async as fn(SpanSpec), "boom 7"),
        (|spec| spec.run_sync(|_| panic!("plain")), "plain"),
        (|spec| spec.run_sync(|_| std::panic::panic_any(42)), "panicked"),
    ] {
        let pipeline = Pipeline::new();
        let caught = catch_unwind(AssertUnwindSafe(|| run(process("orders").parent(pipeline.context()))));
        let payload = caught.expect_err("the panic goes on");
        if says == "panicked" {
            assert_eq!(payload.downcast_ref::<i32>(), Some(&42));
        }
        assert_failed(&pipeline.span("process orders"), "panic", says);
    }
}

fn panic_with(n: u8) {
    panic!("boom {n}")
}

fn panics_async(spec: SpanSpec) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(spec.run(async |_| {
        tokio::task::yield_now().await;
        panic_with(7)
    }));
}

#[test]
fn a_dropped_future_is_cancelled_and_what_its_destructors_trace_lies_within() {
    struct SendsOnDrop;
    impl Drop for SendsOnDrop {
        fn drop(&mut self) {
            throughline::send("goodbye").run_sync(|_| ());
        }
    }
    let pipeline = Pipeline::new();
    pipeline.block_on(async || {
        let mut handler = Box::pin(process("orders").run(async |_| {
            let _last_words = SendsOnDrop;
            std::future::pending::<()>().await;
        }));
        let mut task = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(handler.as_mut().poll(&mut task).is_pending());
        assert!(pipeline.spans().is_empty());
        drop(handler);
    });
    let span = pipeline.span("process orders");
    assert_failed(&span, "cancelled", "dropped before it finished");
    let last = pipeline.span("send goodbye");
    assert_eq!(last.parent_span_id, span.span_context.span_id());
    assert!(last.end_time <= span.end_time);
}

#[test]
fn a_guard_ends_once_and_a_clone_of_its_context_does_not_keep_it_open() {
    let pipeline = Pipeline::new();
    let _context = pipeline.context().attach();
    let active = process("orders").start();
    let kept = active.span().clone();
    active.end();
    assert_eq!(pipeline.span("process orders").status, Status::Unset);
    assert!(!kept.is_recording());
    drop(kept);

    drop(process("returned early").start());
    assert_failed(&pipeline.span("process returned early"), "cancelled", "dropped before it finished");
    process("failed").start().fail("queue full", "QUEUE_FULL");
    assert_failed(&pipeline.span("process failed"), "QUEUE_FULL", "queue full");
    process("finished").start().finish(&Err::<(), _>(Opaque("bad")));
    assert_failed(&pipeline.span("process finished"), "spans::outcomes::Opaque", "bad");
    assert_eq!(pipeline.spans().len(), 4);
}
