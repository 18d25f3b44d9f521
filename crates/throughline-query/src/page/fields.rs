//! The query as fields. Submitting them gives the same URL as typing the query: [`folded`] makes one of the other.

use maud::{Markup, html};
use throughline_semconv::own::CORRELATION_ID;
use throughline_store::Operation;

use crate::params::Params;
use crate::query::{self, Outcome, Query};
use crate::units;

/// Field, and the start of the condition it stands for.
const CONDITIONS: &[(&str, &str)] = &[
    ("service", "service="),
    ("operation", "operation="),
    ("kind", "kind="),
    ("min", "duration>"),
    ("max", "duration<"),
    ("since", "since="),
    ("after", "after="),
    ("before", "before="),
    ("correlation", "correlation_id="),
];
/// What can be chosen for `since`.
const SINCE: &[(&str, &str)] = &[
    ("", "any time"),
    ("5m", "last 5 minutes"),
    ("15m", "last 15 minutes"),
    ("1h", "last hour"),
    ("6h", "last 6 hours"),
    ("1d", "last day"),
    ("7d", "last 7 days"),
];
const KINDS: &[&str] = &["", "internal", "server", "client", "producer", "consumer"];

/// The query that submitted fields stand for, in addition to `q`; `None` if there are none: the request comes from the box or a
/// link. What is no value for its condition is kept as it is, so that the reader sees it with what is allowed.
pub(super) fn folded(params: &Params) -> Option<String> {
    let mut fields = CONDITIONS.iter().map(|(field, _)| *field).chain(["error", "attributes"]);
    if !fields.any(|field| params.has(field)) {
        return None;
    }
    let typed = params.one("q").map(|text| text.trim().to_owned());
    let conditions = CONDITIONS
        .iter()
        .filter_map(|(field, start)| Some(query::condition(start, params.one(field)?.trim())));
    let error = params.one("error").map(|_| "error".to_owned());
    let attributes = params.one("attributes").map(|text| text.trim().to_owned());
    let terms: Vec<String> = typed.into_iter().chain(conditions).chain(error).chain(attributes).collect();
    Some(terms.join(" "))
}

/// The form, filled with the query.
pub(super) fn form(query: &Query, services: &[String], operations: &[Operation]) -> Markup {
    let correlation =
        query.attributes.iter().find(|(key, _)| key == CORRELATION_ID).map(|(_, value)| value.as_str());
    let others: Vec<_> = query.attributes.iter().filter(|(key, _)| key != CORRELATION_ID).cloned().collect();
    let others = Query { attributes: others, ..Query::default() }.to_string();
    let since = query.since.map(units::exact).unwrap_or_default();
    html! {
        form.fields action="/" method="get" aria-label="Search by fields" {
            label { span { "service" } (services_of(query, services)) }
            label.wide { span { "operation" }
                input name="operation" list="operations" value=[query.operation.as_deref()] autocomplete="off";
                datalist #operations { @for name in names(operations) { option value=(name) {} } }
            }
            label { span { "kind" } select name="kind" {
                @let own = query.kind.map_or("", |kind| kind.as_str());
                @for kind in KINDS { option value=(kind) selected[own == *kind] { @if kind.is_empty() { "any" } @else { (kind) } } }
            } }
            label.wide { span { "correlation id" } input name="correlation" value=[correlation] autocomplete="off" spellcheck="false"; }
            label.wide { span { "attributes" }
                input name="attributes" value=(others) placeholder="key=value" autocomplete="off" spellcheck="false";
            }
            label.short { span { "at least" } input name="min" value=[query.at_least.map(units::exact)] placeholder="100ms" autocomplete="off"; }
            label.short { span { "at most" } input name="max" value=[query.at_most.map(units::exact)] placeholder="2s" autocomplete="off"; }
            label { span { "time" } select name="since" {
                @if !SINCE.iter().any(|(value, _)| same_length(value, &since)) { option value=(since) selected { "last " (since) } }
                @for (value, name) in SINCE { option value=(value) selected[same_length(value, &since)] { (name) } }
            } }
            @for (name, time) in [("after", query.after), ("before", query.before)] {
                @if let Some(time) = time {
                    label.wide { span { (name) } input name=(name) value=(units::timestamp(time)) autocomplete="off"; }
                }
            }
            div.go {
                label.check { input type="checkbox" name="error" value="1" checked[query.outcome == Outcome::Error]; span { "errors only" } }
                button type="submit" { "Find" }
            }
        }
    }
}

fn services_of(query: &Query, services: &[String]) -> Markup {
    let own = query.service.as_deref().unwrap_or_default();
    html! {
        select name="service" {
            option value="" selected[own.is_empty()] { "any" }
            @if !own.is_empty() && !services.iter().any(|service| service == own) { option value=(own) selected { (own) } }
            @for service in services { option value=(service) selected[service == own] { (service) } }
        }
    }
}

fn names(operations: &[Operation]) -> Vec<&str> {
    let mut names: Vec<&str> = operations.iter().map(|operation| operation.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// `60m` and `1h` are the same choice.
fn same_length(one: &str, other: &str) -> bool {
    one == other
        || (units::parse_duration(one).is_some()
            && units::parse_duration(one) == units::parse_duration(other))
}
