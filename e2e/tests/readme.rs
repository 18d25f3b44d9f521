//! The README's commands do what it says. Its Rust code is compiled as a doctest of the library.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn throughline(arguments: &[&str]) -> Output {
    let built = || root().join("target/release/throughline");
    let binary = std::env::var_os("THROUGHLINE_BIN").map_or_else(built, PathBuf::from);
    Command::new(binary)
        .args(arguments)
        .output()
        .expect("the binary: cargo build --release -p throughline-cli")
}

/// The contents of the fenced blocks in this language.
fn blocks(language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let mut parts = text.split("```");
    let mut blocks = Vec::new();
    while let (Some(_), Some(block)) = (parts.next(), parts.next()) {
        blocks.extend(block.strip_prefix(&format!("{language}\n")).map(str::to_owned));
    }
    blocks
}

#[test]
fn the_first_command_is_the_demo_and_it_prints_what_is_shown() {
    let commands = blocks("sh");
    let demo = commands[0]
        .trim()
        .strip_prefix("cargo run --release -- ")
        .expect("the first command runs the binary");
    let ports = ["--otlp-grpc-port", "--otlp-http-port", "--ui-port", "--tempo-port", "--api-port"];
    let ports = ports.iter().flat_map(|flag| [*flag, "0"]);
    // As printed, but once and on free ports.
    let arguments: Vec<&str> = demo.split_whitespace().chain(["--once"]).chain(ports).collect();
    let output = throughline(&arguments);
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    // The same rows as in the README: names and kinds, not times and ids.
    let names = |text: &str| -> Vec<String> {
        let rows = text.lines().filter(|line| line.contains(['├', '│', '└']) && line.contains('('));
        rows.map(|row| row.split("  ").filter(|part| part.contains('(')).collect()).collect()
    };
    let shown = blocks("text");
    assert!(!names(&shown[0]).is_empty());
    assert_eq!(names(&said), names(&shown[0]));
}

#[test]
fn the_curl_is_the_sources() {
    let curl = &blocks("sh")[1];
    for part in [
        "-sX POST http://localhost:3000/rpc/checkout/start",
        r#"'{"cartValue":149.99,"itemCount":2,"userId":"usr_123","tenantId":"acme"}'"#,
    ] {
        assert!(curl.contains(part), "{curl}");
    }
}

#[test]
fn the_test_command_exists() {
    assert_eq!(blocks("sh")[2].trim(), "cargo xtask test");
    let config = std::fs::read_to_string(root().join(".cargo/config.toml")).expect(".cargo/config.toml");
    assert!(config.contains("xtask ="), "{config}");
}

#[test]
fn each_command_it_names_is_one_the_binary_has() {
    let shown = blocks("text");
    let lines = shown[1].lines().filter_map(|line| line.strip_prefix("throughline "));
    let named: Vec<&str> = lines.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(named.len() >= 5, "{named:?}");
    for command in named {
        let help = throughline(&[command, "--help"]);
        assert!(help.status.success(), "throughline {command} --help");
    }
}
