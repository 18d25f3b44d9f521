//! Sizes, outside tests: files of at most 400 lines (600 with a reason), functions of at most 40 (80 with a reason).
//!
//! A reason is a comment: `// tidy: long file, because …` near the top, `// tidy: long function, because …` right above
//! the function. Functions are found by rustfmt's layout: from a line with `fn` to the closing brace at its indentation.

use super::{Finding, Source};

const FILE: (usize, usize) = (400, 600);
const FUNCTION: (usize, usize) = (40, 80);

pub fn check(source: &Source) -> Vec<Finding> {
    if is_test(&source.path) {
        return Vec::new();
    }
    let lines: Vec<&str> = source.text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).collect();
    let mut findings = Vec::new();
    let reason = lines.iter().take(40).any(|line| line.contains("tidy: long file, because"));
    let cap = if reason { FILE.1 } else { FILE.0 };
    if lines.len() > cap {
        let what = format!("{} lines, the cap is {cap}: can it be two things?", lines.len());
        findings.push(Finding { place: source.path.clone(), what });
    }
    findings.extend(functions(&lines).filter_map(|function| function.finding(&source.path)));
    findings
}

/// Tests, benchmarks and fixtures have no caps.
pub fn is_test(path: &str) -> bool {
    ["/tests/", "/tests.rs", "/benches/", "/examples/", "fuzz/"].iter().any(|part| path.contains(part))
        || path.starts_with("e2e/")
}

struct Function<'a> {
    name: &'a str,
    line: usize,
    length: usize,
    reason: bool,
}

impl Function<'_> {
    fn finding(&self, path: &str) -> Option<Finding> {
        let cap = if self.reason { FUNCTION.1 } else { FUNCTION.0 };
        (self.length > cap).then(|| Finding {
            place: format!("{path}:{}", self.line),
            what: format!("`{}` has {} lines, the cap is {cap}: name its parts", self.name, self.length),
        })
    }
}

fn functions<'a>(lines: &'a [&'a str]) -> impl Iterator<Item = Function<'a>> {
    lines.iter().enumerate().filter_map(|(at, line)| {
        let name = name(line)?;
        let indent = line.len() - line.trim_start().len();
        let end = lines.iter().skip(at).position(|line| {
            let same = line.len() - line.trim_start().len() == indent;
            same && (line.trim() == "}"
                || (line.trim_end().ends_with(';') && !line.contains('{'))
                || one_line(line))
        })?;
        let before = lines.iter().take(at).rev();
        let reason = before
            .take_while(|line| line.trim_start().starts_with("//") || line.trim_start().starts_with("#["))
            .any(|line| line.contains("tidy: long function, because"));
        Some(Function { name, line: at + 1, length: end + 1, reason })
    })
}

fn one_line(line: &str) -> bool {
    line.contains("fn ") && line.trim_end().ends_with('}')
}

fn name(line: &str) -> Option<&str> {
    let code = line.trim_start();
    if code.starts_with("//") || code.starts_with('"') {
        return None;
    }
    let (before, rest) = code.split_once("fn ")?;
    let modifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "\"C\""];
    before.split_whitespace().all(|word| modifiers.contains(&word)).then_some(())?;
    rest.split(['(', '<']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_function_is_found_and_a_reason_raises_its_cap() {
        let body = "    x();\n".repeat(50);
        let check = |above: &str| {
            let text = format!("//! x\n{above}fn long(\n    a: u8,\n) {{\n{body}}}\nfn short() {{}}\n");
            check(&Source { path: "a.rs".to_owned(), text }).len()
        };
        assert_eq!(check(""), 1);
        assert_eq!(check("// tidy: long function, because one match over every kind reads best whole.\n"), 0);
    }

    #[test]
    fn a_long_file_is_found_but_not_its_tests() {
        let check = |text: String| check(&Source { path: "a.rs".to_owned(), text }).len();
        assert_eq!(check("//! x\n".repeat(401)), 1);
        assert_eq!(check(format!("//! x\n#[cfg(test)]\n{}", "x\n".repeat(500))), 0);
    }
}
