//! What a search found, a row per trace: its shape in miniature, what it is, who took part, how long, how old.

use maud::{Markup, html};
use throughline_otlp::UnixNanos;
use throughline_trace::time;

use super::hue::Hues;
use super::url;
use super::waterfall::{hatch, percent};
use crate::own::found::FoundTrace;
use crate::query::Query;
use crate::summary::{Ink, Summary};
use crate::units::{self, counted};

/// Height of a miniature and of the widest line in it.
const MINIATURE: f64 = 30.0;
const MINIATURE_LINE: f64 = 4.0;
/// Service ticks in a row.
const MAX_TICKS: usize = 8;

pub(super) fn list(found: &[FoundTrace], query: &Query, hues: &Hues, now: UnixNanos) -> Markup {
    let longest = found.iter().map(|f| f.trace.nanos).max().unwrap_or(0).max(1);
    html! {
        (hatch())
        ol.results aria-label="Traces found" {
            @for one in found { (row(one, query, hues, (longest, now))) }
        }
    }
}

/// `longest` is what the bars of duration are measured against.
fn row(found: &FoundTrace, query: &Query, hues: &Hues, (longest, now): (i128, UnixNanos)) -> Markup {
    let trace = &found.trace;
    let share = trace.nanos.max(0) as f64 / longest as f64 * 100.0;
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
                span { (counted(trace.spans, "span")) }
                @if !query.is_empty() && found.matched < trace.spans { span.matched { (found.matched) " match" } }
                @if trace.errors > 0 { span.errors { (counted(trace.errors, "error")) } }
            }
            div.took {
                span.fig { (time::duration(trace.nanos)) }
                svg aria-hidden="true" width="100%" height="4" {
                    rect width="100%" height="4" {}
                    rect.of width=(percent(share.max(0.5))) height="4" {}
                }
            }
            p.age { @if units::is_ahead(trace.start, now) { "clock ahead" } @else { (time::age(trace.start, now)) } }
        }
    }
}

/// What the trace is: its root, its id, what it is a batch of, whose it is.
fn name(trace: &Summary) -> Markup {
    html! {
        div.name {
            a.to href=(url::trace(trace.id)) {
                @match &trace.root {
                    Some(root) => { b { (root.service) } " " span.op { (root.operation) } }
                    None => span.op { "logs only" },
                }
            }
            p.sub {
                code { (trace.id.to_string().chars().take(12).collect::<String>()) "…" }
                @if let Some(count) = trace.root.as_ref().and_then(|root| root.batch_of.as_ref()) {
                    span.batch { "batch of " (count) }
                }
                @if let Some(id) = trace.correlation_ids.first() { span { "correlation " (id) } }
            }
        }
    }
}

/// The waterfall without words: waits and spans as thin lines, in order.
fn miniature(trace: &Summary, hues: &Hues) -> Markup {
    let step = (MINIATURE / trace.shape.len().max(1) as f64).min(MINIATURE_LINE + 1.0);
    let height = format!("{:.1}", (step - 0.8).max(0.8));
    html! {
        svg.mini aria-hidden="true" width="100%" height=(MINIATURE) {
            @for (at, stroke) in trace.shape.iter().enumerate() {
                @let y = format!("{:.1}", at as f64 * step);
                @if let Some(bar) = stroke.wait {
                    rect.queue x=(percent(bar.left)) y=(y) width=(percent(bar.width)) height=(height) {}
                }
                @if let Some((bar, ink)) = &stroke.span {
                    @let class = match ink { Ink::Service(service) => hues.class(service), Ink::Error => "error".to_owned() };
                    rect class={ "bar " (class) } x=(percent(bar.left)) y=(y) width=(percent(bar.width.max(0.8))) height=(height) {}
                }
            }
        }
    }
}
