//! Jaeger, built from its Go module: the peer of `cargo xtask bench store`. Not installable with `go install`, as its module
//! has a `replace`; so its source is copied from the module cache and built as the main module, with the placeholder it has
//! for its page.

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
