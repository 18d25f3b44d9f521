//! A pipeline of its own for each test: spans kept in memory, ids that can be given. Nothing global, so tests run side by
//! side.

#![expect(dead_code, reason = "each test binary uses its part")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry::{Context, Value};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    IdGenerator, RandomIdGenerator, Sampler, SdkTracerProvider, SpanData, SpanProcessor,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A tracer provider and what it has recorded.
pub struct Pipeline {
    pub provider: SdkTracerProvider,
    ended: Arc<Mutex<Vec<SpanData>>>,
}

impl Pipeline {
    pub fn new() -> Self {
        Self::sampled_by(Sampler::AlwaysOn, &[])
    }

    /// New traces get these ids first, then random ones.
    pub fn with_trace_ids(ids: &[&str]) -> Self {
        Self::sampled_by(Sampler::AlwaysOn, ids)
    }

    pub fn sampled_by(sampler: Sampler, ids: &[&str]) -> Self {
        let ended = Arc::<Mutex<Vec<SpanData>>>::default();
        let ids = ids.iter().rev().map(|id| TraceId::from_hex(id).unwrap()).collect();
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_id_generator(Given(Mutex::new(ids)))
            .with_span_processor(Keep(Arc::clone(&ended)))
            .build();
        Self { provider, ended }
    }

    /// The context in which everything is recorded here.
    pub fn context(&self) -> Context {
        throughline::with_tracer_provider(&Context::new(), &self.provider)
    }

    /// Runs work in that context. A closure, because our futures take the context where they are made.
    pub fn block_on<R>(&self, work: impl AsyncFnOnce() -> R) -> R {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _context = self.context().attach();
        runtime.block_on(work())
    }

    /// Everything that has ended, in that order.
    pub fn spans(&self) -> Vec<SpanData> {
        self.ended.lock().unwrap().clone()
    }

    /// The one span of that name.
    #[track_caller]
    pub fn span(&self, name: &str) -> SpanData {
        let all = self.spans();
        let mut named = all.iter().filter(|span| span.name == name);
        match (named.next(), named.next()) {
            (Some(span), None) => span.clone(),
            _ => {
                panic!("not exactly one {name:?} among {:?}", all.iter().map(|s| &s.name).collect::<Vec<_>>())
            }
        }
    }
}

#[derive(Debug)]
struct Keep(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Keep {
    fn on_start(&self, _: &mut opentelemetry_sdk::trace::Span, _: &Context) {}
    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[derive(Debug)]
struct Given(Mutex<Vec<TraceId>>);

impl IdGenerator for Given {
    fn new_trace_id(&self) -> TraceId {
        self.0.lock().unwrap().pop().unwrap_or_else(|| RandomIdGenerator::default().new_trace_id())
    }
    fn new_span_id(&self) -> SpanId {
        RandomIdGenerator::default().new_span_id()
    }
}

/// An attribute's value; fails if the key was exported twice.
#[track_caller]
pub fn attribute(span: &SpanData, key: &str) -> Option<Value> {
    let mut values = span.attributes.iter().filter(|kv| kv.key.as_str() == key).map(|kv| kv.value.clone());
    let first = values.next();
    assert!(values.next().is_none(), "{key} is on {:?} twice", span.name);
    first
}

/// An attribute as text.
#[track_caller]
pub fn text(span: &SpanData, key: &str) -> Option<String> {
    attribute(span, key).map(|value| value.as_str().into_owned())
}

/// The links of a span with their reasons.
pub fn links(span: &SpanData) -> Vec<(SpanId, String)> {
    span.links
        .iter()
        .map(|link| (link.span_context.span_id(), link_text(link, "throughline.link.reason")))
        .collect()
}

pub fn link_text(link: &opentelemetry::trace::Link, key: &str) -> String {
    let value = link.attributes.iter().find(|kv| kv.key.as_str() == key);
    value.map(|kv| kv.value.as_str().into_owned()).unwrap_or_default()
}

/// Headers as a Kafka-like client has them.
pub type Headers = Vec<(String, Vec<u8>)>;

pub const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub const SPAN: &str = "b7ad6b7169203331";
pub const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

pub fn headers(entries: &[(&str, &str)]) -> Headers {
    entries.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

/// All values of a header, without regard to case.
pub fn values(headers: &Headers, name: &str) -> Vec<String> {
    let named = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    named.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}
