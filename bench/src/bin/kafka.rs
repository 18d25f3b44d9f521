//! `cargo xtask bench kafka`: a consume-handle-produce loop on a real broker: ours, hand-written OpenTelemetry, untraced.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its table")]

use std::process::ExitCode;

use opentelemetry_sdk::trace::SdkTracerProvider;
use throughline::settings::{Metrics, set_metrics};
use throughline_bench::hop::Row;
use throughline_bench::loops::{Loop, Run};
use throughline_bench::pipeline::{self, Received};

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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ran = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--only", who] => for_a_profiler(&bootstrap, who, Row::Unsampled).await,
        ["--only", who, "known"] => for_a_profiler(&bootstrap, who, Row::UnsampledSamplerKnown).await,
        ["--only", who, "sampled"] => for_a_profiler(&bootstrap, who, Row::WithoutTracestate).await,
        _ => table(&bootstrap).await,
    };
    match ran {
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
        "| row | contender | CPU us a message | against untraced, CPU | against untraced, messages a second | encoded bytes a message |"
    );
    println!("|---|---|---|---|---|---|");
    let mut created = 0;
    for row in [Row::Unsampled, Row::UnsampledSamplerKnown, Row::WithoutTracestate] {
        row.declare_providers();
        let bench = Loop::new(bootstrap, row, MESSAGES).await?;
        let rounds = rounds(&bench, &provider, &received).await?;
        print(row, &rounds);
        if row.is_sampled() {
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

/// One contender alone, unsampled or as a second word says: `kafka --only ours sampled`, under a profiler.
async fn for_a_profiler(bootstrap: &str, who: &str, row: Row) -> Result<(), Box<dyn std::error::Error>> {
    let (provider, _) = pipeline::stock(QUEUE);
    opentelemetry::global::set_tracer_provider(provider.clone());
    row.declare_providers();
    set_metrics(Metrics::Off);
    let bench = Loop::new(bootstrap, row, MESSAGES).await?;
    for _ in 0..ROUNDS {
        let run = match who {
            "untraced" => bench.untraced(&provider).await?,
            "hand" => bench.by_hand(&provider).await?,
            _ => bench.ours(&provider).await?,
        };
        println!("{who}: {:.2} us of CPU a message, {:.0} messages a second", run.cpu_micros, run.per_second);
    }
    Ok(())
}

/// Untraced, by hand, ours: once each per round, each starting with another one.
async fn rounds(
    bench: &Loop,
    provider: &SdkTracerProvider,
    received: &Received,
) -> Result<[Vec<Run>; 3], Box<dyn std::error::Error>> {
    let mut runs: [Vec<Run>; 3] = Default::default();
    for round in 0..ROUNDS {
        for turn in 0..3 {
            let who = (round + turn) % 3;
            let before = received.bytes();
            let mut run = match who {
                0 => bench.untraced(provider).await?,
                1 => bench.by_hand(provider).await?,
                _ => bench.ours(provider).await?,
            };
            run.encoded = (received.bytes() - before) / u64::from(MESSAGES);
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
        // Both traced contenders write the same: their spans differ by a few digits.
        let encoded = median(runs, |run| run.encoded as f64);
        println!("| {row:?} | {name} | {cpu:.2} | {against:.2} | {rate:.2} | {encoded:.0} |");
    }
}
