//! The four services as processes of their own: this binary, run again. Each holds the reading end of a pipe that ends
//! with this process, however it ends; that is how no child survives it. A service that dies after it was up is started
//! again, a few times: its broker may have been restarted.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value as Json, json};
use throughline_checkout::Service;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::child;
use crate::exit::Failure;
use crate::output::Output;

/// How long all of them together may take to be up: the first group on a fresh Kafka waits for its internal topics.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a service may take to end; a little more than it gives itself.
const GRACE: Duration = Duration::from_secs(9);
/// Starts of one service, the first one included.
const STARTS: usize = 6;
/// Lines of a service's log that are kept, to be shown should it die.
const TAIL: usize = 20;

/// What the services are told.
#[derive(Clone)]
pub(super) struct Launch {
    pub(super) bootstrap: String,
    pub(super) otlp: String,
    pub(super) api: SocketAddr,
    pub(super) legacy: bool,
    pub(super) break_injection: Option<Service>,
    pub(super) logs: Logs,
}

/// What becomes of the lines the services log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Logs {
    /// They are shown, each with its service's name.
    Shown,
    /// The last ones are kept.
    Kept,
}

/// The running services.
pub(super) struct Services {
    api: SocketAddr,
    processes: Vec<(Service, Option<u32>)>,
    events: mpsc::Receiver<Event>,
    stop: watch::Sender<bool>,
    supervisors: JoinSet<()>,
}

/// What a supervisor says.
enum Event {
    Up { service: Service, pid: Option<u32>, ready: Json },
    Restarting { service: Service, how: String },
    GaveUp(Death),
}

/// A service that will not come back.
#[derive(Debug, thiserror::Error)]
#[error("{service} {how}{}", said(.tail))]
pub(super) struct Death {
    service: Service,
    how: String,
    tail: Vec<String>,
}

fn said(tail: &[String]) -> String {
    if tail.is_empty() { String::new() } else { format!("; its last words:\n  {}", tail.join("\n  ")) }
}

impl Services {
    /// Starts all four and waits until the API listens and every worker has its partitions.
    pub(super) async fn start(launch: Launch, output: Output) -> Result<Self, Failure> {
        let (says, events) = mpsc::channel(64);
        let stop = watch::Sender::new(false);
        let mut supervisors = JoinSet::new();
        for service in Service::ALL {
            let supervisor = Supervisor {
                service,
                launch: launch.clone(),
                says: says.clone(),
                stop: stop.subscribe(),
                output,
            };
            supervisors.spawn(supervisor.run());
        }
        let mut services = Self { api: launch.api, processes: Vec::new(), events, stop, supervisors };
        match timeout(PATIENCE, services.all_up(&output)).await {
            Ok(Ok(())) => Ok(services),
            Ok(Err(death)) => {
                services.stop().await;
                Err(Failure::Start(death.to_string()))
            }
            Err(_) => {
                let missing = services.not_up();
                services.stop().await;
                Err(Failure::Start(format!("{missing} was not up within {} s", PATIENCE.as_secs())))
            }
        }
    }

    /// Where the API listens.
    pub(super) fn api(&self) -> SocketAddr {
        self.api
    }

    /// Names and process ids.
    pub(super) fn processes(&self) -> Vec<Json> {
        self.processes.iter().map(|(service, pid)| json!({ "service": service.name(), "pid": pid })).collect()
    }

    async fn all_up(&mut self, output: &Output) -> Result<(), Death> {
        while self.processes.len() < Service::ALL.len() {
            match self.events.recv().await {
                Some(Event::GaveUp(death)) => return Err(death),
                Some(event) => self.note(event, output),
                // Supervisors end only after they gave up or were stopped.
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn not_up(&self) -> String {
        let up = |service: &Service| self.processes.iter().any(|(other, _)| other == service);
        let missing: Vec<&str> =
            Service::ALL.iter().filter(|service| !up(service)).map(|s| s.name()).collect();
        missing.join(", ")
    }

    fn note(&mut self, event: Event, output: &Output) {
        match event {
            Event::Up { service, pid, ready } => {
                let address = ready.get("address").and_then(Json::as_str).and_then(|text| text.parse().ok());
                self.api = address.unwrap_or(self.api);
                self.processes.retain(|(other, _)| *other != service);
                self.processes.push((service, pid));
                let partitions = ready.get("partitions").and_then(Json::as_u64);
                let what = partitions.map_or("listens".to_owned(), |count| format!("has {count} partitions"));
                output.talk(&format!("{service} {what}"));
            }
            Event::Restarting { service, how } => {
                // The broker cannot know that the old member is dead, and gives its partitions away only then.
                let why = match service {
                    Service::Api => String::new(),
                    _ => "; what it receives waits until its Kafka session has timed out".to_owned(),
                };
                output.talk(&format!("{service} {how}; starting it again{why}"));
            }
            Event::GaveUp(death) => output.talk(&format!("error: {death}")),
        }
    }

    /// The next service that dies for good; restarts are only told. Cancel safe.
    pub(super) async fn next_death(&mut self, output: &Output) -> Death {
        loop {
            match self.events.recv().await {
                Some(Event::GaveUp(death)) => return death,
                Some(event) => self.note(event, output),
                // Stopped: nothing dies any more.
                None => std::future::pending().await,
            }
        }
    }

    /// Until one dies for good.
    pub(super) async fn watch_over(&mut self, output: &Output) -> Result<(), Failure> {
        Err(Failure::Start(self.next_death(output).await.to_string()))
    }

    /// Closes their pipes and waits until they are gone.
    pub(super) async fn stop(&mut self) {
        // A supervisor that gave up does not listen.
        let _ = self.stop.send(true);
        // What they still say is heard, so that none waits for room.
        self.events.close();
        while self.supervisors.join_next().await.is_some() {}
    }
}

/// Keeps one service running.
struct Supervisor {
    service: Service,
    launch: Launch,
    says: mpsc::Sender<Event>,
    stop: watch::Receiver<bool>,
    output: Output,
}

/// How one process of it ended.
enum Ended {
    Stopped,
    Died(String),
}

impl Supervisor {
    async fn run(mut self) {
        for start in 1..=STARTS {
            let tail = Tail::default();
            let (ended, was_up) = match self.spawn() {
                Ok(process) => self.attend(process, &tail).await,
                Err(error) => (Ended::Died(format!("cannot be started: {error}")), false),
            };
            let Ended::Died(how) = ended else { return };
            // One that never was up has a reason that stays.
            let event = if was_up && start < STARTS {
                Event::Restarting { service: self.service, how }
            } else {
                Event::GaveUp(Death { service: self.service, how, tail: tail.lines() })
            };
            let last = matches!(event, Event::GaveUp(_));
            if self.says.send(event).await.is_err() || last {
                return;
            }
        }
    }

    /// Follows one process from its start to its end; says whether it was up.
    async fn attend(&mut self, mut process: Child, tail: &Tail) -> (Ended, bool) {
        let stdin = process.stdin.take();
        let logs = process.stderr.take().map(|stderr| tokio::spawn(self.log(stderr, tail.clone())));
        let mut words = process.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        let mut was_up = false;
        let ended = loop {
            let word = async {
                match &mut words {
                    Some(lines) => lines.next_line().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stopped(&mut self.stop) => {
                    drop(stdin);
                    end(&mut process).await;
                    break Ended::Stopped;
                }
                status = process.wait() => break Ended::Died(how(status)),
                word = word => match word {
                    Ok(Some(line)) => was_up |= self.hear(&line, process.id()).await,
                    Ok(None) | Err(_) => words = None,
                },
            }
        };
        if let Some(logs) = logs {
            // Until its last words are read: the pipe ends with the process.
            let _ = timeout(Duration::from_secs(1), logs).await;
        }
        (ended, was_up)
    }

    /// A line on a service's standard output says that it is up.
    async fn hear(&mut self, line: &str, pid: Option<u32>) -> bool {
        let Ok(ready) = serde_json::from_str::<Json>(line) else { return false };
        if let Some(address) = ready.get("address").and_then(Json::as_str).and_then(|text| text.parse().ok())
        {
            // Should it be started again, then at the same place.
            self.launch.api = address;
        }
        self.says.send(Event::Up { service: self.service, pid, ready }).await.is_ok()
    }

    fn log<R: AsyncRead + Unpin>(&self, from: R, tail: Tail) -> impl Future<Output = ()> + use<R> {
        let (service, shown, output) = (self.service, self.launch.logs, self.output);
        async move {
            let mut lines = BufReader::new(from).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match shown {
                    Logs::Shown => output.talk(&format!("{:>14} | {line}", service.name())),
                    Logs::Kept => tail.push(line),
                }
            }
        }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let launch = &self.launch;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("demo-service").arg(self.service.name());
        // What the user's shell sets for their own services is not meant for these.
        for (name, _) in std::env::vars_os() {
            let foreign = name.to_str().is_some_and(|n| n.starts_with("OTEL_") || n.starts_with("CHECKOUT_"));
            if foreign {
                command.env_remove(name);
            }
        }
        command
            .env("KAFKA_BOOTSTRAP_SERVERS", &launch.bootstrap)
            .env("CHECKOUT_LISTEN", launch.api.to_string())
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &launch.otlp)
            // Somebody is looking on: spans leave soon rather than in large batches.
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
            .env("OTEL_BLRP_SCHEDULE_DELAY", "100");
        if let Some(broken) = launch.break_injection {
            command.env("CHECKOUT_BREAK_INJECTION", broken.name());
        }
        match launch.legacy {
            true => command.env(child::LEGACY, "1"),
            false => command.env_remove(child::LEGACY),
        };
        // A process group of its own: Ctrl-C is this process's to act on, in order.
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }
}

/// Waits for the end of a process whose pipe is closed; not for ever.
async fn end(process: &mut Child) {
    if timeout(GRACE, process.wait()).await.is_err() {
        // It may end by itself at this moment.
        let _ = process.kill().await;
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn how(status: std::io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| format!("was lost: {error}"), |status| format!("ended with {status}"))
}

/// The last lines a process logged.
#[derive(Clone, Default)]
struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TAIL {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
