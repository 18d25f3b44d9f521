//! `cargo xtask fuzz`: builds the targets in `fuzz/` with coverage instrumentation and runs each for a while.
//!
//! The flags are those cargo-fuzz passes, less the address sanitizer: the code under test is safe Rust, and without it
//! a stable compiler does. Nothing has to be installed.

use std::path::Path;

use crate::run::{self, Failure};

const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1";

/// Each target for `seconds`. A crash leaves its input in `fuzz/artifacts/` and fails the run.
pub fn run(seconds: u32) -> Result<(), Failure> {
    let fuzz = run::root().join("fuzz");
    let host = run::host()?;
    let mut build = run::cargo();
    build
        .args(["build", "--release", "--bins", "--target", &host])
        .current_dir(&fuzz)
        .env("RUSTFLAGS", FLAGS);
    build.env("CARGO_TARGET_DIR", fuzz.join("target"));
    run::run(&mut build)?;
    for target in targets(&fuzz)? {
        let corpus = fuzz.join("corpus").join(&target);
        let artifacts = fuzz.join("artifacts").join(&target);
        for folder in [&corpus, &artifacts] {
            std::fs::create_dir_all(folder)
                .map_err(|error| Failure(format!("{}: {error}", folder.display())))?;
        }
        let mut command =
            std::process::Command::new(fuzz.join("target").join(&host).join("release").join(&target));
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()));
        command.args(["-rss_limit_mb=4096", "-timeout=20", "-print_final_stats=1", "-verbosity=0"]);
        command.arg(corpus);
        let seeds = fuzz.join("seeds").join(&target);
        if seeds.is_dir() {
            command.arg(seeds);
        }
        run::run(&mut command)?;
    }
    Ok(())
}

/// One target per file, so that a new one cannot be forgotten here.
fn targets(fuzz: &Path) -> Result<Vec<String>, Failure> {
    let folder = fuzz.join("targets");
    let entries =
        std::fs::read_dir(&folder).map_err(|error| Failure(format!("{}: {error}", folder.display())))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned)).collect();
    names.sort();
    Ok(names)
}
