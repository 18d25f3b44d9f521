//! The `debug` exporter: what passes, as text for a person, written to whatever it is given.

use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use throughline_otlp::model::{KeyValue, Resource, Scope, Status};
use throughline_otlp::view::messages;
use throughline_otlp::{LogRecord, Signal, Span, Value, WireError, check, decode_logs, decode_traces};

use super::Outcome;

/// `verbosity`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Counts, one line a request.
    #[default]
    Basic,
    /// And a line for each span or log record.
    Normal,
    /// And everything that is in them.
    Detailed,
}

/// Writes what passes.
pub struct DebugExporter {
    verbosity: Verbosity,
    sampling: Sampling,
    out: Mutex<Out>,
}

/// How much of what passes is written: at high rates nobody reads all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// `sampling_initial`: so many requests of each second. Default 2.
    pub first_each_second: u32,
    /// `sampling_thereafter`: of the others every so many-th, 0 for none. Default 1: all.
    pub then_every: u32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { first_each_second: 2, then_every: 1 }
    }
}

impl Sampling {
    /// Whether the request is written that comes as this one, counted from 0, in its second.
    fn writes(self, number: u32) -> bool {
        let beyond = number.checked_sub(self.first_each_second);
        beyond.is_none_or(|beyond| (beyond + 1).checked_rem(self.then_every) == Some(0))
    }
}

struct Out {
    writer: Box<dyn Write + Send>,
    second: Instant,
    /// Requests in this second.
    seen: u32,
}

impl Out {
    /// The request's number in its second.
    fn number(&mut self, now: Instant) -> u32 {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.seen) = (now, 0);
        }
        let number = self.seen;
        self.seen = self.seen.saturating_add(1);
        number
    }
}

impl fmt::Debug for DebugExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DebugExporter").field("verbosity", &self.verbosity).finish_non_exhaustive()
    }
}

impl DebugExporter {
    /// Writes to `writer`, no more than `sampling` says.
    #[must_use]
    pub fn new(verbosity: Verbosity, sampling: Sampling, writer: Box<dyn Write + Send>) -> Self {
        Self { verbosity, sampling, out: Mutex::new(Out { writer, second: Instant::now(), seen: 0 }) }
    }

    /// Writes one request. That nobody reads it is no failure: it is there to be looked at, not to be kept.
    pub fn send(&self, signal: Signal, request: Bytes) -> Outcome {
        let number = self.out().number(Instant::now());
        if !self.sampling.writes(number) {
            return Outcome::ACCEPTED;
        }
        let text = match described(signal, &request, self.verbosity) {
            Ok(text) => text,
            Err(error) => return Outcome::Refused { why: format!("not OTLP: {error}") },
        };
        let mut out = self.out();
        if let Err(error) = out.writer.write_all(text.as_bytes()).and_then(|()| out.writer.flush()) {
            tracing::debug!(%error, "cannot write what passes");
        }
        Outcome::ACCEPTED
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text of one request, ending in a new line.
///
/// # Errors
/// [`WireError`] if the request is not OTLP.
pub fn described(signal: Signal, request: &[u8], verbosity: Verbosity) -> Result<String, WireError> {
    let items = check(signal, request)?.items;
    let resources = messages(request, 1).count();
    let (what, group, item) = match signal {
        Signal::Traces => ("Traces", "resource spans", "spans"),
        Signal::Logs => ("Logs", "resource logs", "log records"),
        Signal::Metrics => ("Metrics", "resource metrics", "data points"),
    };
    let mut text = format!("{what} {{\"{group}\": {resources}, \"{item}\": {items}}}\n");
    match (verbosity, signal) {
        (Verbosity::Basic, _) | (_, Signal::Metrics) => {}
        (Verbosity::Normal, Signal::Traces) => {
            decode_traces(request)?.iter().for_each(|span| line_of_span(&mut text, span))
        }
        (Verbosity::Normal, Signal::Logs) => {
            decode_logs(request)?.iter().for_each(|log| line_of_log(&mut text, log))
        }
        (Verbosity::Detailed, Signal::Traces) => {
            detail(&mut text, &decode_traces(request)?, |span| (&*span.resource, &*span.scope), span_text)
        }
        (Verbosity::Detailed, Signal::Logs) => {
            detail(&mut text, &decode_logs(request)?, |log| (&*log.resource, &*log.scope), log_text)
        }
    }
    Ok(text)
}

/// Appends a line. Writing to a text cannot fail.
macro_rules! line {
    ($out:expr, $($arguments:tt)*) => {{
        let _ = writeln!($out, $($arguments)*);
    }};
}

fn line_of_span(out: &mut String, span: &Span) {
    let _ = write!(out, "{} {} {}", span.name, span.trace_id, span.span_id);
    inline(out, &span.attributes);
}

fn line_of_log(out: &mut String, log: &LogRecord) {
    out.push_str(&log.body.to_text());
    inline(out, &log.attributes);
}

fn inline(out: &mut String, attributes: &[KeyValue]) {
    for KeyValue { key, value } in attributes {
        let _ = write!(out, " {key}={}", value.to_text());
    }
    out.push('\n');
}

/// Items under the resource and scope they came with; neighbours share them.
fn detail<T>(
    out: &mut String,
    items: &[T],
    groups: impl Fn(&T) -> (&Resource, &Scope),
    mut write: impl FnMut(&mut String, &T),
) {
    let (mut last, mut number) = (None, 0);
    for item in items {
        let (resource, scope) = groups(item);
        let here = (std::ptr::from_ref(resource), std::ptr::from_ref(scope));
        if last.is_none_or(|(before, _)| before != here.0) {
            line!(out, "Resource SchemaURL: {}", resource.schema_url);
            attributes(out, "Resource attributes", &resource.attributes);
        }
        if last != Some(here) {
            line!(out, "Scope SchemaURL: {}", scope.schema_url);
            line!(out, "InstrumentationScope {} {}", scope.name, scope.version);
            attributes(out, "InstrumentationScope attributes", &scope.attributes);
            number = 0;
        }
        last = Some(here);
        line!(out, "#{number}");
        number += 1;
        write(out, item);
    }
}

fn span_text(out: &mut String, span: &Span) {
    line!(out, "    Trace ID       : {}", span.trace_id);
    line!(out, "    Parent ID      : {}", span.parent.map(|id| id.to_string()).unwrap_or_default());
    line!(out, "    ID             : {}", span.span_id);
    line!(out, "    Name           : {}", span.name);
    line!(out, "    Kind           : {}", span.kind.as_str());
    line!(out, "    TraceState     : {}", span.trace_state);
    line!(out, "    Start time     : {} ns since 1970", span.start.0);
    line!(out, "    Duration       : {} ns", span.end.since(span.start));
    let (status, message) = match &span.status {
        Status::Unset => ("Unset", ""),
        Status::Ok => ("Ok", ""),
        Status::Error(message) => ("Error", message.as_str()),
    };
    line!(out, "    Status code    : {status}");
    line!(out, "    Status message : {message}");
    attributes(out, "Attributes", &span.attributes);
    for (number, event) in span.events.iter().enumerate() {
        line!(out, "SpanEvent #{number}: {} at {} ns", event.name, event.time.0);
        attributes(out, "     Attributes", &event.attributes);
    }
    for (number, link) in span.links.iter().enumerate() {
        line!(out, "SpanLink #{number}: trace {} span {} {}", link.trace_id, link.span_id, link.trace_state);
        attributes(out, "     Attributes", &link.attributes);
    }
}

fn log_text(out: &mut String, log: &LogRecord) {
    line!(out, "    Timestamp      : {} ns since 1970", log.time.0);
    line!(out, "    Severity       : {} ({})", log.severity_text, log.severity);
    line!(out, "    Body           : {}", shown(&log.body));
    line!(out, "    Trace ID       : {}", log.trace_id.map(|id| id.to_string()).unwrap_or_default());
    line!(out, "    Span ID        : {}", log.span_id.map(|id| id.to_string()).unwrap_or_default());
    attributes(out, "Attributes", &log.attributes);
}

fn attributes(out: &mut String, title: &str, attributes: &[KeyValue]) {
    if attributes.is_empty() {
        return;
    }
    line!(out, "{title}:");
    for KeyValue { key, value } in attributes {
        line!(out, "     -> {key}: {}", shown(value));
    }
}

/// With its type, as the peer shows it: whether 3 was a number is often the question.
fn shown(value: &Value) -> String {
    let name = match value {
        Value::Empty => "Empty",
        Value::Str(_) => "Str",
        Value::Bool(_) => "Bool",
        Value::Int(_) => "Int",
        Value::Double(_) => "Double",
        Value::Bytes(_) => "Bytes",
        Value::Array(_) => "Slice",
        Value::Map(_) => "Map",
    };
    format!("{name}({})", if *value == Value::Empty { String::new() } else { value.to_text() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use throughline_otlp::json::to_protobuf;

    use super::*;

    const TRACES: &[u8] = br#"{"resourceSpans":[{"schemaUrl":"v1","resource":{"attributes":[{"key":"service.name","value":{"stringValue":"x"}}]},
        "scopeSpans":[{"scope":{"name":"lib","version":"1"},"spans":[
        {"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","name":"a","kind":5,"startTimeUnixNano":"10","endTimeUnixNano":"15",
         "status":{"code":2,"message":"no"},"attributes":[{"key":"n","value":{"intValue":"3"}}],
         "events":[{"name":"e","timeUnixNano":"11"}],
         "links":[{"traceId":"1af7651916cd43dd8448eb211c80319c","spanId":"c7ad6b7169203331","attributes":[{"key":"k","value":{"boolValue":true}}]}]},
        {"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"d7ad6b7169203331","name":"b"}]}]}]}"#;

    const LOGS: &[u8] = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"7","severityNumber":9,"severityText":"INFO",
        "body":{"stringValue":"hello"},"attributes":[{"key":"k","value":{"doubleValue":1.5}}]}]}]}]}"#;

    fn check(signal: Signal, json: &[u8], verbosity: Verbosity, expected: &str) {
        let request = to_protobuf(signal, json).unwrap();
        assert_eq!(described(signal, &request, verbosity).unwrap(), expected);
    }

    #[test]
    fn each_verbosity_shows_more() {
        let counts = "Traces {\"resource spans\": 1, \"spans\": 2}\n";
        check(Signal::Traces, TRACES, Verbosity::Basic, counts);
        let lines = "a 0af7651916cd43dd8448eb211c80319c b7ad6b7169203331 n=3\nb 0af7651916cd43dd8448eb211c80319c d7ad6b7169203331\n";
        check(Signal::Traces, TRACES, Verbosity::Normal, &format!("{counts}{lines}"));
        check(
            Signal::Traces,
            TRACES,
            Verbosity::Detailed,
            &format!("{counts}{}", include_str!("debug/detailed.txt")),
        );
        let counts = "Logs {\"resource logs\": 1, \"log records\": 1}\n";
        check(Signal::Logs, LOGS, Verbosity::Normal, &format!("{counts}hello k=1.5\n"));
        let detail = "Resource SchemaURL: \nScope SchemaURL: \nInstrumentationScope  \n#0\n    Timestamp      : 7 ns since 1970\n    \
            Severity       : INFO (9)\n    Body           : Str(hello)\n    Trace ID       : \n    Span ID        : \nAttributes:\n     -> k: Double(1.5)\n";
        check(Signal::Logs, LOGS, Verbosity::Detailed, &format!("{counts}{detail}"));
    }

    #[test]
    fn of_a_busy_second_the_first_and_some_of_the_others_are_written() {
        let check = |first_each_second, then_every, expected: &[u32]| {
            let sampling = Sampling { first_each_second, then_every };
            let written: Vec<u32> = (0..10).filter(|number| sampling.writes(*number)).collect();
            assert_eq!(written, expected);
        };
        check(2, 1, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        check(2, 3, &[0, 1, 4, 7]);
        check(3, 0, &[0, 1, 2]);
        check(0, 5, &[4, 9]);
        let start = Instant::now();
        let mut out = Out { writer: Box::new(Vec::new()), second: start, seen: 0 };
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!([0, 999, 1000, 1500, 2000].map(|millis| out.number(at(millis))), [0, 1, 0, 1, 0]);
    }

    /// A writer that can be looked into.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn it_goes_where_it_is_told() {
        let out = Shared::default();
        let exporter = DebugExporter::new(Verbosity::Basic, Sampling::default(), Box::new(out.clone()));
        let request = Bytes::from(to_protobuf(Signal::Traces, TRACES).unwrap());
        assert_eq!(exporter.send(Signal::Traces, request.clone()), Outcome::ACCEPTED);
        assert!(matches!(exporter.send(Signal::Traces, request.slice(1..)), Outcome::Refused { .. }));
        assert_eq!(out.0.lock().unwrap().as_slice(), b"Traces {\"resource spans\": 1, \"spans\": 2}\n");
    }
}
