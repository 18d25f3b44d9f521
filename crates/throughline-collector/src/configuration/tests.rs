//! Configurations as data: what is wrong with each, word for word; what the OpenTelemetry Collector starts with, and where
//! we do not; and that nothing anybody writes is a panic, or a key that is silently ignored.

mod golden;
mod hostile;

use std::collections::BTreeSet;

use super::node::{Entry, Node, Style, Value};
use super::problem::Findings;
use super::*;

const BASE: &str = include_str!("tests/base.yaml");
const EVERYTHING: &str = include_str!("tests/everything.yaml");
const REFERENCE: &str = include_str!("../../../../docs/configuration.md");

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "PEER_TOKEN" => "peer-secret",
        "ENDPOINT" => "http://tempo:4318",
        "WAIT" => "3s",
        "LOOP" => "a${LOOP}",
        "LIST" => "[otlphttp, nop]",
        "NUMBER" => "0123",
        "HASH" => "#a: b",
        _ => return None,
    };
    Some(value.to_owned())
}

fn load_all(sources: &[(&str, &str)]) -> Result<Loaded, Errors> {
    let sources: Vec<Source> = sources.iter().map(|(name, text)| Source::new(*name, *text)).collect();
    Configuration::load(&sources, &environment)
}

/// What is said about `over`, laid over the base.
fn check(over: &str) -> String {
    let lines = |kind: &str, problems: &[Problem]| {
        problems.iter().map(|problem| format!("{kind}: {problem}\n")).collect::<String>()
    };
    match load_all(&[("base", BASE), ("file", over)]) {
        Ok(loaded) => format!("ok\n{}", lines("note", &loaded.notes)),
        Err(errors) => lines("error", &errors.problems),
    }
}

#[test]
fn what_is_wrong_is_said_where_it_is() {
    let mut out = String::new();
    for case in include_str!("tests/cases.txt").split("=== ").skip(1) {
        let (title, yaml) = case.split_once('\n').unwrap();
        out.push_str(&format!("=== {title}\n{yaml}--->\n{}\n", check(yaml)));
    }
    insta::assert_snapshot!("cases", out);
}

#[test]
fn everything_is_read() {
    let loaded = load_all(&[("everything.yaml", EVERYTHING)]).unwrap_or_else(|errors| panic!("{errors}"));
    let notes: Vec<String> = loaded.notes.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("everything_notes", notes.join("\n"));
    insta::assert_debug_snapshot!("everything", loaded.configuration);
    let files: Vec<String> = loaded.files.iter().map(|named| named.file.display().to_string()).collect();
    assert!(files.contains(&"tokens".to_owned()), "{files:?}");
    assert_eq!(loaded.unreadable().len(), files.len(), "none of them is here");
}

#[test]
fn the_fixtures_are_read() {
    for (name, text, kind) in [
        ("tail-sampling.yaml", include_str!("tests/tail-sampling.yaml"), "tail_sampling"),
        ("front-tier.yaml", include_str!("tests/front-tier.yaml"), "loadbalancing"),
    ] {
        let loaded = load_all(&[(name, text)]).unwrap_or_else(|errors| panic!("{errors}"));
        let Configuration { processors, exporters, .. } = &loaded.configuration;
        assert!(processors.keys().chain(exporters.keys()).any(|id| id.kind == kind), "{name}");
        assert!(loaded.notes.iter().all(|note| note.path.ends_with("expected_new_traces_per_sec")), "{name}");
    }
}

/// Every key a reader asks for, in any test's configuration, stands in the reference, and under its component.
#[test]
fn the_reference_has_every_key() {
    let sources = [Source::new("everything.yaml", EVERYTHING)];
    let (_, asked) = load(&sources, &environment);
    assert!(asked.len() > 350, "{} keys: does everything.yaml hold every block?", asked.len());
    let keys: BTreeSet<&str> = asked.iter().map(|(_, key)| *key).collect();
    let missing: Vec<&str> =
        keys.into_iter().filter(|key| !REFERENCE.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "docs/configuration.md does not mention {missing:?}");
}

/// In every map that is no free one, an unknown key is an error at that map.
#[test]
fn no_unknown_key_is_ignored() {
    let mut paths = Vec::new();
    maps(&tree(EVERYTHING), String::new(), &mut paths);
    assert!(paths.len() > 120, "{}", paths.len());
    // What stands in these is free, or has no effect as a whole.
    let free =
        ["::headers", "::resource", "file_storage", "keepalive", "autocommit", "retry", "batch", "level"];
    let whole = ["compression_params", "sending_queue::batch"];
    for path in paths {
        if free.iter().any(|end| path.ends_with(end)) && !path.starts_with("processors")
            || path.contains("keepalive::")
            || whole.iter().any(|end| path.ends_with(end))
        {
            continue;
        }
        let mut root = tree(EVERYTHING);
        insert(&mut root, String::new(), &path);
        let findings = Findings::new(vec!["everything.yaml".to_owned()]);
        read(&root, &findings);
        let errors = findings.close().errors;
        assert!(
            errors.iter().any(|error| error.message.contains("`nonesuch`")),
            "an unknown key in {path} goes unnoticed: {errors:?}"
        );
    }
}

fn tree(text: &str) -> Node {
    let mut node = yaml::parse(0, text).unwrap();
    Expander::new(&environment, &Findings::default()).expand(&mut node, "");
    node
}

fn maps(node: &Node, path: String, out: &mut Vec<String>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                let below =
                    if path.is_empty() { entry.key.clone() } else { format!("{path}::{}", entry.key) };
                maps(&entry.value, below, out);
            }
            out.push(path);
        }
        Value::List(items) => {
            items.iter().enumerate().for_each(|(index, item)| maps(item, format!("{path}[{index}]"), out));
        }
        _ => {}
    }
}

fn insert(node: &mut Node, path: String, wanted: &str) {
    let place = node.place;
    match &mut node.value {
        Value::Map(entries) => {
            for entry in entries.iter_mut() {
                let below =
                    if path.is_empty() { entry.key.clone() } else { format!("{path}::{}", entry.key) };
                insert(&mut entry.value, below, wanted);
            }
            if path == wanted {
                let value = Value::Scalar { text: "1".to_owned(), style: Style::Plain };
                entries.push(Entry { key: "nonesuch".to_owned(), place, value: Node::new(place, value) });
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                insert(item, format!("{path}[{index}]"), wanted);
            }
        }
        _ => {}
    }
}

#[test]
fn later_sources_lie_over_earlier_ones() {
    let over = "processors::batch::timeout: 2s";
    let more = "exporters: {nop: }\nservice: {pipelines: {traces: {exporters: [nop]}}}";
    let loaded = load_all(&[("base", BASE), ("yaml:", over), ("more", more)]).unwrap();
    let Configuration { processors, service, .. } = loaded.configuration;
    let batch = processors.values().find_map(|processor| match processor {
        Processor::Batch(batch) => Some(*batch),
        _ => None,
    });
    assert_eq!(batch.unwrap().timeout.as_secs(), 2);
    let exporters: Vec<String> = service.pipelines[0].exporters.iter().map(ToString::to_string).collect();
    assert_eq!(exporters, ["nop"], "a list is replaced");
    assert_eq!(loaded.notes.len(), 1, "{:?}", loaded.notes);
    assert_eq!((loaded.notes[0].file.as_str(), loaded.notes[0].line), ("base", 16), "the unused exporter");
}

#[test]
fn a_variable_has_the_type_that_is_expected() {
    let over = "exporters:\n  nop: \n  otlphttp: {headers: {a: '${env:NUMBER}', b: '${HASH}', c: 'x${NUMBER}$${y}$z'}}\n\
                processors: {batch: {send_batch_size: '${env:UNSET:-12}'}}\n\
                service: {pipelines: {traces: {exporters: '${env:LIST}'}}}";
    let loaded = load_all(&[("base", BASE), ("file", over)]).unwrap_or_else(|errors| panic!("{errors}"));
    let Configuration { exporters, service, processors, .. } = loaded.configuration;
    let headers = exporters.values().find_map(|exporter| match exporter {
        Exporter::OtlpHttp(http) => Some(http.sending.headers.clone()),
        _ => None,
    });
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(headers.unwrap(), [pair("a", "0123"), pair("b", "#a: b"), pair("c", "x0123${y}$z")]);
    assert_eq!(service.pipelines[0].exporters.len(), 2);
    assert!(processors.values().any(|one| matches!(one, Processor::Batch(batch) if batch.items == 12)));
}

#[test]
fn what_config_may_say() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.yaml");
    std::fs::write(&path, "a: 1").unwrap();
    let read = |argument: &str| Source::from_argument(argument, &environment).map(|source| source.text);
    let path = path.display().to_string();
    assert_eq!(read(&path).unwrap(), "a: 1");
    assert_eq!(read(&format!("file:{path}")).unwrap(), "a: 1");
    assert_eq!(read("yaml:a::b: 1").unwrap(), "a::b: 1");
    assert_eq!(read("env:WAIT").unwrap(), "3s");
    for wrong in ["env:UNSET", "https://example.com/c.yaml", "/nonesuch/c.yaml"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn secrets_do_not_show() {
    let over = "extensions: {bearertokenauth: {token: s3cret}}\n\
                exporters: {otlphttp: {headers: {a: s3cret}, tls: {cert_pem: s3cret, key_pem: s3cret}}, \
                kafka: {auth: {sasl: {username: u, password: s3cret, mechanism: PLAIN}}}}";
    let loaded = load_all(&[("base", BASE), ("file", over)]).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(!format!("{loaded:?}").contains("s3cret"));
}
