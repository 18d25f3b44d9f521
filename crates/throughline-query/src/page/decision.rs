//! Why a trace is kept, or why it is not here: a line in its head, or the whole page.

use maud::{Markup, html};
use throughline_otlp::TraceId;

use super::url;
use crate::sampling::{Decision, Verdict};
use crate::units::counted;

/// A line for each pipeline that samples, in the head of a trace.
pub(super) fn lines(decisions: &[Decision]) -> Markup {
    html! {
        @for decision in decisions {
            p.facts.decision data-verdict=(decision.verdict.as_str()) {
                span.why { (why(decision)) }
                (circumstances(decision))
                @if let Some(again) = decision.again() { span { (again) } }
            }
        }
    }
}

/// Instead of a trace that was decided on and is not in the store.
pub(super) fn absent(id: TraceId, decisions: &[Decision]) -> Markup {
    html! {
        h1 { (heading(decisions)) }
        p { "No span or log of " code { (id) } " is in the store." }
        @for decision in decisions {
            p.decision data-verdict=(decision.verdict.as_str()) { b { (why(decision)) } }
            p.facts { (circumstances(decision)) }
            @if let Some(again) = decision.again() { p { (sentence(again)) } }
            @if decision.verdict == Verdict::Sampled {
                p { "Its spans went to the exporters of this pipeline; the store is not one of them, has not got to them yet, or has them no longer." }
            }
        }
    }
}

fn heading(decisions: &[Decision]) -> &'static str {
    let any = |verdict| decisions.iter().any(|decision| decision.verdict == verdict);
    if any(Verdict::Undecided) {
        "This trace is not decided yet"
    } else if any(Verdict::Sampled) {
        "This trace was kept, and is not here"
    } else {
        "This trace was not kept"
    }
}

/// With a link to the trace because of which it is kept.
fn why(decision: &Decision) -> Markup {
    match decision.linked_from() {
        Some(from) => {
            html! { "kept because it is linked with trace " a href=(url::trace(from)) { code { (from) } } }
        }
        None => html! { (decision.why()) },
    }
}

fn circumstances(decision: &Decision) -> Markup {
    let away = decision.hops.filter(|hops| *hops > 0 && decision.linked_from().is_some());
    html! {
        @if let Some(hops) = away { span { (counted(usize::from(hops), "link")) " away" } }
        @if let Some(when) = decision.when() { span { (when) } }
        @if decision.left_out > 0 { span { (counted(decision.left_out as usize, "linked trace")) " left out" } }
        span { "pipeline " code { (decision.pipeline) } }
    }
}

/// As a sentence of its own.
fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", rest.as_str())
}
