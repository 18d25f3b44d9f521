//! The three export methods of OTLP over gRPC, on hyper's HTTP/2 and nothing above it: a unary call is a five-byte
//! frame header and a protobuf message, and the answer's status stands in trailers.
//!
//! Refuses streams of messages, unknown methods and unknown encodings, each with the status the gRPC specification names.

use bytes::{Buf, Bytes};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{HeaderName, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use throughline_otlp::Signal;

use super::answer::{Answer, export_response_proto};
use super::{Receiver, body, gunzip};
use crate::intake::Accepted;
use crate::refusal::Refusal;

/// Compressed-flag and length before every gRPC message.
const PREFIX: usize = 5;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Answers one call; every outcome is an answer.
pub(super) async fn call(receiver: &Receiver, request: Request<Incoming>) -> Response<Answer> {
    if !is_grpc(request.headers()) || request.method() != Method::POST {
        receiver.entrance.counters.refuse(Refusal::ContentType(String::new()).reason());
        let mut response = Response::new(Answer::data("this port speaks gRPC; OTLP over HTTP has its own\n"));
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    match export(receiver, request).await {
        Ok(accepted) => success(&accepted),
        Err(refusal) => {
            receiver.entrance.counters.refuse(refusal.reason());
            failure(&refusal)
        }
    }
}

async fn export(receiver: &Receiver, request: Request<Incoming>) -> Result<Accepted, Refusal> {
    let Receiver { intake, limits, .. } = receiver;
    receiver.admit(request.headers())?;
    let signal = signal(request.uri().path())?;
    let encoding = request.headers().get(GRPC_ENCODING).cloned();
    let limit = limits.message_bytes;
    let mut reservation = intake.budget().open();
    let framed = body::collect(request.into_body(), limit.saturating_add(PREFIX), limits, &mut reservation)
        .await
        // The limit that was promised is the message's.
        .map_err(|refusal| match refusal {
            Refusal::TooLarge { .. } => Refusal::TooLarge { limit },
            other => other,
        })?;
    let (compressed, message) = unframe(framed)?;
    let (message, _held) = match (compressed, encoding.as_ref().map(HeaderValue::as_bytes)) {
        (false, _) => (message, reservation),
        (true, Some(b"gzip")) => gunzip(message, limit, reservation).await?,
        (true, None | Some(b"identity")) => {
            return Err(Refusal::Malformed(
                "message is marked compressed, without a grpc-encoding".to_owned(),
            ));
        }
        (true, Some(other)) => return Err(Refusal::Encoding(String::from_utf8_lossy(other).into_owned())),
    };
    intake.take(&receiver.entrance, signal, message).await
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    matches!(value.strip_prefix("application/grpc"), Some("" | "+proto"))
        || value.starts_with("application/grpc;")
        || value.starts_with("application/grpc+proto;")
}

fn signal(path: &str) -> Result<Signal, Refusal> {
    match path {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Ok(Signal::Traces),
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Ok(Signal::Logs),
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Ok(Signal::Metrics),
        other => Err(Refusal::UnknownPath(other.to_owned())),
    }
}

/// Splits the one message of a unary call from its prefix: whether it is compressed, and its bytes, not copied.
fn unframe(mut body: Bytes) -> Result<(bool, Bytes), Refusal> {
    let malformed = |what: &str| Refusal::Malformed(format!("gRPC frame: {what}"));
    if body.len() < PREFIX {
        return Err(malformed("no whole message prefix"));
    }
    let compressed = match body.get_u8() {
        0 => false,
        1 => true,
        _ => return Err(malformed("compressed flag is neither 0 nor 1")),
    };
    let declared = body.get_u32() as usize;
    match body.len() {
        found if found < declared => Err(malformed("body ends inside the message")),
        found if found > declared => Err(malformed("more than one message in a unary call")),
        _ => Ok((compressed, body)),
    }
}

fn success(accepted: &Accepted) -> Response<Answer> {
    let message = export_response_proto(accepted);
    let mut framed = Vec::with_capacity(PREFIX + message.len());
    framed.push(0);
    // A response is a count and one sentence.
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(&message);
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    respond(Answer::data(framed).with_trailers(trailers))
}

/// A response of headers only ("Trailers-Only"), as gRPC wants a call that fails without a message.
fn failure(refusal: &Refusal) -> Response<Answer> {
    let mut response = respond(Answer::default());
    let headers = response.headers_mut();
    headers.insert(GRPC_STATUS, HeaderValue::from(refusal.grpc()));
    let text = |text: String| HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    headers.insert(GRPC_MESSAGE, text(percent_encode(&refusal.message())));
    headers.insert(GRPC_STATUS_DETAILS, text(base64(&refusal.status_proto())));
    if matches!(refusal, Refusal::Encoding(_)) {
        headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("gzip,identity"));
    }
    response
}

fn respond(answer: Answer) -> Response<Answer> {
    let mut response = Response::new(answer);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// `grpc-message` carries printable ASCII as it is, everything else and `%` as `%XX` of UTF-8.
fn percent_encode(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Base64 without padding, as gRPC carries `-bin` headers.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..=chunk.len() {
            let index = (group >> (18 - 6 * digit) & 0x3f) as usize;
            encoded.extend(DIGITS.get(index).copied().map(char::from));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unary_call_is_exactly_one_frame() {
        let check = |bytes: &'static [u8]| unframe(Bytes::from_static(bytes)).map_err(|r| r.message());
        assert_eq!(check(b"\0\0\0\0\x02ab"), Ok((false, Bytes::from_static(b"ab"))));
        assert_eq!(check(b"\x01\0\0\0\0"), Ok((true, Bytes::new())));
        for (bytes, expected) in [
            (b"".as_slice(), "gRPC frame: no whole message prefix"),
            (b"\0\0\0\0", "gRPC frame: no whole message prefix"),
            (b"\0\0\0\0\x03ab", "gRPC frame: body ends inside the message"),
            (b"\0\xff\xff\xff\xffab", "gRPC frame: body ends inside the message"),
            (b"\0\0\0\0\x01ab", "gRPC frame: more than one message in a unary call"),
            (b"\x02\0\0\0\0", "gRPC frame: compressed flag is neither 0 nor 1"),
        ] {
            assert_eq!(check(bytes), Err(expected.to_owned()));
        }
    }

    #[test]
    fn header_encodings() {
        assert_eq!(percent_encode("50% of \u{e9}\n"), "50%25 of %C3%A9%0A");
        // RFC 4648, section 10, without padding.
        for (plain, encoded) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8");
    }

    #[test]
    fn grpc_content_types() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc+json", false),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(is_grpc(&headers), expected, "{value}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
