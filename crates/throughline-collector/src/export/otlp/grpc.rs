//! A unary gRPC call: five bytes and a message out; a status in trailers, or in headers, back. No I/O.

use std::time::Duration;

use ::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use ::http::{HeaderName, Request, StatusCode, response};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http_body_util::Full;
use throughline_otlp::Signal;
use throughline_otlp::view::messages;
use throughline_otlp::wire::{Fields, WireError};

use super::connection::Payload;
use super::endpoint::Endpoint;
use super::framed::Framed;
use super::{Compression, http};
use crate::export::{Body, Outcome, Trouble};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const RETRY_INFO: &[u8] = b"google.rpc.RetryInfo";

/// `-bin` headers come with padding and without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// gRPC's names of its status codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The path of a signal's export method.
pub(super) fn path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    }
}

/// A call with `message` as it goes out, compressed already if it is to be.
pub(super) fn request(
    endpoint: &Endpoint,
    compression: Compression,
    timeout: Option<Duration>,
    message: Body,
) -> Result<Request<Payload>, String> {
    let length = u32::try_from(message.len()).map_err(|_| "larger than a gRPC message can be".to_owned())?;
    let [a, b, c, d] = length.to_be_bytes();
    let prefix = Bytes::copy_from_slice(&[u8::from(compression != Compression::None), a, b, c, d]);
    let mut request = Request::new(Full::new(Framed::new(prefix, message)));
    *request.method_mut() = ::http::Method::POST;
    *request.uri_mut() = endpoint.uri();
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    if compression == Compression::Gzip {
        headers.insert(GRPC_ENCODING, HeaderValue::from_static("gzip"));
    }
    // At most eight digits.
    if let Some(millis) = timeout.map(|timeout| timeout.as_millis()).filter(|millis| *millis < 100_000_000)
        && let Ok(value) = HeaderValue::try_from(format!("{millis}m"))
    {
        headers.insert(GRPC_TIMEOUT, value);
    }
    Ok(request)
}

/// What an answer means, by the OTLP specification's table of what is tried again.
pub(super) fn outcome(head: &response::Parts, trailers: Option<&HeaderMap>, body: &[u8]) -> Outcome {
    // A call that fails without a message says so in its headers.
    let end = trailers.filter(|end| end.contains_key(&GRPC_STATUS)).unwrap_or(&head.headers);
    let status =
        end.get(&GRPC_STATUS).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    let Some(status) = status else { return not_grpc(head.status) };
    if status == 0 {
        return Outcome::Accepted { rejected: message_of(body).and_then(http::partial_success) };
    }
    let after = end.get(&GRPC_STATUS_DETAILS).and_then(|details| retry_delay(details.as_bytes()));
    let name = CODES.get(status).copied().unwrap_or("an unknown code");
    let said = end.get(&GRPC_MESSAGE).map(|message| percent_decoded(message.as_bytes())).unwrap_or_default();
    let why = format!("{name} ({status}): {}", http::shortened(&said));
    match status {
        1 | 4 | 10 | 11 | 14 | 15 => Outcome::Retry { after, trouble: Trouble::Destination, why, rest: None },
        // Exhausted for good, unless it says when it will not be.
        8 if after.is_some() => Outcome::Retry { after, trouble: Trouble::Destination, why, rest: None },
        _ => Outcome::Refused { why },
    }
}

/// Something between us and the destination answered: by gRPC's mapping of HTTP status codes.
fn not_grpc(status: StatusCode) -> Outcome {
    let why = format!("answered with HTTP {status} and no gRPC status: is this a gRPC port?");
    match status.as_u16() {
        429 | 502 | 503 | 504 => {
            Outcome::Retry { after: None, trouble: Trouble::Destination, why, rest: None }
        }
        _ => Outcome::Refused { why },
    }
}

/// The message behind its prefix; `None` if it is not there whole, or compressed, which was not asked for.
fn message_of(body: &[u8]) -> Option<&[u8]> {
    match body.split_first_chunk::<5>()? {
        ([0, length @ ..], message) if message.len() == u32::from_be_bytes(*length) as usize => Some(message),
        _ => None,
    }
}

/// The pause in a `RetryInfo` among the details of a `google.rpc.Status` in base64.
fn retry_delay(header: &[u8]) -> Option<Duration> {
    let status = BASE64.decode(header).ok()?;
    let mut details = messages(&status, 3);
    details.find_map(|detail| delay_of(detail.ok()?).ok()?)
}

/// Of one detail, a `google.protobuf.Any`: type URL in field 1, the message in 2; its field 1 is a
/// `google.protobuf.Duration`.
fn delay_of(any: &[u8]) -> Result<Option<Duration>, WireError> {
    let (mut url, mut value): (&[u8], &[u8]) = (&[], &[]);
    for field in Fields::new(any) {
        let field = field?;
        match field.number {
            1 => url = field.bytes()?,
            2 => value = field.bytes()?,
            _ => {}
        }
    }
    if url.rsplit(|byte| *byte == b'/').next() != Some(RETRY_INFO) {
        return Ok(None);
    }
    let Some(delay) = messages(value, 1).last().transpose()? else { return Ok(None) };
    let (mut seconds, mut nanos) = (0, 0);
    for field in Fields::new(delay) {
        let field = field?;
        match field.number {
            1 => seconds = field.varint()?.cast_signed(),
            2 => nanos = field.varint32()?.cast_signed(),
            _ => {}
        }
    }
    // A negative pause is none.
    let (seconds, nanos) = (u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0));
    Ok(Some(Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into()))))
}

fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.split_at_checked(2).filter(|_| *first == b'%').and_then(|(digits, after)| {
            let byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            Some((byte, after))
        });
        let (byte, after) = escaped.unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use ::http::Response;
    use throughline_otlp::wire::put_bytes;

    use super::*;
    use crate::export::Rejected;
    use crate::refusal::Refusal;

    fn check(status: u16, headers: &[(&str, &str)], trailers: &[(&str, &str)], body: &[u8]) -> Outcome {
        let map = |list: &[(&str, &str)]| -> HeaderMap {
            list.iter()
                .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
                .collect()
        };
        let mut response = Response::builder().status(status).body(()).unwrap();
        *response.headers_mut() = map(headers);
        let trailers = map(trailers);
        outcome(&response.into_parts().0, (!trailers.is_empty()).then_some(&trailers), body)
    }

    fn later(after: Option<Duration>, why: &str) -> Outcome {
        Outcome::Retry { after, trouble: Trouble::Destination, why: why.to_owned(), rest: None }
    }

    #[test]
    fn success_and_partial_success() {
        let mut partial = vec![8, 3];
        put_bytes(&mut partial, 2, b"too old");
        let mut message = Vec::new();
        put_bytes(&mut message, 1, &partial);
        let body = [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()], message.as_slice()].concat();
        let rejected = Some(Rejected { items: 3, why: "too old".to_owned() });
        for (body, rejected) in [
            (body.as_slice(), rejected),
            (b"\0\0\0\0\0", None),
            (b"\x01\0\0\0\0", None),
            (b"\0\0\0\0\x07\xff", None),
            (b"", None),
        ] {
            assert_eq!(check(200, &[], &[("grpc-status", "0")], body), Outcome::Accepted { rejected });
        }
    }

    #[test]
    fn what_is_tried_again_is_what_the_specification_says() {
        let retried = [1, 4, 10, 11, 14, 15];
        for code in 1..=17_usize {
            let name = CODES.get(code).copied().unwrap_or("an unknown code");
            let why = format!("{name} ({code}): 50% off");
            let expected = if retried.contains(&code) { later(None, &why) } else { Outcome::Refused { why } };
            let end = [("grpc-status", code.to_string()), ("grpc-message", "50%25 off".to_owned())];
            let end: Vec<(&str, &str)> = end.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(check(200, &[], &end, b""), expected, "in trailers");
            assert_eq!(check(200, &end, &[], b""), expected, "in headers");
        }
    }

    #[test]
    fn the_pause_asked_for_is_read_from_the_details() {
        // What our own receiver says, and what grpc-go makes of 2.5 s, padded.
        let own = base64::engine::general_purpose::STANDARD_NO_PAD.encode(Refusal::Busy.status_proto());
        let mut delay = Vec::new();
        put_bytes(&mut delay, 1, &[8, 2, 16, 0x80, 0xca, 0xb5, 0xee, 1]);
        let mut any = Vec::new();
        put_bytes(&mut any, 1, b"type.googleapis.com/google.rpc.RetryInfo");
        put_bytes(&mut any, 2, &delay);
        let mut status = vec![8, 8];
        put_bytes(&mut status, 3, b"\x0a\x05other");
        put_bytes(&mut status, 3, &any);
        let padded = base64::engine::general_purpose::STANDARD.encode(&status);
        for (details, after) in [(own, 1000), (padded, 2500)] {
            let end = [("grpc-status", "8"), ("grpc-status-details-bin", details.as_str())];
            let expected = later(Some(Duration::from_millis(after)), "RESOURCE_EXHAUSTED (8): ");
            assert_eq!(check(200, &end, &[], b""), expected);
        }
        for nonsense in ["", "!", "AAAA", "CAgaBQoDYS9i"] {
            let end = [("grpc-status", "8"), ("grpc-status-details-bin", nonsense)];
            assert!(matches!(check(200, &end, &[], b""), Outcome::Refused { .. }), "{nonsense}");
        }
    }

    #[test]
    fn what_is_not_grpc_is_judged_by_its_http_status() {
        for (status, retried) in [(503, true), (429, true), (404, false), (200, false), (401, false)] {
            let said = check(status, &[("grpc-status", "x")], &[], b"");
            assert_eq!(matches!(said, Outcome::Retry { .. }), retried, "{said:?}");
            assert!(format!("{said:?}").contains("is this a gRPC port?"));
        }
    }
}
