//! `cargo xtask bench store`, second half: `throughline serve` and Jaeger with badger under the same load over OTLP/HTTP, one
//! after the other: CPU, disk and memory as the operating system counts them, then a trace by id over HTTP.
//!
//! usage: store SPANS THROUGHLINE JAEGER

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[path = "../../../crates/throughline-store/examples/ingest/load.rs"]
mod load;

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use throughline_bench::server::{Connection, Server, disk_bytes, free_address};

use crate::load::{SPANS_A_REQUEST, SPANS_A_TRACE, request, trace_id};

/// What the peer can follow on one core; faster, and it loses what it has acknowledged.
const SPANS_A_SECOND: u64 = 6_000;

const QUESTIONS: u64 = 500;

/// What was seen of a backend.
struct Seen {
    cpu_micros: f64,
    disk_bytes: f64,
    memory_mib: u64,
    found: u64,
    p50: Duration,
    p99: Duration,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [spans, throughline, jaeger] = arguments.as_slice() else {
        return Err("usage: store SPANS THROUGHLINE JAEGER".into());
    };
    let requests = spans.parse::<u64>()?.div_ceil(SPANS_A_REQUEST + 1);
    println!("{} spans, {SPANS_A_SECOND} a second", requests * (SPANS_A_REQUEST + 1));
    let folder = tempfile::tempdir()?;
    let ours = run(&mut ours(throughline, folder.path())?, requests, folder.path())?;
    let folder = tempfile::tempdir()?;
    let peer = run(&mut jaeger_badger(jaeger, folder.path())?, requests, folder.path())?;
    println!("| backend | CPU a span | disk a span | peak memory | traces whole | trace by id p50 / p99 |");
    println!("|---|---|---|---|---|---|");
    for (name, seen) in
        [("throughline serve, synced before it acknowledges", &ours), ("Jaeger, badger", &peer)]
    {
        println!(
            "| {name} | {:.1} us | {:.0} B | {} MiB | {} of {QUESTIONS} | {:.2?} / {:.2?} |",
            seen.cpu_micros, seen.disk_bytes, seen.memory_mib, seen.found, seen.p50, seen.p99
        );
    }
    println!("CPU, ours / Jaeger: {:.3}", ours.cpu_micros / peer.cpu_micros);
    Ok(())
}

fn run(server: &mut Server, requests: u64, folder: &Path) -> Result<Seen, Box<dyn Error>> {
    server.settle()?;
    let (before, idle) = (server.cpu()?, Instant::now());
    let mut to = Connection::open(server.otlp)?;
    let started = Instant::now();
    for number in 0..requests {
        to.export(&request(number))?;
        let due = Duration::from_secs_f64((number * SPANS_A_REQUEST) as f64 / SPANS_A_SECOND as f64);
        // tidy: sleeps, because a load has a rate.
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }
    server.settle()?;
    let spans = (requests * (SPANS_A_REQUEST + 1)) as f64;
    let cpu = server.cpu()?.saturating_sub(before);
    println!("worked {cpu:.1?} of {:.0?}", idle.elapsed());
    let disk = disk_bytes(folder)? as f64;
    let (found, mut took) = ask(server.query, requests)?;
    took.sort();
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or_default();
    Ok(Seen {
        cpu_micros: cpu.as_secs_f64() * 1e6 / spans,
        disk_bytes: disk / spans,
        memory_mib: server.peak_memory_kib()? / 1024,
        found,
        p50: at(0.5),
        p99: at(0.99),
    })
}

/// How many of the traces asked for are whole, and how long each answer took.
fn ask(query: SocketAddr, requests: u64) -> Result<(u64, Vec<Duration>), Box<dyn Error>> {
    let traces = requests * SPANS_A_REQUEST / SPANS_A_TRACE;
    let mut connection = Connection::open(query)?;
    let (mut found, mut took) = (0, Vec::new());
    for n in 0..QUESTIONS {
        let id: String = trace_id(n * 7919 % traces).iter().map(|byte| format!("{byte:02x}")).collect();
        let asked = Instant::now();
        // A trace it does not know is a 404, and not found.
        let answer = connection.get(&format!("/api/traces/{id}")).unwrap_or_default();
        took.push(asked.elapsed());
        let spans = String::from_utf8(answer)?.matches("\"operationName\"").count() as u64;
        found += u64::from(spans == SPANS_A_TRACE);
    }
    Ok((found, took))
}

fn ours(program: &str, folder: &Path) -> Result<Server, Box<dyn Error>> {
    let [grpc, otlp, ui, tempo] = [free_address()?, free_address()?, free_address()?, free_address()?];
    let mut command = Command::new(program);
    command.arg("serve").arg("--data-dir").arg(folder.join("data"));
    for (flag, address) in
        [("--otlp-grpc-port", grpc), ("--otlp-http-port", otlp), ("--ui-port", ui), ("--tempo-port", tempo)]
    {
        command.arg(flag).arg(address.port().to_string());
    }
    Ok(Server::start(&mut command, otlp, ui)?)
}

/// Its own `config-badger.yaml`, with free ports on loopback, without its telemetry of itself.
fn jaeger_badger(program: &str, folder: &Path) -> Result<Server, Box<dyn Error>> {
    let [health, otlp, http, grpc] = [free_address()?, free_address()?, free_address()?, free_address()?];
    let data = folder.join("badger");
    let config = format!(
        r#"
service:
  extensions: [jaeger_storage, jaeger_query, healthcheckv2]
  pipelines:
    traces: {{receivers: [otlp], processors: [batch], exporters: [jaeger_storage_exporter]}}
  telemetry:
    metrics: {{level: none}}
    logs: {{level: error}}
extensions:
  healthcheckv2: {{use_v2: true, http: {{endpoint: "{health}"}}}}
  jaeger_query: {{storage: {{traces: badger}}, http: {{endpoint: "{http}"}}, grpc: {{endpoint: "{grpc}"}}}}
  jaeger_storage:
    backends:
      badger:
        badger:
          directories: {{keys: "{data}/keys", values: "{data}/values"}}
          ephemeral: false
          ttl: {{spans: 48h}}
receivers:
  otlp: {{protocols: {{http: {{endpoint: "{otlp}"}}}}}}
processors:
  batch: {{}}
exporters:
  jaeger_storage_exporter: {{trace_storage: badger}}
"#,
        data = data.display()
    );
    let path = folder.join("jaeger.yaml");
    std::fs::write(&path, config)?;
    let mut command = Command::new(program);
    command.arg("--config").arg(&path).env("OTEL_TRACES_SAMPLER", "always_off");
    Ok(Server::start(&mut command, otlp, http)?)
}
