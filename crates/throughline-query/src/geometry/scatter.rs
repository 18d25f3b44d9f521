//! Duration over time: where each trace stands in the search page's scatter. Time runs linearly to the right; duration
//! upwards, by decades, because traces of one millisecond and of one minute stand in one list.

use throughline_otlp::UnixNanos;
use throughline_trace::time;

/// Height of the plot in pixels; the width is the page's.
pub(crate) const HEIGHT: f64 = 130.0;
/// Room above and below the outermost points.
const MARGIN: f64 = 15.0;
/// Names of decades that can stand above each other.
const MAX_LABELS: i32 = 8;
/// Below this a trace stands on the ground.
const SHORTEST: f64 = 1_000.0;

/// One trace to be placed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) start: UnixNanos,
    pub(crate) nanos: i128,
}

/// The scale of one scatter, and what the pointer needs to know to translate back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scatter {
    pub(crate) from: UnixNanos,
    pub(crate) until: UnixNanos,
    /// Powers of ten, in nanoseconds, at the ground and the ceiling.
    pub(crate) low: i32,
    pub(crate) high: i32,
}

impl Scatter {
    /// The scale that holds all samples; `None` if there is none.
    pub(crate) fn over(samples: &[Sample]) -> Option<Self> {
        let from = samples.iter().map(|s| s.start).min()?;
        let until = samples.iter().map(|s| s.start).max()?;
        let shortest = samples.iter().map(|s| level(s.nanos)).fold(f64::INFINITY, f64::min);
        let longest = samples.iter().map(|s| level(s.nanos)).fold(0.0, f64::max);
        let low = shortest.floor() as i32;
        let high = (longest.ceil() as i32).max(low + 1);
        Some(Self { from, until, low, high })
    }

    /// Percent to the right.
    pub(crate) fn x(&self, start: UnixNanos) -> f64 {
        let whole = self.until.since(self.from);
        if whole <= 0 {
            return 50.0;
        }
        // A little room at both sides, so that no point is cut.
        1.0 + start.since(self.from) as f64 / whole as f64 * 98.0
    }

    /// Pixels from the top.
    pub(crate) fn y(&self, nanos: i128) -> f64 {
        self.at_level(level(nanos))
    }

    /// The decades, with their names; only every second or third where there are many.
    pub(crate) fn decades(&self) -> Vec<(f64, String)> {
        let step = (self.high - self.low) / MAX_LABELS + 1;
        let label = |power: i32| {
            time::duration(10_i128.pow(power.unsigned_abs())).replace(".00", "").replace(".0", "")
        };
        let decades = (self.low..=self.high).filter(|power| (power - self.low) % step == 0);
        decades.map(|power| (self.at_level(f64::from(power)), label(power))).collect()
    }

    fn at_level(&self, level: f64) -> f64 {
        let share = (level - f64::from(self.low)) / f64::from(self.high - self.low);
        HEIGHT - MARGIN - share * (HEIGHT - 2.0 * MARGIN)
    }
}

fn level(nanos: i128) -> f64 {
    (nanos as f64).max(SHORTEST).log10()
}
