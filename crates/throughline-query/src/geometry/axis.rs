//! The time axis: piecewise linear from time to percent. Stretches in which no span runs, and which dwarf all the rest,
//! are compressed, so that a two-minute queue does not flatten the milliseconds around it.

use throughline_otlp::UnixNanos;
use throughline_trace::Trace;

use crate::units::thousands;

/// A waiting stretch is compressed once it is this many times longer than everything shown true to scale.
const DWARFS: f64 = 3.0;
/// Records are stamped in whole milliseconds, cut: a wait that begins less than that before its trace began with it.
const TIMESTAMP_UNIT: i128 = 1_000_000;
/// Ticks stand at least this many percent apart.
const TICK_DISTANCE: f64 = 9.0;

/// Time to place.
#[derive(Debug)]
pub(crate) struct Axis {
    start: UnixNanos,
    segments: Vec<Segment>,
}

/// A stretch of time and the stretch of the lane it is shown on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Segment {
    /// Nanoseconds after the start of the trace.
    pub(crate) from: i128,
    pub(crate) until: i128,
    /// Percent.
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) scale: Scale,
}

/// Whether a segment is true to scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    True,
    Compressed,
}

/// A mark on the axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    pub(crate) place: f64,
    pub(crate) label: String,
}

impl Axis {
    pub(crate) fn of(trace: &Trace) -> Self {
        let end = trace.duration().max(0);
        // A batch's messages waited before its trace began: the axis begins with the first wait.
        let waits = trace.nodes.iter().filter_map(|node| node.wait.as_ref()).filter(|wait| wait.nanos() > 0);
        let begin = waits.map(|wait| wait.from.since(trace.start)).min().unwrap_or(0);
        let begin = if begin <= -TIMESTAMP_UNIT { begin } else { 0 };
        let waits = long_waits(waiting_stretches(trace, begin), end - begin);
        Self { start: trace.start, segments: segments(&waits, begin, end) }
    }

    /// Where a time stands, from 0 to 100; times outside the trace stand at its edges.
    pub(crate) fn place(&self, time: UnixNanos) -> f64 {
        let at = time.since(self.start);
        let segment = self.segments.iter().find(|s| at <= s.until).or(self.segments.last());
        let Some(segment) = segment else { return 0.0 };
        let length = segment.until - segment.from;
        if length <= 0 {
            return segment.left;
        }
        let share = ratio(at - segment.from, length).clamp(0.0, 1.0);
        segment.left + share * (segment.right - segment.left)
    }

    /// The compressed stretches.
    pub(crate) fn breaks(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|s| s.scale == Scale::Compressed)
    }

    /// Round times, as many as there is room for. The first one names the unit of all.
    pub(crate) fn ticks(&self) -> Vec<Tick> {
        let true_to_scale = || self.segments.iter().filter(|s| s.scale == Scale::True);
        let nanos: i128 = true_to_scale().map(|s| s.until - s.from).sum();
        let percent: f64 = true_to_scale().map(|s| s.right - s.left).sum();
        if nanos <= 0 || percent <= 0.0 {
            return vec![Tick { place: 0.0, label: "0 ms".to_owned() }];
        }
        let step = round_step(nanos as f64 / percent * TICK_DISTANCE);
        let (unit, name) = unit_of(step);
        let mut ticks: Vec<Tick> = Vec::new();
        for segment in true_to_scale() {
            let mut at = (segment.from + step - 1).div_euclid(step) * step;
            while at <= segment.until {
                let place = segment.left
                    + ratio(at - segment.from, segment.until - segment.from) * (segment.right - segment.left);
                let room = ticks.last().is_none_or(|last: &Tick| place - last.place >= TICK_DISTANCE * 0.7);
                if room && place <= 95.0 {
                    let figure = thousands(at / unit);
                    let label = if ticks.is_empty() { format!("{figure} {name}") } else { figure };
                    ticks.push(Tick { place, label });
                }
                at += step;
            }
        }
        ticks
    }
}

/// Stretches in which no span is running: a message waits, or nothing happens. A span that contains the wait (a caller that
/// waits for the whole flow) is running too: its bar must stay true to scale.
fn waiting_stretches(trace: &Trace, begin: i128) -> Vec<(i128, i128)> {
    let spans = trace.spans().filter(|span| span.end > span.start);
    let mut spans: Vec<(i128, i128)> =
        spans.map(|span| (span.start.since(trace.start), span.end.since(trace.start))).collect();
    spans.sort_unstable();
    let mut found = Vec::new();
    let mut quiet_since = begin;
    for (from, until) in spans {
        if from > quiet_since {
            found.push((quiet_since, from));
        }
        quiet_since = quiet_since.max(until);
    }
    found
}

/// Of the stretches, those that dwarf what is shown true to scale, in order of time.
fn long_waits(stretches: Vec<(i128, i128)>, total: i128) -> Vec<(i128, i128)> {
    let length = |(from, until): &(i128, i128)| until - from;
    let waiting: i128 = stretches.iter().map(length).sum();
    // Spans may all be instants; what is left then still gets a two-hundredth of the time.
    let mut kept = (total - waiting).max(total / 200);
    let mut by_length = stretches;
    by_length.sort_by_key(length);
    let first_long = by_length.iter().position(|stretch| {
        let long = length(stretch) as f64 > DWARFS * kept as f64;
        if !long {
            kept += length(stretch);
        }
        long
    });
    let mut long = first_long.map(|at| by_length.split_off(at)).unwrap_or_default();
    long.sort_unstable();
    long
}

fn segments(compressed: &[(i128, i128)], begin: i128, end: i128) -> Vec<Segment> {
    let total = end - begin;
    let hidden: i128 = compressed.iter().map(|(from, until)| until - from).sum();
    let kept = ((total - hidden) as f64).max(1.0);
    // One compressed stretch gets a quarter of what the rest has; many together never more than four fifths of it.
    let share = kept * (0.8 / compressed.len().max(1) as f64).min(0.25);
    let weight = |from: i128, until: i128, scale: Scale| match scale {
        Scale::True => (until - from) as f64,
        Scale::Compressed => share,
    };
    let mut pieces = Vec::new();
    let mut at = begin;
    for (from, until) in compressed {
        pieces.push((at, *from, Scale::True));
        pieces.push((*from, *until, Scale::Compressed));
        at = *until;
    }
    pieces.push((at, end, Scale::True));
    pieces.retain(|(from, until, scale)| until > from || (total == 0 && *scale == Scale::True));
    let sum: f64 = pieces.iter().map(|(from, until, scale)| weight(*from, *until, *scale)).sum();
    let mut left = 0.0;
    let mut place = |(from, until, scale): (i128, i128, Scale)| {
        let width = if sum > 0.0 { weight(from, until, scale) / sum * 100.0 } else { 100.0 };
        let segment = Segment { from, until, left, right: left + width, scale };
        left += width;
        segment
    };
    pieces.into_iter().map(&mut place).collect()
}

fn ratio(part: i128, whole: i128) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// The next of 1, 2, 5, 10, … nanoseconds that is at least `least`.
fn round_step(least: f64) -> i128 {
    let mut step: i128 = 1;
    loop {
        for factor in [1, 2, 5] {
            if (step * factor) as f64 >= least {
                return step * factor;
            }
        }
        step *= 10;
    }
}

fn unit_of(step: i128) -> (i128, &'static str) {
    match step {
        1_000_000_000.. => (1_000_000_000, "s"),
        1_000_000.. => (1_000_000, "ms"),
        1_000.. => (1_000, "µs"),
        _ => (1, "ns"),
    }
}
