//! `processors`: `batch` and `memory_limiter`; `tail_sampling` is read in `sampling`.

use std::num::NonZeroU64;
use std::time::Duration;

use throughline_sampling::settings::Settings;

use super::component::ComponentId;
use super::read::{At, Block};
use super::sampling;

/// What happens between receiving and sending.
#[derive(Clone, Debug, PartialEq)]
pub enum Processor {
    /// `tail_sampling`
    TailSampling(Settings),
    /// `batch`
    Batch(Batch),
    /// `memory_limiter`
    MemoryLimiter(MemoryLimiter),
}

/// Types of processors.
pub(super) const KINDS: &[&str] = &["tail_sampling", "batch", "memory_limiter"];

/// `batch`: how much goes into one request of an exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `timeout`: the longest that what is to be sent waits for more. Zero: not at all. Default 200 ms.
    pub timeout: Duration,
    /// `send_batch_size`: so many spans or log records are sent without waiting on. Default 8,192.
    pub items: u32,
    /// `send_batch_max_size`: most in one request. `None`, written 0: no limit.
    pub most_items: Option<u32>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { timeout: Duration::from_millis(200), items: 8192, most_items: None }
    }
}

/// `memory_limiter`: receivers are told to wait while the process uses more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimiter {
    /// `check_interval`
    pub interval: Duration,
    /// `limit_mib` or `limit_percentage`
    pub limit: MemoryLimit,
    /// `spike_limit_mib` or `spike_limit_percentage`: requests are refused from `limit` minus this. Default a fifth of it.
    pub spike: Option<MemoryLimit>,
}

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// In bytes.
    Bytes(NonZeroU64),
    /// Of the machine's, or of its control group's if that is less.
    Percent(u8),
}

pub(super) fn processor(id: &ComponentId, at: &At<'_>) -> Option<Processor> {
    match id.kind.as_str() {
        "tail_sampling" => sampling::tail_sampling(at).map(Processor::TailSampling),
        "batch" => batch(at).map(Processor::Batch),
        "memory_limiter" => memory_limiter(at).map(Processor::MemoryLimiter),
        _ => None,
    }
}

fn batch(at: &At<'_>) -> Option<Batch> {
    let mut block = at.block()?;
    let default = Batch::default();
    let items = |at: At<'_>| at.integer(0, u32::MAX.into()).and_then(|items| u32::try_from(items).ok());
    let batch = Batch {
        timeout: block.duration("timeout").unwrap_or(default.timeout),
        items: block.get("send_batch_size").and_then(items).unwrap_or(default.items),
        most_items: block.get("send_batch_max_size").and_then(items).filter(|most| *most > 0),
    };
    let why = "batches are not kept apart by request metadata, which nothing here reads";
    block.without_effect(&["metadata_keys", "metadata_cardinality_limit"], why);
    if let Some(most) = batch.most_items.filter(|most| *most < batch.items) {
        let message = format!(
            "`send_batch_max_size` ({most}) must be 0 or at least `send_batch_size` ({})",
            batch.items
        );
        block.at().error(message);
    }
    block.finish();
    Some(batch)
}

fn memory_limiter(at: &At<'_>) -> Option<MemoryLimiter> {
    let mut block = at.block()?;
    let interval = block.required("check_interval").and_then(|at| at.some_time());
    let mib = mebibytes(&mut block, "limit_mib");
    let percent = percentage(&mut block, "limit_percentage");
    let spike_mib = mebibytes(&mut block, "spike_limit_mib");
    let spike_percent = percentage(&mut block, "spike_limit_percentage");
    let why = "there is no garbage collector";
    block.without_effect(&["min_gc_interval_when_soft_limited", "min_gc_interval_when_hard_limited"], why);
    if mib.is_none() && percent.is_none() {
        block.at().error("needs `limit_mib` or `limit_percentage`, above zero");
    }
    if mib.is_some() && spike_mib >= mib {
        block.at().error("`spike_limit_mib` must be less than `limit_mib`");
    }
    if percent.is_some() && spike_percent >= percent {
        block.at().error("`spike_limit_percentage` must be less than `limit_percentage`");
    }
    block.finish();
    let pick = |mib: Option<NonZeroU64>, percent: Option<u8>| {
        mib.map(MemoryLimit::Bytes).or(percent.map(MemoryLimit::Percent))
    };
    Some(MemoryLimiter {
        interval: interval?,
        limit: pick(mib, percent)?,
        spike: pick(spike_mib, spike_percent),
    })
}

/// In bytes; zero is the peer's way to leave it out.
fn mebibytes(block: &mut Block<'_>, key: &'static str) -> Option<NonZeroU64> {
    let mib = block.get(key)?.integer(0, u32::MAX.into())?;
    NonZeroU64::new(mib.unsigned_abs() << 20)
}

fn percentage(block: &mut Block<'_>, key: &'static str) -> Option<u8> {
    let percent = block.get(key)?.integer(0, 100)?;
    u8::try_from(percent).ok().filter(|percent| *percent > 0)
}
