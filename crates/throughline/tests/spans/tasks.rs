//! Tasks: when the context is taken, what survives `tokio::spawn`, which handler shapes compile there.

use crate::support::*;
use opentelemetry::Context;
use opentelemetry::trace::{SpanId, TraceContextExt};
use std::convert::Infallible;
use throughline::{
    Meta, Outcome, Span, extract_batch_lineage, internal, process, send, with_consumer_span,
    with_producer_span,
};

/// Made here, polled there: the trace is the one of the place where it was made.
#[test]
fn the_context_is_taken_when_the_future_is_made() {
    let pipeline = Pipeline::new();
    let outer = {
        let _context = pipeline.context().attach();
        internal("outer").start()
    };
    let futures = {
        let _context = outer.enter();
        (
            send("run").run(async |_| ()),
            send("instrument").instrument(async {}),
            with_producer_span("producer", Meta::default(), async || ()),
        )
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async { (futures.0.await, futures.1.await, futures.2.await) });
        });
    });
    let outer_id = outer.span().context().span().span_context().span_id();
    outer.end();
    for name in ["send run", "send instrument", "send producer"] {
        assert_eq!(pipeline.span(name).parent_span_id, outer_id, "{name}");
    }
}

#[test]
fn nothing_starts_before_the_first_poll() {
    let pipeline = Pipeline::new();
    let _context = pipeline.context().attach();
    drop(send("never").run(async |_| ()));
    assert!(pipeline.spans().is_empty());
}

/// Two handlers interleave on one thread: each sees its own span after every await.
#[test]
fn interleaved_handlers_do_not_mix() {
    let pipeline = Pipeline::new();
    pipeline.block_on(async || {
        let handler = |topic: &'static str| {
            process(topic).run(async |span| {
                for _ in 0..3 {
                    assert_eq!(Span::current().trace_id(), span.trace_id());
                    tokio::task::yield_now().await;
                }
            })
        };
        tokio::join!(handler("a"), handler("b"));
        assert!(!Context::current().span().span_context().is_valid());
    });
    assert_ne!(
        pipeline.span("process a").span_context.trace_id(),
        pipeline.span("process b").span_context.trace_id()
    );
}

#[test]
fn our_spawn_stays_in_the_trace_and_a_plain_one_does_not() {
    let pipeline = Pipeline::new();
    pipeline.block_on(async || {
        let handler = process("orders").run(async |_| {
            throughline::spawn(send("ours").run(async |_| ())).await.unwrap();
            throughline::spawn_blocking(|| send("blocking").run_sync(|_| ())).await.unwrap();
            // Made inside the task, where a plain spawn has no context left.
            let lost = tokio::spawn(async { Context::current().span().span_context().is_valid() });
            assert!(!lost.await.unwrap(), "if tokio carried the context, spawn would not be needed");
            let kept = throughline::spawn(async { Context::current().span().span_context().is_valid() });
            assert!(kept.await.unwrap());
        });
        handler.await;
    });
    let parent = pipeline.span("process orders").span_context.span_id();
    assert_ne!(parent, SpanId::INVALID);
    assert_eq!(pipeline.span("send ours").parent_span_id, parent);
    assert_eq!(pipeline.span("send blocking").parent_span_id, parent);
}

async fn go(payload: &[u8]) -> Result<(), Infallible> {
    tokio::task::yield_now().await;
    assert!(payload.is_empty());
    Ok(())
}

/// Each shape has to be `Send` where it is spawned; that it compiles is the test.
#[test]
fn handler_shapes_survive_spawn() {
    fn is_spawnable<F: Future + Send + 'static>(future: F) -> F {
        future
    }
    // A library's own spawner: bounded on the future, since an async closure's future cannot be.
    fn spawner<F: Future<Output: Outcome> + Send + 'static>(work: F) -> impl Future + Send {
        is_spawnable(process("x").start().instrument(work))
    }
    let message = headers(&[("traceparent", PARENT)]);
    let pipeline = Pipeline::new();
    pipeline.block_on(async move || {
        let (payload, other) = (Vec::new(), Vec::new());
        is_spawnable(async move {
            let mut local = 0;
            let borrowed = &mut local;
            process("x")
                .headers(&message)
                .run(async |_| {
                    *borrowed += 1;
                    go(&payload).await
                })
                .await
                .unwrap();
            process("x").headers(&message).instrument(go(&payload)).await.unwrap();
            process("x").start().instrument(go(&payload)).await.unwrap();
            with_consumer_span("x", "g", &message, Meta::default(), async || go(&payload).await)
                .await
                .unwrap();
            let lineage = extract_batch_lineage([&message, &message], 10);
            process("x")
                .lineage(lineage)
                .run(async |span| {
                    for _ in [&message] {
                        go(&payload).await?;
                    }
                    span.set("rows", 1);
                    Ok::<_, Infallible>(())
                })
                .await
                .unwrap();
        })
        .await;
        spawner(async move { go(&other).await }).await;
    });
    assert_eq!(pipeline.spans().len(), 6);
}
