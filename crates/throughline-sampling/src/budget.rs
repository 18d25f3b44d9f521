//! What policies with a rate have left, shared by all shards. Each budget is one atomic word, so that no shard waits for
//! another; time is passed in.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::facts::Now;

/// What policies with a rate have left. Shared by all shards, without locks; time is passed in.
#[derive(Debug)]
pub struct Budgets {
    budgets: Vec<Budget>,
}

/// A budget's size.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// Fills steadily, up to a burst.
    Bucket(Bucket),
    /// So many in each second.
    PerSecond(u32),
}

/// A token bucket's size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    per_second: u64,
    burst: u64,
}

#[derive(Debug)]
struct Budget {
    limit: Limit,
    /// [`Limit::Bucket`]: when it will be full, in nanoseconds of [`Now::mono`]; with a rate of 0, what is left of it.
    /// [`Limit::PerSecond`]: the second in the upper half, what it has used in the lower.
    state: AtomicU64,
}

impl Limit {
    /// So many in each second; more than 4 billion spans in a second do not come.
    pub(crate) fn per_second(limit: u64) -> Self {
        Self::PerSecond(u32::try_from(limit).unwrap_or(u32::MAX))
    }
}

impl Bucket {
    /// A bucket that fills at `per_second`; without a `burst` it holds two seconds' worth, as the peer's does.
    pub(crate) fn new(per_second: u64, burst: Option<NonZeroU64>) -> Self {
        Self { per_second, burst: burst.map_or_else(|| per_second.saturating_mul(2), NonZeroU64::get) }
    }
}

impl Budgets {
    /// Full ones.
    pub(crate) fn full(limits: &[Limit]) -> Self {
        Self { budgets: limits.iter().map(|limit| Budget::full(*limit)).collect() }
    }

    /// Takes `amount` from a budget, if it has that much.
    pub(crate) fn take(&self, budget: usize, now: Now, amount: u64) -> bool {
        self.budgets.get(budget).is_some_and(|budget| budget.take(now, amount))
    }
}

impl Budget {
    fn full(limit: Limit) -> Self {
        let state = match limit {
            Limit::Bucket(Bucket { per_second: 0, burst }) => burst,
            _ => 0,
        };
        Self { limit, state: AtomicU64::new(state) }
    }

    fn take(&self, now: Now, amount: u64) -> bool {
        let next = |state| match self.limit {
            Limit::Bucket(Bucket { per_second: 0, .. }) => u64::checked_sub(state, amount),
            Limit::Bucket(bucket) => bucket.after(state, now, amount),
            Limit::PerSecond(limit) => within_second(state, now, amount, limit),
        };
        self.state.try_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

impl Bucket {
    /// When the bucket will be full after `amount` has been taken; `None` if it does not hold that much.
    fn after(self, full_at: u64, now: Now, amount: u64) -> Option<u64> {
        if amount > self.burst {
            return None;
        }
        let now = u64::try_from(now.mono.as_nanos()).unwrap_or(u64::MAX);
        let next = full_at.max(now).saturating_add(self.nanos(amount));
        // Both sides are rounded down: amounts that add up to the burst always fit, and what a rounding lets through too
        // much is less than a nanosecond's worth for each trace.
        (next - now <= self.nanos(self.burst)).then_some(next)
    }

    /// How long it takes to fill with `amount`.
    fn nanos(self, amount: u64) -> u64 {
        let nanos = u128::from(amount) * 1_000_000_000 / u128::from(self.per_second.max(1));
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

/// The state after `amount` in the present second; `None` if that is beyond its limit.
fn within_second(state: u64, now: Now, amount: u64, limit: u32) -> Option<u64> {
    let (second, used) = (state >> 32, state & u64::from(u32::MAX));
    // Shards' clocks may be a moment apart: one that is behind does not bring back a second that is over.
    let present = second.max(now.mono.as_secs() & u64::from(u32::MAX));
    let used = if present == second { used } else { 0 };
    let used = used.checked_add(amount).filter(|used| *used <= u64::from(limit))?;
    Some(present << 32 | used)
}
