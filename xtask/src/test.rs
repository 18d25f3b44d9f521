//! `cargo xtask test`: provisions, builds, runs every test of the workspace, and counts what was skipped.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use crate::run::{self, Failure};
use crate::{kafka, machine};

/// What the runs of one test command add up to.
#[derive(Default)]
struct Totals {
    passed: u64,
    failed: u64,
}

/// What is handed to cargo, run by run: all there is, built as most users build it; then what needs tonic in the library. Both
/// say `--workspace`, so that both want the same features of most dependencies and these are compiled once.
const RUNS: [&[&str]; 2] =
    [&["--workspace"], &["--workspace", "--features", "throughline-e2e/otlp-grpc", "--test", "otlp_grpc"]];

/// Runs every test whose name contains one of `filter` (all if empty).
pub fn run(filter: &[&str]) -> Result<(), Failure> {
    machine::prepare();
    run::run(run::cargo().args(["build", "--release", "--package", "throughline-cli"]))?;
    // Built before Kafka starts, so that the broker does not wait for the compiler.
    for run in RUNS {
        run::run(run::cargo().args(["test", "--release", "--no-run"]).args(run))?;
    }

    let skipped = SkipFile::new()?;
    let broker = kafka::provision();
    let (variable, value) = broker.variable();
    println!("{variable}={value}");

    let (mut totals, mut success) = (Totals::default(), true);
    for run in RUNS {
        let mut command = run::cargo();
        command.args(["test", "--release", "--no-fail-fast"]).args(run);
        if !filter.is_empty() {
            command.arg("--").args(filter);
        }
        command.env(variable, &value).env("THROUGHLINE_SKIPPED", &skipped.0).env("THROUGHLINE_BIN", binary());
        success &= stream(&mut command, &mut totals)?;
    }

    let skips = skipped.lines();
    for line in &skips {
        println!("{line}");
    }
    println!("{} passed, {} failed, {} skipped", totals.passed, totals.failed, skips.len());
    if success { Ok(()) } else { Err(Failure("tests failed".to_owned())) }
}

/// Shows the output as it comes and adds up cargo's closing lines; whether all went well.
fn stream(command: &mut std::process::Command, totals: &mut Totals) -> Result<bool, Failure> {
    let start = |error| Failure(format!("cargo test cannot be started: {error}"));
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(start)?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            println!("{line}");
            if let Some(counts) = line.strip_prefix("test result: ") {
                totals.passed += count(counts, "passed");
                totals.failed += count(counts, "failed");
            }
        }
    }
    let status = child.wait().map_err(|error| Failure(format!("cargo test was lost: {error}")))?;
    Ok(status.success())
}

/// The number before `word` in `ok. 3 passed; 0 failed; …`.
fn count(line: &str, word: &str) -> u64 {
    let words: Vec<&str> = line.split([' ', ';', '.']).filter(|w| !w.is_empty()).collect();
    words
        .windows(2)
        .find_map(|pair| if let [n, w] = pair { (*w == word).then(|| n.parse().ok())? } else { None })
        .unwrap_or(0)
}

fn binary() -> PathBuf {
    target().join("release/throughline")
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| run::root().join("target"), PathBuf::from)
}

/// Where tests write that they were skipped; removed at the end.
struct SkipFile(PathBuf);

impl SkipFile {
    fn new() -> Result<Self, Failure> {
        let path = target().join(format!("skipped-{}.txt", std::process::id()));
        std::fs::write(&path, "").map_err(|error| Failure(format!("{}: {error}", path.display())))?;
        Ok(Self(path))
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for SkipFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn closing_lines_are_added_up() {
        let line = "ok. 14 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.33s";
        assert_eq!((count(line, "passed"), count(line, "failed"), count(line, "skipped")), (14, 2, 0));
    }
}
