//! The picture as text: what `throughline trace` prints and people paste into chats. One line a span, how long it took
//! and how long its message waited in columns, what the trace went into at its end, marked as linked, and below it what
//! it came from, a summary and the findings.
//!
//! What strangers wrote (names, messages) is shown with control characters escaped, so that no span can drive a
//! terminal.

mod layout;
mod line;
mod rows;

use layout::Columns;
use line::{Line, Style};

use crate::finding::Severity;
use crate::model::{Direction, LinkedTrace, State, Trace};
use crate::time;

/// How the text is to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// Columns at most, `None` for as many as it takes. Below 20 it is taken as 20.
    pub width: Option<usize>,
    /// Colours or none.
    pub colour: Colour,
    /// Shape of the tree.
    pub form: Form,
}

/// Whether ANSI colours are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    #[default]
    Never,
    /// ANSI escapes: a stable hue per service, red for errors, yellow for waits.
    Always,
}

/// Shape of the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Every span below its parent.
    #[default]
    Nested,
    /// The source's form: each hop starts at the margin, what happened in it stands below it.
    Hops,
}

/// How many contributing traces are listed; the rest is counted.
const CONTRIBUTORS_LISTED: usize = 20;
/// How many findings are told; the rest is counted, problems come first.
const FINDINGS_TOLD: usize = 8;
/// The least width anything is laid out for.
const NARROWEST: usize = 20;

/// Renders the trace; every line ends in a newline.
#[must_use]
pub fn render(trace: &Trace, options: &TextOptions) -> String {
    let width = options.width.map(|width| width.max(NARROWEST));
    let rows = rows::rows(trace, options.form);
    let columns = Columns::of(&rows, width);
    let mut lines = vec![columns.heading(Line::text(format!("Trace: {}", trace.id)))];
    lines.extend(rows.into_iter().map(|row| columns.lay(row)));
    let contributors = contributors(trace);
    if !contributors.is_empty() {
        lines.push(Line::default());
        lines.extend(contributors);
    }
    lines.push(Line::default());
    lines.extend(summary(trace).wrap(width));
    lines.extend(findings(trace).into_iter().flat_map(|finding| finding.wrap(width)));
    lines.iter().map(|line| line.write(width, options.colour) + "\n").collect()
}

/// The first findings, and how many there are besides.
fn findings(trace: &Trace) -> Vec<Line> {
    let told = trace.findings.iter().take(FINDINGS_TOLD).map(|finding| {
        let (style, mark) = match finding.severity() {
            Severity::Problem => (Style::Error, '!'),
            Severity::Notice => (Style::Quiet, '·'),
        };
        Line::styled(style, format!("{mark} {finding}"))
    });
    let rest = trace.findings.len().saturating_sub(FINDINGS_TOLD);
    let more = format!("… and {}; the JSON form has all", counted(rest, "more finding"));
    told.chain((rest > 0).then(|| Line::styled(Style::Quiet, more))).collect()
}

/// `2.41 s · 14 spans · 4 services (api, …) · 1 error · correlation … · tenant … · started …`
fn summary(trace: &Trace) -> Line {
    let mut facts = vec![
        time::duration(trace.duration()),
        counted(trace.span_count(), "span"),
        format!("{}: {}", counted(trace.services.len(), "service"), trace.services.join(", ")),
    ];
    if trace.services.is_empty() {
        facts.truncate(2);
    }
    if trace.errors > 0 {
        facts.push(counted(trace.errors, "error"));
    }
    if !trace.logs.is_empty() {
        facts.push(counted(trace.logs.len(), "log"));
    }
    match trace.correlation_ids.as_slice() {
        [] => {}
        [one] => facts.push(format!("correlation {one}")),
        [first, rest @ ..] => facts.push(format!("correlation {first} and {} more", rest.len())),
    }
    if let Some(tenant) = &trace.tenant {
        facts.push(format!("tenant {tenant}"));
    }
    let started = time::date_and_clock(trace.start);
    facts.push(format!("started {started} UTC ({})", time::age(trace.start, trace.now)));
    if trace.state == State::Arriving {
        facts.push("still arriving".to_owned());
    }
    Line::text(facts.join(" · "))
}

/// `1 span`, `2 spans`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The traces this one came from, and those that broke off it.
fn contributors(trace: &Trace) -> Vec<Line> {
    let of = |direction| trace.linked.iter().filter(move |linked| linked.direction == direction);
    let mut lines = Vec::new();
    let headings = [
        (Direction::Contributor, "linked: came from"),
        (Direction::SameMessage, "broken off: it shares a message, and no link, with"),
    ];
    for (direction, heading) in headings {
        let total = of(direction).count();
        if total == 0 {
            continue;
        }
        lines.push(Line::text(format!("{heading} {}", counted(total, "trace"))));
        lines.extend(of(direction).take(CONTRIBUTORS_LISTED).map(|linked| contributor(linked, trace)));
        if total > CONTRIBUTORS_LISTED {
            let rest = total - CONTRIBUTORS_LISTED;
            lines.push(Line::styled(Style::Quiet, format!("  … and {rest} more")));
        }
    }
    lines
}

fn contributor(linked: &LinkedTrace, trace: &Trace) -> Line {
    let mut line = Line::text(format!("  {}", linked.trace_id));
    match (&linked.service, &linked.operation) {
        (Some(service), Some(operation)) => {
            line.push(Style::Plain, "  ");
            line.push(Style::Service(service), service);
            line.push(Style::Plain, &format!(": {operation}"));
        }
        _ => line.push(Style::Quiet, "  not in the store"),
    }
    if let Some(wait) = &linked.wait {
        let waited = format!("  waited {} in {}", time::duration(wait.nanos()), wait.place());
        line.push(Style::Wait, &waited);
    }
    if let Some(started) = linked.started {
        line.push(Style::Quiet, &format!("  {}", time::age(started, trace.now)));
    }
    if let Some(reason) = &linked.reason {
        line.push(Style::Quiet, &format!("  ({reason})"));
    }
    line
}

#[cfg(test)]
mod tests;
