//! Contenders take turns; each figure is the median over the rounds.

use rustix::time::{ClockId, clock_gettime};

/// CPU time this process has used so far, all threads, in nanoseconds.
#[must_use]
pub fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let parts = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    parts.0 * 1_000_000_000 + parts.1
}

/// Runs every contender once per round, starting with another one each time, and returns each one's median.
pub fn medians(rounds: usize, contenders: &mut [&mut dyn FnMut() -> f64]) -> Vec<f64> {
    let count = contenders.len();
    let mut seen = vec![Vec::with_capacity(rounds); count];
    for round in 0..rounds {
        for turn in 0..count {
            let who = (round + turn) % count;
            if let (Some(contender), Some(seen)) = (contenders.get_mut(who), seen.get_mut(who)) {
                seen.push(contender());
            }
        }
    }
    seen.into_iter().map(median).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
