//! Duration over time as SVG: each point is a trace and links to it. Dragging over it narrows the search (a module does
//! that; it finds the scale in the data attributes).

use maud::{Markup, html};
use throughline_otlp::UnixNanos;
use throughline_trace::time;

use super::url;
use super::waterfall::percent;
use crate::geometry::scatter::{HEIGHT, Sample, Scatter};
use crate::own::found::FoundTrace;
use crate::units::{self, counted};

/// A trace that a clock dates far ahead is left out, and said: it would squeeze all others into the left edge.
pub(super) fn scatter(found: &[FoundTrace], query: &str, now: UnixNanos) -> Markup {
    let (ahead, found): (Vec<&FoundTrace>, Vec<&FoundTrace>) =
        found.iter().partition(|one| units::is_ahead(one.trace.start, now));
    let samples: Vec<Sample> = found.iter().copied().map(sample).collect();
    // One point says nothing that its row does not.
    let Some(scale) = Scatter::over(&samples).filter(|_| samples.len() > 1) else { return html! {} };
    html! {
        figure.scatter data-query=(query) data-from=(scale.from.0) data-until=(scale.until.0) data-low=(scale.low) data-high=(scale.high) {
            svg role="img" aria-label="Duration of the traces found, over time" width="100%" height=(HEIGHT) {
                @for (y, label) in scale.decades() {
                    line.decade x1="0" x2="100%" y1=(y) y2=(y) {}
                    text.decade x="100%" dx="-4" y=(y - 3.0) text-anchor="end" { (label) }
                }
                @for (trace, sample) in found.iter().map(|f| &f.trace).zip(&samples) {
                    a href=(url::trace(trace.id)) {
                        circle.error[trace.errors > 0] cx=(percent(scale.x(sample.start))) cy=(format!("{:.1}", scale.y(sample.nanos))) r=(radius(trace.spans)) {
                            title { (trace.headline()) " · " (time::duration(trace.nanos)) }
                        }
                    }
                }
            }
            figcaption {
                time datetime=(units::timestamp(scale.from)) data-local="near" { (units::clock_near(scale.from, now)) }
                span { span.hint { "duration over time" } @if !ahead.is_empty() { " · " (counted(ahead.len(), "trace")) " with a clock ahead left out" } }
                time datetime=(units::timestamp(scale.until)) data-local="near" { (units::clock_near(scale.until, now)) }
            }
        }
    }
}

fn sample(found: &FoundTrace) -> Sample {
    Sample { start: found.trace.start, nanos: found.trace.nanos }
}

/// The more spans, the larger, within what can still be told apart.
fn radius(spans: usize) -> &'static str {
    match spans {
        0..=3 => "3",
        4..=20 => "4",
        21..=200 => "5",
        _ => "6.5",
    }
}
