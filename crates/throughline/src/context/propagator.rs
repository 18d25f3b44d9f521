//! The same reading and writing behind OpenTelemetry's standard interface, for code that takes a `TextMapPropagator`: HTTP
//! clients, other instrumentation, `opentelemetry::global::set_text_map_propagator`.

use super::{Carried, Incoming, copy_baggage, extract, inject_context};
use crate::headers::{HeaderSink, HeaderSource};
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use std::sync::LazyLock;
use throughline_semconv::header;

/// A standard propagator built on throughline's own header code.
///
/// What it does better than opentelemetry-rust 0.33's own: an `=` inside a baggage value survives, trace flag 02 survives,
/// an empty `tracestate` is never written, and versions of `traceparent` after 00 are read.
///
/// Standard injectors can set a header and not remove one, so a stale header under another spelling stays: use
/// [`inject_trace_headers`](crate::inject_trace_headers) where you can.
///
/// ```
/// use throughline::{Propagator, opentelemetry::global};
/// global::set_text_map_propagator(Propagator::all());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagator {
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    All,
    TraceContext,
    Baggage,
}

static FIELDS: LazyLock<[String; 5]> = LazyLock::new(|| {
    [header::TRACEPARENT, header::TRACESTATE, header::BAGGAGE, header::X_CORRELATION_ID, header::X_TENANT_ID]
        .map(str::to_owned)
});

impl Propagator {
    /// Trace context, baggage, correlation id and tenant.
    #[must_use]
    pub const fn all() -> Self {
        Self { part: Part::All }
    }

    /// `traceparent` and `tracestate` only.
    #[must_use]
    pub const fn trace_context() -> Self {
        Self { part: Part::TraceContext }
    }

    /// `baggage` only.
    #[must_use]
    pub const fn baggage() -> Self {
        Self { part: Part::Baggage }
    }

    fn names(self) -> &'static [String] {
        let all = FIELDS.as_slice();
        match self.part {
            Part::All => all,
            Part::TraceContext => all.get(..2).unwrap_or_default(),
            Part::Baggage => all.get(2..3).unwrap_or_default(),
        }
    }
}

impl Default for Propagator {
    fn default() -> Self {
        Self::all()
    }
}

impl TextMapPropagator for Propagator {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        let _ = inject_context(cx, Injecting { injector, names: self.names() });
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        onto(cx, &extract(&Extracting { extractor, names: self.names() }))
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(self.names())
    }
}

/// What was found, laid over a context; what was not found stays as `cx` has it.
fn onto(cx: &Context, incoming: &Incoming) -> Context {
    let found = incoming.found();
    let mut out = cx.clone();
    if found.baggage {
        out = out.with_baggage(copy_baggage(incoming.context().baggage(), |_| true));
    }
    if found.traceparent || found.correlation_id || found.tenant_id {
        let (before, new) = (Carried::of(cx), Carried::of(incoming.context()));
        let correlation = new.correlation.clone().or_else(|| before.correlation.clone());
        let tenant = new.tenant.clone().or_else(|| before.tenant.clone());
        let trace = if found.traceparent { new } else { before };
        // The copy above is another value than the one that was parsed: it has to be written anew.
        let merged = Carried { correlation, tenant, baggage: None, ..trace };
        out = merged.put_into(&out);
    }
    if found.traceparent { out.with_remote_span_context(incoming.span_context()) } else { out }
}

struct Extracting<'a> {
    extractor: &'a dyn Extractor,
    names: &'a [String],
}

impl HeaderSource for Extracting<'_> {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        for name in self.names {
            for value in self.extractor.get_all(name).unwrap_or_default() {
                each(name.as_bytes(), Some(value.as_bytes()));
            }
        }
    }
}

struct Injecting<'a> {
    injector: &'a mut dyn Injector,
    names: &'a [String],
}

impl HeaderSource for Injecting<'_> {
    fn visit(&self, _each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {}
}

impl HeaderSink for Injecting<'_> {
    fn replace(self, _owned: &[&'static str], entries: &[(&'static str, &[u8])]) -> Self {
        for (name, value) in entries.iter().filter(|(name, _)| self.names.iter().any(|own| own == name)) {
            self.injector.set(name, String::from_utf8_lossy(value).into_owned());
        }
        self
    }
}
