//! `cargo xtask bench collector`: our collector and the OpenTelemetry Collector under the same load, configuration and sink,
//! taking turns. CPU, memory and bytes written are the operating system's word on each process.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints its table, and what went wrong"
)]

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use clap::{Args, Parser, Subcommand, ValueEnum};
use throughline_bench::collector::configuration::{Compression, NUM_TRACES};
use throughline_bench::collector::contender::{Contender, Durability, Programs};
use throughline_bench::collector::kept::{Policies, routed_differently};
use throughline_bench::collector::load::{self, Load, Pace};
use throughline_bench::collector::run::{Bench, Journal, Row, Seen, Sink, Tier};
use throughline_bench::collector::sink;
use throughline_bench::collector::spans::{Requests, SPANS_A_TRACE, Shape};

const HEAD: &str = "\
| row | program | spans/s | CPU ns a span | thousand spans per core-second | acknowledged p50 / p99 | anonymous | mapped | open files | written a span | kept | missing / extra / repeated / torn |
|---|---|---|---|---|---|---|---|---|---|---|---|";

/// What a rate-limited row sends.
const STEADY: f64 = 55_000.0;

#[derive(Parser)]
#[command(about = "The collector beside the OpenTelemetry Collector")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The table: every row, every program, in turns
    Compare(CompareArgs),
    /// Only the load, to whoever listens
    Load(LoadArgs),
    /// Only the sink
    Sink {
        /// OTLP over gRPC and HTTP, GET /totals, GET /counts, POST /reset
        #[arg(long)]
        listen: SocketAddr,
    },
}

#[derive(Args)]
struct CompareArgs {
    /// The binary `throughline`
    #[arg(long)]
    ours: PathBuf,
    /// The binary `otelcol`
    #[arg(long)]
    peer: Option<PathBuf>,
    /// For data: on the disk that is measured
    #[arg(long, default_value = "target")]
    folder: PathBuf,
    /// Who runs
    #[arg(long, value_enum, value_delimiter = ',', default_value = "peer,none,sync")]
    only: Vec<Who>,
    /// Which rows
    #[arg(long, value_enum, value_delimiter = ',', default_value = "saturated,whole,wait,front")]
    rows: Vec<Which>,
    /// How often each row is run with each program; ratios are medians
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Length of what is measured
    #[arg(long, default_value_t = 12)]
    seconds: u64,
    /// Bytes each span has beyond its usual 460
    #[arg(long, default_value_t = 0)]
    more_bytes: usize,
    /// Of what goes out, on both sides; the source's configuration leaves it at gzip
    #[arg(long, value_enum, default_value_t = Encoding::None)]
    compression: Encoding,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Args)]
struct ClientArgs {
    /// Requests in flight
    #[arg(long, default_value_t = 16)]
    in_flight: usize,
    /// Connections that share them
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests between two spans of a trace, where traces are interleaved
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    apart: u64,
}

#[derive(Args)]
struct LoadArgs {
    /// OTLP over gRPC
    #[arg(long)]
    to: SocketAddr,
    /// How long
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Spans a second; without it as fast as they are acknowledged
    #[arg(long)]
    rate: Option<f64>,
    /// Traces whole in one request
    #[arg(long)]
    whole: bool,
    /// Bytes each span has beyond its usual 460
    #[arg(long, default_value_t = 0)]
    more_bytes: usize,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Who {
    /// The OpenTelemetry Collector
    Peer,
    /// Ours, acknowledged once the operating system has it
    None,
    /// Ours, acknowledged once the disk has it
    Sync,
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    /// Traces interleaved, wait 5 s, as fast as they are acknowledged
    Saturated,
    /// The same, traces whole
    Whole,
    /// Traces interleaved, wait 30 s, 55,000 spans a second
    Wait,
    /// The load-balancing front tier
    Front,
}

#[derive(Clone, Copy, ValueEnum)]
enum Encoding {
    None,
    Gzip,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().what {
        What::Compare(arguments) => compare(arguments),
        What::Load(arguments) => only_load(&arguments),
        What::Sink { listen } => only_sink(listen),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("collector: {error}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

impl Who {
    fn contender(self) -> Contender {
        match self {
            Self::Peer => Contender::Peer,
            Self::None => Contender::Ours(Durability::None),
            Self::Sync => Contender::Ours(Durability::Sync),
        }
    }
}

impl Which {
    fn row(self, window: Duration, apart: u64) -> Row {
        let seconds = Duration::from_secs;
        let saturated = |wait: u64| Pace::Saturated {
            // Nine tenths of what may be undecided at one time; beyond that, both sides decide early.
            at_most: 0.9 * (NUM_TRACES * SPANS_A_TRACE) as f64 / (wait + 1) as f64,
        };
        let (name, tier, shape, pace, warm_up, journal_gib) = match self {
            Self::Saturated => (
                "interleaved, wait 5 s, saturated",
                Tier::Sampling(seconds(5)),
                Shape::Interleaved { apart },
                saturated(5),
                9,
                3,
            ),
            Self::Whole => {
                ("whole, wait 5 s, saturated", Tier::Sampling(seconds(5)), Shape::Whole, saturated(5), 9, 3)
            }
            Self::Wait => (
                "interleaved, wait 30 s, 55,000 spans/s",
                Tier::Sampling(seconds(30)),
                Shape::Interleaved { apart },
                Pace::Steady(STEADY),
                45,
                1,
            ),
            Self::Front => (
                "front tier, interleaved, saturated",
                Tier::Front,
                Shape::Interleaved { apart },
                Pace::Saturated { at_most: f64::INFINITY },
                5,
                1,
            ),
        };
        let (name, warm_up, journal_bytes) = (name.to_owned(), seconds(warm_up), journal_gib << 30);
        Row { name, tier, shape, pace, warm_up, window, journal_bytes }
    }
}

fn compare(arguments: CompareArgs) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(&arguments.folder)?;
    let folder = tempfile::tempdir_in(&arguments.folder)?;
    let window = Duration::from_secs(arguments.seconds);
    let apart = arguments.client.apart;
    let rows: Vec<Row> = arguments.rows.iter().map(|which| which.row(window, apart)).collect();
    let contenders: Vec<Contender> = arguments.only.iter().map(|who| who.contender()).collect();
    let rounds = arguments.rounds;
    let bench = bench(arguments, folder.path())?;
    println!("{HEAD}");
    let mut notes = Vec::new();
    let mut wrong = 0;
    for row in &rows {
        let mut ratios = Ratios::default();
        for _ in 0..rounds {
            wrong += round(&bench, row, &contenders, &mut ratios, &mut notes)?;
        }
        notes.extend(ratios.lines(row));
    }
    println!();
    notes.iter().for_each(|note| println!("- {note}"));
    if wrong == 0 {
        Ok(())
    } else {
        Err(format!("{wrong} runs of ours kept or routed traces wrongly").into())
    }
}

fn bench(arguments: CompareArgs, folder: &Path) -> Result<Bench, Box<dyn Error>> {
    let me = std::env::current_exe()?;
    Ok(Bench {
        programs: Programs { ours: arguments.ours, peer: arguments.peer },
        sinks: vec![Sink::start(&me, folder)?, Sink::start(&me, folder)?],
        folder: folder.to_owned(),
        policies: Policies::of_the_source()?,
        in_flight: arguments.client.in_flight,
        connections: arguments.client.connections,
        compression: match arguments.compression {
            Encoding::None => Compression::None,
            Encoding::Gzip => Compression::Gzip,
        },
        more_bytes: arguments.more_bytes,
    })
}

/// Each contender once; how many runs of ours were wrong.
fn round(
    bench: &Bench,
    row: &Row,
    contenders: &[Contender],
    ratios: &mut Ratios,
    notes: &mut Vec<String>,
) -> Result<usize, Box<dyn Error>> {
    let (mut peer, mut wrong) = (None, 0);
    for contender in contenders {
        let Some(seen) = bench.run(row, *contender)? else { continue };
        print(row, *contender, &seen, notes);
        match contender {
            Contender::Peer => peer = Some(seen),
            Contender::Ours(durability) => {
                wrong += usize::from(seen.kept.is_wrong() || seen.foreign > 0);
                ratios.add(*durability, row, peer.as_ref(), &seen, notes);
            }
        }
    }
    Ok(wrong)
}

fn print(row: &Row, contender: Contender, seen: &Seen, notes: &mut Vec<String>) {
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "| {} | {contender} | {:.0} | {:.0} | {:.1} | {:.1?} / {:.1?} | {} MiB | {} MiB | {} MiB | {:.0} B | {} | {} / {} / {} / {} |",
        row.name,
        seen.spans as f64 / seen.window.as_secs_f64(),
        seen.cpu.as_secs_f64() * 1e9 / seen.spans as f64,
        seen.spans_per_core_second() / 1e3,
        seen.p50,
        seen.p99,
        mib(seen.anonymous),
        mib(seen.mapped),
        mib(seen.files),
        seen.written as f64 / seen.spans as f64,
        seen.kept.expected,
        seen.kept.missing,
        seen.kept.extra,
        seen.kept.repeated,
        seen.kept.torn,
    );
    let mut note = |text: String| notes.push(format!("{}, {contender}: {text}", row.name));
    note(format!("the load took {:.0} ns of CPU a span", seen.load_nanos));
    if seen.refused > 0 {
        note(format!("{} refusals, each sent again", seen.refused));
    }
    if seen.foreign > 0 {
        note(format!("{} things at the sink that were never sent", seen.foreign));
    }
    if seen.journal == Journal::Cold && contender != Contender::Peer {
        note("the journal was not full before the window: cold".to_owned());
    }
}

/// Ours against the peer of the same round.
#[derive(Default)]
struct Ratios {
    none: Vec<(f64, f64)>,
    sync: Vec<(f64, f64)>,
}

impl Ratios {
    fn add(
        &mut self,
        durability: Durability,
        row: &Row,
        peer: Option<&Seen>,
        ours: &Seen,
        notes: &mut Vec<String>,
    ) {
        let Some(peer) = peer else { return };
        let speed = ours.spans_per_core_second() / peer.spans_per_core_second();
        let memory = peer.anonymous as f64 / ours.anonymous as f64;
        match durability {
            Durability::None => self.none.push((speed, memory)),
            Durability::Sync => self.sync.push((speed, memory)),
        }
        if row.tier == Tier::Front {
            let differ = routed_differently(&peer.counts, &ours.counts);
            notes.push(format!("{}: {differ} traces went to another backend than with the peer", row.name));
        }
    }

    fn lines(&self, row: &Row) -> Vec<String> {
        let line = |name, ratios: &Vec<(f64, f64)>| {
            let speed = median(ratios.iter().map(|ratio| ratio.0).collect())?;
            let memory = median(ratios.iter().map(|ratio| ratio.1).collect())?;
            Some(format!(
                "{}, {name}: {speed:.1}x the peer's spans per core-second, 1/{memory:.1} of its anonymous memory",
                row.name
            ))
        };
        [line("none", &self.none), line("sync", &self.sync)].into_iter().flatten().collect()
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn only_sink(listen: SocketAddr) -> Result<(), Box<dyn Error>> {
    Ok(runtime()?.block_on(sink::serve(listen))?)
}

fn only_load(arguments: &LoadArgs) -> Result<(), Box<dyn Error>> {
    let ClientArgs { in_flight, connections, apart } = arguments.client;
    let shape = if arguments.whole { Shape::Whole } else { Shape::Interleaved { apart } };
    let now = SystemTime::UNIX_EPOCH.elapsed()?.as_nanos() as u64;
    let requests = Requests::new(shape, now, arguments.more_bytes);
    let length = Duration::from_secs(arguments.seconds);
    let pace = arguments.rate.map_or(Pace::Saturated { at_most: f64::INFINITY }, Pace::Steady);
    let warm_up = (Duration::ZERO, 0);
    let load = Load { to: arguments.to, pace, warm_up, window: length, in_flight, connections };
    let sent = runtime()?.block_on(load::send(Arc::new(requests), load, Arc::new(AtomicU64::new(0))))?;
    let last = sent.acks.iter().map(|ack| ack.at).max().unwrap_or_default();
    let latency = |share| sent.latency(share, Duration::ZERO, Duration::MAX);
    println!(
        "{} spans acknowledged, {:.0} a second, p50 {:.2?}, p99 {:.2?}, {} refusals, {:.0} ns of CPU a span here",
        sent.spans(),
        sent.spans() as f64 / last.as_secs_f64(),
        latency(0.5),
        latency(0.99),
        sent.refused,
        sent.cpu_nanos,
    );
    Ok(())
}
