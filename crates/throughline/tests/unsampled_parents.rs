//! Trap 20: below an unsampled parent the SDK is skipped only where set-up code knows the sampler. One process, one global
//! set-up, so one test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use opentelemetry::trace::{Link, SpanKind, TraceId, TraceState};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample};
use throughline::telemetry::{self, Console};
use throughline::testing::{Ids, Recorder};
use throughline::{process, providers_are_set, with_tracer_provider};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02";

/// Takes everything, whatever the parent says, and counts how often it was asked.
#[derive(Clone, Debug, Default)]
struct Asked(Arc<AtomicUsize>);

impl ShouldSample for Asked {
    fn should_sample(
        &self,
        _: Option<&Context>,
        _: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        self.0.fetch_add(1, Relaxed);
        let (attributes, trace_state) = (Vec::new(), TraceState::NONE);
        SamplingResult { decision: SamplingDecision::RecordAndSample, attributes, trace_state }
    }
}

/// Handles a message whose sender did not sample; the `traceparent` it sends on.
fn hop(base: Context) -> String {
    let spec = process("orders").headers(&[("traceparent", PARENT)]).parent(base);
    let sent = spec.run_sync(|span| Ok::<_, Infallible>(span.inject(Vec::<(String, String)>::new())));
    sent.unwrap().into_iter().find(|(name, _)| name == "traceparent").unwrap().1
}

#[test]
fn the_sdk_is_skipped_below_the_provider_of_the_set_up_and_no_other() {
    let telemetry = telemetry::builder("worker")
        .endpoint("http://127.0.0.1:9") // nothing is sampled, so nothing is sent
        .console(Console::Silent)
        .install()
        .unwrap();
    assert_eq!(hop(Context::new()), PARENT, "no span of its own, flags kept");

    let asked = Asked::default();
    let own = SdkTracerProvider::builder().with_sampler(asked.clone()).build();
    let sent = hop(with_tracer_provider(&Context::new(), &own));
    assert_eq!((asked.0.load(Relaxed), &sent[..36], &sent[52..]), (1, &PARENT[..36], "-03"));

    // The recorder samples as a service does, and says what it left out.
    let recorder = Recorder::local(Ids::Random);
    hop(recorder.context());
    let claim = std::panic::AssertUnwindSafe(|| recorder.claim("process orders"));
    let said = *std::panic::catch_unwind(claim).unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains("unsampled   process orders"), "{said}");

    // What comes after the set-up's provider may sample as it likes.
    global::set_tracer_provider(own);
    providers_are_set();
    assert_ne!(hop(Context::new()), PARENT);
    assert_eq!(asked.0.load(Relaxed), 2);
    drop(telemetry);
}
