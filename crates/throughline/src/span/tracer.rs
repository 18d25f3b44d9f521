//! Where spans are made: the tracer of a context, else the global one, never one that was taken too early.
//!
//! A tracer taken before the application has set its provider is a no-op for ever. So the global tracer is looked up for
//! every span (65 ns) until somebody who knows says that the provider is final; then each thread keeps its own.

use opentelemetry::global::{BoxedSpan, BoxedTracer};
use opentelemetry::trace::{SpanBuilder, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, InstrumentationScope, global};
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

/// How often the providers were declared final. Zero: never.
static GENERATION: AtomicUsize = AtomicUsize::new(0);
/// The generation of providers whose sampler drops every span below an unsampled parent, as far as set-up code knows.
/// Zero: none. It says nothing of any other generation, nor of a provider that a context brings along.
static PARENT_BASED: AtomicUsize = AtomicUsize::new(0);

static SCOPE: LazyLock<InstrumentationScope> = LazyLock::new(|| {
    InstrumentationScope::builder("throughline")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(throughline_semconv::SCHEMA_URL)
        .build()
});

thread_local! {
    static KEPT: RefCell<Option<(usize, BoxedTracer)>> = const { RefCell::new(None) };
}

/// The scope our spans and metrics are made under.
pub(crate) fn scope() -> InstrumentationScope {
    SCOPE.clone()
}

pub(crate) fn generation() -> usize {
    GENERATION.load(Relaxed)
}

/// Says that the global tracer and meter providers have been set and will stay. From now on each thread keeps its tracer
/// and instruments, which saves a lookup per span. The set-up of this crate's `telemetry` module calls it; call it yourself if you set the
/// providers up by hand, and again whenever you replace one.
///
/// Without any call everything works as well, the lookup included.
pub fn providers_are_set() {
    GENERATION.fetch_add(1, Relaxed);
}

/// As [`providers_are_set`], for set-up code that has given the tracer provider a parent-based sampler whose branches for
/// unsampled parents say no: spans below an unsampled parent then skip the SDK altogether, until somebody declares other
/// providers final. The set-up of this crate's `telemetry` module calls it where its sampler is such a one.
pub fn parent_based_providers_are_set() {
    PARENT_BASED.store(GENERATION.fetch_add(1, Relaxed) + 1, Relaxed);
}

/// Whether the sampler would drop a span below `parent` for certain: the global one, if it is known; a provider of the
/// context's own has a sampler of its own, and is asked.
pub(crate) fn is_dropped_for_certain(parent: &Context) -> bool {
    let known = PARENT_BASED.load(Relaxed);
    if known == 0 || known != generation() {
        return false;
    }
    let span = parent.span();
    let span = span.span_context();
    span.is_valid() && !span.is_sampled() && parent.get::<Scoped>().is_none()
}

struct Scoped(Arc<BoxedTracer>);

/// A context whose spans, and those of every message handled below it, are made by `provider` instead of the global one:
/// for tests that run side by side, and for two pipelines in one process.
#[must_use]
pub fn with_tracer_provider<P>(cx: &Context, provider: &P) -> Context
where
    P: TracerProvider,
    P::Tracer: Send + Sync + 'static,
    <P::Tracer as Tracer>::Span: Send + Sync + 'static,
{
    let tracer = provider.tracer_with_scope(scope());
    cx.with_value(Scoped(Arc::new(BoxedTracer::new(Box::new(tracer)))))
}

/// `to` with the tracer of `from`, if `from` has one of its own.
pub(crate) fn carry_over(from: &Context, to: Context) -> Context {
    match from.get::<Scoped>() {
        Some(scoped) => to.with_value(Scoped(Arc::clone(&scoped.0))),
        None => to,
    }
}

/// `parent` with its span as a mere identity: what runs in it can pass the trace on, and can neither end nor change a span
/// that is not its own.
pub(crate) fn pass_through(parent: Context) -> Context {
    let span = parent.span();
    let span = span.span_context();
    if span.is_remote() || !span.is_valid() { parent } else { parent.with_remote_span_context(span.clone()) }
}

/// A new span in its parent's context. A tracer that makes none (its provider has been shut down) still passes the trace
/// on.
pub(crate) fn build(builder: SpanBuilder, parent: Context) -> Context {
    let span = make(builder, &parent);
    if opentelemetry::trace::Span::span_context(&span).is_valid() {
        parent.with_span(span)
    } else {
        pass_through(parent)
    }
}

fn make(builder: SpanBuilder, parent: &Context) -> BoxedSpan {
    if let Some(scoped) = parent.get::<Scoped>() {
        return scoped.0.build_with_context(builder, parent);
    }
    let generation = generation();
    if generation == 0 {
        return global::tracer_with_scope(scope()).build_with_context(builder, parent);
    }
    // Taken out while in use: a span processor may start spans of its own on this thread.
    let kept = KEPT.try_with(RefCell::take).ok().flatten();
    let tracer = match kept {
        Some((taken_in, tracer)) if taken_in == generation => tracer,
        _ => global::tracer_with_scope(scope()),
    };
    let span = tracer.build_with_context(builder, parent);
    let _ = KEPT.try_with(|kept| kept.replace(Some((generation, tracer))));
    span
}
