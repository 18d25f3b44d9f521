//! Rules about single lines: how a file opens, names we do not use, tests that wait or hide.

use super::caps::is_test;
use super::{Finding, Source};

/// Module names that say nothing.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helpers", "helper", "misc", "prelude", "manager"];

/// In Rust source: text, what is wrong with it. This file and the tests of the rules are not searched.
const FORBIDDEN: &[(&str, &str)] = &[
    ("#[allow(", "write `#[expect(…, reason = \"…\")]`, which goes away with its cause"),
    ("#![allow(", "write `#![expect(…, reason = \"…\")]`, which goes away with its cause"),
    ("#[ignore", "a test that does not run is not a test: delete it or make it run"),
    ("todo!(", "finish it or say in the issue what is missing"),
    ("unimplemented!(", "finish it or say in the issue what is missing"),
];

/// In tests: waiting for time instead of for an event.
const SLEEPS: &[&str] = &["thread::sleep(", "time::sleep("];

pub fn check(source: &Source) -> Vec<Finding> {
    let place = |line: usize| format!("{}:{line}", source.path);
    let mut findings: Vec<Finding> = lines(&source.text)
        .filter(|(_, line)| names_a_machine(line) && !source.path.ends_with(".lock"))
        .map(|(at, _)| Finding {
            place: place(at),
            what: "a path of one machine: make it relative".to_owned(),
        })
        .collect();
    if source.path.ends_with(".rs") && !source.path.starts_with("xtask/src/tidy/") {
        findings.extend(file(source).map(|what| Finding { place: place(1), what }));
        findings.extend(code(source).map(|(at, what)| Finding { place: place(at), what }));
    }
    findings
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

/// What is wrong with a file as a whole.
fn file(source: &Source) -> impl Iterator<Item = String> {
    let opens = source.text.starts_with("//!");
    let stem = source.path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs")).unwrap_or_default();
    let empty =
        EMPTY_NAMES.contains(&stem).then(|| format!("`{stem}` says nothing: name it after the noun it owns"));
    let unopened = (!opens).then(|| "open with `//!`: what this file owns, what it refuses".to_owned());
    empty.into_iter().chain(unopened)
}

/// What is wrong with single lines of code.
fn code(source: &Source) -> impl Iterator<Item = (usize, String)> {
    let mut in_tests = is_test(&source.path);
    let mut above = "";
    lines(&source.text).flat_map(move |(at, line)| {
        let code = line.trim_start();
        in_tests |= code.starts_with("#[cfg(test)]");
        let excused = std::mem::replace(&mut above, line).contains("tidy: sleeps, because");
        let mut what = Vec::new();
        if !code.starts_with("//") {
            let forbidden = FORBIDDEN.iter().filter(|(text, _)| code.contains(text));
            what.extend(forbidden.map(|(text, what)| (at, format!("`{text}`: {what}"))));
            if in_tests && !excused && SLEEPS.iter().any(|sleep| code.contains(sleep)) {
                what.push((
                    at,
                    "a test sleeps: wait for the event, or say above: `// tidy: sleeps, because …`"
                        .to_owned(),
                ));
            }
            if in_tests && code.starts_with("matches!(") && code.ends_with(");") {
                what.push((at, "a bare `matches!` asserts nothing: use `assert!(matches!(…))`".to_owned()));
            }
        }
        what
    })
}

/// Folders that only exist where somebody works.
fn names_a_machine(line: &str) -> bool {
    ["/wo", "/fa", "/ho"].iter().zip(["rk/", "rm/", "me/"]).any(|(head, tail)| {
        let needle = format!("{head}{tail}");
        line.match_indices(&needle).any(|(at, _)| {
            let before = line.get(..at).and_then(|text| text.chars().next_back());
            let after = line.get(at + needle.len()..).and_then(|text| text.chars().next());
            !before.is_some_and(|c| c.is_ascii_alphanumeric() || "_.-}".contains(c))
                && after.is_some_and(|c| c.is_ascii_lowercase())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_line(line: &str) -> usize {
        check(&Source { path: "crates/x/tests/a.rs".to_owned(), text: format!("//! x\n{line}\n") }).len()
    }

    #[test]
    fn each_rule_finds_its_line() {
        for line in [
            "#[allow(dead_code)]",
            "#[ignore]",
            "std::thread::sleep(SECOND);",
            "matches!(x, Some(_));",
            concat!("let p = \"/wo", "rk/main\";"),
        ] {
            assert_eq!(check_line(line), 1, "{line}");
        }
        for line in ["assert!(matches!(x, Some(_)));", "// #[ignore] is a comment", "let p = \"/network/x\";"]
        {
            assert_eq!(check_line(line), 0, "{line}");
        }
    }
}
