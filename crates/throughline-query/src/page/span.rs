//! One span opened in place: status, attributes in groups, events, links, logs, and the span as it was received.

use maud::{Markup, html};
use throughline_otlp::model::{Event, KeyValue, Link};
use throughline_otlp::{Span, Status, UnixNanos};
use throughline_semconv::current_name;
use throughline_trace::{Node, NodeKind, Trace, time};

use super::logs;
use super::url;
use crate::units::counted;

/// Links shown at once; a batch may have a thousand.
const LINKS_SHOWN: usize = 20;

/// Everything about one node. A ghost has nothing but its id.
pub(super) fn body(trace: &Trace, node: &Node) -> Markup {
    match &node.what {
        NodeKind::Span(span) => span_body(trace, node, span),
        NodeKind::Missing(missing) => html! { p { "Span " code { (missing.span_id) } " was not received." } },
    }
}

/// Whether any text of the span contains `text`, which is in lower case.
pub(super) fn mentions(span: &Span, text: &str) -> bool {
    let has = |hay: &str| hay.to_lowercase().contains(text);
    let in_attributes =
        |attributes: &[KeyValue]| attributes.iter().any(|kv| has(&kv.key) || has(&kv.value.to_text()));
    has(&span.name)
        || has(span.service())
        || has(&span.span_id.to_string())
        || matches!(&span.status, Status::Error(message) if has(message))
        || in_attributes(&span.attributes)
        || in_attributes(&span.resource.attributes)
        || span.events.iter().any(|event| has(&event.name) || in_attributes(&event.attributes))
}

fn span_body(trace: &Trace, node: &Node, span: &Span) -> Markup {
    let (messaging, other): (Vec<_>, Vec<_>) = span
        .attributes
        .iter()
        .partition(|kv| current_name(&kv.key).unwrap_or(&kv.key).starts_with("messaging."));
    html! {
        (facts(trace, span))
        @if let Status::Error(message) = &span.status {
            p.failure { "✗ " @if message.is_empty() { "error" } @else { (message) } }
        }
        div.groups {
            (group("Messaging", &messaging))
            (group("Attributes", &other))
            (group("Resource", &span.resource.attributes.iter().collect::<Vec<_>>()))
            (events(trace.start, &span.events))
            (links(&span.links))
            @if !node.logs.is_empty() {
                section.group.wide {
                    h3 { "Logs" }
                    (logs::list(trace, node.logs.iter().filter_map(|at| trace.logs.get(*at))))
                }
            }
        }
        (raw(span))
    }
}

fn facts(trace: &Trace, span: &Span) -> Markup {
    let subtree = format!("/tl/v1/trace/{}/text?span={}", span.trace_id, span.span_id);
    html! {
        p.facts {
            span { a href=(url::operation(span.service(), &span.name)) { (span.name) } }
            span { a href=(url::service(span.service())) { (span.service()) } }
            span { (span.kind.as_str()) }
            span { "at " (time::duration(span.start.since(trace.start))) }
            span { "took " (time::duration(span.end.since(span.start))) }
            span { "span " code { (span.span_id) } button.copy type="button" hidden data-copy=(span.span_id) { "copy" } }
            @if let Some(parent) = span.parent {
                span { "parent " a href={ "#s-" (parent) } { code { (parent) } } }
            }
            @if !span.scope.name.is_empty() { span { "scope " (span.scope.name) " " (span.scope.version) } }
            @if !span.trace_state.is_empty() { span { "tracestate " code { (span.trace_state) } } }
            span {
                a href=(subtree) { "this part as text" }
                button.copy type="button" hidden data-copy-url=(subtree) { "copy" }
            }
        }
    }
}

fn group(title: &str, attributes: &[&KeyValue]) -> Markup {
    html! {
        @if !attributes.is_empty() {
            section.group {
                h3 { (title) }
                (table(attributes))
            }
        }
    }
}

/// Each value leads to what else has it. A key of an older generation is shown with what it is called today.
fn table(attributes: &[&KeyValue]) -> Markup {
    html! {
        dl {
            @for kv in attributes {
                @let text = kv.value.to_text();
                dt { (kv.key) @if let Some(today) = current_name(&kv.key) { span.today { "today " (today) } } }
                dd { a href=(url::attribute(&kv.key, &text)) { @if text.is_empty() { "(empty)" } @else { (text) } } }
            }
        }
    }
}

fn events(start: UnixNanos, events: &[Event]) -> Markup {
    html! {
        @if !events.is_empty() {
            section.group {
                h3 { "Events" }
                @for event in events {
                    p.event { time datetime=(crate::units::timestamp(event.time)) { (time::duration(event.time.since(start))) } " " (event.name) }
                    (table(&event.attributes.iter().collect::<Vec<_>>()))
                }
            }
        }
    }
}

fn links(links: &[Link]) -> Markup {
    let (shown, rest) = links.split_at_checked(LINKS_SHOWN).unwrap_or((links, &[]));
    html! {
        @if !links.is_empty() {
            section.group.wide {
                h3 { "Links" }
                @for link in shown { (one_link(link)) }
                @if !rest.is_empty() {
                    details.rest {
                        summary { (counted(rest.len(), "more link")) }
                        @for link in rest { (one_link(link)) }
                    }
                }
            }
        }
    }
}

/// A line: where the link leads, and what it says of the message.
fn one_link(link: &Link) -> Markup {
    html! {
        p.link {
            a href=(url::span(link.trace_id, link.span_id)) { code { (link.trace_id) } " / " code { (link.span_id) } }
            @for kv in &link.attributes {
                @let text = kv.value.to_text();
                a.attr href=(url::attribute(&kv.key, &text)) { (kv.key) "=" (text) }
            }
        }
    }
}

fn raw(span: &Span) -> Markup {
    let json = throughline_trace::json::span(span);
    let text = serde_json::to_string_pretty(&json).unwrap_or_default();
    html! {
        details.raw {
            summary { "Raw span" }
            button.copy type="button" hidden data-copy=(text) { "copy JSON" }
            pre { (text) }
        }
    }
}
