//! A real Apache Kafka node (KRaft) for tests: its jars fetched once with Maven, started on free loopback ports in a
//! folder of its own, killed and restarted at will. Standard library only, because `cargo xtask` includes this file.
//! It refuses to outlive its parent: the node watches a pipe (`xtask/kafka/Node.java`).

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

/// Where the tests find a running broker; `cargo xtask test` sets it.
pub const BOOTSTRAP: &str = "THROUGHLINE_KAFKA_BOOTSTRAP";
/// Why there is no broker; `cargo xtask test` sets it so that each test does not find out for itself.
pub const UNAVAILABLE: &str = "THROUGHLINE_KAFKA_UNAVAILABLE";

const INSTALL: &str = "on Debian and Ubuntu: apt-get install default-jdk-headless maven";
const STARTED: &str = "Kafka Server started";
const START_LIMIT: Duration = Duration::from_secs(90);
/// Another process may take a free port between the choice and the start.
const START_ATTEMPTS: u32 = 3;
/// Any 16 bytes in URL-safe base64; each node is a cluster of its own, so that a constant does.
const CLUSTER_ID: &str = "dGhyb3VnaGxpbmUtdGVzdA";

/// Why there is no broker.
#[derive(Debug)]
pub enum BrokerError {
    /// A program is not installed.
    Missing {
        /// Its name.
        program: &'static str,
    },
    /// A program that fetches or builds the node failed.
    Preparation {
        /// What was run.
        what: &'static str,
        /// What it said.
        output: String,
    },
    /// The node ended, or did not say that it had started.
    NotStarted {
        /// The last lines of its log.
        log: String,
    },
    /// A file or a process could not be handled.
    Io {
        /// What was attempted, on what.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { program } => write!(f, "`{program}` is not installed ({INSTALL})"),
            Self::Preparation { what, output } => write!(f, "{what} failed: {}", output.trim()),
            Self::NotStarted { log } => {
                write!(f, "the Kafka node did not start, its log ends in: {}", log.trim())
            }
            Self::Io { what, source } => write!(f, "{what}: {source}"),
        }
    }
}

impl std::error::Error for BrokerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> BrokerError {
    let what = what.into();
    move |source| BrokerError::Io { what, source }
}

/// One running node. Dropped, it is killed and its folder removed.
#[derive(Debug)]
pub struct Broker {
    folder: PathBuf,
    bootstrap: String,
    process: Option<Child>,
}

impl Broker {
    /// Starts a node on free ports.
    pub fn start() -> Result<Broker, BrokerError> {
        Self::start_with(&[])
    }

    /// Starts a node with properties of `server.properties` added to, or in place of, the usual ones.
    pub fn start_with(properties: &[(&str, &str)]) -> Result<Broker, BrokerError> {
        prepare()?;
        let mut attempt = 1;
        loop {
            match Self::start_once(properties) {
                Err(BrokerError::NotStarted { .. }) if attempt < START_ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    fn start_once(properties: &[(&str, &str)]) -> Result<Broker, BrokerError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("throughline-kafka-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).map_err(io_error(format!("create {}", folder.display())))?;
        let (port, controller) = free_ports()?;
        let mut broker = Broker { bootstrap: format!("127.0.0.1:{port}"), folder, process: None };
        let path = broker.folder.join("server.properties");
        let text = server_properties(&broker.folder, port, controller, properties);
        fs::write(&path, text).map_err(io_error(format!("write {}", path.display())))?;
        broker.restart()?;
        Ok(broker)
    }

    /// The address for `bootstrap.servers`; the same over every restart.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Kills the node as a power cut would: no shutdown, its files stay as they are.
    pub fn kill(&mut self) -> Result<(), BrokerError> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        // SIGKILL comes before the pipe ends, so the node does not get to remove its folder.
        process.kill().and_then(|()| process.wait()).map_err(io_error("kill the Kafka node"))?;
        Ok(())
    }

    /// Stops the node in good order; its files stay.
    pub fn stop(&mut self) -> Result<(), BrokerError> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        if let Some(pipe) = &mut process.stdin {
            pipe.write_all(b"stop\n").map_err(io_error("tell the Kafka node to stop"))?;
        }
        // `Child::wait` would close the pipe first, which means "the parent is gone".
        let pipe = process.stdin.take();
        process.wait().map_err(io_error("wait for the Kafka node"))?;
        drop(pipe);
        Ok(())
    }

    /// Starts the node again on its old files and ports, after `kill` or `stop`.
    pub fn restart(&mut self) -> Result<(), BrokerError> {
        self.kill()?;
        let mut process = Command::new("java")
            .args(["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k"])
            .args(["-XX:ReservedCodeCacheSize=64m", "-XX:MaxDirectMemorySize=64m", "-XX:-UsePerfData"])
            .args(["-Djava.awt.headless=true", "-Djava.net.preferIPv4Stack=true"])
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .arg("-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info")
            .arg("-cp")
            .arg(class_path())
            .arg("Node")
            .arg(&self.folder)
            .arg(CLUSTER_ID)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Its own group: a Ctrl-C at the terminal is for the parent, and the pipe tells the node.
            .process_group(0)
            .spawn()
            .map_err(missing_or("java"))?;
        let Some(stderr) = process.stderr.take() else {
            return Err(BrokerError::NotStarted { log: "no standard error".into() });
        };
        self.process = Some(process);
        let log = self.folder.join("kafka.log");
        let file = File::create(&log).map_err(io_error(format!("create {}", log.display())))?;
        match follow(stderr, file).recv_timeout(START_LIMIT) {
            Ok(()) => Ok(()),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Err(BrokerError::NotStarted { log: tail(&log) })
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // A test that ends is not the place to fail over a node that is gone already.
        let _ = self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Copies the node's log into `file`, for as long as it runs, and says when the node is ready.
fn follow(stderr: ChildStderr, mut file: File) -> Receiver<()> {
    let (ready, started) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = writeln!(file, "{line}");
            if line.contains(STARTED) {
                let _ = ready.send(());
            }
        }
    });
    started
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(15)).map(|line| format!("{line}\n")).collect()
}

fn free_ports() -> Result<(u16, u16), BrokerError> {
    let ports = || {
        // Both are held until both are known, else they could be the same.
        let (one, other) =
            (TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
        Ok((one.local_addr()?.port(), other.local_addr()?.port()))
    };
    ports().map_err(io_error("find a free port on 127.0.0.1"))
}

fn server_properties(folder: &Path, port: u16, controller: u16, more: &[(&str, &str)]) -> String {
    let mut text = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={}
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=3
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=3
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
log.segment.bytes=16777216
metadata.log.segment.bytes=8388608
log.index.size.max.bytes=1048576
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.io.buffer.size=131072
log.cleaner.threads=1
num.network.threads=2
num.io.threads=2
num.recovery.threads.per.data.dir=1
background.threads=2
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
",
        folder.join("data").display()
    );
    // The last one of a key counts.
    for (key, value) in more {
        text.push_str(&format!("{key}={value}\n"));
    }
    text
}

fn project() -> &'static Path {
    // Both crates that build this file are one folder below the project's.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

fn kit() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| project().join("target"), PathBuf::from);
    target.join("kafka")
}

fn class_path() -> String {
    format!("{}:{}/*", kit().join("classes").display(), kit().join("lib").display())
}

/// Fetches the jars and compiles the launcher, once for each version of the two files that say what they are.
pub fn prepare() -> Result<(), BrokerError> {
    let kit = kit();
    fs::create_dir_all(&kit).map_err(io_error(format!("create {}", kit.display())))?;
    // Test processes run side by side: the first one does the work, the others wait for it.
    let lock = kit.join("lock");
    let held = File::create(&lock).map_err(io_error(format!("create {}", lock.display())))?;
    held.lock().map_err(io_error(format!("lock {}", lock.display())))?;
    let sources = project().join("xtask").join("kafka");
    let wanted = read(&sources.join("pom.xml"))? + &read(&sources.join("Node.java"))?;
    let stamp = kit.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    let jars = format!("-DoutputDirectory={}", kit.join("lib").display());
    let mut maven = Command::new("mvn");
    maven
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", &jars])
        .current_dir(&sources);
    run(maven, "mvn", "fetching Kafka's jars with mvn")?;
    let mut javac = Command::new("javac");
    javac.arg("-cp").arg(format!("{}/*", kit.join("lib").display()));
    javac.arg("-d").arg(kit.join("classes")).arg(sources.join("Node.java"));
    run(javac, "javac", "compiling xtask/kafka/Node.java with javac")?;
    fs::write(&stamp, wanted).map_err(io_error(format!("write {}", stamp.display())))
}

fn read(path: &Path) -> Result<String, BrokerError> {
    fs::read_to_string(path).map_err(io_error(format!("read {}", path.display())))
}

fn run(mut command: Command, program: &'static str, what: &'static str) -> Result<(), BrokerError> {
    let output = command.stdin(Stdio::null()).output().map_err(missing_or(program))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(BrokerError::Preparation { what, output: String::from_utf8_lossy(&said).into_owned() })
}

fn missing_or(program: &'static str) -> impl FnOnce(io::Error) -> BrokerError {
    move |source| match source.kind() {
        io::ErrorKind::NotFound => BrokerError::Missing { program },
        _ => BrokerError::Io { what: format!("run {program}"), source },
    }
}
