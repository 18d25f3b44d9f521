//! `throughline serve` as a process of its own, for tests that send to it and ask it. It asserts nothing.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The binary: `THROUGHLINE_BIN`, else `target/release/throughline`.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn binary() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/throughline");
    let path = std::env::var_os("THROUGHLINE_BIN").map_or_else(built, PathBuf::from);
    assert!(path.exists(), "{} is missing: cargo build --release -p throughline-cli", path.display());
    path
}

/// A running `serve` on free ports, killed when dropped.
#[derive(Debug)]
pub struct Serve {
    child: Child,
    /// Base URL of OTLP over gRPC; empty if it is not received.
    pub otlp_grpc: String,
    /// Base URL of OTLP over HTTP; empty if it is not received.
    pub otlp_http: String,
    /// Base URL of the page and the query APIs.
    pub ui: String,
    /// The ready line as it is.
    pub ready: Value,
}

impl Serve {
    /// Starts it with these arguments (a data folder, or `--ephemeral`) and waits until it is ready.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let ports = ["--otlp-grpc-port", "0", "--otlp-http-port", "0", "--ui-port", "0", "--tempo-port", "0"];
        let ports = ports.into_iter().map(OsString::from);
        Self::with(ports.chain(arguments.into_iter().map(|it| it.as_ref().to_owned())))
    }

    /// Starts it with these arguments and no others: the ports are a configuration's to say.
    ///
    /// # Panics
    /// If it does not start.
    pub fn with<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self::run(Command::new(binary()), arguments)
    }

    /// Starts it as the last arguments of another command, which becomes it.
    ///
    /// # Panics
    /// If it does not start.
    pub fn within<A: AsRef<OsStr>>(mut command: Command, arguments: impl IntoIterator<Item = A>) -> Self {
        command.arg(binary());
        Self::run(command, arguments)
    }

    fn run<A: AsRef<OsStr>>(mut command: Command, arguments: impl IntoIterator<Item = A>) -> Self {
        let mut child = command
            .args(["serve", "--json"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("serve starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no ready line: {line:?}"));
        let address = |name| ready.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let otlp_grpc = match address("otlp_grpc") {
            nothing if nothing.is_empty() => nothing,
            address => format!("http://{address}"),
        };
        Self { otlp_grpc, otlp_http: address("otlp_http"), ui: address("ui"), ready, child }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Bytes of memory of its own: what is not a page of a file (`RssAnon`).
    ///
    /// # Panics
    /// If it is gone.
    #[must_use]
    pub fn own_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path).expect("a running process, on Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") * 1024
    }

    /// SIGTERM, and waits until it has drained and gone.
    ///
    /// # Panics
    /// If it does not end well.
    pub fn terminate(mut self) {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-s", "TERM", &pid]).status().expect("kill runs");
        let ended = self.child.wait().expect("gone");
        assert!(told.success() && ended.success(), "{ended}");
    }

    /// SIGKILL: the process runs nothing more.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // Killed already, or a test that is over.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
