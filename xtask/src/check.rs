//! `cargo xtask check`: everything CI looks at besides the tests.

use crate::run::{self, Failure};
use crate::{fuzz, sanitize, tidy};

/// fmt, tidy, clippy, docs, the sanitizer, fuzz: the quick ones first.
pub fn run() -> Result<(), Failure> {
    run::run(run::cargo().args(["fmt", "--all", "--check"]))?;
    tidy::run()?;
    let clippy = ["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"];
    run::run(run::cargo().args(clippy))?;
    let mut docs = run::cargo();
    docs.args(["doc", "--release", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
    run::run(&mut docs)?;
    sanitize::run()?;
    fuzz::run(60)
}
