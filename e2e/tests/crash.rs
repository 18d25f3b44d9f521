//! kill -9 of a collector that samples, under load, while its exporter's sink is down half of the time, again and again on
//! the same folder: every acknowledged span of every trace that must be kept arrives, and no trace is decided twice differently.
//!
//! Short by default; `THROUGHLINE_FAULTS=long` kills 200 times, and puts the peer through the same if it was built.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use throughline_e2e::load::{Account, Book, Lateness, Random, Traffic, request};
use throughline_e2e::serve::Serve;
use throughline_e2e::sink::{Arrived, Fault, Sink, Then};
use throughline_e2e::wait::PATIENCE;
use throughline_otlp::TraceId;
use tokio::sync::watch;

const SENDERS: u64 = 2;
const SPANS_A_REQUEST: usize = 16;
/// A sender's requests are this far apart, so that a machine that is busy otherwise keeps up.
const PACE: Duration = Duration::from_millis(8);
/// Traces whose decision is asked for at the end, of those that are kept and of those that are not.
const ASKED: usize = 200;

fn is_long() -> bool {
    std::env::var("THROUGHLINE_FAULTS").as_deref() == Ok("long")
}

fn client() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    config.timeout_global(Some(Duration::from_secs(20))).build().into()
}

/// `receiver` is where it listens, `more` what only one of the products knows.
fn configuration(sink: SocketAddr, receiver: &str, more: &str) -> String {
    format!(
        "
receivers: {{otlp: {{protocols: {{http: {{endpoint: '{receiver}'}}}}}}}}
processors:
  tail_sampling:
    decision_wait: 1s
    num_traces: 50000
    policies:
      - {{name: errors, type: status_code, status_code: {{status_codes: [ERROR]}}}}
      - {{name: slow, type: latency, latency: {{threshold_ms: 2000}}}}
      - {{name: baseline, type: probabilistic, probabilistic: {{sampling_percentage: 5}}}}
  batch: {{timeout: 50ms}}
exporters:
  otlp:
    endpoint: '{sink}'
    tls: {{insecure: true}}
    timeout: 2s
    retry_on_failure: {{initial_interval: 50ms, max_interval: 300ms}}
{more}
  pipelines: {{traces: {{receivers: [otlp], processors: [tail_sampling, batch], exporters: [otlp]}}}}
"
    )
}

/// What is killed.
enum Subject {
    Ours { file: PathBuf, data: PathBuf },
    Peer { binary: PathBuf, file: PathBuf, receiver: SocketAddr },
}

enum Running {
    Ours(Serve),
    Peer(Child),
}

impl Subject {
    fn start(&self) -> (Running, String) {
        match self {
            Self::Ours { file, data } => {
                let serve = Serve::with([Path::new("--config"), file, Path::new("--data-dir"), data]);
                let url = serve.otlp_http.clone();
                (Running::Ours(serve), url)
            }
            Self::Peer { binary, file, receiver } => {
                let mut command = Command::new(binary);
                command.arg("--config").arg(file).stdout(Stdio::null()).stderr(Stdio::null());
                let child = command.spawn().expect("the peer starts");
                let begun = Instant::now();
                while TcpStream::connect(receiver).is_err() {
                    assert!(begun.elapsed() < PATIENCE, "the peer does not listen");
                    pause(Duration::from_millis(20));
                }
                (Running::Peer(child), format!("http://{receiver}"))
            }
        }
    }
}

impl Running {
    fn kill(self) {
        match self {
            Self::Ours(serve) => serve.kill(),
            Self::Peer(mut child) => {
                child.kill().expect("killed");
                child.wait().expect("gone");
            }
        }
    }
}

fn pause(time: Duration) {
    // tidy: sleeps, because a load has a pace, and a kill comes at any moment.
    std::thread::sleep(time);
}

/// Where the senders send: nowhere while nothing runs.
#[derive(Default)]
struct Target {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    url: Option<String>,
    over: bool,
}

impl Target {
    fn set(&self, url: Option<String>, over: bool) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State { url, over };
        self.changed.notify_all();
    }

    /// `None` once it is over.
    fn url(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |state: &mut State| state.url.is_none() && !state.over;
        let state = self.changed.wait_while(state, waiting).unwrap_or_else(PoisonError::into_inner);
        state.url.clone().filter(|_| !state.over)
    }
}

/// One client: what is refused or not answered is not sent again, so that everything that arrives twice is the collector's.
fn send(target: &Target, book: &Mutex<Book>, mut traffic: Traffic) {
    let client = client();
    while let Some(url) = target.url() {
        let spans = traffic.next_spans(SPANS_A_REQUEST);
        let sent = client
            .post(format!("{url}/v1/traces"))
            .header("content-type", "application/x-protobuf")
            .send(&request(&spans))
            .and_then(|mut response| Ok((response.status().as_u16(), response.body_mut().read_to_vec()?)));
        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
        match sent {
            Ok((200, _)) => book.acknowledged(&spans),
            _ => book.unanswered(&spans),
        }
        drop(book);
        pause(PACE);
    }
}

/// Up and down in turn until it is told to be up, each time another way of being down. Returns how long it was down, and up.
async fn flap(mut sink: Sink, mut random: Random, mut over: watch::Receiver<bool>) -> (Sink, [Duration; 2]) {
    let (address, arrived) = (sink.address(), sink.arrived());
    let (mut spent_down, mut spent_up) = (Duration::ZERO, Duration::ZERO);
    for turn in 0.. {
        let time = Duration::from_millis(200 + random.below(900));
        let down = turn % 2 == 1;
        let begun = Instant::now();
        let after = match (down, random.below(4)) {
            (true, 0 | 1) => {
                sink.stop().await;
                let ended = tokio::time::timeout(time, over.wait_for(|over| *over)).await.is_ok();
                sink = Sink::again(address, &arrived).await;
                ended
            }
            (down, which) => {
                let (count, then) = match which {
                    _ if !down => (0, Then::Accept),
                    2 => (u64::MAX, Then::Answer { http: 503, grpc: 14, retry_after: None }),
                    _ => (2, Then::AcceptAndCut),
                };
                arrived.fault(Fault { count, delay: Duration::ZERO, then });
                tokio::time::timeout(time, over.wait_for(|over| *over)).await.is_ok()
            }
        };
        arrived.fault(Fault { count: 0, delay: Duration::ZERO, then: Then::Accept });
        *if down { &mut spent_down } else { &mut spent_up } += begun.elapsed();
        if after {
            break;
        }
    }
    (sink, [spent_down, spent_up])
}

/// The last decision on a trace; `None`: nothing is known, or it is undecided.
fn verdict(ui: &str, trace: TraceId) -> Option<String> {
    let mut response = client().get(format!("{ui}/tl/v1/trace/{trace}/decision")).call().expect("an answer");
    let text = response.body_mut().read_to_string().expect("text");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    let decisions = answer.get("decisions")?.as_array()?;
    assert_eq!(decisions.len(), 1, "{trace} is decided by one pipeline: {text}");
    let verdict = decisions.first()?.get("verdict")?.as_str()?.to_owned();
    (verdict != "undecided").then_some(verdict)
}

/// What the collector said of some traces while it ran, to be compared with what it says at the end.
#[derive(Default)]
struct Heard(HashMap<TraceId, String>);

impl Heard {
    fn ask(&mut self, ui: &str, book: &Mutex<Book>, random: &mut Random) {
        let known: Vec<TraceId> =
            book.lock().unwrap_or_else(PoisonError::into_inner).traces().take(2000).collect();
        for _ in 0..5 {
            let at = usize::try_from(random.below(known.len().max(1) as u64)).unwrap_or_default();
            let Some(trace) = known.get(at) else { return };
            if let Some(said) = verdict(ui, *trace) {
                self.compare(*trace, said);
            }
        }
    }

    fn compare(&mut self, trace: TraceId, said: String) {
        if let Some(before) = self.0.insert(trace, said.clone()) {
            assert!(before == said || before == "not_sampled", "{trace} was {before}, and is {said}");
        }
    }
}

/// How long the lives were, and what became of the load.
struct Outcome {
    account: Account,
    kills: u32,
    /// From the start of a process until it is ready.
    starts: Vec<Duration>,
    took: Duration,
    down: f64,
    /// Spans that the sink took without an answer.
    unanswered_by_sink: u64,
    asked: usize,
}

impl Outcome {
    fn line(&self, who: &str) -> String {
        let Account {
            acknowledged,
            unanswered,
            must_keep,
            must_keep_traces,
            arrived,
            lost_traces,
            duplicates,
            ..
        } = &self.account;
        let slowest = self.starts.iter().max().copied().unwrap_or_default();
        format!(
            "{who}: {} kills in {:.0?}, sink down {:.0} % of the time; {acknowledged} spans acknowledged ({unanswered} never \
             answered), must keep {must_keep} of {must_keep_traces} traces, arrived {arrived}, lost {} ({:.1} %, of {} traces), \
             duplicates {duplicates} ({:.1} % of arrived; {} spans were taken by the sink without an answer), torn {}, unwanted {}; {} decisions asked for; slowest start {slowest:.0?}",
            self.kills,
            self.took,
            self.down * 100.0,
            self.account.lost(),
            100.0 * self.account.lost() as f64 / (*must_keep).max(1) as f64,
            lost_traces.len(),
            100.0 * *duplicates as f64 / (*arrived).max(1) as f64,
            self.unanswered_by_sink,
            self.account.torn.len(),
            self.account.unwanted.len(),
            self.asked,
        )
    }
}

/// Kills so many times under load, then lets everything come to rest.
async fn run(subject: Subject, sink: Sink, kills: u32, lateness: Lateness, seed: u64) -> Outcome {
    let (begun, mut random) = (Instant::now(), Random::new(seed));
    let (target, book) = (Arc::new(Target::default()), Arc::new(Mutex::new(Book::default())));
    let arrived = sink.arrived();
    let senders: Vec<_> = (0..SENDERS)
        .map(|at| {
            let (target, book) = (Arc::clone(&target), Arc::clone(&book));
            let traffic = Traffic::new(seed.wrapping_mul(31).wrapping_add(at), lateness);
            std::thread::spawn(move || send(&target, &book, traffic))
        })
        .collect();
    let (end, over) = watch::channel(false);
    let flapping = tokio::spawn(flap(sink, Random::new(seed + 1), over));
    let (mut starts, mut heard) = (Vec::new(), Heard::default());
    let last = tokio::task::block_in_place(|| {
        for _ in 0..kills {
            let at = Instant::now();
            let (running, url) = subject.start();
            starts.push(at.elapsed());
            target.set(Some(url), false);
            pause(Duration::from_millis(150 + random.below(2_500)));
            if let Running::Ours(serve) = &running {
                heard.ask(&serve.ui, &book, &mut random);
            }
            running.kill();
            target.set(None, false);
        }
        let at = Instant::now();
        let (running, url) = subject.start();
        starts.push(at.elapsed());
        target.set(Some(url), false);
        pause(Duration::from_secs(2));
        target.set(None, true);
        senders.into_iter().for_each(|sender| sender.join().expect("a sender ends"));
        running
    });
    end.send(true).expect("the sink listens");
    let (sink, [down, up]) = flapping.await.expect("the sink is up");
    let book = book.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (account, asked) = tokio::task::block_in_place(|| settle(&last, &book, &arrived, &mut heard));
    last.kill();
    drop(sink);
    let down = down.as_secs_f64() / (down + up).as_secs_f64();
    let unanswered_by_sink = arrived.stats().unanswered;
    Outcome { account, kills, unanswered_by_sink, starts, took: begun.elapsed(), down, asked }
}

/// Waits until everything has come, then asks for decisions.
fn settle(last: &Running, book: &Book, arrived: &Arrived, heard: &mut Heard) -> (Account, usize) {
    let begun = Instant::now();
    let patience = if matches!(last, Running::Ours(_)) { PATIENCE } else { Duration::from_secs(15) };
    let mut account = book.account(&arrived.traces());
    while begun.elapsed() < patience && (account.lost() > 0 || !account.torn.is_empty()) {
        pause(Duration::from_millis(200));
        account = book.account(&arrived.traces());
    }
    let Running::Ours(serve) = last else { return (account, 0) };
    drained(serve, begun);
    // What came meanwhile, perhaps again.
    let traces = arrived.traces();
    let account = book.account(&traces);
    let kept: Vec<TraceId> = traces.iter().map(|(trace, _, _)| *trace).collect();
    let dropped = book.traces().filter(|trace| !book.may_keep(*trace));
    let all: Vec<TraceId> = kept.iter().copied().take(ASKED).chain(dropped.take(ASKED)).collect();
    for trace in all.iter().chain(&heard.0.keys().copied().collect::<Vec<_>>()) {
        // What the journal has let go of is not known any more.
        let Some(said) = verdict(&serve.ui, *trace) else { continue };
        let expected = if kept.binary_search(trace).is_ok() { "sampled" } else { "not_sampled" };
        assert_eq!(said, expected, "{trace}: what is decided and what arrived");
        heard.compare(*trace, said);
    }
    (account, all.len() + heard.0.len())
}

/// Until nothing is undecided and nothing waits to be sent.
fn drained(serve: &Serve, begun: Instant) {
    loop {
        let mut response = client().get(format!("{}/tl/v1/sampler", serve.ui)).call().expect("an answer");
        let figures: Value =
            serde_json::from_str(&response.body_mut().read_to_string().expect("text")).expect("JSON");
        let zero = |pointer: &str| figures.pointer(pointer) == Some(&json!(0));
        if zero("/samplers/0/undecidedTraces") && zero("/exporters/0/waiting") {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not come to rest: {figures:#}");
        pause(Duration::from_millis(100));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_under_load_lose_nothing_that_must_be_kept() {
    let kills = if is_long() { 200 } else { 4 };
    let folder = tempfile::tempdir().expect("a folder");
    let sink = Sink::start((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a sink");
    let more = "
extensions:
  throughline:
    durability: sync
    look_back: 2m
    restart_grace: 500ms
    journal_size: 256MiB
    ui: {endpoint: '127.0.0.1:0'}
    tempo: {endpoint: '127.0.0.1:0'}
service:
  extensions: [throughline]
  telemetry: {logs: {level: error}}";
    let file = folder.path().join("collector.yaml");
    fs::write(&file, configuration(sink.address(), "127.0.0.1:0", more)).expect("written");
    let subject = Subject::Ours { file, data: folder.path().join("data") };
    let outcome = run(subject, sink, kills, Lateness::Some, 4).await;
    println!("{}", outcome.line("throughline"));
    let Account { acknowledged, lost_traces, torn, unwanted, .. } = &outcome.account;
    assert_eq!(outcome.account.lost(), 0, "lost: {lost_traces:?}");
    assert!(torn.is_empty(), "arrived in part: {torn:?}");
    assert!(unwanted.is_empty(), "arrived without a reason: {unwanted:?}");
    // Refused only while nothing runs: a collector that takes nothing any more loses nothing either.
    assert!(*acknowledged > outcome.account.unanswered, "it refuses more than it takes");
    assert!(*acknowledged > 500 && outcome.account.must_keep > 100, "a test of nothing");
}

/// Nothing is asserted of the peer: its figures stand beside ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_peer_under_the_same_kills() {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/otelcol-v0.159.0/otelcol");
    let binary = std::env::var_os("THROUGHLINE_PEER").map_or_else(built, PathBuf::from);
    if !is_long() || !binary.exists() {
        println!(
            "not run: it takes THROUGHLINE_FAULTS=long, and the peer, which `cargo xtask bench collector` builds"
        );
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let sink = Sink::start((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a sink");
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let receiver = free.local_addr().expect("an address");
    drop(free);
    let more = "
service:
  telemetry: {metrics: {level: none}}";
    let file = folder.path().join("peer.yaml");
    fs::write(&file, configuration(sink.address(), &receiver.to_string(), more)).expect("written");
    let subject = Subject::Peer { binary, file, receiver };
    // It does not bring back what a late span shows: that is another matter, so none comes late.
    let outcome = run(subject, sink, 10, Lateness::None, 5).await;
    println!("{}", outcome.line("the peer"));
    assert!(outcome.account.acknowledged > 500, "a test of nothing");
}
