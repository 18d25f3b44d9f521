//! `cargo xtask tidy`: the house rules that a machine can hold. Each rule is a file here; each finding names a file and
//! line, what is wrong and what to do.

mod arrows;
mod caps;
mod documents;
mod packages;
mod text;

use std::path::PathBuf;

use crate::run::{self, Failure};

/// One broken rule.
pub struct Finding {
    /// `path:line`, or a package.
    pub place: String,
    /// What is wrong and what to do.
    pub what: String,
}

/// A tracked text file.
pub struct Source {
    /// Relative to the root.
    pub path: String,
    /// Content.
    pub text: String,
}

/// Runs every rule; prints all findings.
pub fn run() -> Result<(), Failure> {
    let sources = sources()?;
    let metadata = metadata()?;
    let mut findings = Vec::new();
    findings.extend(arrows::check(&metadata));
    findings.extend(packages::check(&metadata));
    for source in &sources {
        findings.extend(text::check(source));
        if source.path.ends_with(".rs") {
            findings.extend(caps::check(source));
        }
    }
    findings.extend(documents::check(&sources));
    for finding in &findings {
        println!("{}: {}", finding.place, finding.what);
    }
    println!("tidy: {} files, {} findings", sources.len(), findings.len());
    if findings.is_empty() { Ok(()) } else { Err(Failure(format!("tidy: {} findings", findings.len()))) }
}

fn sources() -> Result<Vec<Source>, Failure> {
    let root = run::root();
    let mut git = std::process::Command::new("git");
    git.current_dir(&root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let files = run::output(&mut git)?;
    let mut sources = Vec::new();
    for path in files.lines() {
        let whole: PathBuf = root.join(path);
        // Binary fixtures and deleted files are not text; no rule is about them.
        if let Ok(text) = std::fs::read_to_string(whole) {
            sources.push(Source { path: path.to_owned(), text });
        }
    }
    Ok(sources)
}

fn metadata() -> Result<serde_json::Value, Failure> {
    // Packages of other platforms are not looked at: a machine need not have downloaded them.
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform"];
    let text = run::output(run::cargo().args(arguments).arg(run::host()?))?;
    serde_json::from_str(&text).map_err(|error| Failure(format!("cargo metadata: {error}")))
}
