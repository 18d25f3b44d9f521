//! The peers, built from their Go modules.
//!
//! Jaeger for `cargo xtask bench store`: not installable with `go install`, as its module has a `replace`; so its source is
//! copied from the module cache and built as the main module, with the placeholder it has for its page. The OpenTelemetry
//! Collector for `cargo xtask bench collector`: put together by its own builder from the components the fixtures need; and once
//! more for `cargo xtask peer`, with its Kafka exporter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Failure};

const MODULE: &str = "github.com/jaegertracing/jaeger";
const VERSION: &str = "v1.76.0";

/// The program, building it if it is not there: about ten minutes of one core and 3 GB of Go's caches.
pub fn jaeger() -> Result<PathBuf, Failure> {
    let folder = run::root().join("target/peers").join(format!("jaeger-{VERSION}"));
    let program = folder.join("jaeger");
    if program.is_file() {
        return Ok(program);
    }
    let download = format!("{MODULE}@{VERSION}");
    let said = run::output(Command::new("go").args(["mod", "download", "-json", &download]))?;
    let source = serde_json::from_str::<serde_json::Value>(&said)
        .ok()
        .and_then(|said| said.get("Dir")?.as_str().map(PathBuf::from))
        .ok_or_else(|| Failure(format!("go does not say where it put {download}")))?;
    let copy = folder.join("source");
    copy_folder(&source, &copy).map_err(|error| {
        Failure(format!("cannot copy {} to {}: {error}", source.display(), copy.display()))
    })?;
    let mut build = Command::new("go");
    build.current_dir(&copy).env("CGO_ENABLED", "0");
    run::run(build.args(["build", "-trimpath", "-buildvcs=false", "-o"]).arg(&program).arg("./cmd/jaeger"))?;
    Ok(program)
}

const BUILDER: &str = "go.opentelemetry.io/collector/cmd/builder";
const COLLECTOR_VERSION: &str = "v0.159.0";
/// Its providers of configuration are numbered by themselves.
const PROVIDERS_VERSION: &str = "v1.65.0";

const CORE: &str = "go.opentelemetry.io/collector";
const CONTRIB: &str = "github.com/open-telemetry/opentelemetry-collector-contrib";

/// Kind, repository, module below it.
type Component = (&'static str, &'static str, &'static str);

/// For `cargo xtask bench collector`.
const COMPONENTS: &[Component] = &[
    ("receivers", CORE, "receiver/otlpreceiver"),
    ("processors", CORE, "processor/batchprocessor"),
    ("processors", CORE, "processor/memorylimiterprocessor"),
    ("processors", CONTRIB, "processor/tailsamplingprocessor"),
    ("exporters", CORE, "exporter/otlpexporter"),
    ("exporters", CORE, "exporter/otlphttpexporter"),
    ("exporters", CORE, "exporter/debugexporter"),
    ("exporters", CORE, "exporter/nopexporter"),
    ("exporters", CONTRIB, "exporter/fileexporter"),
    ("exporters", CONTRIB, "exporter/loadbalancingexporter"),
    ("providers", CORE, "confmap/provider/envprovider"),
    ("providers", CORE, "confmap/provider/fileprovider"),
    ("providers", CORE, "confmap/provider/yamlprovider"),
];

/// For `cargo xtask peer`: apart, so that the benchmark's peer is no larger than it has to be.
const WITH_KAFKA: &[Component] = &[
    ("receivers", CORE, "receiver/otlpreceiver"),
    ("exporters", CONTRIB, "exporter/kafkaexporter"),
    ("providers", CORE, "confmap/provider/envprovider"),
    ("providers", CORE, "confmap/provider/fileprovider"),
];

/// Both kinds of exporter on one topic of a real Kafka.
pub fn run() -> Result<(), Failure> {
    let peer = collector("otelcol-kafka", WITH_KAFKA)?;
    run::run(run::cargo().args(["build", "--release", "--package", "throughline-cli"]))?;
    let mut test = run::cargo();
    test.args(["test", "--release", "--workspace", "--features", "throughline-e2e/peer"]);
    run::run(test.args(["--test", "kafka_collector", "the_peer"]).env("THROUGHLINE_PEER", peer))
}

/// The OpenTelemetry Collector, building it if it is not there: six minutes of two cores.
pub fn otelcol() -> Result<PathBuf, Failure> {
    collector("otelcol", COMPONENTS)
}

fn collector(name: &str, components: &[Component]) -> Result<PathBuf, Failure> {
    let folder = run::root().join("target/peers").join(format!("{name}-{COLLECTOR_VERSION}"));
    let program = folder.join("otelcol");
    if program.is_file() {
        return Ok(program);
    }
    let failed =
        |what: &str, error: std::io::Error| Failure(format!("{what} in {}: {error}", folder.display()));
    fs::create_dir_all(&folder).map_err(|error| failed("cannot make the folder", error))?;
    let manifest = folder.join("manifest.yaml");
    fs::write(&manifest, otelcol_manifest(components))
        .map_err(|error| failed("cannot write the manifest", error))?;
    let mut install = Command::new("go");
    install.env("CGO_ENABLED", "0").env("GOBIN", &folder);
    run::run(install.args(["install", &format!("{BUILDER}@{COLLECTOR_VERSION}")]))?;
    let mut build = Command::new(folder.join("builder"));
    build.current_dir(&folder).env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false");
    run::run(build.arg("--config").arg(&manifest))?;
    // Only a finished program has the name that is looked for.
    fs::rename(folder.join("source/otelcol"), &program).map_err(|error| failed("no otelcol", error))?;
    Ok(program)
}

fn otelcol_manifest(components: &[Component]) -> String {
    // gRPC's own tracing renders templates, for which the linker keeps every method of every type: the tag leaves it out.
    let mut manifest = "dist: {name: otelcol, output_path: ./source, build_tags: grpcnotrace}\n".to_owned();
    let mut last = "";
    for (kind, repository, module) in components {
        if *kind != last {
            manifest += &format!("{kind}:\n");
            last = kind;
        }
        let version = if *kind == "providers" { PROVIDERS_VERSION } else { COLLECTOR_VERSION };
        manifest += &format!("  - gomod: {repository}/{module} {version}\n");
    }
    manifest
}

/// Without the module cache's write protection.
fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::write(&target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}
