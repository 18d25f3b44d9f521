//! `cargo xtask sanitize`: the library's unsafe code under the address sanitizer. There is one module of it, the raw reads
//! of Kafka headers; its tests compare every byte it reads with a model, and here a byte too many is a crash.

use crate::run::{self, Failure};

/// The tests of the whole Kafka module in the library, instrumented. The C library is not, but its allocations are watched.
pub fn run() -> Result<(), Failure> {
    let host = run::host()?;
    let mut test = run::cargo();
    test.args(["test", "--release", "--package", "throughline", "--lib", "--target", &host, "kafka::"])
        .env("RUSTFLAGS", "-Zsanitizer=address")
        // A stable compiler has the sanitizer, behind the name of an unstable flag.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", run::root().join("target").join("sanitized"));
    run::run(&mut test)
}
