//! Who may know whom: the arrows between the workspace's crates, and what some of them must never depend on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Finding;

/// Crate, then the crates of the workspace it may know (DESIGN of the map in ARCHITECTURE.md). Short names.
const ARROWS: &[(&str, &[&str])] = &[
    ("semconv", &[]),
    ("otlp", &["semconv"]),
    ("journal", &["semconv"]),
    ("store", &["semconv", "otlp"]),
    ("sampling", &["semconv", "otlp"]),
    ("trace", &["semconv", "otlp"]),
    ("query", &["semconv", "otlp", "store", "trace"]),
    ("collector", &["semconv", "otlp", "journal", "sampling", "store"]),
    ("", &["semconv"]),
    ("checkout", &[""]),
    (
        "cli",
        &["semconv", "otlp", "journal", "sampling", "store", "trace", "query", "collector", "", "checkout"],
    ),
    ("xtask", &[]),
];

/// May know any crate of the workspace.
const FREE: &[&str] = &["e2e", "bench"];

/// Crate, and third-party packages that may not be reached from it, even through others. Dev-dependencies are free.
const BANNED: &[(&str, &[&str])] = &[
    ("otlp", &["tokio", "hyper", "axum", "prost", "tonic", "rustix"]),
    ("sampling", &["tokio", "hyper", "axum", "prost", "tonic", "rustix"]),
    ("trace", &["tokio", "hyper", "axum", "prost", "tonic", "rustix"]),
    ("journal", &["tokio", "hyper", "axum", "tonic"]),
    ("store", &["tokio", "hyper", "axum", "tonic"]),
    ("query", &["prost", "tonic"]),
    ("collector", &["prost", "tonic", "axum"]),
];

pub fn check(metadata: &Value) -> Vec<Finding> {
    let graph = Graph::new(metadata);
    let mut findings = Vec::new();
    for (package, known) in &graph.workspace {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| name == package) else {
            if !FREE.contains(&package.as_str()) {
                let what =
                    "is not on the map: give it a row in xtask/src/tidy/arrows.rs and in ARCHITECTURE.md";
                findings.push(Finding { place: full(package), what: what.to_owned() });
            }
            continue;
        };
        for other in known.iter().filter(|other| !allowed.contains(&other.as_str())) {
            let what = format!("may not know {} (the map in ARCHITECTURE.md)", full(other));
            findings.push(Finding { place: full(package), what });
        }
    }
    for (package, banned) in BANNED {
        let reached = graph.reach(&full(package));
        for name in banned.iter().filter(|name| reached.contains(**name)) {
            findings
                .push(Finding { place: full(package), what: format!("reaches {name}, which it must not") });
        }
    }
    findings
}

fn full(short: &str) -> String {
    if short.is_empty() { "throughline".to_owned() } else { format!("throughline-{short}") }
}

fn short(name: &str) -> Option<String> {
    if name == "throughline" {
        Some(String::new())
    } else {
        name.strip_prefix("throughline-").map(str::to_owned)
    }
}

struct Graph {
    /// Short name of each workspace crate, and of those it depends on.
    workspace: BTreeMap<String, BTreeSet<String>>,
    /// Every package by name, and the names it depends on; features as resolved for the whole workspace.
    all: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn new(metadata: &Value) -> Self {
        let list =
            |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let text =
            |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let names: BTreeMap<String, String> =
            list(metadata, "packages").iter().map(|p| (text(p, "id"), text(p, "name"))).collect();
        let name_of = |id: &str| names.get(id).cloned().unwrap_or_default();
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in metadata.get("resolve").map(|r| list(r, "nodes")).unwrap_or_default() {
            let normal = |dep: &Value| {
                list(dep, "dep_kinds").iter().any(|kind| kind.get("kind") == Some(&Value::Null))
            };
            let known = list(&node, "deps").into_iter().filter(normal).map(|dep| name_of(&text(&dep, "pkg")));
            all.entry(name_of(&text(&node, "id"))).or_default().extend(known);
        }
        let members = list(metadata, "workspace_members");
        let workspace = members
            .iter()
            .filter_map(|id| {
                let name = name_of(id.as_str()?);
                let known = all.get(&name)?.iter().filter_map(|other| short(other)).collect();
                Some((short(&name)?, known))
            })
            .collect();
        Self { workspace, all }
    }

    fn reach(&self, from: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut next = vec![from];
        while let Some(name) = next.pop() {
            for other in self.all.get(name).into_iter().flatten() {
                if reached.insert(other.as_str()) {
                    next.push(other);
                }
            }
        }
        reached
    }
}
