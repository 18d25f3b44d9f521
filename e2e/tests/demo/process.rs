//! The binary as a process: run to its end, or running with its JSON events read. No assertion about tracing here.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
pub use throughline_e2e::serve::binary;

/// Longer than anything here takes: a hang fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// Every port a free one, so that tests run side by side.
pub const FREE_PORTS: [&str; 10] = [
    "--otlp-grpc-port",
    "0",
    "--otlp-http-port",
    "0",
    "--ui-port",
    "0",
    "--tempo-port",
    "0",
    "--api-port",
    "0",
];

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs the binary to its end.
pub fn run(arguments: &[&str]) -> Ended {
    let output = Command::new(binary()).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// `demo` with `--json`, killed when dropped.
pub struct Demo {
    pub child: Child,
    events: Receiver<Value>,
    /// Its first event: addresses and process ids.
    pub ready: Value,
    /// What it leaves behind when it is killed goes with this.
    _temporary: TempDir,
}

impl Demo {
    /// Starts it and waits until its services are up.
    pub fn start(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = Command::new(binary())
            .env("TMPDIR", temporary.path())
            .args(["demo", "--json"])
            .args(FREE_PORTS)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (says, events) = channel();
        let stdout = child.stdout.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // The test may be over.
                let _ = says.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        let mut demo = Self { child, events, ready: Value::Null, _temporary: temporary };
        demo.ready = demo.event("ready");
        demo
    }

    /// The next event, which must be this one.
    pub fn event(&mut self, name: &str) -> Value {
        let event = self.events.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let _ = self.child.kill();
            let mut said = String::new();
            let _ = self.child.stderr.take().unwrap().read_to_string(&mut said);
            panic!("no event {name}; it said:\n{said}")
        });
        assert_eq!(event["event"], name, "{event}");
        event
    }

    /// An address of the ready event.
    pub fn url(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.ready))
    }

    /// Process ids of the four services.
    pub fn services(&self) -> Vec<u64> {
        let services = self.ready["services"].as_array().unwrap();
        services.iter().map(|service| service["pid"].as_u64().unwrap()).collect()
    }

    /// Posts a body to the checkout API, as the source's curl does: status, `x-trace-id`, answer.
    pub fn post(&self, body: &str) -> (u16, String, Value) {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        let url = format!("{}/rpc/checkout/start", self.url("api"));
        let mut response = agent.post(url).header("content-type", "application/json").send(body).unwrap();
        let header = response.headers().get("x-trace-id").map(|id| id.to_str().unwrap().to_owned());
        let answer = serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap();
        (response.status().as_u16(), header.unwrap_or_default(), answer)
    }

    /// Runs a command that asks this demo.
    pub fn ask(&self, arguments: &[&str]) -> Ended {
        run(&[arguments, &["--url", self.url("ui")]].concat())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Killed already, or a test that failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// JSON of a GET.
pub fn get(url: &str) -> Value {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
    let text = agent.get(url).call().unwrap().body_mut().read_to_string().unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{url}: {error}: {text}"))
}

/// Sends a signal by name.
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success(), "kill -s {name}");
}

/// Whether a process runs; a zombie does not.
pub fn runs(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name, which is in brackets and may hold anything.
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Looks again every 20 ms for a minute: the state of another process gives no event to wait on.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..3000 {
        if let Some(found) = look() {
            return found;
        }
        thread::park_timeout(Duration::from_millis(20));
    }
    panic!("not seen within a minute: {what}");
}
