//! The library's exporters over gRPC (feature `otlp-grpc`) against `throughline serve`: spans, logs and metrics arrive.
//!
//! The environment chooses the protocol, as it does in production. A process has one environment and one set-up of telemetry,
//! so the service of this test is the test's own binary once more.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use throughline::{process, telemetry};
use throughline_e2e::serve::Serve;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// Where it is set, this process is the service.
const SERVICE: &str = "THROUGHLINE_TEST_SERVICE";

/// One message handled, and all that is known of it handed over.
async fn service() {
    let telemetry = telemetry::init("grpc-worker").expect("set up");
    assert!(telemetry.warnings().is_empty(), "{:?}", telemetry.warnings());
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    process("orders")
        .group("email")
        .headers(&[("traceparent", parent)])
        .run(async |_| {
            tracing::info!("handled");
            Ok::<_, std::convert::Infallible>(())
        })
        .await
        .expect("infallible");
    telemetry.flush().expect("all three signals were taken");
    assert_eq!(telemetry.log_records().exported, 1);
    let spans = telemetry.shutdown().expect("delivered");
    assert_eq!((spans.exported, spans.dropped()), (1, 0), "{spans:?}");
}

fn ask(url: String) -> String {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .into();
    agent.get(url).call().expect("an answer").body_mut().read_to_string().expect("a whole answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_three_signals_arrive_over_grpc() {
    if std::env::var_os(SERVICE).is_some() {
        return service().await;
    }
    for compression in ["none", "gzip"] {
        let serve = Serve::start(["--ephemeral"]);
        let this = std::env::current_exe().expect("a test binary");
        let ended = Command::new(Path::new(&this))
            .args(["--exact", "all_three_signals_arrive_over_grpc", "--nocapture"])
            .env(SERVICE, "1")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &serve.otlp_grpc)
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
            .env("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
            .output()
            .expect("it runs");
        assert!(ended.status.success(), "{compression}: {}", String::from_utf8_lossy(&ended.stderr));

        let trace = ask(format!("{}/api/traces/{TRACE}", serve.ui));
        for part in ["process orders", "grpc-worker", "b7ad6b7169203331"] {
            assert!(trace.contains(part), "{compression}: no {part} in {trace}");
        }
        let metrics = ask(format!("{}/metrics", serve.ui));
        let processed =
            metrics.lines().find(|line| line.starts_with("messaging_process_duration_seconds_count"));
        assert!(
            processed.is_some_and(|line| line.ends_with(" 1")),
            "{compression}: {processed:?}\n{metrics}"
        );
    }
}
