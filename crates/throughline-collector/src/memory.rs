//! `memory_limiter`: while the process uses more memory than it may, receivers are told to come back later.
//!
//! What counts is anonymous memory, what the allocator holds: pages of mapped files are the kernel's to take back. Refuses
//! nothing that is already acknowledged, and says nothing about readiness: what is in the journal can still be found.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use throughline_otlp::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::configuration::MemoryLimit;
use crate::counters::{SIGNALS, names};
use crate::exposition::{Exposition, Kind, Labels};
use crate::refusal::Refusal;
use crate::topology::{Memory, Topology};

/// How much memory the process uses.
type Usage = fn() -> io::Result<u64>;

/// Every `memory_limiter` of a configuration.
#[derive(Default)]
pub(crate) struct Limiters(Vec<Arc<Limiter>>);

/// One of them, over all pipelines that have it.
struct Limiter {
    name: String,
    interval: Duration,
    /// Requests are refused from here on.
    limit: u64,
    usage: Usage,
    /// Receivers and signals of its pipelines.
    guards: Vec<(u16, Signal)>,
    refusing: AtomicBool,
    accepted: [AtomicU64; SIGNALS.len()],
    refused: [AtomicU64; SIGNALS.len()],
}

impl Limiters {
    /// Reads how much memory there is and how much is used.
    pub(crate) fn open(topology: &Topology) -> io::Result<Self> {
        let mut limiters: Vec<Limiter> = Vec::new();
        for pipeline in &topology.pipelines {
            let Some(memory) = &pipeline.memory else { continue };
            let guards = pipeline.receivers.iter().map(|receiver| (*receiver, pipeline.signal));
            match limiters.iter_mut().find(|limiter| limiter.name == memory.name) {
                Some(limiter) => limiter.guards.extend(guards),
                None => limiters.push(Limiter::new(memory, guards.collect(), anonymous)?),
            }
        }
        for limiter in &limiters {
            limiter.look(limiter.used()?);
        }
        Ok(Self(limiters.into_iter().map(Arc::new).collect()))
    }

    /// Counts a request's items, and refuses them if a pipeline they would go to has no memory left.
    pub(crate) fn admit(&self, receiver: u16, signal: Signal, items: u64) -> Result<(), Refusal> {
        let asked = || self.0.iter().filter(|limiter| limiter.guards.contains(&(receiver, signal)));
        let refusing = asked().any(|limiter| limiter.refusing.load(Ordering::Relaxed));
        for limiter in asked() {
            let refuses = limiter.refusing.load(Ordering::Relaxed);
            let counts = if refuses { &limiter.refused } else { &limiter.accepted };
            // What another limiter refuses was never offered to this one's pipeline.
            if let Some(count) = counts.get(index(signal)).filter(|_| refuses || !refusing) {
                count.fetch_add(items, Ordering::Relaxed);
            }
        }
        if refusing {
            Err(Refusal::Unavailable("memory is at its limit; retry later".to_owned()))
        } else {
            Ok(())
        }
    }

    /// Looks again and again until `stop` turns true.
    pub(crate) fn run(&self, tasks: &mut JoinSet<()>, stop: &watch::Sender<bool>) {
        for limiter in &self.0 {
            tasks.spawn(Arc::clone(limiter).run(stop.subscribe()));
        }
    }

    /// Adds what was let through and what was not to a page.
    pub(crate) fn write(&self, page: &mut Exposition) {
        for limiter in &self.0 {
            limiter.write(page);
        }
    }
}

impl Limiter {
    fn new(memory: &Memory, guards: Vec<(u16, Signal)>, usage: Usage) -> io::Result<Self> {
        let relative = |limit: &MemoryLimit| matches!(limit, MemoryLimit::Percent(_));
        let asks_total = [Some(memory.limiter.limit), memory.limiter.spike].iter().flatten().any(relative);
        let total = if asks_total { total(Path::new("/"))? } else { 0 };
        let bytes = |limit: MemoryLimit| match limit {
            MemoryLimit::Bytes(bytes) => bytes.get(),
            MemoryLimit::Percent(percent) => total / 100 * u64::from(percent),
        };
        let hard = bytes(memory.limiter.limit);
        let limit = hard.saturating_sub(memory.limiter.spike.map_or(hard / 5, bytes));
        let zero = || std::array::from_fn(|_| AtomicU64::new(0));
        let (accepted, refused) = (zero(), zero());
        let (name, interval) = (memory.name.clone(), memory.limiter.interval);
        tracing::info!(processor = name, limit, "requests are refused from this many bytes of memory on");
        Ok(Self { name, interval, limit, usage, guards, refusing: AtomicBool::new(false), accepted, refused })
    }

    fn used(&self) -> io::Result<u64> {
        (self.usage)()
    }

    /// Refuses or lets through from now on, by what is `used`.
    fn look(&self, used: u64) {
        let refuses = used >= self.limit;
        let (processor, limit) = (&self.name, self.limit);
        match (self.refusing.swap(refuses, Ordering::Relaxed), refuses) {
            (false, true) => {
                tracing::warn!(processor, used, limit, "memory is at its limit: requests are refused")
            }
            (true, false) => tracing::info!(processor, used, limit, "memory is below its limit again"),
            _ => {}
        }
    }

    async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut looks = tokio::time::interval(self.interval);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                _ = looks.tick() => {}
            }
            // A few microseconds: the kernel makes this file up from what it has at hand.
            match self.used() {
                Ok(used) => self.look(used),
                Err(error) => {
                    tracing::warn!(%error, processor = self.name, "cannot see how much memory is used")
                }
            }
        }
    }

    fn write(&self, page: &mut Exposition) {
        let mut labels = Labels::default();
        labels.add("processor", &self.name);
        let labels = labels.finish();
        for signal in SIGNALS {
            let (plural, items) = names(signal);
            let word = [("accepted", &self.accepted, "let through"), ("refused", &self.refused, "refused")];
            for (name, counts, done) in word {
                let help = format!("Number of {items} that a memory limiter {done}.");
                let name = format!("otelcol_processor_{name}_{plural}");
                if let (Some(family), Some(count)) =
                    (page.family(&name, Kind::Counter, &help), counts.get(index(signal)))
                {
                    family.sample("", &labels, count.load(Ordering::Relaxed));
                }
            }
        }
        let help = "Whether a memory limiter refuses requests now.";
        if let Some(family) = page.family("throughline_memory_limiter_refusing", Kind::Gauge, help) {
            family.sample("", &labels, u8::from(self.refusing.load(Ordering::Relaxed)));
        }
    }
}

/// Where a signal stands in [`SIGNALS`].
fn index(signal: Signal) -> usize {
    SIGNALS.iter().position(|other| *other == signal).unwrap_or_default()
}

/// Resident memory of the process that belongs to no file.
fn anonymous() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    field(&status, "RssAnon:").ok_or_else(|| missing("/proc/self/status", "RssAnon"))
}

/// The machine's memory, or what its control groups leave the process of it.
fn total(root: &Path) -> io::Result<u64> {
    let machine = fs::read_to_string(root.join("proc/meminfo"))?;
    let machine = field(&machine, "MemTotal:").ok_or_else(|| missing("/proc/meminfo", "MemTotal"))?;
    // No control groups, no limit of theirs.
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, group) = rest.split_once(':')?;
        if controllers.is_empty() {
            Some(group_limit(&root.join("sys/fs/cgroup"), group, "memory.max"))
        } else if controllers.split(',').any(|controller| controller == "memory") {
            Some(group_limit(&root.join("sys/fs/cgroup/memory"), group, "memory.limit_in_bytes"))
        } else {
            None
        }
    });
    Ok(limits.flatten().fold(machine, u64::min))
}

/// The least of the limits of a group and of those around it. In a container the group's path may be the host's, with only the
/// outermost to be seen.
fn group_limit(root: &Path, group: &str, file: &str) -> Option<u64> {
    let group = Path::new(group.trim_start_matches('/'));
    let limit = |group: &Path| fs::read_to_string(root.join(group).join(file)).ok()?.trim().parse().ok();
    group.ancestors().filter_map(limit).min()
}

/// A line `Name:  1234 kB`, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

fn missing(file: &str, field: &str) -> io::Error {
    io::Error::other(format!("{file} does not say {field}; take memory_limiter out on this machine"))
}

#[cfg(test)]
mod tests;
