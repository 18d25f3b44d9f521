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
