//! The picture as JSON, for programs. It has at least what the source prints of a trace (`traceID`, `spanCount`,
//! `services`, `spans[operation, kind, service, attributes]`). Absolute times are strings of nanoseconds, as in OTLP's
//! JSON, because a JSON number cannot hold them in every reader; lengths are numbers.

use std::io;

use serde_json::{Map, Value as Json, json};
use throughline_otlp::json::{attributes, value};
use throughline_otlp::model::{Event, Link};
use throughline_otlp::{LogRecord, Span, Status, UnixNanos};

use crate::finding::Finding;
use crate::hop::{Wait, WaitSource};
use crate::model::{LinkedTrace, Missing, Node, NodeId, NodeKind, Trace};

/// The whole trace.
#[must_use]
pub fn render(trace: &Trace) -> Json {
    let mut whole = head(trace);
    for (name, items) in lists(trace) {
        whole.insert(name.to_owned(), items.collect());
    }
    Json::Object(whole)
}

/// The same, written item by item: as a value, a large trace takes ten times its text.
///
/// # Errors
/// What `out` met.
pub fn write(trace: &Trace, out: &mut impl io::Write) -> io::Result<()> {
    let head = Json::Object(head(trace)).to_string();
    out.write_all(head.strip_suffix('}').unwrap_or(&head).as_bytes())?;
    for (name, items) in lists(trace) {
        write!(out, ",\"{name}\":[")?;
        for (at, item) in items.enumerate() {
            if at > 0 {
                out.write_all(b",")?;
            }
            serde_json::to_writer(&mut *out, &item)?;
        }
        out.write_all(b"]")?;
    }
    out.write_all(b"}")
}

fn head(trace: &Trace) -> Map<String, Json> {
    let head = json!({
        "traceID": trace.id.to_string(),
        "spanCount": trace.span_count(),
        "services": trace.services,
        "state": trace.state.as_str(),
        "startTimeUnixNano": time(trace.start),
        "durationNanos": length(trace.duration()),
        "errors": trace.errors,
        "correlationIDs": trace.correlation_ids,
        "tenant": trace.tenant,
    });
    match head {
        Json::Object(head) => head,
        _ => Map::new(),
    }
}

/// What there may be many of.
fn lists(trace: &Trace) -> [(&'static str, Box<dyn Iterator<Item = Json> + '_>); 5] {
    let spans = trace.nodes.iter().filter_map(|node| Some(span_in_place(trace, node, node.span()?)));
    let missing = trace.nodes.iter().filter_map(|node| match &node.what {
        NodeKind::Missing(missing) => Some(ghost(trace, node, missing)),
        NodeKind::Span(_) => None,
    });
    [
        ("spans", Box::new(spans)),
        ("missing", Box::new(missing)),
        ("linked", Box::new(trace.linked.iter().map(|l| linked(trace, l)))),
        ("findings", Box::new(trace.findings.iter().map(|f| finding(trace, f)))),
        ("logs", Box::new(trace.logs.iter().map(log))),
    ]
}

/// One span by itself: what `--follow` prints of each as it arrives.
#[must_use]
pub fn span(span: &Span) -> Json {
    let (status, message) = match &span.status {
        Status::Unset => ("unset", None),
        Status::Ok => ("ok", None),
        Status::Error(message) => ("error", Some(message.as_str())),
    };
    json!({
        "traceID": span.trace_id.to_string(),
        "spanID": span.span_id.to_string(),
        "parentSpanID": span.parent.map(|id| id.to_string()),
        "operation": span.name,
        "kind": span.kind.as_str(),
        "service": span.service(),
        "startTimeUnixNano": time(span.start),
        "durationNanos": length(span.end.since(span.start)),
        "status": status,
        "statusMessage": message,
        "attributes": attributes(&span.attributes),
        "resource": attributes(&span.resource.attributes),
        "events": span.events.iter().map(event).collect::<Vec<_>>(),
        "links": span.links.iter().map(link).collect::<Vec<_>>(),
    })
}

/// One log record.
#[must_use]
pub fn log(log: &LogRecord) -> Json {
    json!({
        "timeUnixNano": time(log.time),
        "traceID": log.trace_id.map(|id| id.to_string()),
        "spanID": log.span_id.map(|id| id.to_string()),
        "service": log.resource.service(),
        "severity": log.severity_text,
        "body": value(&log.body),
        "attributes": attributes(&log.attributes),
    })
}

fn span_in_place(trace: &Trace, node: &Node, received: &Span) -> Json {
    let mut object = match span(received) {
        Json::Object(object) => object,
        _ => Map::new(),
    };
    object.insert("depth".to_owned(), node.depth.into());
    object.insert("children".to_owned(), ids(trace, &node.children));
    object.insert("wait".to_owned(), node.wait.as_ref().map_or(Json::Null, wait));
    object.insert("logs".to_owned(), json!(node.logs));
    Json::Object(object)
}

fn ghost(trace: &Trace, node: &Node, missing: &Missing) -> Json {
    json!({
        "spanID": missing.span_id.to_string(),
        "startedByUnixNano": time(missing.started_by),
        "service": missing.service,
        "destination": missing.destination,
        "children": ids(trace, &node.children),
    })
}

fn linked(trace: &Trace, linked: &LinkedTrace) -> Json {
    json!({
        "traceID": linked.trace_id.to_string(),
        "direction": linked.direction.as_str(),
        "service": linked.service,
        "operation": linked.operation,
        "kind": linked.kind.map(|kind| kind.as_str()),
        "operationType": linked.operation_type,
        "startTimeUnixNano": linked.started.map(time),
        "durationNanos": linked.took.map(length),
        "reason": linked.reason,
        "linked_trace_id_count": linked.lineage.as_ref().map(|l| l.count),
        "linked_trace_id_hash": linked.lineage.as_ref().and_then(|l| l.hash.as_deref()),
        "wait": linked.wait.as_ref().map(wait),
        "spanID": linked.node.and_then(|id| trace.node(id)).map(|node| node.span_id().to_string()),
        "linkedSpanID": linked.span_id.map(|id| id.to_string()),
        "links": linked.links,
    })
}

fn finding(trace: &Trace, finding: &Finding) -> Json {
    let hop = finding.hop.as_ref();
    json!({
        "kind": finding.name(),
        "severity": finding.severity().as_str(),
        "message": finding.to_string(),
        "count": finding.count,
        "hop": hop.map(ToString::to_string),
        "from": hop.and_then(|hop| hop.from.as_deref()),
        "destination": hop.and_then(|hop| hop.destination.as_deref()),
        "to": hop.and_then(|hop| hop.to.as_deref()),
        "spanID": finding.node.and_then(|id| trace.node(id)).map(|node| node.span_id().to_string()),
    })
}

fn wait(wait: &Wait) -> Json {
    json!({
        "destination": wait.destination,
        "partition": wait.partition,
        "offset": wait.offset,
        "fromUnixNano": time(wait.from),
        "nanos": length(wait.nanos()),
        "countedFrom": match wait.source {
            WaitSource::RecordTimestamp => "record-timestamp",
            WaitSource::SendStart => "send-start",
        },
    })
}

fn event(event: &Event) -> Json {
    json!({
        "timeUnixNano": time(event.time),
        "name": event.name,
        "attributes": attributes(&event.attributes),
    })
}

fn link(link: &Link) -> Json {
    json!({
        "traceID": link.trace_id.to_string(),
        "spanID": link.span_id.to_string(),
        "attributes": attributes(&link.attributes),
    })
}

fn ids(trace: &Trace, nodes: &[NodeId]) -> Json {
    nodes.iter().filter_map(|id| trace.node(*id)).map(|node| node.span_id().to_string()).collect()
}

fn time(time: UnixNanos) -> String {
    time.0.to_string()
}

/// Lengths of real spans fit; two ends of time apart, the nearest number that does.
fn length(nanos: i128) -> i64 {
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use crate::cases;

    /// The three spans of the source's live run, as it prints them.
    #[test]
    fn it_has_what_the_source_prints_with_its_types() {
        let text = "
            1 01 - api internal 1000-1012 checkout/start
            1 02 01 api producer 1003-1006 domain-events publish ; messaging.system=kafka messaging.destination.name=domain-events messaging.operation=publish messaging.kafka.message.key=429a7e3408f6408f
            1 03 02 worker-email consumer 1043-1053 domain-events process ; messaging.system=kafka messaging.destination.name=domain-events messaging.kafka.consumer.group=demo-v1 messaging.kafka.partition=2 throughline.record.timestamp=1005";
        let json = super::render(&cases::trace(text, &[]));
        let spans = json["spans"].as_array().unwrap();
        let printed: Vec<_> = spans
            .iter()
            .map(|s| [&s["operation"], &s["kind"], &s["service"]].map(|v| v.as_str().unwrap()))
            .collect();
        assert_eq!(json["traceID"], "00000000000000000000000000000001");
        assert_eq!(json["spanCount"], 3);
        assert_eq!(json["services"], serde_json::json!(["api", "worker-email"]));
        assert_eq!(
            printed,
            [
                ["checkout/start", "internal", "api"],
                ["domain-events publish", "producer", "api"],
                ["domain-events process", "consumer", "worker-email"],
            ]
        );
        assert_eq!(spans[1]["attributes"]["messaging.kafka.message.key"], "429a7e3408f6408f");
        assert_eq!(spans[2]["attributes"]["messaging.kafka.partition"], 2);
        assert_eq!(spans[2]["parentSpanID"], spans[1]["spanID"]);
        assert_eq!(spans[2]["wait"]["nanos"], 38_000_000);
        assert_eq!(spans[2]["wait"]["countedFrom"], "record-timestamp");
        let mut written = Vec::new();
        super::write(&cases::trace(text, &[]), &mut written).unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&written).unwrap(), json);
    }
}
