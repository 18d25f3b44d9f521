//! A collector in trouble: a journal that is full, a disk without room, a sink that is down for long or takes no byte, clients
//! that never finish. What is acknowledged arrives, what is refused may be sent again, others are served, memory stays flat.
//!
//! Short by default; in its long form, `THROUGHLINE_FAULTS=long`, the sink is down for a minute, with as many requests as
//! come in ten, and every slow client is waited for.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use throughline_e2e::kafka::skip;
use throughline_e2e::load::{Random, Span, request};
use throughline_e2e::serve::Serve;
use throughline_e2e::sink::Sink;
use throughline_e2e::wait::{PATIENCE, until};

const MIB: u64 = 1 << 20;

fn is_long() -> bool {
    std::env::var("THROUGHLINE_FAULTS").as_deref() == Ok("long")
}

fn client() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    config.timeout_global(Some(PATIENCE)).build().into()
}

async fn sink() -> Sink {
    Sink::start((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a sink")
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Taken,
    /// To be sent again, and it says so as OTLP has it.
    Later,
    Other(u16),
}

/// A client that counts what was acknowledged.
struct Client {
    agent: ureq::Agent,
    url: String,
    random: Random,
    acknowledged: u64,
    refused: u64,
}

impl Client {
    fn of(serve: &Serve) -> Self {
        let url = format!("{}/v1/traces", serve.otlp_http);
        Self { agent: client(), url, random: Random::new(7), acknowledged: 0, refused: 0 }
    }

    /// A request of so many spans, a trace each.
    fn send(&mut self, spans: usize) -> Answer {
        let spans: Vec<Span> = (0..spans)
            .map(|_| {
                let trace = self.random.trace();
                Span::new(trace, &mut self.random)
            })
            .collect();
        let sent = self.agent.post(&self.url).header("content-type", "application/x-protobuf");
        let mut answer = sent.send(&request(&spans)).expect("an answer");
        let again = answer.headers().contains_key("retry-after");
        let status = answer.status().as_u16();
        // Read to its end, so that the connection is used again.
        answer.body_mut().read_to_vec().expect("a body");
        match (status, again) {
            (200, _) => {
                self.acknowledged += spans.len() as u64;
                Answer::Taken
            }
            (429 | 503, true) => {
                self.refused += 1;
                Answer::Later
            }
            (status, _) => Answer::Other(status),
        }
    }
}

/// A configuration of one receiver, these exporters in one pipeline, and what else the extension is told.
fn configuration(exporters: &[(&str, SocketAddr)], processors: &str, extension: &str) -> String {
    let names: Vec<_> = exporters.iter().map(|(name, _)| *name).collect();
    let each = |(name, address): &(&str, SocketAddr)| {
        format!(
            "  {name}: {{endpoint: '{address}', tls: {{insecure: true}}, timeout: 1s, compression: none, \
             retry_on_failure: {{initial_interval: 50ms, max_interval: 500ms}}}}\n"
        )
    };
    let exporters: String = exporters.iter().map(each).collect();
    format!(
        "
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:0', max_recv_msg_size_mib: 1}}
      http: {{endpoint: '127.0.0.1:0', max_request_body_size: 1048576, read_header_timeout: 2s}}
processors:
  batch: {{timeout: 50ms}}
  tail_sampling: {{decision_wait: 1s, policies: [{{name: all, type: always_sample}}]}}
exporters:
{exporters}
extensions:
  throughline: {{{extension} ui: {{endpoint: '127.0.0.1:0'}}, tempo: {{endpoint: '127.0.0.1:0'}}}}
service:
  extensions: [throughline]
  telemetry: {{logs: {{level: error}}}}
  pipelines: {{traces: {{receivers: [otlp], processors: [{processors}], exporters: [{}]}}}}
",
        names.join(", ")
    )
}

fn start(folder: &tempfile::TempDir, yaml: &str) -> Serve {
    let (file, data) = (folder.path().join("collector.yaml"), folder.path().join("data"));
    fs::write(&file, yaml).expect("written");
    tokio::task::block_in_place(|| {
        Serve::with([Path::new("--config"), &file, Path::new("--data-dir"), &data])
    })
}

fn journal_bytes(folder: &tempfile::TempDir) -> u64 {
    let files = fs::read_dir(folder.path().join("data/journal")).expect("the journal");
    files.map(|file| file.and_then(|file| file.metadata()).expect("a file").len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_journal_refuses_retryably_loses_nothing_and_recovers() {
    let (sink, folder) = (sink().await, tempfile::tempdir().expect("a folder"));
    let (address, arrived) = (sink.address(), sink.arrived());
    sink.stop().await;
    let yaml = configuration(&[("otlp", address)], "tail_sampling, batch", "journal_size: 16MiB,");
    let serve = start(&folder, &yaml);
    let mut client = Client::of(&serve);
    let before = serve.own_memory();
    tokio::task::block_in_place(|| {
        while client.refused < 50 {
            let answer = client.send(200);
            assert!(matches!(answer, Answer::Taken | Answer::Later), "{answer:?}");
        }
    });
    let full = serve.own_memory();
    // Kills and restarts of a full journal: it stays as large as it may be, and does not stall.
    let mut serve = serve;
    for _ in 0..4 {
        serve.kill();
        serve = start(&folder, &yaml);
        client.url = format!("{}/v1/traces", serve.otlp_http);
        let enough = client.refused + 3;
        tokio::task::block_in_place(|| {
            while client.refused < enough {
                let answer = client.send(200);
                assert!(matches!(answer, Answer::Taken | Answer::Later), "{answer:?}");
            }
        });
    }
    assert!(client.acknowledged > 10_000, "16 MiB hold more than {}", client.acknowledged);
    let _sink = Sink::again(address, &arrived).await;
    until("what was acknowledged arrives", || arrived.stats().distinct >= client.acknowledged).await;
    let before_room = client.acknowledged;
    until("there is room again", || client.send(200) == Answer::Taken).await;
    until("what came then arrives", || arrived.stats().distinct >= client.acknowledged).await;
    assert!(client.acknowledged > before_room && arrived.stats().distinct == client.acknowledged);
    until("the journal is no larger than it may be", || journal_bytes(&folder) <= 16 * MIB + 64 * 1024).await;
    assert!(full.saturating_sub(before) < 64 * MIB, "{before} bytes, and {full} when it was full");
    println!(
        "full journal, killed four times: {} spans acknowledged and arrived, {} refusals, all retryable; own memory {} MiB before, {} MiB full",
        client.acknowledged,
        client.refused,
        before / MIB,
        full / MIB
    );
}

/// A small file system of its own, in a namespace of its own, that lives as long as this does.
struct SmallDisk {
    holder: Child,
    mount: PathBuf,
    // Its folder is where the file system is mounted.
    _folder: tempfile::TempDir,
}

impl SmallDisk {
    /// `None`: this machine does not let us, which is said.
    fn of(bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mount = folder.path().to_owned();
        // It says that it is ready, then waits until its input ends: with this process at the latest.
        let script = r#"mount -t tmpfs -o "size=$1" none "$0" && echo mounted && exec cat"#;
        let mut holder = Command::new("unshare");
        holder
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .arg(&mount)
            .arg(bytes.to_string());
        let holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut holder = match holder {
            Ok(holder) => holder,
            Err(error) => {
                skip(&format!("needs `unshare` for a small disk: {error}"));
                return None;
            }
        };
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        if line.trim() != "mounted" {
            let mut why = String::new();
            holder.stderr.take().expect("a pipe").read_to_string(&mut why).expect("text");
            holder.wait().expect("gone");
            skip(&format!("needs a mount in a namespace of its own: {}", why.trim()));
            return None;
        }
        Some(Self { holder, mount, _folder: folder })
    }

    /// A path on it as everybody sees it.
    fn path(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.mount.strip_prefix("/").expect("an absolute path")).join(name)
    }

    /// Takes what room there is.
    fn fill(&self) -> u64 {
        let mut ballast = fs::File::create(self.path("ballast")).expect("a file");
        let (mut taken, mut piece) = (0, vec![1; 1 << 20]);
        while !piece.is_empty() {
            match ballast.write(&piece) {
                Ok(bytes) if bytes > 0 => taken += bytes as u64,
                _ => piece.truncate(piece.len() / 2),
            }
        }
        taken
    }

    fn empty(&self) {
        fs::remove_file(self.path("ballast")).expect("removed");
    }

    /// A collector with its data here.
    fn start(&self, config: &Path) -> Serve {
        let mut command = Command::new("nsenter");
        let namespaces = ["--user", "--mount", "--preserve-credentials", "--target"];
        command.args(namespaces).arg(self.holder.id().to_string());
        let data = self.mount.join("data");
        tokio::task::block_in_place(|| {
            Serve::within(command, [Path::new("--config"), config, Path::new("--data-dir"), &data])
        })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It is only there to be there.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_retryably_survives_a_kill_and_recovers() {
    let Some(disk) = SmallDisk::of(96 * MIB) else { return };
    let (sink, folder) = (sink().await, tempfile::tempdir().expect("a folder"));
    let arrived = sink.arrived();
    let file = folder.path().join("collector.yaml");
    let yaml = configuration(&[("otlp", sink.address())], "tail_sampling, batch", "journal_size: 512MiB,");
    // The store has to get along with it too.
    let yaml = yaml.replace("exporters: [otlp]", "exporters: [otlp, throughline]");
    fs::write(&file, yaml.replace("\nextensions:\n", "\n  throughline: {}\nextensions:\n")).expect("written");
    let serve = disk.start(&file);
    let mut client = Client::of(&serve);
    let until_refused = |client: &mut Client| {
        tokio::task::block_in_place(|| {
            let enough = client.refused + 20;
            while client.refused < enough {
                let answer = client.send(200);
                assert!(matches!(answer, Answer::Taken | Answer::Later), "{answer:?}");
            }
        });
    };
    assert_eq!(tokio::task::block_in_place(|| client.send(200)), Answer::Taken);
    let ballast = disk.fill();
    until_refused(&mut client);
    let acknowledged = client.acknowledged;
    serve.kill();
    // Still no room: it starts all the same, and says the same. What it had not decided waits for room too.
    let serve = disk.start(&file);
    let refused = client.refused;
    let mut client = Client { url: format!("{}/v1/traces", serve.otlp_http), ..client };
    until_refused(&mut client);
    disk.empty();
    until("there is room again", || client.send(200) == Answer::Taken).await;
    until("everything arrives", || arrived.stats().distinct >= client.acknowledged).await;
    let stats = arrived.stats();
    assert_eq!(stats.distinct, client.acknowledged);
    println!(
        "full disk ({} MiB of ballast): {acknowledged} spans acknowledged before the kill, {} in all, {} arrived, {} twice; \
         {refused} and then {} refusals, all retryable",
        ballast / MIB,
        client.acknowledged,
        stats.distinct,
        stats.spans - stats.distinct,
        client.refused - refused
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_is_down_for_long_costs_no_memory_and_no_span() {
    // As many requests as come in ten minutes at so many a second, in a tenth or a hundredth of the time.
    let (time, requests) = if is_long() { (60, 18_000) } else { (4, 400) };
    let (sink, folder) = (sink().await, tempfile::tempdir().expect("a folder"));
    let (address, arrived) = (sink.address(), sink.arrived());
    let serve = start(&folder, &configuration(&[("otlp", address)], "tail_sampling, batch", ""));
    let mut client = Client::of(&serve);
    // Warm first: threads, buffers, connections.
    tokio::task::block_in_place(|| (0..100).for_each(|_| assert_eq!(client.send(50), Answer::Taken)));
    until("what came first arrives", || arrived.stats().distinct >= client.acknowledged).await;
    let before = serve.own_memory();
    sink.stop().await;
    let (begun, mut most) = (Instant::now(), 0);
    let every = Duration::from_secs(time) / requests;
    tokio::task::block_in_place(|| {
        for number in 0..requests {
            assert_eq!(client.send(50), Answer::Taken);
            if number.is_multiple_of(50) {
                most = most.max(serve.own_memory());
            }
            let ahead = (every * number).saturating_sub(begun.elapsed());
            // tidy: sleeps, because a load has a pace.
            thread::sleep(ahead);
        }
    });
    let (down, after) = (begun.elapsed(), serve.own_memory());
    let _sink = Sink::again(address, &arrived).await;
    let back = Instant::now();
    until("everything arrives", || arrived.stats().distinct >= client.acknowledged).await;
    let stats = arrived.stats();
    assert_eq!((stats.distinct, client.refused), (client.acknowledged, 0));
    let growth = most.max(after).saturating_sub(before);
    assert!(growth < 96 * MIB, "{before} bytes before, {most} at most");
    println!(
        "sink down for {down:.0?}: {} spans acknowledged, all arrived {:.1?} after it was back, {} twice; own memory {} MiB \
         before, {} MiB at most, {} MiB after",
        client.acknowledged,
        back.elapsed(),
        stats.spans - stats.distinct,
        before / MIB,
        most / MIB,
        after / MIB
    );
}

/// Clients that say something and never finish; when each was closed by the other side.
struct SlowClients(Vec<thread::JoinHandle<Option<Duration>>>);

impl SlowClients {
    /// Each says `first`, and then a byte of `then` a second.
    fn open(count: usize, address: SocketAddr, first: &'static [u8], then: &'static [u8]) -> Self {
        let one = move || {
            let begun = Instant::now();
            let mut stream = TcpStream::connect(address).expect("a connection");
            stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a limit");
            stream.write_all(first).ok()?;
            let mut rest = then.iter().cycle();
            while begun.elapsed() < PATIENCE {
                let mut answer = [0; 4096];
                match stream.read(&mut answer) {
                    Ok(0) => return Some(begun.elapsed()),
                    // A HTTP/2 server says hello.
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => return Some(begun.elapsed()),
                }
                if let Some(byte) = rest.next()
                    && stream.write_all(&[*byte]).is_err()
                {
                    return Some(begun.elapsed());
                }
            }
            None
        };
        let spawn = |_| thread::Builder::new().stack_size(128 << 10).spawn(one).expect("a thread");
        Self((0..count).map(spawn).collect())
    }

    /// Waits until all are closed; the shortest and longest time it took.
    fn closed(self, what: &str) -> String {
        let count = self.0.len();
        let ends: Vec<_> = self.0.into_iter().map(|client| client.join().expect("a client ends")).collect();
        let mut times: Vec<_> = ends.into_iter().flatten().collect();
        assert_eq!(times.len(), count, "{what}: some are still open");
        times.sort_unstable();
        let [first, .., last] = times.as_slice() else { panic!("too few") };
        format!("{count} {what} closed after {first:.1?} to {last:.1?}")
    }
}

const HALF_A_HEAD: &[u8] = b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nx-slow: ";
const HALF_A_BODY: &[u8] = b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\ncontent-length: 100000\r\n\r\n";
/// The preface, empty SETTINGS, and nothing more.
const HALF_OPEN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_closed_and_others_are_served() {
    let (sink, folder) = (sink().await, tempfile::tempdir().expect("a folder"));
    let arrived = sink.arrived();
    let serve = start(&folder, &configuration(&[("otlp", sink.address())], "batch", ""));
    let at = |url: &str| url.trim_start_matches("http://").parse::<SocketAddr>().expect("an address");
    let (http, grpc) = (at(&serve.otlp_http), at(&serve.otlp_grpc));
    let before = serve.own_memory();
    let heads = SlowClients::open(150, http, HALF_A_HEAD, b"x");
    let bodies = SlowClients::open(100, http, HALF_A_BODY, b"x");
    let half_open = SlowClients::open(100, grpc, HALF_OPEN, b"");
    let mut client = Client::of(&serve);
    let mut took = Vec::new();
    tokio::task::block_in_place(|| {
        for _ in 0..200 {
            let begun = Instant::now();
            assert_eq!(client.send(20), Answer::Taken);
            took.push(begun.elapsed());
        }
    });
    let during = serve.own_memory();
    until("others' spans arrive", || arrived.stats().distinct >= client.acknowledged).await;
    let mut said = vec![tokio::task::block_in_place(|| heads.closed("half headers"))];
    if is_long() {
        said.push(tokio::task::block_in_place(|| half_open.closed("half-open HTTP/2 connections")));
        said.push(tokio::task::block_in_place(|| bodies.closed("bodies of a byte a second")));
    } else {
        // Their limits are ten seconds and a minute: waited for in the long form.
        drop(serve);
    }
    took.sort_unstable();
    assert!(during.saturating_sub(before) < 64 * MIB, "{before} bytes before, {during} with slow clients");
    println!(
        "slow clients: {}; others meanwhile: {} requests, median {:.1?}, slowest {:.1?}; own memory {} MiB before, {} MiB during",
        said.join(", "),
        took.len(),
        took.get(took.len() / 2).copied().unwrap_or_default(),
        took.last().copied().unwrap_or_default(),
        before / MIB,
        during / MIB
    );
}

/// A backend that accepts connections and never opens its window: no byte of a body can be sent to it.
struct Shut {
    address: SocketAddr,
    connections: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    accepting: thread::JoinHandle<()>,
}

impl Shut {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (connections, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&connections), Arc::clone(&over));
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                count.fetch_add(1, Ordering::Relaxed);
                thread::spawn(move || hear(stream.expect("a connection")));
            }
        });
        Self { address, connections, over, accepting }
    }

    /// Its port is free from then on.
    fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        self.accepting.join().expect("it ends");
    }
}

fn hear(mut stream: TcpStream) {
    // SETTINGS with INITIAL_WINDOW_SIZE 0, and an acknowledgement of the other side's.
    let hello = [&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0][..], &[0, 0, 0, 4, 1, 0, 0, 0, 0]].concat();
    let mut heard = [0; 4096];
    let mut open = stream.write_all(&hello).is_ok();
    while open {
        open = stream.read(&mut heard).is_ok_and(|bytes| bytes > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_takes_no_byte_stops_no_other() {
    let (sink, shut, folder) = (sink().await, Shut::start(), tempfile::tempdir().expect("a folder"));
    let (arrived, address, connections) = (sink.arrived(), shut.address, Arc::clone(&shut.connections));
    let exporters = [("otlp", sink.address()), ("otlp/shut", address)];
    let serve = start(&folder, &configuration(&exporters, "tail_sampling, batch", ""));
    let before = serve.own_memory();
    let mut client = Client::of(&serve);
    tokio::task::block_in_place(|| (0..400).for_each(|_| assert_eq!(client.send(50), Answer::Taken)));
    until("the other backend has everything", || arrived.stats().distinct >= client.acknowledged).await;
    let failed = || {
        let text = figures(&serve);
        let exporters = text["exporters"].as_array().cloned().unwrap_or_default();
        let shut = exporters.iter().find(|it| it["name"] == "traces/otlp/shut").cloned().unwrap_or_default();
        shut["failedAttempts"].as_u64().unwrap_or_default()
    };
    until("attempts run out of time", || failed() > 3).await;
    let (during, attempts) = (serve.own_memory(), failed());
    shut.stop();
    let late = Sink::again(address, &Arc::default()).await;
    let came = late.arrived();
    until("it has everything once it listens", || came.stats().distinct >= client.acknowledged).await;
    assert!(
        during.saturating_sub(before) < 96 * MIB,
        "{before} bytes before, {during} with a backend that is shut"
    );
    println!(
        "a backend with a window of 0: {attempts} attempts over {} connections ended by their timeout; the other had all {} \
         spans meanwhile, this one once it listened; own memory {} MiB before, {} MiB during",
        connections.load(Ordering::Relaxed),
        client.acknowledged,
        before / MIB,
        during / MIB
    );
}

fn figures(serve: &Serve) -> Value {
    let url = format!("{}/tl/v1/sampler", serve.ui);
    let text = client().get(url).call().expect("an answer").body_mut().read_to_string().expect("text");
    serde_json::from_str(&text).expect("JSON")
}
