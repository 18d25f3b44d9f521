//! Paths in ARCHITECTURE.md and the other documents resolve: `crates/x/src/y.rs`, and `file.rs:function` inside it.

use super::{Finding, Source};

pub fn check(sources: &[Source]) -> Vec<Finding> {
    let documents =
        sources.iter().filter(|source| source.path.ends_with(".md") && !source.path.contains('/'));
    documents.flat_map(|document| check_one(document, sources)).collect()
}

fn check_one(document: &Source, sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in document.text.lines().enumerate() {
        // What stands in backquotes: every second piece.
        for quoted in line.split('`').skip(1).step_by(2) {
            if let Some(what) = broken(quoted, sources) {
                findings.push(Finding { place: format!("{}:{}", document.path, at + 1), what });
            }
        }
    }
    findings
}

/// What is wrong with a quoted reference; `None` if it resolves or is no path of ours.
fn broken(quoted: &str, sources: &[Source]) -> Option<String> {
    let (path, function) =
        quoted.split_once(".rs:").map_or((quoted, None), |(path, name)| (path, Some(name)));
    let path = if function.is_some() { format!("{path}.rs") } else { path.to_owned() };
    let ours =
        ["crates/", "examples/", "e2e/", "bench/", "xtask/", "fuzz/"].iter().any(|top| path.starts_with(top));
    if !ours || path.contains([' ', '*', '{', '<']) {
        return None;
    }
    let Some(function) = function else {
        let folder = format!("{}/", path.trim_end_matches('/'));
        let there = sources.iter().any(|source| source.path == path || source.path.starts_with(&folder));
        return (!there).then(|| format!("`{quoted}` does not exist"));
    };
    let Some(source) = sources.iter().find(|source| source.path == path) else {
        return Some(format!("`{quoted}`: no file {path}"));
    };
    let name = function.rsplit("::").next().unwrap_or(function).trim_end_matches("()");
    let defined = ["fn ", "struct ", "enum ", "trait ", "const ", "mod ", "static "]
        .iter()
        .any(|word| source.text.contains(&format!("{word}{name}")));
    (!defined).then(|| format!("`{quoted}`: no `{name}` in {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_resolve_or_are_found() {
        let file = Source { path: "crates/a/src/b.rs".to_owned(), text: "pub fn go() {}".to_owned() };
        let check = |line: &str| {
            let document = Source { path: "X.md".to_owned(), text: line.to_owned() };
            check_one(&document, std::slice::from_ref(&file)).len()
        };
        assert_eq!(check("`crates/a/src/b.rs:go`, `crates/a/`, `crates/a/src/b.rs`, `x/y`"), 0);
        assert_eq!(check("`crates/a/src/b.rs:gone`, `crates/c`"), 2);
    }
}
