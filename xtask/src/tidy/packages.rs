//! What the build pulls in: licences, sources, duplicate versions. From `cargo metadata`, so nothing is installed.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Finding;

/// Licences that Apache-2.0 OR MIT work may depend on.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages in two versions, each with the reason we cannot change it.
const DUPLICATES: &[(&str, &str)] = &[
    ("base64", "opentelemetry-proto's JSON, a test's yardstick, has 0.22"),
    ("cpufeatures", "opentelemetry-proto's JSON, a test's yardstick, has const-hex with 0.2"),
    ("getrandom", "opentelemetry_sdk has rand 0.9"),
    ("rand", "opentelemetry_sdk has 0.9; proptest, a test's, has 0.10"),
    ("rand_core", "opentelemetry_sdk has rand 0.9"),
    ("syn", "macros of serde and others have 2, those of tantivy 3; build time only"),
];

pub fn check(metadata: &Value) -> Vec<Finding> {
    let packages = metadata.get("packages").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |package: &Value, key: &str| package.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut findings = Vec::new();
    for package in &packages {
        let name = text(package, "name").unwrap_or_default();
        let version = text(package, "version").unwrap_or_default();
        let place = format!("{name} {version}");
        let licence = text(package, "license").unwrap_or_default();
        if !acceptable(&licence) {
            let what = format!("licence `{licence}` is not on the list in xtask/src/tidy/packages.rs");
            findings.push(Finding { place: place.clone(), what });
        }
        if let Some(source) = text(package, "source") {
            if source.starts_with("git+") {
                findings.push(Finding { place, what: format!("comes from {source}, not from a registry") });
            }
            versions.entry(name).or_default().push(version);
        }
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        if !DUPLICATES.iter().any(|(known, _)| known == name) {
            let what =
                format!("in versions {}: align them, or list it with the reason", versions.join(" and "));
            findings.push(Finding { place: name.clone(), what });
        }
    }
    for (name, _) in DUPLICATES.iter().filter(|(name, _)| versions.get(*name).is_none_or(|v| v.len() < 2)) {
        let what = "is no longer there twice: take it off the list in xtask/src/tidy/packages.rs";
        findings.push(Finding { place: (*name).to_owned(), what: what.to_owned() });
    }
    findings
}

/// `MIT OR X` needs one acceptable, `MIT AND X` needs both; parentheses as they occur in practice.
fn acceptable(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    !plain.trim().is_empty()
        && plain
            .split(" AND ")
            .all(|part| part.split(" OR ").any(|licence| LICENCES.contains(&licence.trim())))
}

#[cfg(test)]
mod tests {
    use super::acceptable;

    #[test]
    fn expressions() {
        for yes in ["MIT", "MIT OR GPL-3.0", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
            assert!(acceptable(yes), "{yes}");
        }
        for no in ["", "GPL-3.0", "MIT AND GPL-3.0"] {
            assert!(!acceptable(no), "{no}");
        }
    }
}
