//! `cargo xtask check`: everything CI looks at besides the tests.

use crate::run::{self, Failure};
use crate::{fuzz, sanitize, tidy};

/// What users may switch on of the library, each alone: the workspace's own build has all of it.
const LIBRARY_FEATURES: [&str; 7] =
    ["", "tokio", "http", "telemetry", "kafka", "testing", "otlp-grpc,otlp-tls"];

/// fmt, tidy, clippy, docs, the sanitizer, fuzz: the quick ones first.
pub fn run() -> Result<(), Failure> {
    run::run(run::cargo().args(["fmt", "--all", "--check"]))?;
    tidy::run()?;
    let clippy = ["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"];
    run::run(run::cargo().args(clippy))?;
    for features in LIBRARY_FEATURES {
        let alone = ["clippy", "--release", "--package", "throughline", "--no-default-features"];
        run::run(run::cargo().args(alone).args(["--features", features, "--", "-D", "warnings"]))?;
    }
    let mut docs = run::cargo();
    docs.args(["doc", "--release", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
    run::run(&mut docs)?;
    sanitize::run()?;
    fuzz::run(60)
}
