//! Linked traces, below the waterfall: what this trace went into, what it came from, and what it lost its context to.

use maud::{Markup, html};
use throughline_semconv::own::LINKED_TRACE_ID_HASH;
use throughline_trace::{Direction, LinkedTrace, Trace, time};

use super::hue::Hues;
use super::url;
use crate::units::counted;

/// Traces of one direction shown at once; the rest is folded.
const SHOWN: usize = 20;

const HEADINGS: &[(Direction, &str)] = &[
    (Direction::Dependant, "Went into"),
    (Direction::Contributor, "Came from"),
    (Direction::SameMessage, "Broken off: shares a message, and no link, with"),
];

pub(super) fn section(trace: &Trace, hues: &Hues) -> Markup {
    html! {
        @if !trace.linked.is_empty() {
            section.linked aria-label="Linked traces" {
                @for (direction, heading) in HEADINGS {
                    (of_direction(trace, hues, *direction, heading))
                }
            }
        }
    }
}

fn of_direction(trace: &Trace, hues: &Hues, direction: Direction, heading: &str) -> Markup {
    let linked: Vec<_> = trace.linked.iter().filter(|l| l.direction == direction).collect();
    let (shown, rest) = linked.split_at_checked(SHOWN).unwrap_or((&linked, &[]));
    html! {
        @if !linked.is_empty() {
            h2 { (heading) " " span.count { (counted(linked.len(), "trace")) } }
            ul { @for one in shown { (row(trace, one, hues)) } }
            @if !rest.is_empty() {
                details.rest {
                    summary { (counted(rest.len(), "more trace")) }
                    ul { @for one in rest { (row(trace, one, hues)) } }
                }
            }
        }
    }
}

fn row(trace: &Trace, linked: &LinkedTrace, hues: &Hues) -> Markup {
    let href = match linked.span_id {
        Some(span) => url::span(linked.trace_id, span),
        None => url::trace(linked.trace_id),
    };
    html! {
        li {
            @match (&linked.service, &linked.operation) {
                (Some(service), Some(operation)) => {
                    a.to href=(href) {
                        i class={ "tick " (hues.class(service)) } {}
                        b { (service) } " " span.op { (operation) }
                    }
                    @if let Some(took) = linked.took { span.fig { (time::duration(took)) } }
                }
                _ => {
                    a.to href=(href) { code { (linked.trace_id) } }
                    span { "not in the store any more, or too large to be read along" }
                }
            }
            @if let Some(wait) = &linked.wait {
                span { "waited " (time::duration(wait.nanos())) " in " (wait.place()) }
            }
            @if let Some(lineage) = &linked.lineage {
                span { (counted(usize::try_from(lineage.count).unwrap_or(0), "contributing trace")) }
                @if let Some(hash) = &lineage.hash {
                    span { "hash " a href=(url::attribute(LINKED_TRACE_ID_HASH, hash)) { code { (hash) } } }
                }
            }
            @if linked.links > 1 { span { (counted(linked.links, "link")) } }
            @if let Some(reason) = &linked.reason { span { "reason: " (reason) } }
            @if let Some(started) = linked.started { span.age { (time::age(started, trace.now)) } }
        }
    }
}
