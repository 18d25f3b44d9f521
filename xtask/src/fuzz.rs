//! `cargo xtask fuzz`: builds the targets in `fuzz/` with coverage instrumentation and runs each for a while.
//!
//! The flags are those cargo-fuzz passes, less the address sanitizer: the code under test is safe Rust, and without it
//! a stable compiler does. Nothing has to be installed.

use std::path::{Path, PathBuf};

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
            std::fs::create_dir_all(folder).map_err(failed(folder))?;
        }
        let mut command =
            std::process::Command::new(fuzz.join("target").join(&host).join("release").join(&target));
        let seeds = seeds(&fuzz, &target)?;
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={}", longest(&seeds)?))
            .arg(format!("-artifact_prefix={}/", artifacts.display()));
        command.args(["-rss_limit_mb=4096", "-timeout=20", "-print_final_stats=1", "-verbosity=0"]);
        command.arg(corpus).args(seeds);
        run::run(&mut command)?;
    }
    Ok(())
}

/// Folders with inputs to begin with: those that are kept beside the targets, and those made here from the tests' fixtures.
fn seeds(fuzz: &Path, target: &str) -> Result<Vec<PathBuf>, Failure> {
    let mut folders = Vec::from_iter(Some(fuzz.join("seeds").join(target)).filter(|folder| folder.is_dir()));
    if target == "journal_recovery" {
        let made = fuzz.join("target").join("seeds").join(target);
        std::fs::create_dir_all(&made).map_err(failed(&made))?;
        for (name, seed) in journal(&run::root().join("crates/throughline-journal/tests/fixtures"))? {
            let path = made.join(name);
            std::fs::write(&path, seed).map_err(failed(&path))?;
        }
        folders.push(made);
    }
    Ok(folders)
}

/// Each segment of each format version: as the file it is, and as a segment to be edited; all checksums made right.
/// `throughline_journal::sim::hostile` says what the first byte means.
fn journal(fixtures: &Path) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    const REPAIR_ALL: u8 = 31;
    const RAW: u8 = 0x80;
    let mut seeds = vec![
        ("edit-sealed".to_owned(), vec![REPAIR_ALL, 2, 64, 1, 7]),
        ("edit-open".to_owned(), vec![REPAIR_ALL | 1 << 5, 2, 20, 1, 7]),
        ("edit-unrepaired".to_owned(), vec![0, 2, 64, 1, 7]),
    ];
    for version in entries(fixtures)? {
        for segment in entries(&version)? {
            if segment.extension().is_some_and(|extension| extension == "tlj") {
                let bytes = std::fs::read(&segment).map_err(failed(&segment))?;
                let name =
                    [&version, &segment].map(|path| path.file_name().unwrap_or_default().to_string_lossy());
                seeds.push((name.join("-"), [&[RAW | REPAIR_ALL], bytes.as_slice()].concat()));
            }
        }
    }
    Ok(seeds)
}

/// Room for the longest seed to grow. Without it the fuzzer cuts its inputs at 4096 bytes, whatever the seeds are.
fn longest(folders: &[PathBuf]) -> Result<u64, Failure> {
    let mut longest = 2048;
    for folder in folders {
        for seed in entries(folder)? {
            longest = longest.max(std::fs::metadata(&seed).map_err(failed(&seed))?.len());
        }
    }
    Ok(2 * longest)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let read = std::fs::read_dir(folder).map_err(failed(folder))?;
    read.map(|entry| entry.map(|entry| entry.path()).map_err(failed(folder))).collect()
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    let path = path.display().to_string();
    move |error| Failure(format!("{path}: {error}"))
}

/// One target per file, so that a new one cannot be forgotten here.
fn targets(fuzz: &Path) -> Result<Vec<String>, Failure> {
    let folder = fuzz.join("targets");
    let paths = entries(&folder)?.into_iter();
    let mut names: Vec<String> =
        paths.filter_map(|path| path.file_stem()?.to_str().map(str::to_owned)).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_that_reads_a_binary_format_has_seeds_and_room_for_them() {
        let fuzz = run::root().join("fuzz");
        for (target, least) in [("journal_recovery", 2 * 65_537), ("otlp_views", 4096), ("traceparent", 4096)]
        {
            assert!(targets(&fuzz).expect("listed").contains(&target.to_owned()), "{target}");
            let folders = seeds(&fuzz, target).expect("made");
            let count: usize = folders.iter().map(|folder| entries(folder).expect("read").len()).sum();
            assert!(count >= 2, "{target} has {count} seeds");
            assert!(longest(&folders).expect("measured") >= least, "{target}");
        }
    }

    #[test]
    fn a_journal_seed_is_the_fixture_behind_the_byte_that_says_so() {
        let fixtures = run::root().join("crates/throughline-journal/tests/fixtures");
        let all = journal(&fixtures).expect("read");
        let whole: Vec<_> = all.iter().filter(|(name, _)| name.starts_with("v1-segment-")).collect();
        assert_eq!(whole.len(), 2);
        assert!(whole.iter().all(|(_, seed)| seed.len() == 65_537 && seed[1..].starts_with(b"TLJSEG")));
    }
}
