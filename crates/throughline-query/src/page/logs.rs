//! Log records, as lines at their time.

use maud::{Markup, html};
use throughline_otlp::{LogRecord, UnixNanos};
use throughline_trace::{Trace, time};

use super::url;
use crate::units;

/// The class of a record's severity; OTLP numbers four to a level.
pub(super) fn level(log: &LogRecord) -> &'static str {
    match log.severity {
        17.. => "l-error",
        13..=16 => "l-warn",
        9..=12 => "l-info",
        _ => "l-debug",
    }
}

fn severity(log: &LogRecord) -> &str {
    if log.severity_text.is_empty() { "log" } else { &log.severity_text }
}

/// Logs of one trace, timed from its start.
pub(super) fn list<'a>(trace: &Trace, logs: impl IntoIterator<Item = &'a LogRecord>) -> Markup {
    html! {
        ul.logs {
            @for log in logs {
                li class=(level(log)) {
                    time datetime=(units::timestamp(log.time)) { (time::duration(log.time.since(trace.start))) }
                    span.sev { (severity(log)) }
                    span.svc { (log.resource.service()) }
                    (message(log))
                    @if let Some(span) = log.span_id { a.at href={ "#s-" (span) } { (span) } }
                }
            }
        }
    }
}

/// Logs of many traces, by the clock; with the date where it is not today's.
pub(super) fn across<'a>(logs: impl IntoIterator<Item = &'a LogRecord>, now: UnixNanos) -> Markup {
    html! {
        ul.logs {
            @for log in logs {
                li class=(level(log)) {
                    time datetime=(units::timestamp(log.time)) { (units::clock_near(log.time, now)) }
                    span.sev { (severity(log)) }
                    span.svc { (log.resource.service()) }
                    (message(log))
                    @if let Some(id) = log.trace_id {
                        a.at href=(log.span_id.map_or_else(|| url::trace(id), |span| url::span(id, span))) {
                            (id.to_string().chars().take(8).collect::<String>()) "…"
                        }
                    }
                }
            }
        }
    }
}

fn message(log: &LogRecord) -> Markup {
    html! {
        span.msg {
            (log.body.to_text())
            @for kv in &log.attributes {
                " " a.attr href=(url::attribute(&kv.key, &kv.value.to_text())) { (kv.key) "=" (kv.value.to_text()) }
            }
        }
    }
}
