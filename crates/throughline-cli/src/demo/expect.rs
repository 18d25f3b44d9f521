//! What a checkout's trace must have, hop by hop. Pure: a trace in, the first thing it lacks out.

use throughline_checkout::Service;
use throughline_checkout::events::{NOTIFICATIONS, ORDERS, PAYMENTS};
use throughline_otlp::Span;
use throughline_trace::{Direction, Finding, FindingKind, Hop, LinkedTrace, NodeKind, Severity, Trace, hop};

use super::checkouts::Outcome;

/// The way of a checkout.
const HOPS: [(Service, &str, Service); 3] = [
    (Service::Api, ORDERS, Service::PaymentWorker),
    (Service::PaymentWorker, PAYMENTS, Service::EmailWorker),
    (Service::EmailWorker, NOTIFICATIONS, Service::Batcher),
];

/// Something a trace lacks, or has and must not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lack {
    /// At which hop.
    pub(super) hop: Option<Hop>,
    /// What.
    pub(super) what: String,
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.hop {
            Some(hop) => write!(f, "{hop}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// The first thing the trace of a checkout lacks; it may still come.
pub(super) fn lack(trace: &Trace, outcome: Outcome) -> Option<Lack> {
    if !trace.spans().any(|span| span.service() == Service::Api.name() && span.parent.is_none()) {
        return Some(Lack { hop: None, what: "the span of the request to api".to_owned() });
    }
    for (from, topic, to) in HOPS {
        let lack = |what: &str| Some(Lack { hop: Some(named(from, topic, to)), what: what.to_owned() });
        let Some(send) = trace.spans().find(|span| is(span, from, topic) && hop::is_send(span)) else {
            return lack("the send span");
        };
        if to == Service::Batcher {
            return if batch(trace).is_some() {
                ghost(trace)
            } else {
                lack("a batch that links to the trace")
            };
        }
        let process = trace.nodes.iter().find_map(|node| {
            let span = node.span().filter(|span| is(span, to, topic) && hop::is_process(span))?;
            (span.parent == Some(send.span_id)).then_some((node, span))
        });
        let Some((node, span)) = process else {
            return lack("the process span, below the send span");
        };
        if node.wait.is_none() {
            return lack("the wait in the queue");
        }
        if outcome.fails_at() == Some(to) {
            return if span.is_error() { ghost(trace) } else { lack("the failure that was provoked") };
        }
    }
    None
}

fn ghost(trace: &Trace) -> Option<Lack> {
    let missing = trace.nodes.iter().find_map(|node| match &node.what {
        NodeKind::Missing(missing) => Some(missing.span_id),
        NodeKind::Span(_) => None,
    })?;
    Some(Lack { hop: None, what: format!("span {missing}, which another one names as its parent") })
}

/// The batch the trace went into.
pub(super) fn batch(trace: &Trace) -> Option<&LinkedTrace> {
    trace.linked.iter().find(|linked| {
        linked.direction == Direction::Dependant
            && linked.service.as_deref() == Some(Service::Batcher.name())
            && linked.lineage.is_some()
    })
}

/// Where a trace is broken for good: what no later span can mend.
pub(super) fn broken(trace: &Trace) -> Option<Lack> {
    let finding =
        trace.findings.iter().find(|finding| matches!(finding.kind, FindingKind::ContextLost { .. }))?;
    Some(Lack { hop: finding.hop.clone().map(with_sender), what: sentence(finding) })
}

/// A finding without its hop, which a [`Lack`] names by itself.
fn sentence(finding: &Finding) -> String {
    Finding { hop: None, ..finding.clone() }.to_string()
}

/// Everything wrong with a trace that is otherwise whole.
pub(super) fn problems(trace: &Trace) -> impl Iterator<Item = Lack> {
    let findings = trace.findings.iter().filter(|finding| finding.severity() == Severity::Problem);
    findings.map(|finding| Lack {
        hop: finding.hop.clone(),
        what: format!("{}, in trace {}", sentence(finding), trace.id),
    })
}

/// The sender of a message is known here even if its span is not: each topic has one.
fn with_sender(hop: Hop) -> Hop {
    let sender = HOPS.iter().find(|(_, topic, _)| hop.destination.as_deref() == Some(*topic));
    let from = hop.from.or_else(|| sender.map(|(from, ..)| from.name().to_owned()));
    Hop { from, ..hop }
}

fn named(from: Service, topic: &str, to: Service) -> Hop {
    Hop {
        from: Some(from.name().to_owned()),
        destination: Some(topic.to_owned()),
        to: Some(to.name().to_owned()),
    }
}

fn is(span: &Span, service: Service, topic: &str) -> bool {
    span.service() == service.name() && hop::destination(span).as_deref() == Some(topic)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};
    use throughline_otlp::{Signal, TraceId, UnixNanos, decode_traces};
    use throughline_trace::{Input, Neighbour, assemble};

    use super::*;

    /// Kinds as OTLP numbers them.
    const SERVER: u8 = 2;
    const PRODUCER: u8 = 4;
    const CONSUMER: u8 = 5;

    /// A whole checkout: service, span id, parent, kind, topic; and its batch.
    const WHOLE: [(&str, &str, &str, u8, &str); 7] = [
        ("api", "01", "", SERVER, ""),
        ("api", "02", "01", PRODUCER, "orders"),
        ("payment-worker", "03", "02", CONSUMER, "orders"),
        ("payment-worker", "04", "03", PRODUCER, "payments"),
        ("email-worker", "05", "04", CONSUMER, "payments"),
        ("email-worker", "06", "05", PRODUCER, "notifications"),
        ("batcher", "07", "", CONSUMER, "notifications"),
    ];

    fn spans(rows: &[(&str, &str, &str, u8, &str)]) -> Vec<Span> {
        let long = |id: &str| if id.is_empty() { String::new() } else { format!("{id:0>16}") };
        let resource_spans: Vec<Json> = rows
            .iter()
            .map(|(service, id, parent, kind, topic)| {
                let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
                let mut attributes = vec![text("messaging.destination.name", topic)];
                let mut links = Vec::new();
                if *service == "batcher" {
                    attributes.push(json!({ "key": "linked_trace_id_count", "value": { "intValue": "1" } }));
                    links.push(json!({ "traceId": format!("{:0>32}", "1"), "spanId": long("06") }));
                }
                let trace = if *service == "batcher" { "2" } else { "1" };
                let failed = json!({ "code": if *id == "13" || *id == "15" { 2 } else { 0 } });
                let span = json!({ "traceId": format!("{trace:0>32}"), "spanId": long(id), "parentSpanId": long(parent),
                    "name": topic, "kind": kind, "startTimeUnixNano": "1", "endTimeUnixNano": "2", "status": failed,
                    "attributes": attributes, "links": links });
                json!({ "resource": { "attributes": [text("service.name", service)] },
                    "scopeSpans": [{ "spans": [span] }] })
            })
            .collect();
        let body = json!({ "resourceSpans": resource_spans }).to_string();
        let wire = throughline_otlp::json::to_protobuf(Signal::Traces, body.as_bytes()).unwrap();
        decode_traces(&wire).unwrap()
    }

    fn said(rows: &[(&str, &str, &str, u8, &str)], outcome: Outcome) -> Option<String> {
        let id = |id: &str| TraceId::from_hex(id).unwrap();
        let (ours, theirs) = spans(rows).into_iter().partition(|span| span.trace_id == id("1"));
        let batch = Neighbour { trace_id: id("2"), direction: Direction::Dependant, spans: theirs };
        let trace = assemble(Input {
            trace_id: id("1"),
            spans: ours,
            logs: Vec::new(),
            neighbours: vec![batch],
            now: UnixNanos(3),
        });
        lack(&trace, outcome).map(|lack| lack.to_string())
    }

    #[test]
    fn a_whole_checkout_lacks_nothing_and_each_span_is_missed() {
        assert_eq!(said(&WHOLE, Outcome::Settled), None);
        let missed = [
            "the span of the request to api",
            "api -> orders -> payment-worker: the send span",
            "api -> orders -> payment-worker: the process span, below the send span",
            "payment-worker -> payments -> email-worker: the send span",
            "payment-worker -> payments -> email-worker: the process span, below the send span",
            "email-worker -> notifications -> batcher: the send span",
            "email-worker -> notifications -> batcher: a batch that links to the trace",
        ];
        for (at, expected) in missed.iter().enumerate() {
            let mut rows = WHOLE.to_vec();
            rows.remove(at);
            assert_eq!(said(&rows, Outcome::Settled).as_deref(), Some(*expected));
        }
    }

    #[test]
    fn a_process_below_something_else_than_its_send_is_not_the_hop() {
        let mut rows = WHOLE;
        rows[2].2 = "01";
        let expected = "api -> orders -> payment-worker: the process span, below the send span";
        assert_eq!(said(&rows, Outcome::Settled).as_deref(), Some(expected));
    }

    #[test]
    fn a_failure_ends_the_way_and_must_be_one() {
        let mut rows = WHOLE[..3].to_vec();
        let expected = "api -> orders -> payment-worker: the failure that was provoked";
        assert_eq!(said(&rows, Outcome::Declined).as_deref(), Some(expected));
        // Ids 13 and 15 are the failed ones.
        rows[2].1 = "13";
        assert_eq!(said(&rows, Outcome::Declined), None);
        let mut rows = WHOLE[..5].to_vec();
        rows[4].1 = "15";
        assert_eq!(said(&rows, Outcome::Bounced), None);
    }
}
