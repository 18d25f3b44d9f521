//! Telemetry beside a subscriber of the application's own: its filter stands before our layer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../src/telemetry/tests/sink.rs"]
#[expect(dead_code, reason = "the unit tests of the pipeline use the rest")]
mod sink;

use std::convert::Infallible;

use sink::{Answer, Sink};
use throughline::{
    internal,
    telemetry::{self, Subscriber},
};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _};

#[test]
fn our_layer_serves_in_a_subscriber_of_the_applications() {
    let sink = Sink::start(Answer::Ok);
    let builder = telemetry::builder("api").endpoint(sink.url()).subscriber(Subscriber::Existing);
    let telemetry = builder.install().unwrap();
    let theirs = tracing_subscriber::registry().with(EnvFilter::new("info")).with(telemetry.layer());
    let trace = tracing::subscriber::with_default(theirs, || {
        internal("outer").run_sync(|outer| {
            tracing::info_span!("inner").in_scope(|| tracing::info!("kept"));
            tracing::debug!("filtered");
            Ok::<_, Infallible>(outer.trace_id().to_string())
        })
    });
    let trace = trace.unwrap();
    telemetry.shutdown().unwrap();

    let logs: Vec<_> = sink.logs().iter().map(sink::summary).collect();
    let [log] = logs.as_slice() else { panic!("{logs:?}") };
    assert!(log.starts_with(&format!("kept | {trace} ")), "{log}");
    let mut names: Vec<_> = sink.spans().into_iter().map(|span| span.name).collect();
    names.sort();
    assert_eq!(names, ["inner", "outer"]);
}
