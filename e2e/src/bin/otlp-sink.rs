//! `otlp-sink --listen ADDR [--also ADDR] [--span-ids]`: the sink of the tests as a process, for replays and benchmarks.
//! It ends when it is killed.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use throughline_e2e::sink::Sink;

const USAGE: &str = "usage: otlp-sink --listen ADDR [--also ADDR] [--span-ids]
  --listen ADDR  OTLP over HTTP and gRPC, GET /stats, GET /traces, POST /reset, POST /fault?status=503&retry_after=1&count=3
  --also ADDR    a second port of the same sink
  --span-ids     accepted and without effect: /traces always names the spans
";

#[tokio::main]
async fn main() -> ExitCode {
    let mut addresses = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--span-ids" => {}
            "--listen" | "--also" => match arguments.next().map(|text| text.parse::<SocketAddr>()) {
                Some(Ok(address)) => addresses.push(address),
                _ => return usage(&format!("{argument} needs an address, 127.0.0.1:4318 say")),
            },
            other => return usage(&format!("{other} is not known")),
        }
    }
    let Some((first, more)) = addresses.split_first() else { return usage("--listen is missing") };
    match listen(*first, more).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => usage(&error.to_string()),
    }
}

async fn listen(first: SocketAddr, more: &[SocketAddr]) -> std::io::Result<()> {
    let sink = Sink::start(first).await?;
    writeln!(std::io::stdout(), "listening on {}", sink.address())?;
    let mut others = Vec::new();
    for address in more {
        let other = Sink::start_over(*address, sink.arrived()).await?;
        writeln!(std::io::stdout(), "listening on {}", other.address())?;
        others.push(other);
    }
    sink.run().await;
    Ok(())
}

fn usage(problem: &str) -> ExitCode {
    // Nobody is left to tell if this fails.
    let _ = write!(std::io::stderr(), "otlp-sink: {problem}\n{USAGE}");
    ExitCode::from(2)
}
