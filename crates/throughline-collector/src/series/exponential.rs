//! Exponential histograms as Prometheus' text can say them: classic buckets with bounds that stay where they are.
//!
//! Bounds are powers of 2^(1/4) (a bucket is 19 % wide) as long as all buckets of a sign lie within 80 of them; beyond that,
//! of 2^(1/2), 2, 4, 16 and so on. Coarser bounds are among the finer ones, so what a query asks for at one stays right. A
//! histogram that comes finer is made coarser, one that comes coarser is left as it is.

use throughline_otlp::metrics::{Buckets, Exponential, Histogram};

/// Four buckets to a doubling.
const FINEST: i32 = 2;

/// Most buckets of one sign, so that no sender fills the memory or the page.
const MOST_BUCKETS: usize = 80;

/// The same, as coarse as it has to be.
pub(super) fn bounded(mut histogram: Exponential) -> Exponential {
    histogram.positive = trimmed(&histogram.positive);
    histogram.negative = trimmed(&histogram.negative);
    let finer = histogram.scale.saturating_sub(FINEST).max(0);
    coarsen(&mut histogram, finer.unsigned_abs());
    while histogram.positive.counts.len().max(histogram.negative.counts.len()) > MOST_BUCKETS {
        coarsen(&mut histogram, 1);
    }
    histogram
}

/// Adds what was measured since. Whichever is finer is made coarser.
pub(super) fn add(total: &mut Exponential, mut more: Exponential) {
    let scale = total.scale.min(more.scale);
    for one in [&mut *total, &mut more] {
        let finer = one.scale.saturating_sub(scale).unsigned_abs();
        coarsen(one, finer);
    }
    total.count = total.count.saturating_add(more.count);
    total.sum = total.sum.zip(more.sum).map(|(total, more)| total + more);
    total.zero_count = total.zero_count.saturating_add(more.zero_count);
    total.zero_threshold = total.zero_threshold.max(more.zero_threshold);
    total.positive = sum(&total.positive, &more.positive);
    total.negative = sum(&total.negative, &more.negative);
    *total = bounded(std::mem::take(total));
}

/// With explicit bounds: below zero, zero, above zero.
pub(super) fn classic(histogram: &Exponential) -> Histogram {
    let bound = |index: i64| {
        let exponent = index as f64 * f64::from(histogram.scale.saturating_neg()).exp2();
        // Of the coarsest scales, infinity times zero.
        if index == 0 { 1.0 } else { exponent.exp2() }
    };
    let negative = indexed(&histogram.negative).rev().map(|(index, count)| (-bound(index), count));
    let zero = (histogram.zero_threshold.max(0.0), histogram.zero_count);
    let positive = indexed(&histogram.positive).map(|(index, count)| (bound(index + 1), count));
    let mut classic = Histogram { count: histogram.count, sum: histogram.sum, ..Histogram::default() };
    for (bound, count) in negative.chain([zero]).chain(positive) {
        match classic.buckets.last_mut() {
            // What a float cannot tell apart is one bucket; what it cannot hold is in the last, without a bound.
            Some(last) if classic.bounds.last().is_some_and(|known| bound <= *known) => *last += count,
            _ if bound.is_finite() => {
                classic.bounds.push(bound);
                classic.buckets.push(count);
            }
            _ => {}
        }
    }
    classic
}

fn indexed(buckets: &Buckets) -> impl DoubleEndedIterator<Item = (i64, u64)> + ExactSizeIterator {
    let offset = i64::from(buckets.offset);
    buckets.counts.iter().enumerate().map(move |(n, count)| (offset + n as i64, *count))
}

/// Merges 2^`steps` neighbours into one, of both signs.
fn coarsen(histogram: &mut Exponential, steps: u32) {
    if steps > 0 {
        // Every index is 0 or -1 after 31.
        let shift = steps.min(31);
        for buckets in [&mut histogram.positive, &mut histogram.negative] {
            *buckets = gathered(indexed(buckets).map(|(index, count)| (index >> shift, count)));
        }
        histogram.scale = histogram.scale.saturating_sub_unsigned(steps);
    }
}

/// Without empty buckets at either end.
fn trimmed(buckets: &Buckets) -> Buckets {
    let counts = &buckets.counts;
    let end = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
    let start = counts.iter().position(|count| *count > 0).unwrap_or(end);
    gathered(indexed(buckets).take(end).skip(start))
}

fn sum(one: &Buckets, other: &Buckets) -> Buckets {
    let mut all: Vec<_> = indexed(one).chain(indexed(other)).collect();
    all.sort_by_key(|(index, _)| *index);
    // No two floats lie that far apart at these scales: who says so starts again, and fills no memory.
    let gap = all.last().zip(all.first()).map_or(0, |((last, _), (first, _))| last - first);
    if gap < 1 << 20 { gathered(all.into_iter()) } else { other.clone() }
}

/// Buckets by rising index, those of one index together.
fn gathered(indexed: impl Iterator<Item = (i64, u64)>) -> Buckets {
    let mut buckets = Buckets::default();
    for (index, count) in indexed {
        if buckets.counts.is_empty() {
            buckets.offset = i32::try_from(index).unwrap_or(i32::MAX);
        }
        let at = usize::try_from(index - i64::from(buckets.offset)).unwrap_or(0);
        if buckets.counts.len() <= at {
            buckets.counts.resize(at + 1, 0);
        }
        if let Some(known) = buckets.counts.get_mut(at) {
            *known = known.saturating_add(count);
        }
    }
    buckets
}
