//! The page of one trace: head, findings, waterfall, linked traces, logs.

use axum::http::StatusCode;
use maud::{Markup, html};
use throughline_otlp::{SpanId, TraceId};
use throughline_semconv::own::{CORRELATION_ID, TENANT_ID};
use throughline_trace::{Finding, Severity, State, Trace, time};

use super::frame::{self, Frame};
use super::hue::Hues;
use super::waterfall::{self, View};
use super::{decision, linked, logs, url};
use crate::app::{App, Samples};
use crate::geometry::OPEN_NODES;
use crate::load;
use crate::params::Params;
use crate::reply::Failure;
use crate::sampling::{self, Decision};
use crate::units;
use crate::units::counted;

/// Up to so many logs are shown without being asked for.
const LOGS_OPEN: usize = 30;
/// Findings shown at once.
const FINDINGS_SHOWN: usize = 8;
/// Links to spans that were looked for in a folded trace.
const HITS_SHOWN: usize = 50;
const KEYS: &[(&str, &str)] = &[
    ("/", "find in this trace"),
    ("↑ ↓", "row"),
    ("← →", "fold, unfold"),
    ("enter", "open a span"),
    ("n p", "next, previous error"),
];

pub(super) async fn page(app: &App, id: TraceId, params: &Params) -> Result<(StatusCode, Markup), Failure> {
    let now = app.now();
    let find = params.one("find").map(str::to_lowercase);
    let view = View { open: params.one("span").and_then(SpanId::from_hex), find };
    let asked = app.clone();
    app.read(move |reader| match load::load_from(reader, id, now)? {
        Some(trace) => {
            let decisions = asked.live().decisions(id);
            Ok((StatusCode::OK, whole(&trace, &view, &decisions, asked.live().samples())))
        }
        None => Ok((StatusCode::NOT_FOUND, unknown(&asked, id))),
    })
    .await
}

fn whole(trace: &Trace, view: &View, decisions: &[Decision], samples: Samples) -> Markup {
    let linked_services = trace.linked.iter().filter_map(|l| l.service.as_deref());
    let hues = Hues::of(trace.services.iter().map(String::as_str).chain(linked_services));
    let title = headline(trace);
    let content = html! {
        (head(trace, &title, &hues, decisions))
        (findings(trace))
        (tools(trace, view))
        (hits(trace, view))
        @if trace.nodes.is_empty() {
            p.empty {
                "Only logs of this trace are in the store."
                @if decisions.is_empty() { " Its spans appear here as soon as they arrive." }
            }
        } @else {
            (waterfall::waterfall(trace, &hues, view))
        }
        (linked::section(trace, &hues))
        (log_section(trace))
    };
    let reload = (trace.state == State::Arriving).then_some(3);
    frame::page(&Frame { title: &title, kind: "trace", query: "", reload, samples, keys: KEYS }, &content)
}

fn headline(trace: &Trace) -> String {
    match trace.spans().next() {
        Some(root) => format!("{} · {}", root.name, root.service()),
        None => format!("trace {}", trace.id),
    }
}

fn head(trace: &Trace, title: &str, hues: &Hues, decisions: &[Decision]) -> Markup {
    let state = trace.state.as_str();
    html! {
        header.trace data-trace=(trace.id) data-state=(state) {
            div.title {
                h1 { (title) }
                p.figures {
                    span.fig { b { (time::duration(trace.duration())) } }
                    span { (counted(trace.span_count(), "span")) }
                    span { (counted(trace.services.len(), "service")) }
                    @if trace.errors > 0 {
                        @let first = trace.nodes.iter().find(|n| n.span().is_some_and(|s| s.is_error()));
                        a.errors href=[first.map(|n| row(trace, n.span_id()))] { (counted(trace.errors, "error")) }
                    }
                }
            }
            p.facts {
                span { code.id { (trace.id) } button.copy type="button" hidden data-copy=(trace.id) { "copy" } }
                @for id in &trace.correlation_ids {
                    span { "correlation " a href=(url::attribute(CORRELATION_ID, id)) { code { (id) } } }
                }
                @if let Some(tenant) = &trace.tenant {
                    span { "tenant " a href=(url::attribute(TENANT_ID, tenant)) { (tenant) } }
                }
                span {
                    "started " time datetime=(units::timestamp(trace.start)) data-local { (time::date_and_clock(trace.start)) " UTC" }
                    " (" (time::age(trace.start, trace.now)) ")"
                }
                @if trace.state == State::Arriving { span.arriving role="status" { "still arriving" } }
            }
            (decision::lines(decisions))
            p.services {
                @for service in &trace.services {
                    a href=(url::service(service)) { i class={ "tick " (hues.class(service)) } {} (service) }
                }
            }
        }
    }
}

fn findings(trace: &Trace) -> Markup {
    let (shown, rest) = trace.findings.split_at_checked(FINDINGS_SHOWN).unwrap_or((&trace.findings, &[]));
    html! {
        @if !trace.findings.is_empty() {
            section.findings aria-label="Findings" {
                ul { @for finding in shown { (one_finding(trace, finding)) } }
                @if !rest.is_empty() {
                    details.rest {
                        summary { (counted(rest.len(), "more finding")) }
                        ul { @for finding in rest { (one_finding(trace, finding)) } }
                    }
                }
            }
        }
    }
}

/// Where a span's row is: on this page, unless the trace is folded and the row may not be.
fn row(trace: &Trace, span: SpanId) -> String {
    if trace.nodes.len() > OPEN_NODES { url::span(trace.id, span) } else { format!("#s-{span}") }
}

/// Where what was looked for is, in a trace of which not every row is on the page.
fn hits(trace: &Trace, view: &View) -> Markup {
    let Some(find) = view.find.as_ref().filter(|_| trace.nodes.len() > OPEN_NODES) else { return html! {} };
    html! {
        ol.hits aria-label="Spans that match" {
            @for span in trace.spans().filter(|span| super::span::mentions(span, find)).take(HITS_SHOWN) {
                li { a href=(url::span(trace.id, span.span_id)) { (span.name) " · " (span.service()) } }
            }
        }
    }
}

fn one_finding(trace: &Trace, finding: &Finding) -> Markup {
    let mark = match finding.severity() {
        Severity::Problem => "!",
        Severity::Notice => "·",
    };
    let node = finding.node.and_then(|id| trace.node(id));
    html! {
        li class=(finding.severity().as_str()) {
            span.mark aria-hidden="true" { (mark) }
            @match node {
                Some(node) => a href=(row(trace, node.span_id())) { (finding) },
                None => (finding),
            }
        }
    }
}

/// Find in this trace, and the trace in other forms.
fn tools(trace: &Trace, view: &View) -> Markup {
    let text = format!("/tl/v1/trace/{}/text", trace.id);
    let json = format!("/tl/v1/trace/{}", trace.id);
    html! {
        div.tools {
            form.find method="get" action=(url::trace(trace.id)) role="search" {
                input #find type="search" name="find" value=[view.find.as_deref()] placeholder="find in this trace"
                    aria-label="Find in this trace" autocomplete="off" spellcheck="false";
                output #found aria-live="polite" {
                    @if let Some(find) = &view.find {
                        @let hits = trace.spans().filter(|span| super::span::mentions(span, find)).count();
                        (counted(hits, "span")) " match"
                    }
                }
            }
            p.forms {
                a href=(text) { "text" }
                button.copy type="button" hidden data-copy-url=(text) { "copy" }
                a href=(json) { "JSON" }
                button.copy type="button" hidden data-copy-url=(json) { "copy" }
                a #follow href={ "/tl/v1/trace/" (trace.id) "/follow" } { "follow" }
            }
        }
    }
}

fn log_section(trace: &Trace) -> Markup {
    html! {
        @if !trace.logs.is_empty() {
            details.logs-of open[trace.logs.len() <= LOGS_OPEN] {
                summary { h2 { "Logs " span.count { (counted(trace.logs.len(), "record")) } } }
                (logs::list(trace, &trace.logs))
            }
        }
    }
}

fn unknown(app: &App, id: TraceId) -> Markup {
    let decisions = app.live().decisions(id);
    // What was decided against changes only if something brings it back: seldom enough to be reloaded by hand.
    let awaited = decisions.is_empty() || sampling::is_undecided(&decisions);
    let state = if awaited { "arriving" } else { "quiet" };
    let content = html! {
        section.empty data-trace=(id) data-state=(state) {
            @if decisions.is_empty() { (nothing_yet(app, id)) } @else { (decision::absent(id, &decisions)) }
            p { a href="/" { "All traces" } }
        }
    };
    let title = format!("trace {id}");
    let (samples, reload) = (app.live().samples(), awaited.then_some(3));
    frame::page(&Frame { title: &title, kind: "trace", reload, samples, ..Frame::default() }, &content)
}

fn nothing_yet(app: &App, id: TraceId) -> Markup {
    html! {
        h1 { "Nothing of this trace yet" }
        p { "No span or log of " code { (id) } " is in the store. Spans come after they end, in batches; this page fills itself when they do." }
        p { "If it should be here: is the service sending to " code { "OTEL_EXPORTER_OTLP_ENDPOINT=" (app.otlp()) } "? "
            "Was the trace sampled (flags " code { "01" } " in its " code { "traceparent" } ")? Is it older than the retention?" }
    }
}
