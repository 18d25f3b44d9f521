//! `cargo xtask bench`: builds and runs a benchmark; the kafka one on a real broker, the store's and the collector's beside
//! their peers.

use crate::run::{self, Failure};
use crate::{kafka, peer};

/// What the backends get side by side: a minute or less each.
const SPANS_SIDE_BY_SIDE: &str = "200000";

/// `what`: the benchmark's name and its own arguments.
pub fn run(what: &[&str]) -> Result<(), Failure> {
    let [name @ ("hop" | "kafka" | "store" | "collector"), rest @ ..] = what else {
        return Err(Failure(
            "which benchmark? `cargo xtask bench hop`, `kafka`, `store` or `collector`".to_owned(),
        ));
    };
    match *name {
        "store" => return store(rest),
        "collector" => return collector(rest),
        _ => {}
    }
    let mut command = run::cargo();
    command.args(["run", "--release", "--package", "throughline-bench", "--bin", name, "--"]).args(rest);
    if *name == "kafka" {
        let provisioned = kafka::provision();
        if let Err(reason) = &provisioned.broker {
            return Err(Failure(format!("the kafka benchmark needs Kafka: {reason}")));
        }
        let (variable, value) = provisioned.variable();
        return run::run(command.env(variable, value));
    }
    run::run(&mut command)
}

/// The store by itself; then, as a backend, beside Jaeger: without Go that is said, and is no failure.
fn store(arguments: &[&str]) -> Result<(), Failure> {
    let mut example = run::cargo();
    example.args(["run", "--release", "--package", "throughline-store", "--example", "ingest", "--"]);
    run::run(example.args(arguments))?;
    let jaeger = match peer::jaeger() {
        Ok(jaeger) => jaeger,
        Err(reason) => {
            println!("no peer beside it: Jaeger is built with Go, and {reason}");
            return Ok(());
        }
    };
    run::run(run::cargo().args(["build", "--release", "--package", "throughline-cli"]))?;
    let ours = run::root().join("target/release/throughline");
    let mut beside = run::cargo();
    beside.args(["run", "--release", "--package", "throughline-bench", "--bin", "store", "--"]);
    run::run(beside.arg(SPANS_SIDE_BY_SIDE).arg(ours).arg(jaeger))
}

/// Our collector beside the peer's: without Go ours runs alone, and that is said.
fn collector(arguments: &[&str]) -> Result<(), Failure> {
    let peer = match peer::otelcol() {
        Ok(peer) => Some(peer),
        Err(reason) => {
            println!("no peer beside it: the OpenTelemetry Collector is built with Go, and {reason}");
            None
        }
    };
    run::run(run::cargo().args(["build", "--release", "--package", "throughline-cli"]))?;
    let mut beside = run::cargo();
    beside.args([
        "run",
        "--release",
        "--package",
        "throughline-bench",
        "--bin",
        "collector",
        "--",
        "compare",
    ]);
    beside.arg("--ours").arg(run::root().join("target/release/throughline"));
    if let Some(peer) = peer {
        beside.arg("--peer").arg(peer);
    }
    run::run(beside.args(arguments))
}
