//! `cargo xtask`: the project's own commands. Standard library and `serde_json` only, so that it builds in seconds.
//!
//! It prints and it starts processes; it owns no product code.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool of the project, never shipped"
)]

mod bench;
mod check;
mod fuzz;
mod kafka;
mod machine;
mod peer;
mod run;
mod sanitize;
mod test;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask COMMAND

  test [FILTER]     provisions Kafka (and Chromium), builds, runs every test; says what was skipped
  check             fmt, clippy -D warnings, tidy, docs, sanitize, then each fuzz target for a minute
  tidy              the house rules: arrows between crates, sizes, names, licences, sources, paths in documents
  fuzz [SECONDS]    each fuzz target for SECONDS (60)
  sanitize          the one module of unsafe code under the address sanitizer
  peer              the OpenTelemetry Collector's exporter and ours on one topic of Kafka, which our samplers share; needs Go
  bench hop|kafka   ours, hand-written OpenTelemetry and untraced, in one run, with ratios
  bench store [N]   the store under N spans (200000), then, if Go is there, `serve` and Jaeger with badger side by side
  bench collector   tail sampling and the front tier beside the OpenTelemetry Collector, if Go is there; --help for more

Exit codes: 0 all is well, 1 something failed, 2 the command line is wrong.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["test", filter @ ..] => test::run(filter),
        ["check"] => check::run(),
        ["tidy"] => tidy::run(),
        ["fuzz"] => fuzz::run(60),
        ["fuzz", seconds] => match seconds.parse() {
            Ok(seconds) => fuzz::run(seconds),
            Err(_) => return usage(&format!("`{seconds}` is not a number of seconds")),
        },
        ["sanitize"] => sanitize::run(),
        ["peer"] => peer::run(),
        ["bench", what @ ..] => bench::run(what),
        ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        [] => return usage("a command is missing"),
        [other, ..] => return usage(&format!("unknown command `{other}`")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("xtask: {problem}\n\n{HELP}");
    ExitCode::from(2)
}
