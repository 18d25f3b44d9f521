//! The waterfall as HTML and SVG: the axis, then a row per wait, span and ghost, nested as the spans are. Places come from
//! [`crate::geometry`]; nothing is measured or moved in the browser.

use std::collections::HashSet;

use maud::{Markup, PreEscaped, html};
use throughline_otlp::{Span, SpanId, SpanKind, Status};
use throughline_semconv::attribute::{ERROR_TYPE, EXCEPTION_MESSAGE};
use throughline_trace::{Missing, Node, NodeKind, Trace, Wait, time};

use super::hue::Hues;
use super::{span, url};
use crate::geometry::axis::Axis;
use crate::geometry::{self, Bar, Extent, Hidden, Line, Nested, Waterfall};
use crate::units::{counted, thousands};

/// Up to so many nodes every span's details are in the page; of larger traces they are fetched as they are opened, and
/// without JavaScript shown one at a time.
const DETAILS_IN_PAGE: usize = 300;
/// A compressed stretch narrower than this percentage has its length in its title only: labels would overlap.
const LABELLED_BREAK: f64 = 8.0;
/// Up to this percentage a bar has its figure behind it: on a narrow screen a figure takes a fifth of the lane.
const FIGURE_AFTER: f64 = 78.0;
/// Deepest indentation there is a class for.
const MAX_INDENT: usize = 24;
/// Marks for events and logs in one lane.
const MAX_MARKS: usize = 50;

/// What the reader asked to see.
#[derive(Default)]
pub(super) struct View {
    /// The span that is open.
    pub(super) open: Option<SpanId>,
    /// Text to mark, in lower case.
    pub(super) find: Option<String>,
}

pub(super) fn waterfall(trace: &Trace, hues: &Hues, view: &View) -> Markup {
    let layout = geometry::waterfall(trace, view.open);
    let base = layout.base;
    html! {
        (extent(trace, &layout))
        (hidden(trace, layout.before, "above", ""))
        section.waterfall aria-label="Waterfall" {
            (hatch())
            div.axis {
                span.what { "service / operation" }
                span.kind { "kind" }
                (axis_labels(&layout.axis))
            }
            div.rows {
                (grid(&layout.axis))
                ul.tree { (Rows { trace, hues, view, axis: &layout.axis, base, used: HashSet::new() }.render(&layout)) }
            }
        }
        (hidden(trace, layout.after, "further down", ""))
    }
}

/// The pattern of waiting, defined once for all lanes.
pub(super) fn hatch() -> Markup {
    html! {
        svg.defs width="0" height="0" aria-hidden="true" {
            defs {
                pattern #hatch width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    rect.hatch-ground width="6" height="6" {}
                    rect.hatch-line width="2" height="6" {}
                }
            }
        }
    }
}

fn axis_labels(axis: &Axis) -> Markup {
    html! {
        svg.ticks role="img" aria-label="Time since the trace began" {
            @for tick in axis.ticks() {
                text x=(percent(tick.place)) y="15" dx="3" { (tick.label) }
            }
            @for part in axis.breaks() {
                text.cut x=(percent((part.left + part.right) / 2.0)) y="15" text-anchor="middle" {
                    @if part.right - part.left < LABELLED_BREAK { "≈" } @else { "≈ " (time::duration(part.until - part.from)) " ≈" }
                    title { (time::duration(part.until - part.from)) }
                }
            }
        }
    }
}

/// Lines and compressed stretches, behind the lanes.
fn grid(axis: &Axis) -> Markup {
    html! {
        svg.grid aria-hidden="true" {
            @for part in axis.breaks() {
                rect.cut-band x=(percent(part.left)) width=(percent(part.right - part.left)) y="0" height="100%" {}
                line.edge x1=(percent(part.left)) x2=(percent(part.left)) y1="0" y2="100%" {}
                line.edge x1=(percent(part.right)) x2=(percent(part.right)) y1="0" y2="100%" {}
            }
            @for tick in axis.ticks() {
                line.tick x1=(percent(tick.place)) x2=(percent(tick.place)) y1="0" y2="100%" {}
            }
        }
    }
}

struct Rows<'a> {
    trace: &'a Trace,
    hues: &'a Hues,
    view: &'a View,
    axis: &'a Axis,
    /// Depth of the topmost rows.
    base: usize,
    /// Element ids given so far: two spans may share a span id.
    used: HashSet<String>,
}

impl Rows<'_> {
    /// Elements are opened and closed as the layout says. Written flat, because a trace nests deeper than a stack is.
    fn render(mut self, layout: &Waterfall<'_>) -> Markup {
        let mut out = String::with_capacity(layout.lines.len() * 700);
        for line in &layout.lines {
            match line {
                Line::Close => out.push_str("</ul></details></li>"),
                Line::Gather { service, count, bar, first, errors } => {
                    out.push_str(&self.gather((service, *count), *bar, first, *errors).into_string())
                }
                Line::Node { node, bar, wait, nested } => {
                    if let (Some(wait), Some(bar)) = (&node.wait, wait) {
                        out.push_str(&self.wait(node, wait, *bar).into_string());
                    }
                    self.node(node, *bar, *nested, &mut out);
                }
            }
        }
        PreEscaped(out)
    }

    fn node(&mut self, node: &Node, bar: Bar, nested: Nested, out: &mut String) {
        let id = self.element_id(node);
        let hit = if self.is_hit(node) { " hit" } else { "" };
        let leaf = if nested == Nested::Nothing { " leaf" } else { "" };
        out.push_str(&format!("<li class=\"n{leaf}{hit}\" id=\"{id}\">"));
        match &node.what {
            NodeKind::Span(span) => out.push_str(&self.span(node, span, bar).into_string()),
            NodeKind::Missing(missing) => {
                out.push_str(&ghost(&self.indent(node), missing, bar).into_string());
            }
        }
        let depth = self.indent(node);
        let label = |below| format!("{} below", counted(below, "span"));
        let label = match nested {
            Nested::Nothing => return out.push_str("</li>"),
            Nested::Folded(below, errors) => {
                let href = url::span(self.trace.id, node.span_id());
                let fold = html! { a class={ "below " (depth) } href=(href) { (label(below)) } };
                out.push_str(&fold.into_string());
                out.push_str(&hidden(self.trace, errors, "below", &depth).into_string());
                return out.push_str("</li>");
            }
            Nested::Open(below) => label(below),
        };
        out.push_str(&format!("<details class=\"sub\" open><summary class=\"fold {depth}\" aria-label=\"{label}\"><span>{label}</span></summary><ul>"));
    }

    fn indent(&self, node: &Node) -> String {
        indent(node.depth.saturating_sub(self.base))
    }

    fn element_id(&mut self, node: &Node) -> String {
        let id = format!("s-{}", node.span_id());
        if self.used.insert(id.clone()) { id } else { format!("{id}.{}", node.id.0) }
    }

    fn is_hit(&self, node: &Node) -> bool {
        match (&self.view.find, node.span()) {
            (Some(text), Some(span)) => span::mentions(span, text),
            _ => false,
        }
    }

    fn span(&self, node: &Node, span: &Span, bar: Bar) -> Markup {
        let open = self.view.open == Some(span.span_id);
        let inline = open || self.trace.nodes.len() <= DETAILS_IN_PAGE;
        let class = self.hues.class(span.service());
        let error = span.is_error().then_some("error");
        html! {
            details class={ "span " (class) " " (error.unwrap_or_default()) } open[open]
                data-src=[(!inline).then(|| format!("/trace/{}/span/{}", span.trace_id, span.span_id))] {
                summary {
                    span class={ "what " (self.indent(node)) } {
                        i.stripe {}
                        @if self.names_service(node, span) { b { (span.service()) } " " }
                        span.op { (span.name) }
                        @if let Some(message) = failure(span) { span.failure { "✗ " (message) } }
                    }
                    abbr.kind title=(span.kind.as_str()) { (short_kind(span.kind)) }
                    (self.lane(node, span, bar))
                }
                div.body {
                    @if inline { (span::body(self.trace, node)) }
                    @else { p { a href=(url::span(span.trace_id, span.span_id)) { "Show the details of this span" } } }
                }
            }
        }
    }

    /// A service is named where it begins: at a root, and where it differs from the span above.
    fn names_service(&self, node: &Node, span: &Span) -> bool {
        let above = node.parent.and_then(|parent| self.trace.node(parent));
        above.and_then(Node::service) != Some(span.service())
    }

    fn lane(&self, node: &Node, span: &Span, bar: Bar) -> Markup {
        let took = time::duration(span.end.since(span.start));
        html! {
            svg.lane role="img" aria-label=(took) {
                rect.bar x=(percent(bar.left)) y="6" width=(percent(bar.width)) height="11" rx="1.5" {}
                @for event in span.events.iter().take(MAX_MARKS) {
                    circle.event cx=(percent(self.axis.place(event.time))) cy="11.5" r="2.2" {}
                }
                @for log in node.logs.iter().take(MAX_MARKS).filter_map(|at| self.trace.logs.get(*at)) {
                    line class={ "log " (super::logs::level(log)) } x1=(percent(self.axis.place(log.time)))
                        x2=(percent(self.axis.place(log.time))) y1="18" y2="22" {}
                }
                (beside(bar, &took, "inside"))
            }
        }
    }

    fn wait(&self, node: &Node, wait: &Wait, bar: Bar) -> Markup {
        let skewed = wait.nanos() < 0;
        let length = time::duration(wait.nanos().abs());
        html! {
            li.wait.skew[skewed] {
                span class={ "what " (self.indent(node)) } {
                    a href=(url::attribute(throughline_semconv::attribute::MESSAGING_DESTINATION_NAME, &wait.destination)) {
                        (wait.place())
                    }
                    @if skewed { " · clock skew: processed " (length) " before it was sent" }
                    @else { " · waited " (length) }
                }
                span.kind { "wait" }
                svg.lane role="img" aria-label={ "in the queue for " (length) } {
                    rect.queue x=(percent(bar.left)) y="7" width=(percent(bar.width)) height="9" {}
                    (beside(bar, &time::duration(wait.nanos()), "over"))
                }
            }
        }
    }

    /// Siblings that are not on the page; the first of them leads to the page that has them.
    fn gather(
        &self,
        (service, count): (&str, usize),
        bar: Bar,
        first: &Node,
        errors: Option<Hidden>,
    ) -> Markup {
        let href = url::span(self.trace.id, first.span_id());
        html! {
            li.gather {
                a class=(self.hues.class(service)) href=(href) {
                    span class={ "what " (self.indent(first)) } {
                        i.stripe {} b { (service) } " " span.op { (counted(count, "more span")) }
                    }
                    span.kind {}
                    svg.lane aria-hidden="true" {
                        rect.bar.many x=(percent(bar.left)) y="6" width=(percent(bar.width)) height="11" rx="1.5" {}
                    }
                }
                (hidden(self.trace, errors, "in them", &self.indent(first)))
            }
        }
    }
}

/// Errors that are not on this page: where they are, a link to the first, and for the keys one to the last.
fn hidden(trace: &Trace, errors: Option<Hidden>, place: &str, indent: &str) -> Markup {
    let Some(Hidden { count, first, last }) = errors else { return html! {} };
    html! {
        p class={ "hidden " (indent) } {
            a.errors href=(url::span(trace.id, first)) data-last=(url::span(trace.id, last)) {
                "✗ " (counted(count, "error")) " " (place)
            }
        }
    }
}

/// Says that rows are folded away, and how to get back to the top.
fn extent(trace: &Trace, layout: &Waterfall<'_>) -> Markup {
    let rows = layout.lines.iter().filter(|line| matches!(line, Line::Node { .. })).count();
    html! {
        @if layout.extent != Extent::Whole {
            p.extent {
                (thousands(rows)) " of " (counted(trace.nodes.len(), "row")) " are here; each "
                i { "spans below" } " and " i { "more spans" } " leads to others."
                @if layout.extent == Extent::Part { " " a href=(url::trace(trace.id)) { "From the top" } }
            }
        }
    }
}

/// A parent that nobody sent, and what is known of it.
fn ghost(indent: &str, missing: &Missing, bar: Bar) -> Markup {
    html! {
        div.ghost {
            span class={ "what " (indent) } {
                i.stripe {}
                @if let Some(service) = &missing.service { b { (service) } " " }
                span.op {
                    "not received: " code { (missing.span_id) }
                    @if let Some(destination) = &missing.destination { " · sent to " (destination) }
                }
            }
            abbr.kind title="a parent that was not received" { "?" }
            svg.lane role="img" aria-label="not received" {
                rect.missing x=(percent(bar.left)) y="6" width=(percent(bar.width)) height="11" rx="1.5" {}
            }
        }
    }
}

/// A figure beside its bar: after it where there is room, else before it, else on it: `inside` a span's hue, `over` the
/// hatching of a wait, where it needs other ink.
fn beside(bar: Bar, figure: &str, on: &str) -> Markup {
    let (place, shift, anchor) = if bar.right() <= FIGURE_AFTER {
        (bar.right(), "5", "start")
    } else if bar.left >= 14.0 {
        (bar.left, "-5", "end")
    } else {
        return html! { text class={ "figure " (on) } x=(percent(bar.left)) dx="6" y="15.5" { (figure) } };
    };
    html! { text.figure x=(percent(place)) dx=(shift) y="15.5" text-anchor=(anchor) { (figure) } }
}

/// What went wrong, in a few words.
fn failure(span: &Span) -> Option<String> {
    let Status::Error(message) = &span.status else { return None };
    if !message.is_empty() {
        return Some(message.clone());
    }
    let exception = span.events.iter().flat_map(|event| &event.attributes);
    let said = exception.filter(|kv| kv.key == EXCEPTION_MESSAGE).map(|kv| kv.value.to_text()).next();
    Some(
        said.or_else(|| span.attribute(ERROR_TYPE).map(|v| v.to_text()))
            .unwrap_or_else(|| "error".to_owned()),
    )
}

pub(super) fn short_kind(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "",
        SpanKind::Internal => "int",
        SpanKind::Server => "serv",
        SpanKind::Client => "client",
        SpanKind::Producer => "prod",
        SpanKind::Consumer => "cons",
    }
}

/// A place or width as SVG writes it: a thousandth of a percent is finer than a pixel.
pub(super) fn percent(value: f64) -> String {
    let text = format!("{value:.3}");
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

fn indent(depth: usize) -> String {
    format!("d{}", depth.min(MAX_INDENT))
}
