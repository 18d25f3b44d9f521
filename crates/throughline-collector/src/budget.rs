//! How many bytes of requests may be in memory at one time, over all connections. Counts; never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The shared account.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
}

/// One request's part of it, given back on drop.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

/// The account is exhausted: the peer should come back later.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OverBudget;

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0) })
    }

    /// A reservation of nothing yet.
    pub(crate) fn open(self: &Arc<Self>) -> Reservation {
        Reservation { budget: Arc::clone(self), bytes: 0 }
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Reservation {
    /// Takes `bytes` more, or nothing at all.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), OverBudget> {
        let limit = self.budget.limit;
        // Relaxed: the number is the whole message, no other memory is published through it.
        self.budget
            .used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|total| *total <= limit)
            })
            .map_err(|_| OverBudget)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_bounded_and_given_back() {
        let budget = Budget::new(10);
        let mut first = budget.open();
        let mut second = budget.open();
        assert_eq!(first.grow(6), Ok(()));
        assert_eq!(second.grow(5), Err(OverBudget));
        assert_eq!(budget.used(), 6, "a refusal takes nothing");
        assert_eq!(second.grow(4), Ok(()));
        assert_eq!(second.grow(usize::MAX), Err(OverBudget), "no overflow");
        drop(first);
        assert_eq!(second.grow(6), Ok(()));
        drop(second);
        assert_eq!(budget.used(), 0);
    }
}
