//! One row, one program: start, warm up, measure, drain, check. The load goes on without a break from the warm-up through
//! the window, so that decisions of earlier traces fall into it as its own fall behind it.

use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime};

use super::configuration::{self, Compression, Ports};
use super::contender::{Contender, Programs};
use super::kept::{Kept, Policies};
use super::load::{self, Load, Pace, Sent};
use super::sink::Totals;
use super::spans::{Requests, SPANS_A_REQUEST, Shape};
use crate::process::{Process, Sample, Watch};
use crate::server::{Connection, free_address};

/// Longest a program may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);
/// So long without a span means that nothing more comes: longer than batches and ticks wait.
const QUIET: Duration = Duration::from_secs(3);
/// Longest that kept traces may be on their way after they were decided.
const STRAGGLERS: Duration = Duration::from_secs(60);

/// What is measured.
#[derive(Clone, Debug)]
pub struct Row {
    /// As the table says it.
    pub name: String,
    /// What the program does.
    pub tier: Tier,
    /// How traces lie in requests.
    pub shape: Shape,
    /// How fast they come.
    pub pace: Pace,
    /// Before the window, at least; ours is given until its journal has been filled once.
    pub warm_up: Duration,
    /// What counts.
    pub window: Duration,
    /// Our journal: written over again and again once it is full.
    pub journal_bytes: u64,
}

/// What a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Tail sampling, decided after this.
    Sampling(Duration),
    /// Each trace to one of two.
    Front,
}

/// What stays the same over all rows.
#[derive(Debug)]
pub struct Bench {
    /// Who takes part.
    pub programs: Programs,
    /// Two, empty or to be emptied.
    pub sinks: Vec<Sink>,
    /// For data and configurations, on the disk that is measured.
    pub folder: PathBuf,
    /// What must be kept.
    pub policies: Policies,
    /// Requests in flight.
    pub in_flight: usize,
    /// Connections.
    pub connections: usize,
    /// Of what goes out.
    pub compression: Compression,
    /// Bytes each span has beyond its usual ones.
    pub more_bytes: usize,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Spans acknowledged in the window.
    pub spans: u64,
    /// How long the window was.
    pub window: Duration,
    /// CPU time of the program in it.
    pub cpu: Duration,
    /// Latency of acknowledgements in it, half of them.
    pub p50: Duration,
    /// And 99 in a hundred.
    pub p99: Duration,
    /// Most anonymous memory over the whole run, bytes.
    pub anonymous: u64,
    /// Most mapped files over the whole run, bytes.
    pub mapped: u64,
    /// Files it had open at the end, bytes on disk: no more of the page cache is its.
    pub files: u64,
    /// Bytes written to disk in the window.
    pub written: u64,
    /// Refusals over the whole run; each was sent again.
    pub refused: u64,
    /// Spans before the window: enough to fill our journal once, or not.
    pub journal: Journal,
    /// CPU time of the load, a span.
    pub load_nanos: f64,
    /// What arrived.
    pub kept: Kept,
    /// Spans of each trace at each sink.
    pub counts: Vec<Vec<u8>>,
    /// What arrived that is not of the load.
    pub foreign: u64,
}

/// Whether the journal's files had been written before the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    /// Yes.
    Warm,
    /// Not all of them.
    Cold,
}

impl Seen {
    /// Spans a second of CPU time.
    #[must_use]
    pub fn spans_per_core_second(&self) -> f64 {
        self.spans as f64 / self.cpu.as_secs_f64()
    }
}

impl Bench {
    /// Runs `row` with `contender`; `None` if that program is not there.
    ///
    /// # Errors
    /// If the program does not come up, ends, or does not take the load.
    pub fn run(&self, row: &Row, contender: Contender) -> Result<Option<Seen>, Box<dyn Error>> {
        let folder = tempfile::tempdir_in(&self.folder)?;
        let ports = Ports { grpc: free_address()?, http: free_address()?, metrics: free_address()? };
        let file = folder.path().join("collector.yaml");
        std::fs::write(&file, self.configuration(row, ports)?)?;
        let command = contender.command(&self.programs, &file, folder.path(), row.journal_bytes);
        let Some(mut command) = command else { return Ok(None) };
        let sinks = self.sinks_of(row.tier);
        sinks.iter().try_for_each(Sink::reset)?;
        let mut process = Process::start(&mut command, &folder.path().join("log"))?;
        process.wait_until(PATIENCE, || TcpStream::connect(ports.grpc).is_ok())?;
        let done = Arc::new(AtomicU64::new(0));
        let watch = Watch::start(process.id(), Arc::clone(&done));
        let sent = self.send(row, contender, ports.grpc, done);
        let sent = sent.map_err(|error| format!("{contender}: {error}: {}", process.last_words()))?;
        let files = process.open_files();
        drain(row.tier, sinks)?;
        let samples = watch.end();
        drop(process);
        self.seen(row, &sent, &samples, files).map(Some)
    }

    fn configuration(&self, row: &Row, ports: Ports) -> io::Result<String> {
        let addresses: Vec<SocketAddr> = self.sinks.iter().map(|sink| sink.address).collect();
        let first = addresses.first().ok_or_else(|| io::Error::other("no sink"))?;
        match row.tier {
            Tier::Sampling(wait) => configuration::tail_sampling(ports, wait, *first, self.compression),
            Tier::Front => configuration::front_tier(ports, &addresses, self.compression),
        }
    }

    fn sinks_of(&self, tier: Tier) -> &[Sink] {
        let count = match tier {
            Tier::Sampling(_) => 1,
            Tier::Front => self.sinks.len(),
        };
        self.sinks.get(..count).unwrap_or_default()
    }

    fn requests(&self, row: &Row) -> Requests {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2);
        Requests::new(row.shape, now, self.more_bytes)
    }

    fn send(
        &self,
        row: &Row,
        contender: Contender,
        to: SocketAddr,
        done: Arc<AtomicU64>,
    ) -> io::Result<Sent> {
        // The peer has nothing to fill.
        let fill = if contender == Contender::Peer { 0 } else { row.journal_bytes / self.span_bytes(row) };
        let load = Load {
            to,
            pace: row.pace,
            warm_up: (row.warm_up, fill),
            window: row.window,
            in_flight: self.in_flight,
            connections: self.connections,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(load::send(Arc::new(self.requests(row)), load, done))
    }

    fn span_bytes(&self, row: &Row) -> u64 {
        self.requests(row).request_bytes() as u64 / SPANS_A_REQUEST
    }

    fn seen(&self, row: &Row, sent: &Sent, samples: &[Sample], files: u64) -> Result<Seen, Box<dyn Error>> {
        let counts = self.sinks_of(row.tier).iter().map(Sink::counts).collect::<io::Result<Vec<_>>>()?;
        let totals = self.sinks_of(row.tier).iter().map(Sink::totals).collect::<io::Result<Vec<_>>>()?;
        let traces = Requests::traces_before(sent.requests);
        let kept = match row.tier {
            Tier::Sampling(_) => Kept::check(traces, &counts, |trace| self.policies.keep(trace)),
            Tier::Front => Kept::check(traces, &counts, |_| true),
        };
        let (from, until) = (sent.window_from, sent.window_from + row.window);
        let first = samples.iter().find(|sample| sample.at >= from);
        let last = samples.iter().rev().find(|sample| sample.at <= until);
        let (Some(first), Some(last)) = (first, last) else { return Err("the window has no samples".into()) };
        let filled = first.done * self.span_bytes(row) >= row.journal_bytes;
        let most = |of: fn(&Sample) -> u64| samples.iter().map(of).max().unwrap_or_default();
        Ok(Seen {
            spans: last.done - first.done,
            window: last.at.saturating_sub(first.at),
            cpu: last.usage.cpu.saturating_sub(first.usage.cpu),
            p50: sent.latency(0.5, from, until),
            p99: sent.latency(0.99, from, until),
            anonymous: most(|sample| sample.usage.anonymous),
            mapped: most(|sample| sample.usage.mapped),
            files,
            written: last.usage.written.saturating_sub(first.usage.written),
            refused: sent.refused,
            journal: if filled { Journal::Warm } else { Journal::Cold },
            load_nanos: sent.cpu_nanos,
            kept,
            counts,
            foreign: totals.iter().map(|totals| totals.foreign).sum(),
        })
    }
}

/// Waits until every trace must be decided and nothing more arrives.
fn drain(tier: Tier, sinks: &[Sink]) -> io::Result<()> {
    let wait = match tier {
        // A tick of the clock, and the batch after it.
        Tier::Sampling(wait) => wait + Duration::from_secs(2),
        Tier::Front => Duration::ZERO,
    };
    let started = Instant::now();
    let (mut last, mut since) = (Totals::default(), Instant::now());
    while started.elapsed() < wait + STRAGGLERS {
        // tidy: sleeps, because quiet is a length of time, and this is no test.
        std::thread::sleep(Duration::from_millis(200));
        let mut now = Totals::default();
        for sink in sinks {
            now.spans += sink.totals()?.spans;
        }
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if started.elapsed() >= wait && since.elapsed() >= QUIET {
            break;
        }
    }
    Ok(())
}

/// A sink in a process of its own.
#[derive(Debug)]
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Process,
}

impl Sink {
    /// Starts `program sink --listen ADDRESS`, which is [`super::sink::serve`].
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(program: &std::path::Path, folder: &std::path::Path) -> io::Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(program);
        command.args(["sink", "--listen"]).arg(address.to_string());
        let mut process = Process::start(&mut command, &folder.join(format!("sink-{}", address.port())))?;
        process.wait_until(PATIENCE, || TcpStream::connect(address).is_ok())?;
        Ok(Self { address, _process: process })
    }

    fn get(&self, path: &str) -> io::Result<Vec<u8>> {
        Connection::open(self.address)?.get(path)
    }

    fn reset(&self) -> io::Result<()> {
        self.get("/reset").map(drop)
    }

    fn counts(&self) -> io::Result<Vec<u8>> {
        self.get("/counts")
    }

    fn totals(&self) -> io::Result<Totals> {
        let text = String::from_utf8(self.get("/totals")?).map_err(io::Error::other)?;
        Totals::parse(&text).ok_or_else(|| io::Error::other(format!("the sink says `{text}`")))
    }
}
