//! `cargo xtask bench`: builds and runs a benchmark; the kafka one on a real broker.

use crate::kafka;
use crate::run::{self, Failure};

/// `what`: the benchmark's name and its own arguments.
pub fn run(what: &[&str]) -> Result<(), Failure> {
    let [name @ ("hop" | "kafka"), rest @ ..] = what else {
        return Err(Failure(
            "which benchmark? `cargo xtask bench hop` or `cargo xtask bench kafka`".to_owned(),
        ));
    };
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
