//! A process under measurement: started, watched from outside by what `/proc` says of it (Linux), killed by its id when the
//! value goes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at a process.
const LOOKS: Duration = Duration::from_millis(100);

/// A running process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time, all threads, in hundredths of a second.
    pub cpu: Duration,
    /// Bytes of anonymous memory it has now.
    pub anonymous: u64,
    /// Bytes of files it has mapped now: its own program, and what it maps to read or write.
    pub mapped: u64,
    /// Bytes it has had written to the disk, or that wait in the page cache to be.
    pub written: u64,
}

/// A look at a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Since the watch began.
    pub at: Duration,
    /// What it had used.
    pub usage: Usage,
    /// What had been done, as whoever drives it counts.
    pub done: u64,
}

/// Looks at a process ten times a second, on a thread of its own.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    looking: JoinHandle<Vec<Sample>>,
}

impl Process {
    /// Starts `command`; what it says goes to `log`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> io::Result<Self> {
        let says = File::create(log)?;
        command.stdin(Stdio::null()).stdout(says.try_clone()?).stderr(says);
        let child = command.spawn().map_err(|error| {
            io::Error::other(format!("{} cannot be started: {error}", command.get_program().display()))
        })?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Waits until it is `ready`.
    ///
    /// # Errors
    /// If it ends before, with the last it said, or is not within `patience`.
    pub fn wait_until(&mut self, patience: Duration, mut ready: impl FnMut() -> bool) -> io::Result<()> {
        let started = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("it ended with {status}: {}", self.last_words())));
            }
            if started.elapsed() > patience {
                return Err(io::Error::other(format!("it is not ready: {}", self.last_words())));
            }
            // tidy: sleeps, because another process's readiness can only be polled, and this is no test.
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub fn usage(&self) -> io::Result<Usage> {
        usage(self.id())
    }

    /// Bytes on disk of the files it has open: no more than these can be in the page cache for it. Seen only while it runs.
    #[must_use]
    pub fn open_files(&self) -> u64 {
        let open = fs::read_dir(format!("/proc/{}/fd", self.id())).into_iter().flatten().flatten();
        // A file is named by device and number: one that is open twice counts once.
        let files: std::collections::BTreeMap<_, _> = open
            .filter_map(|entry| fs::metadata(entry.path()).ok())
            .filter(fs::Metadata::is_file)
            .map(|file| {
                use std::os::unix::fs::MetadataExt as _;
                ((file.dev(), file.ino()), file.blocks() * 512)
            })
            .collect();
        files.values().sum()
    }

    /// The end of its log.
    #[must_use]
    pub fn last_words(&self) -> String {
        let said = fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        lines.get(lines.len().saturating_sub(8)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; there is nobody to tell otherwise.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Watch {
    /// Watches the process `id`, and beside it what is `done`.
    #[must_use]
    pub fn start(id: u32, done: Arc<AtomicU64>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let looking = std::thread::spawn(move || {
            let (started, mut samples) = (Instant::now(), Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                // A process that has ended says nothing more; whoever drives it finds out.
                let Ok(usage) = usage(id) else { break };
                let done = done.load(Ordering::Relaxed);
                samples.push(Sample { at: started.elapsed(), usage, done });
                // tidy: sleeps, because a process can only be looked at, and this is no test.
                std::thread::sleep(LOOKS);
            }
            samples
        });
        Self { stop, looking }
    }

    /// Ends the watch: what was seen, in order.
    #[must_use]
    pub fn end(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        self.looking.join().unwrap_or_default()
    }
}

/// What the process `id` has used so far.
///
/// # Errors
/// If the operating system does not say.
pub fn usage(id: u32) -> io::Result<Usage> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let io = fs::read_to_string(format!("/proc/{id}/io"))?;
    Ok(Usage {
        cpu: cpu(id)?,
        anonymous: field(&status, "RssAnon:")? * 1024,
        mapped: field(&status, "RssFile:")? * 1024,
        written: field(&io, "write_bytes:")?.saturating_sub(field(&io, "cancelled_write_bytes:")?),
    })
}

/// CPU time the process `id` has used, all threads. Linux only, in hundredths of a second.
///
/// # Errors
/// If the operating system does not say.
pub fn cpu(id: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks = fields.skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>();
    ticks.map(|ticks| Duration::from_millis(ticks * 10)).map_err(io::Error::other)
}

/// The number after `name` at the start of a line.
pub(crate) fn field(text: &str, name: &str) -> io::Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("no {name}")))
}
