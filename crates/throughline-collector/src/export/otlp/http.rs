//! OTLP over HTTP: a POST out, a status and a short body back. No I/O.

use std::time::{Duration, SystemTime};

use ::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use ::http::{Method, Request, response};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::Value as Json;
use throughline_otlp::Signal;
use throughline_otlp::view::messages;
use throughline_otlp::wire::Fields;

use super::connection::Payload;
use super::endpoint::Endpoint;
use super::framed::Framed;
use super::{Compression, Encoding};
use crate::export::{Body, Outcome, Rejected, Trouble};

/// What is shown of a foreign sentence.
const SHOWN: usize = 300;

pub(super) fn request(
    endpoint: &Endpoint,
    encoding: Encoding,
    compression: Compression,
    message: Body,
) -> Request<Payload> {
    let mut request = Request::new(Full::new(Framed::new(Bytes::new(), message)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = endpoint.uri();
    let headers = request.headers_mut();
    let content_type = match encoding {
        Encoding::Proto => "application/x-protobuf",
        Encoding::Json => "application/json",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if compression == Compression::Gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    request
}

/// What an answer means. `now` is for a `Retry-After` that is a date.
pub(super) fn outcome(head: &response::Parts, body: &[u8], signal: Signal, now: SystemTime) -> Outcome {
    let json = is_json(&head.headers);
    if head.status.is_success() {
        let rejected = if json { partial_success_json(signal, body) } else { partial_success(body) };
        return Outcome::Accepted { rejected };
    }
    let said = if json { message_json(body) } else { message(head, body) };
    let moved = head.headers.get(LOCATION).filter(|_| head.status.is_redirection());
    let said = moved.map_or(said, |to| {
        format!("moved to {}: set that as the endpoint", String::from_utf8_lossy(to.as_bytes()))
    });
    let why = format!("HTTP {}: {}", head.status, shortened(&said));
    match head.status.as_u16() {
        429 | 502 | 503 | 504 => {
            let after = head.headers.get(RETRY_AFTER).and_then(|value| retry_after(value, now));
            Outcome::Retry { after, trouble: Trouble::Destination, why, rest: None }
        }
        _ => Outcome::Refused { why },
    }
}

/// Of an `Export*ServiceResponse`: how many items were refused, and why. What cannot be read says nothing.
pub(super) fn partial_success(response: &[u8]) -> Option<Rejected> {
    let partial = messages(response, 1).last()?.ok()?;
    let mut rejected = Rejected::default();
    for field in Fields::new(partial) {
        let field = field.ok()?;
        match field.number {
            1 => rejected.items = u64::try_from(field.varint().ok()?.cast_signed()).unwrap_or(0),
            2 => shortened(&String::from_utf8_lossy(field.bytes().ok()?)).clone_into(&mut rejected.why),
            _ => {}
        }
    }
    (rejected != Rejected::default()).then_some(rejected)
}

fn partial_success_json(signal: Signal, body: &[u8]) -> Option<Rejected> {
    let response: Json = serde_json::from_slice(body).ok()?;
    let partial = response.get("partialSuccess")?;
    let count = match signal {
        Signal::Traces => "rejectedSpans",
        Signal::Logs => "rejectedLogRecords",
        Signal::Metrics => "rejectedDataPoints",
    };
    // 64-bit numbers are strings in OTLP/JSON; not everybody knows.
    let items = partial.get(count).and_then(|count| count.as_u64().or_else(|| count.as_str()?.parse().ok()));
    let why =
        partial.get("errorMessage").and_then(Json::as_str).map(shortened).unwrap_or_default().to_owned();
    let rejected = Rejected { items: items.unwrap_or(0), why };
    (rejected != Rejected::default()).then_some(rejected)
}

/// The message of a `google.rpc.Status`, or the text.
fn message(head: &response::Parts, body: &[u8]) -> String {
    let is_protobuf = content_type(&head.headers).contains("protobuf");
    let status = is_protobuf.then(|| messages(body, 2).last()).flatten();
    String::from_utf8_lossy(status.and_then(Result::ok).unwrap_or(body)).trim().to_owned()
}

fn message_json(body: &[u8]) -> String {
    let status: Option<Json> = serde_json::from_slice(body).ok();
    let message = status.as_ref().and_then(|status| status.get("message")?.as_str());
    message.map_or_else(|| String::from_utf8_lossy(body).trim().to_owned(), str::to_owned)
}

fn is_json(headers: &HeaderMap) -> bool {
    content_type(headers).starts_with("application/json")
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Seconds or a date; a date that has passed is now.
fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The beginning of a foreign sentence, whole characters of it.
pub(super) fn shortened(text: &str) -> &str {
    text.get(..text.floor_char_boundary(SHOWN)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use ::http::{HeaderName, Response};
    use throughline_otlp::wire::put_bytes;

    use super::*;

    /// Sunday, 6 November 1994, 08:49:37 UTC.
    const NOW: Duration = Duration::from_secs(784_111_777);

    fn check(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Outcome {
        let mut response = Response::builder().status(status).body(()).unwrap();
        for (name, value) in headers {
            response.headers_mut().insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        outcome(&response.into_parts().0, body, Signal::Traces, SystemTime::UNIX_EPOCH + NOW)
    }

    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
    const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

    #[test]
    fn success_and_partial_success() {
        let mut partial = vec![8, 3];
        put_bytes(&mut partial, 2, "too old".as_bytes());
        let mut proto = Vec::new();
        put_bytes(&mut proto, 1, &partial);
        let warning = br#"{"partialSuccess":{"errorMessage":"deprecated"}}"#;
        for (status, headers, body, rejected) in [
            (200, PROTOBUF, proto.as_slice(), Some((3, "too old"))),
            (200, PROTOBUF, b"", None),
            (200, PROTOBUF, b"\xff\xff", None),
            (202, JSON, b"{}", None),
            (200, JSON, br#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"x"}}"#, Some((2, "x"))),
            (200, JSON, br#"{"partialSuccess":{"rejectedSpans":2}}"#, Some((2, ""))),
            (200, JSON, warning, Some((0, "deprecated"))),
            (200, JSON, br#"{"partialSuccess":{}}"#, None),
            (204, JSON, b"not json", None),
        ] {
            let rejected = rejected.map(|(items, why)| Rejected { items, why: why.to_owned() });
            assert_eq!(check(status, &[headers], body), Outcome::Accepted { rejected });
        }
    }

    #[test]
    fn what_is_tried_again_and_when() {
        let now = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (status, after, expected) in [
            (503, Some("7"), Some(7)),
            (429, Some("Sun, 06 Nov 1994 08:51:37 GMT"), Some(120)),
            (502, Some(now), Some(0)),
            (504, Some("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0)),
            (503, Some("soon"), None),
            (503, Some("-1"), None),
            (503, None, None),
        ] {
            let headers: Vec<_> = after.map(|after| ("retry-after", after)).into_iter().collect();
            let said = check(status, &headers, b"busy");
            let Outcome::Retry { after, trouble: Trouble::Destination, why, rest: None } = said else {
                panic!("{said:?}")
            };
            assert_eq!(after, expected.map(Duration::from_secs));
            assert!(why.starts_with(&format!("HTTP {status}")) && why.ends_with(": busy"), "{why}");
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        let mut status = vec![8, 3];
        put_bytes(&mut status, 2, b"bad span");
        let long = "\u{e9}".repeat(400);
        for (code, headers, body, why) in [
            (400, vec![PROTOBUF], status.as_slice(), "HTTP 400 Bad Request: bad span"),
            (401, vec![JSON], br#"{"code":16,"message":"who?"}"#, "HTTP 401 Unauthorized: who?"),
            (
                404,
                vec![("content-type", "text/plain")],
                b"404 page not found\n",
                "HTTP 404 Not Found: 404 page not found",
            ),
            (413, vec![JSON], b"oops", "HTTP 413 Payload Too Large: oops"),
            (500, vec![], b"", "HTTP 500 Internal Server Error: "),
            (
                308,
                vec![("location", "https://b/")],
                b"",
                "HTTP 308 Permanent Redirect: moved to https://b/: set that as the endpoint",
            ),
            (501, vec![], long.as_bytes(), &format!("HTTP 501 Not Implemented: {}", "\u{e9}".repeat(150))),
        ] {
            assert_eq!(check(code, &headers, body), Outcome::Refused { why: why.to_owned() });
        }
    }
}
