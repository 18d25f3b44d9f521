//! The fixtures, with ports replaced: one text for both programs. A place that is no longer in a fixture is an error.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

const TAIL_SAMPLING: &str =
    include_str!("../../../crates/throughline-collector/src/configuration/tests/tail-sampling.yaml");
const FRONT_TIER: &str =
    include_str!("../../../crates/throughline-collector/src/configuration/tests/front-tier.yaml");

/// Most undecided traces, on both sides.
pub const NUM_TRACES: u64 = 1_000_000;

/// Whether what goes out is compressed. A fixture that does not say means gzip, on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// `compression: none`
    None,
    /// The fixture as it is.
    Gzip,
}

/// Where a collector listens.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// OTLP over gRPC.
    pub grpc: SocketAddr,
    /// OTLP over HTTP.
    pub http: SocketAddr,
    /// Prometheus metrics of the process itself.
    pub metrics: SocketAddr,
}

/// The source's tail sampling, its kept traces going to `sink` over OTLP/HTTP.
///
/// # Errors
/// If the fixture is not the one this was written for.
pub fn tail_sampling(
    ports: Ports,
    wait: Duration,
    sink: SocketAddr,
    compression: Compression,
) -> io::Result<String> {
    let text = TAIL_SAMPLING.replace("  # (+)", "");
    let text = replaced(&text, "127.0.0.1:4317", &ports.grpc.to_string())?;
    let text = replaced(&text, "127.0.0.1:4318", &ports.http.to_string())?;
    let text = replaced(&text, "decision_wait: 30s", &format!("decision_wait: {}ms", wait.as_millis()))?;
    let text = replaced(&text, "num_traces: 50000", &format!("num_traces: {NUM_TRACES}"))?;
    let exporter = match compression {
        Compression::None => format!("http://{sink}\n    compression: none\n"),
        Compression::Gzip => format!("http://{sink}\n"),
    };
    let text = replaced(&text, "http://127.0.0.1:14318", &exporter)?;
    Ok(text + &telemetry(ports.metrics))
}

/// The source's front tier, with the sinks as its back tier: named one by one, as a name that resolves to both would need a
/// name server.
///
/// # Errors
/// If the fixture is not the one this was written for.
pub fn front_tier(ports: Ports, sinks: &[SocketAddr], compression: Compression) -> io::Result<String> {
    let text = FRONT_TIER.replace("  # (+)", "");
    let text = replaced(&text, "127.0.0.1:4317", &ports.grpc.to_string())?;
    let names: Vec<String> = sinks.iter().map(|sink| format!("\"{sink}\"")).collect();
    let dns = "      dns:\n        hostname: otelcol-backend\n        port: 4317\n";
    let fixed = format!("      static:\n        hostnames: [{}]\n", names.join(", "));
    let text = replaced(&text, dns, &fixed)?;
    let text = match compression {
        Compression::None => replaced(
            &text,
            "      otlp:\n        tls:",
            "      otlp:\n        compression: none\n        tls:",
        )?,
        Compression::Gzip => text,
    };
    Ok(text + &telemetry(ports.metrics))
}

fn replaced(text: &str, from: &str, to: &str) -> io::Result<String> {
    match text.matches(from).count() {
        1 => Ok(text.replace(from, to)),
        times => Err(io::Error::other(format!("the fixture has `{from}` {times} times, expected once"))),
    }
}

/// `service` is the last block of both fixtures.
fn telemetry(metrics: SocketAddr) -> String {
    format!(
        "\n  telemetry:\n    metrics:\n      readers:\n        - pull: {{exporter: {{prometheus: {{host: {}, port: {}}}}}}}\n",
        metrics.ip(),
        metrics.port()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixtures_are_the_ones_this_was_written_for() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let ports = Ports { grpc: at(1), http: at(2), metrics: at(3) };
        for compression in [Compression::None, Compression::Gzip] {
            let sampling = tail_sampling(ports, Duration::from_secs(5), at(4), compression).unwrap();
            let front = front_tier(ports, &[at(4), at(5)], compression).unwrap();
            for text in [&sampling, &front] {
                let none = text.matches("compression: none").count();
                assert_eq!(none, usize::from(compression == Compression::None), "{text}");
                assert!(text.contains("grpc: {endpoint: \"127.0.0.1:1\"}"), "{text}");
                assert!(!text.contains("4317") && !text.contains("4318"), "{text}");
            }
            assert!(front.contains("hostnames: [\"127.0.0.1:4\", \"127.0.0.1:5\"]"), "{front}");
            assert!(sampling.contains("decision_wait: 5000ms") && sampling.contains("num_traces: 1000000"));
        }
    }
}
