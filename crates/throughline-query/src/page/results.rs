//! What a search found, a row per trace: its shape in miniature, what it is, who took part, how long, how old.

use maud::{Markup, html};
use throughline_semconv::own::LINKED_TRACE_ID_COUNT;
use throughline_trace::{Trace, time};

use super::hue::Hues;
use super::url;
use super::waterfall::{hatch, percent};
use crate::geometry::axis::Axis;
use crate::own::found::FoundTrace;
use crate::query::Query;
use crate::units::counted;

/// Spans in a miniature; more are a blur.
const MINIATURE_SPANS: usize = 24;
/// Height of a miniature and of the widest line in it.
const MINIATURE: f64 = 30.0;
const MINIATURE_LINE: f64 = 4.0;
/// Service ticks in a row.
const MAX_TICKS: usize = 8;

pub(super) fn list(found: &[FoundTrace], query: &Query, hues: &Hues) -> Markup {
    let longest = found.iter().map(|f| f.trace.duration()).max().unwrap_or(0).max(1);
    html! {
        (hatch())
        ol.results aria-label="Traces found" {
            @for one in found { (row(one, query, hues, longest)) }
        }
    }
}

/// `POST /checkout · api`, as far as known.
pub(super) fn headline(trace: &Trace) -> String {
    match trace.spans().next() {
        Some(root) => format!("{} · {}", root.name, root.service()),
        None => "logs only".to_owned(),
    }
}

fn row(found: &FoundTrace, query: &Query, hues: &Hues, longest: i128) -> Markup {
    let trace = &found.trace;
    let share = trace.duration().max(0) as f64 / longest as f64 * 100.0;
    html! {
        li.error[trace.errors > 0] {
            (miniature(trace, hues))
            (name(trace))
            p.ticks {
                @for service in trace.services.iter().take(MAX_TICKS) {
                    span { i class={ "tick " (hues.class(service)) } {} (service) }
                }
                @if trace.services.len() > MAX_TICKS { span { "+" (trace.services.len() - MAX_TICKS) } }
            }
            p.counts {
                span { (counted(trace.span_count(), "span")) }
                @if !query.is_empty() && found.matched < trace.span_count() { span.matched { (found.matched) " match" } }
                @if trace.errors > 0 { span.errors { (counted(trace.errors, "error")) } }
            }
            div.took {
                span.fig { (time::duration(trace.duration())) }
                svg aria-hidden="true" width="100%" height="4" {
                    rect width="100%" height="4" {}
                    rect.of width=(percent(share.max(0.5))) height="4" {}
                }
            }
            p.age { (time::age(trace.start, trace.now)) }
        }
    }
}

/// What the trace is: its root, its id, what it is a batch of, whose it is.
fn name(trace: &Trace) -> Markup {
    let root = trace.spans().next();
    html! {
        div.name {
            a.to href=(url::trace(trace.id)) {
                @match root {
                    Some(root) => { b { (root.service()) } " " span.op { (root.name) } }
                    None => span.op { "logs only" },
                }
            }
            p.sub {
                code { (trace.id.to_string().chars().take(12).collect::<String>()) "…" }
                @if let Some(count) = root.and_then(|root| root.attribute(LINKED_TRACE_ID_COUNT)) {
                    span.batch { "batch of " (count.to_text()) }
                }
                @if let Some(id) = trace.correlation_ids.first() { span { "correlation " (id) } }
            }
        }
    }
}

/// The waterfall without words: waits and spans as thin lines, in order.
fn miniature(trace: &Trace, hues: &Hues) -> Markup {
    let axis = Axis::of(trace);
    let lines = trace.nodes.len().clamp(1, MINIATURE_SPANS);
    let step = (MINIATURE / lines as f64).min(MINIATURE_LINE + 1.0);
    let height = (step - 0.8).max(0.8);
    html! {
        svg.mini aria-hidden="true" width="100%" height=(MINIATURE) {
            @for (at, node) in trace.nodes.iter().take(MINIATURE_SPANS).enumerate() {
                @let y = format!("{:.1}", at as f64 * step);
                @if let Some(wait) = &node.wait {
                    @let bar = axis.bar(wait.from, wait.until);
                    rect.queue x=(percent(bar.left)) y=(y) width=(percent(bar.width)) height=(format!("{height:.1}")) {}
                }
                @if let Some(span) = node.span() {
                    @let bar = axis.bar(span.start, span.end);
                    rect class={ "bar " (hues.class(span.service())) @if span.is_error() { " error" } }
                        x=(percent(bar.left)) y=(y) width=(percent(bar.width.max(0.8))) height=(format!("{height:.1}")) {}
                }
            }
        }
    }
}
