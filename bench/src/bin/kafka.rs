//! `cargo xtask bench kafka`: a consume-handle-produce loop on a real broker: ours, hand-written OpenTelemetry, untraced.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its table")]

use std::process::ExitCode;

use opentelemetry_sdk::trace::SdkTracerProvider;
use throughline::settings::{Metrics, set_metrics};
use throughline_bench::hop::Row;
use throughline_bench::loops::{Loop, Run};
use throughline_bench::pipeline;

const MESSAGES: u32 = 40_000;
const ROUNDS: usize = 5;
/// Two spans a message, and room for the whole run: the exporter shares two cores with the loop.
const QUEUE: usize = 1 << 17;

#[tokio::main]
async fn main() -> ExitCode {
    let Ok(bootstrap) = std::env::var("THROUGHLINE_KAFKA_BOOTSTRAP") else {
        eprintln!("run `cargo xtask bench kafka`: it starts Kafka and sets THROUGHLINE_KAFKA_BOOTSTRAP");
        return ExitCode::from(2);
    };
    match table(&bootstrap).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench kafka: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn table(bootstrap: &str) -> Result<(), Box<dyn std::error::Error>> {
    let (provider, received) = pipeline::stock(QUEUE);
    opentelemetry::global::set_tracer_provider(provider.clone());
    throughline::providers_are_set();
    set_metrics(Metrics::Off);
    println!(
        "consume-handle-produce, 1 KiB messages, real Kafka, {MESSAGES} messages x {ROUNDS} rounds, metrics off\n"
    );
    println!(
        "| row | contender | CPU us a message | against untraced, CPU | against untraced, messages a second |"
    );
    println!("|---|---|---|---|---|");
    let mut created = 0;
    for row in [Row::Unsampled, Row::WithoutTracestate] {
        let bench = Loop::new(bootstrap, row, MESSAGES).await?;
        let rounds = rounds(&bench, &provider).await?;
        print(row, &rounds);
        if row != Row::Unsampled {
            created += 2 * 2 * u64::from(MESSAGES) * ROUNDS as u64;
        }
    }
    let got = received.spans();
    println!(
        "\nspans created {created}, received by the exporter {got}, dropped {}",
        created.saturating_sub(got)
    );
    Ok(())
}

/// Untraced, by hand, ours: once each per round, each starting with another one.
async fn rounds(
    bench: &Loop,
    provider: &SdkTracerProvider,
) -> Result<[Vec<Run>; 3], Box<dyn std::error::Error>> {
    let mut runs: [Vec<Run>; 3] = Default::default();
    for round in 0..ROUNDS {
        for turn in 0..3 {
            let who = (round + turn) % 3;
            let run = match who {
                0 => bench.untraced(provider).await?,
                1 => bench.by_hand(provider).await?,
                _ => bench.ours(provider).await?,
            };
            if let Some(runs) = runs.get_mut(who) {
                runs.push(run);
            }
        }
    }
    Ok(runs)
}

fn print(row: Row, [untraced, by_hand, ours]: &[Vec<Run>; 3]) {
    let median = |runs: &[Run], of: fn(&Run) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    for (name, runs) in [("untraced", untraced), ("by hand", by_hand), ("ours", ours)] {
        let cpu = median(runs, |run| run.cpu_micros);
        let against = cpu / median(untraced, |run| run.cpu_micros);
        let rate = median(runs, |run| run.per_second) / median(untraced, |run| run.per_second);
        println!("| {row:?} | {name} | {cpu:.2} | {against:.2} | {rate:.2} |");
    }
}
