//! `trace ID --follow`: the server's event stream, a line a span or log. Ends when the server says the trace is quiet.

use std::io::{BufRead, BufReader};

use serde_json::Value as Json;
use throughline_trace::time;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// One event of the stream.
#[derive(Debug, PartialEq)]
struct Event {
    name: String,
    data: String,
}

/// Prints what arrives until the trace is quiet.
pub(crate) fn run(client: &Client, id: &str, path: &str, json: bool, output: &Output) -> Result<(), Failure> {
    let stream = client.stream(path)?;
    let mut spans = 0_usize;
    for event in events(BufReader::new(stream)) {
        let event = event?;
        let data: Json = serde_json::from_str(&event.data).unwrap_or_default();
        match event.name.as_str() {
            "span" | "log" => {
                spans += usize::from(event.name == "span");
                let as_json =
                    || serde_json::json!({ "event": event.name, event.name.as_str(): data }).to_string();
                output.line(&if json { as_json() } else { line(&event.name, &data) });
            }
            "quiet" if spans > 0 => {
                let plural = if spans == 1 { "" } else { "s" };
                output.talk(&format!("quiet after {spans} span{plural}"));
                return Ok(());
            }
            "quiet" => {
                return Err(Failure::NotFound(format!("nothing of trace {id} has arrived within 30 s")));
            }
            "waiting" => output.talk(&format!(
                "nothing of trace {id} has arrived yet; waiting for it, {} s at most",
                data.get("seconds").unwrap_or_default()
            )),
            "failed" => {
                return Err(Failure::Server(format!("the server gave up: {}", text(&data, "error"))));
            }
            // A later server may say more.
            _ => {}
        }
    }
    Err(Failure::Server(
        "the server ended the stream before the trace was quiet; it may be stopping".to_owned(),
    ))
}

/// `api  send orders (PRODUCER)  3.00 ms`, `api  INFO checkout taken`.
fn line(event: &str, data: &Json) -> String {
    let service = text(data, "service");
    let line = if event == "span" {
        let nanos = data.get("durationNanos").and_then(Json::as_i64).unwrap_or_default();
        let took = time::duration(i128::from(nanos));
        let failed = if text(data, "status") == "error" { "  ✗" } else { "" };
        let kind = text(data, "kind").to_uppercase();
        format!("{service}  {} ({kind})  {took}{failed}", text(data, "operation"))
    } else {
        let body = data.get("body").map(|body| body.as_str().map_or_else(|| body.to_string(), str::to_owned));
        format!("{service}  {} {}", text(data, "severity"), body.unwrap_or_default())
    };
    // Names come from strangers; a span must not drive the terminal.
    line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn text<'a>(data: &'a Json, key: &str) -> &'a str {
    data.get(key).and_then(Json::as_str).unwrap_or_default()
}

/// The stream's events: `event:` and `data:` lines, an empty line after each. Comments keep the connection alive.
fn events(stream: impl BufRead) -> impl Iterator<Item = Result<Event, Failure>> {
    let mut lines = stream.lines();
    std::iter::from_fn(move || {
        let (mut name, mut data) = (String::new(), Vec::new());
        loop {
            let line = match lines.next()? {
                Ok(line) => line,
                Err(error) => return Some(Err(Failure::Server(format!("the stream broke off: {error}")))),
            };
            match line.split_once(':') {
                _ if line.is_empty() && (!name.is_empty() || !data.is_empty()) => {
                    return Some(Ok(Event { name, data: data.join("\n") }));
                }
                Some(("event", value)) => name = value.trim_start().to_owned(),
                Some(("data", value)) => data.push(value.strip_prefix(' ').unwrap_or(value).to_owned()),
                _ => {}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_with_comments_and_split_data() {
        let stream =
            ": hello\n\nevent: span\ndata: {\"a\":\ndata: 1}\n\n:\n\nevent:quiet\ndata:{}\n\nevent: cut off";
        let read: Vec<_> = events(stream.as_bytes()).map(|event| event.unwrap()).collect();
        let event = |name: &str, data: &str| Event { name: name.to_owned(), data: data.to_owned() };
        assert_eq!(read, [event("span", "{\"a\":\n1}"), event("quiet", "{}")]);
    }

    #[test]
    fn a_line_says_who_did_what_and_cannot_drive_the_terminal() {
        let span = serde_json::json!({"service": "api", "operation": "send\u{1b}[2J", "kind": "producer",
            "durationNanos": 3_000_000, "status": "error"});
        assert_eq!(line("span", &span), "api  send\u{fffd}[2J (PRODUCER)  3.00 ms  ✗");
        let log = serde_json::json!({"service": "api", "severity": "INFO", "body": {"a": 1}});
        assert_eq!(line("log", &log), "api  INFO {\"a\":1}");
    }
}
