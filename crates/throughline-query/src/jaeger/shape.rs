//! Jaeger's JSON of a trace. The shapes are Jaeger's own, field for field; the order of tags follows its translation of OTLP.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Value as Json, json};
use throughline_otlp::model::{Event, KeyValue, Resource};
use throughline_otlp::{LogRecord, Span, SpanId, SpanKind, Status, TraceId, UnixNanos, Value};

use crate::answer::Answer;
use crate::reply::Failure;

/// The largest integer a JavaScript number holds exactly; Jaeger writes larger ones as strings.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// One trace, written span by span. Log records are shown as logs of the span they were written in, as Jaeger has no other place for them.
pub(super) fn trace(
    id: TraceId,
    spans: &[Span],
    logs: &[LogRecord],
    answer: &mut Answer,
) -> Result<(), Failure> {
    let mut processes = Processes::default();
    let present: HashSet<SpanId> = spans.iter().map(|s| s.span_id).collect();
    let mut logs_of: HashMap<SpanId, Vec<&LogRecord>> = HashMap::new();
    for log in logs {
        if let Some(span_id) = log.span_id {
            logs_of.entry(span_id).or_default().push(log);
        }
    }
    let none = Vec::new();
    answer.text(&format!(r#"{{"traceID":"{id}","spans":["#))?;
    for (at, one) in spans.iter().enumerate() {
        if at > 0 {
            answer.text(",")?;
        }
        let logs = logs_of.get(&one.span_id).unwrap_or(&none);
        answer.json(&span(one, logs, &present, &mut processes))?;
    }
    answer.text(&format!(r#"],"processes":{},"warnings":null}}"#, processes.into_json()))
}

fn span(span: &Span, logs: &[&LogRecord], present: &HashSet<SpanId>, processes: &mut Processes) -> Json {
    let mut object = json!({
        "traceID": span.trace_id.to_string(),
        "spanID": span.span_id.to_string(),
        "operationName": span.name,
        "references": references(span),
        "startTime": span.start.0 / 1_000,
        "duration": span.end.0.saturating_sub(span.start.0) / 1_000,
        "tags": span_tags(span),
        "logs": span_logs(&span.events, logs),
        "processID": processes.id(&span.resource),
        "warnings": warnings(span, present),
    });
    // Jaeger leaves the flags out when none is set; only the trace's own bits are among them.
    let flags = span.flags & 0xff;
    if flags != 0
        && let Some(fields) = object.as_object_mut()
    {
        fields.insert("flags".to_owned(), Json::from(flags));
    }
    object
}

/// The parent first, then a `FOLLOWS_FROM` for each link.
fn references(span: &Span) -> Vec<Json> {
    let reference = |kind: &str, trace: TraceId, span: SpanId| json!({ "refType": kind, "traceID": trace.to_string(), "spanID": span.to_string() });
    let parent = span.parent.map(|parent| reference("CHILD_OF", span.trace_id, parent));
    let links = span.links.iter().map(|link| {
        let child_of = link.attribute("opentracing.ref_type") == Some(&Value::Str("child_of".to_owned()));
        reference(if child_of { "CHILD_OF" } else { "FOLLOWS_FROM" }, link.trace_id, link.span_id)
    });
    parent.into_iter().chain(links).collect()
}

fn span_tags(span: &Span) -> Vec<Json> {
    let mut tags = Vec::new();
    for (key, text) in [("otel.scope.name", &span.scope.name), ("otel.scope.version", &span.scope.version)] {
        if !text.is_empty() {
            tags.push(text_tag(key, text));
        }
    }
    tags.extend(span.attributes.iter().map(tag));
    if span.kind != SpanKind::Unspecified {
        tags.push(text_tag("span.kind", span.kind.as_str()));
    }
    match &span.status {
        Status::Unset => {}
        Status::Ok => tags.push(text_tag("otel.status_code", "OK")),
        Status::Error(message) => {
            tags.push(text_tag("otel.status_code", "ERROR"));
            tags.push(json!({ "key": "error", "type": "bool", "value": true }));
            if !message.is_empty() {
                tags.push(text_tag("otel.status_description", message));
            }
        }
    }
    if !span.trace_state.is_empty() {
        tags.push(text_tag("w3c.tracestate", &span.trace_state));
    }
    tags
}

fn span_logs(events: &[Event], logs: &[&LogRecord]) -> Vec<Json> {
    let events = events.iter().map(|event| {
        let name = (!event.name.is_empty()).then(|| text_tag("event", &event.name));
        (event.time, name.into_iter().chain(event.attributes.iter().map(tag)).collect())
    });
    let logs = logs.iter().map(|log| {
        let name = if log.event_name.is_empty() { "log" } else { &log.event_name };
        let mut fields = vec![text_tag("event", name)];
        if !log.severity_text.is_empty() {
            fields.push(text_tag("level", &log.severity_text));
        }
        fields.push(text_tag("message", &log.body.to_text()));
        fields.extend(log.attributes.iter().map(tag));
        (log.time, fields)
    });
    let mut all: Vec<(UnixNanos, Vec<Json>)> = events.chain(logs).collect();
    all.sort_by_key(|(time, _)| *time);
    all.into_iter().map(|(time, fields)| json!({ "timestamp": time.0 / 1_000, "fields": fields })).collect()
}

fn warnings(span: &Span, present: &HashSet<SpanId>) -> Json {
    let mut lines = Vec::new();
    if let Some(parent) = span.parent.filter(|p| !present.contains(p)) {
        lines.push(format!("the parent span {parent} is not in the trace"));
    }
    let dropped = &span.dropped;
    for (count, what) in
        [(dropped.attributes, "attributes"), (dropped.events, "events"), (dropped.links, "links")]
    {
        if count > 0 {
            lines.push(format!("the SDK dropped {count} {what}"));
        }
    }
    if span.end < span.start {
        lines.push("the span ends before it starts; its duration is shown as 0".to_owned());
    }
    if lines.is_empty() { Json::Null } else { Json::from(lines) }
}

fn text_tag(key: &str, text: &str) -> Json {
    json!({ "key": key, "type": "string", "value": text })
}

fn tag(attribute: &KeyValue) -> Json {
    let (kind, value) = match &attribute.value {
        Value::Bool(b) => ("bool", Json::from(*b)),
        Value::Int(i) if i.unsigned_abs() > MAX_SAFE_INTEGER => ("int64", Json::from(i.to_string())),
        Value::Int(i) => ("int64", Json::from(*i)),
        Value::Double(d) if d.is_finite() => ("float64", Json::from(*d)),
        Value::Double(d) => ("float64", Json::from(d.to_string())),
        Value::Empty => ("string", Json::from("")),
        other => ("string", Json::from(other.to_text())),
    };
    json!({ "key": attribute.key, "type": kind, "value": value })
}

/// Distinct resources, named `p1`, `p2`, … in order of appearance.
#[derive(Default)]
struct Processes {
    found: Vec<Json>,
    /// Resources seen, by address: spans of one request share theirs, and telling two apart by content is slow.
    seen: HashMap<*const Resource, String>,
}

impl Processes {
    fn id(&mut self, resource: &Arc<Resource>) -> String {
        let address = Arc::as_ptr(resource);
        match self.seen.get(&address) {
            Some(id) => id.clone(),
            None => {
                let id = self.by_content(resource);
                self.seen.insert(address, id.clone());
                id
            }
        }
    }

    fn by_content(&mut self, resource: &Resource) -> String {
        let tags: Vec<Json> =
            resource.attributes.iter().filter(|kv| kv.key != "service.name").map(tag).collect();
        let process = json!({ "serviceName": resource.service(), "tags": tags });
        let index = self.found.iter().position(|p| *p == process).unwrap_or_else(|| {
            self.found.push(process);
            self.found.len() - 1
        });
        format!("p{}", index + 1)
    }

    fn into_json(self) -> Json {
        self.found.into_iter().enumerate().map(|(i, process)| (format!("p{}", i + 1), process)).collect()
    }
}
