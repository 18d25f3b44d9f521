//! What the demo shows of its run: the trace in the source's form, the failures, what to try next; or all of it as JSON.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};
use throughline_otlp::{Span, Status};
use throughline_semconv::attribute;
use throughline_trace::text::{Form, TextOptions, render};
use throughline_trace::{Trace, hop, json};

use super::checkouts::{self, Outcome};
use super::watch::{Run, Traced};
use crate::output::Output;
use crate::server::{Addresses, url};

/// For a person.
pub(super) fn text(run: &Run, output: &Output) -> String {
    let mut text = String::new();
    if let Some(trace) = run.shown().and_then(|shown| shown.trace.as_ref()) {
        let options = TextOptions { width: output.width(), colour: output.colour(), form: Form::Hops };
        text.push_str(&render(trace, &options));
    }
    let failures: Vec<String> = run.traced.iter().filter_map(failure).collect();
    if !failures.is_empty() {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "\nThe failures that were provoked:\n{}", failures.concat());
    }
    text
}

/// One line for a checkout that failed as it had to.
fn failure(one: &Traced) -> Option<String> {
    let service = one.placed.outcome.fails_at()?;
    let span = failed(one.trace.as_ref()?, service.name())?;
    let said = match &span.status {
        Status::Error(message) if !message.is_empty() => message.clone(),
        _ => span.attribute(attribute::ERROR_TYPE).map(|value| value.to_text()).unwrap_or_default(),
    };
    Some(format!("  ✗ {service}: {} - {said}  (trace {})\n", span.name, one.placed.trace_id))
}

fn failed<'a>(trace: &'a Trace, service: &str) -> Option<&'a Span> {
    trace.spans().find(|span| span.service() == service && span.is_error() && hop::is_process(span))
}

/// What to try next, ready to be copied.
pub(super) fn next(run: &Run, api: &str, addresses: Addresses) -> String {
    let Some(shown) = run.shown() else { return String::new() };
    let (id, correlation) = (shown.placed.trace_id, &shown.placed.correlation_id);
    let ui = url(addresses.ui);
    let command = command();
    let server = if addresses.ui.port() == 16686 { String::new() } else { format!(" --url {ui}") };
    let mut text = format!(
        "\nTry next:\n  curl -sX POST {}{} \\\n    -H \"content-type: application/json\" \\\n    -d '{}'\n",
        api.replace("127.0.0.1", "localhost"),
        checkouts::PATH,
        r#"{"cartValue":149.99,"itemCount":2,"userId":"usr_123","tenantId":"acme"}"#,
    );
    let _ = writeln!(text, "  {}/trace/{id}", ui.replace("127.0.0.1", "localhost"));
    let _ = writeln!(text, "  {command} search correlation_id={correlation}{server}");
    let hash = run.batch().and_then(|batch| batch.lineage.as_ref()?.hash.as_ref());
    if let Some(hash) = hash {
        let _ = writeln!(text, "  {command} lineage {hash}{server}");
    }
    text
}

/// How the reader started this, and can start the next command.
fn command() -> &'static str {
    match std::env::var_os("CARGO") {
        Some(_) => "cargo run --release --",
        None => "throughline",
    }
}

/// For a program.
pub(super) fn json(run: &Run) -> Json {
    let batch = run.batch();
    let lineage = batch.and_then(|batch| batch.lineage.as_ref());
    json!({
        "event": "run",
        "ok": run.wrong.is_empty(),
        "wrong": run.wrong.iter().map(|lack| json!({
            "hop": lack.hop.as_ref().map(ToString::to_string),
            "what": lack.what,
        })).collect::<Vec<_>>(),
        "checkouts": run.traced.iter().map(checkout).collect::<Vec<_>>(),
        "batch": batch.map(|batch| json!({
            "traceID": batch.trace_id.to_string(),
            "linked_trace_id_count": lineage.map(|lineage| lineage.count),
            "linked_trace_id_hash": lineage.and_then(|lineage| lineage.hash.as_deref()),
        })),
        "trace": run.shown().and_then(|shown| shown.trace.as_ref()).map(json::render),
    })
}

fn checkout(one: &Traced) -> Json {
    json!({
        "traceID": one.placed.trace_id.to_string(),
        "correlationID": one.placed.correlation_id,
        "user": one.placed.user,
        "outcome": one.placed.outcome.as_str(),
        "settled": one.placed.outcome == Outcome::Settled,
        "lacks": one.lack.as_ref().map(ToString::to_string),
        "spanCount": one.trace.as_ref().map(Trace::span_count),
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use throughline_otlp::TraceId;

    use super::*;
    use crate::demo::checkouts::Placed;

    #[test]
    fn what_to_try_next_can_be_copied() {
        let placed = Placed {
            outcome: Outcome::Settled,
            user: "usr_123",
            trace_id: TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").unwrap(),
            correlation_id: "order-7".to_owned(),
        };
        let run = Run { traced: vec![Traced { placed, trace: None, lack: None }], wrong: Vec::new() };
        for (ui, server) in [(16686, ""), (9, " --url http://127.0.0.1:9")] {
            let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
            let addresses = Addresses {
                otlp_grpc: Some(at(1)),
                otlp_http: Some(at(2)),
                ui: at(ui),
                tempo: at(3),
                metrics: None,
            };
            let text = next(&run, "http://127.0.0.1:3000", addresses);
            for said in [
                "curl -sX POST http://localhost:3000/rpc/checkout/start \\\n",
                &format!("http://localhost:{ui}/trace/4bf92f3577b34da6a3ce929d0e0e4736\n"),
                &format!("search correlation_id=order-7{server}\n"),
            ] {
                assert!(text.contains(said), "no {said:?} in {text}");
            }
        }
    }
}
