//! What the tests need of the machine beyond Rust and a C toolchain: a JDK with Maven for Kafka, a browser for the page.
//! As root on a Debian it is installed; anywhere else the reader is told what to install, and the tests that need it are
//! counted as skipped (with `CI=true` they fail).

use std::path::Path;
use std::process::Command;

struct Part {
    program: &'static str,
    packages: &'static [&'static str],
    used_for: &'static str,
}

const PARTS: &[Part] = &[
    Part { program: "java", packages: &["default-jdk-headless"], used_for: "Apache Kafka" },
    Part { program: "mvn", packages: &["maven"], used_for: "fetching Apache Kafka" },
    Part { program: "curl", packages: &["curl"], used_for: "the source's smoke test" },
    Part { program: "jq", packages: &["jq"], used_for: "the source's smoke test" },
    Part { program: "chromium", packages: &["chromium"], used_for: "the test of the page" },
];

/// Installs what is missing if that is possible here, else says so.
pub fn prepare() {
    let missing: Vec<&Part> = PARTS.iter().filter(|part| !installed(part.program)).collect();
    if missing.is_empty() {
        return;
    }
    let packages: Vec<&str> = missing.iter().flat_map(|part| part.packages).copied().collect();
    if may_install() {
        println!("installing {} with apt-get", packages.join(" "));
        let _ = apt(&["update", "-qq"]);
        if apt(&[&["install", "-y", "-qq", "--no-install-recommends"], packages.as_slice()].concat()) {
            return;
        }
    }
    for part in missing {
        eprintln!("{} is not installed; {} needs it", part.program, part.used_for);
    }
    eprintln!("to run every test, as root on Debian or Ubuntu: apt-get install {}", packages.join(" "));
}

fn installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

fn may_install() -> bool {
    let root = std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:") && line.contains("\t0\t0\t")));
    root && Path::new("/usr/bin/apt-get").exists()
}

fn apt(arguments: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command.status().is_ok_and(|status| status.success())
}
