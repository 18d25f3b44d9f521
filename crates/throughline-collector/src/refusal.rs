//! Why a request was not accepted, and how that is said in gRPC and in HTTP: status, retry hint, `google.rpc.Status`.
//!
//! The one rule that matters to a sender: [`Refusal::retry_after`] is set exactly if the same request may succeed later.

use std::time::Duration;

use http::StatusCode;
use throughline_otlp::Signal;
use throughline_otlp::wire::{put_bytes, put_tag, put_varint};

/// How long a sender should wait; exporters add their own jitter and growth.
const RETRY_AFTER: Duration = Duration::from_secs(1);

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// A request that was not accepted. Nothing of it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The bytes are not what they claim to be; says what is wrong.
    Malformed(String),
    /// Larger than this many bytes, as it came or inflated.
    TooLarge { limit: usize },
    /// Too much is in memory already.
    Busy,
    /// Journal full or failing, or the backend is stopping; says which.
    Unavailable(String),
    /// The body did not arrive in time.
    Slow,
    /// No such method or path.
    UnknownPath(String),
    /// No pipeline of the configuration takes this signal from this receiver.
    NoPipeline(Signal),
    /// HTTP only: not a POST.
    Method,
    /// HTTP only: neither protobuf nor JSON.
    ContentType(String),
    /// Compressed in a way that is not supported.
    Encoding(String),
    /// HTTP only: meant for another host.
    Host(String),
    /// No token, or a wrong one; the scheme that is asked for.
    Unauthenticated { scheme: String },
}

impl Refusal {
    /// Metric label.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::TooLarge { .. } => "too_large",
            Self::Busy => "busy",
            Self::Unavailable(_) => "unavailable",
            Self::Slow => "slow",
            Self::UnknownPath(_) => "unknown_path",
            Self::NoPipeline(_) => "no_pipeline",
            Self::Method => "method",
            Self::ContentType(_) => "content_type",
            Self::Encoding(_) => "encoding",
            Self::Host(_) => "host",
            Self::Unauthenticated { .. } => "unauthenticated",
        }
    }

    /// Every [`Refusal::reason`], so that each is exported from the start, with zero.
    pub(crate) const REASONS: [&'static str; 12] = [
        "malformed",
        "too_large",
        "busy",
        "unavailable",
        "slow",
        "unknown_path",
        "no_pipeline",
        "method",
        "content_type",
        "encoding",
        "host",
        "unauthenticated",
    ];

    /// Said to the sender.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Malformed(what) => what.clone(),
            Self::TooLarge { limit } => {
                format!("request is larger than the limit of {limit} bytes; send smaller batches")
            }
            Self::Busy => "too many bytes of requests in flight; retry later".to_owned(),
            Self::Unavailable(why) => why.clone(),
            Self::Slow => "request body did not arrive in time".to_owned(),
            Self::UnknownPath(path) => {
                format!("unknown path {path}; OTLP traces, logs and metrics are served")
            }
            Self::NoPipeline(signal) => {
                format!("no pipeline of this configuration takes {signal:?} from this receiver")
            }
            Self::Method => "method not allowed; use POST".to_owned(),
            Self::ContentType(found) => {
                format!(
                    "content type {found:?} is not supported; use application/x-protobuf or application/json"
                )
            }
            Self::Encoding(found) => format!("encoding {found:?} is not supported; use gzip or identity"),
            Self::Host(found) => format!(
                "this server does not answer to the host {found:?}; send to its address, or start it with --allow-host"
            ),
            Self::Unauthenticated { .. } => {
                "no token, or a wrong one; send one that this receiver's authenticator knows".to_owned()
            }
        }
    }

    /// gRPC status code, by the OTLP specification's table of what is retried.
    pub(crate) fn grpc(&self) -> u32 {
        match self {
            Self::Malformed(_) | Self::Method | Self::ContentType(_) => 3, // INVALID_ARGUMENT
            Self::Slow => 4,                                               // DEADLINE_EXCEEDED
            Self::Host(_) => 7,                                            // PERMISSION_DENIED
            Self::TooLarge { .. } | Self::Busy => 8,                       // RESOURCE_EXHAUSTED
            Self::UnknownPath(_) | Self::NoPipeline(_) | Self::Encoding(_) => 12, // UNIMPLEMENTED
            Self::Unavailable(_) => 14,                                    // UNAVAILABLE
            Self::Unauthenticated { .. } => 16,                            // UNAUTHENTICATED
        }
    }

    pub(crate) fn http(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Host(_) => StatusCode::FORBIDDEN,
            Self::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::UnknownPath(_) | Self::NoPipeline(_) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType(_) | Self::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    /// When to retry, if that can help.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        matches!(self, Self::Busy | Self::Unavailable(_)).then_some(RETRY_AFTER)
    }

    /// `google.rpc.Status` as protobuf; the retry hint is a `RetryInfo` detail.
    pub(crate) fn status_proto(&self) -> Vec<u8> {
        let mut status = Vec::new();
        put_number(&mut status, 1, u64::from(self.grpc()));
        put_bytes(&mut status, 2, self.message().as_bytes());
        if let Some(after) = self.retry_after() {
            let mut delay = Vec::new();
            put_number(&mut delay, 1, after.as_secs());
            let mut info = Vec::new();
            put_bytes(&mut info, 1, &delay);
            let mut any = Vec::new();
            put_bytes(&mut any, 1, RETRY_INFO.as_bytes());
            put_bytes(&mut any, 2, &info);
            put_bytes(&mut status, 3, &any);
        }
        status
    }

    /// `google.rpc.Status` as JSON.
    pub(crate) fn status_json(&self) -> Vec<u8> {
        let mut status = serde_json::json!({ "code": self.grpc(), "message": self.message() });
        if let (Some(after), Some(object)) = (self.retry_after(), status.as_object_mut()) {
            let delay = format!("{}s", after.as_secs());
            object.insert(
                "details".to_owned(),
                serde_json::json!([{ "@type": RETRY_INFO, "retryDelay": delay }]),
            );
        }
        status.to_string().into_bytes()
    }
}

/// A protobuf varint field; zero is left out, as proto3 does.
pub(crate) fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        put_tag(out, number, 0);
        put_varint(out, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_hints_stand_exactly_where_otlp_retries() {
        let refusals = [
            Refusal::Malformed("bad".to_owned()),
            Refusal::TooLarge { limit: 1 },
            Refusal::Busy,
            Refusal::Unavailable("full".to_owned()),
            Refusal::Slow,
            Refusal::UnknownPath("/x".to_owned()),
            Refusal::NoPipeline(Signal::Logs),
            Refusal::Method,
            Refusal::ContentType("text/plain".to_owned()),
            Refusal::Encoding("br".to_owned()),
            Refusal::Host("evil.com".to_owned()),
            Refusal::Unauthenticated { scheme: "Bearer".to_owned() },
        ];
        for (refusal, reason) in refusals.iter().zip(Refusal::REASONS) {
            assert_eq!(refusal.reason(), reason);
            let retried = matches!(refusal.http().as_u16(), 429 | 502 | 503 | 504);
            assert_eq!(refusal.retry_after().is_some(), retried, "{refusal:?}");
        }
    }

    #[test]
    fn status_encodes_as_google_rpc_status() {
        let refusal = Refusal::Unavailable("full".to_owned());
        let info = [b"\x0a\x28".as_slice(), RETRY_INFO.as_bytes(), b"\x12\x04\x0a\x02\x08\x01"].concat();
        let expected = [b"\x08\x0e\x12\x04full\x1a\x30".as_slice(), &info].concat();
        assert_eq!(refusal.status_proto(), expected);
        assert_eq!(
            String::from_utf8(refusal.status_json()).unwrap(),
            format!(
                r#"{{"code":14,"details":[{{"@type":"{RETRY_INFO}","retryDelay":"1s"}}],"message":"full"}}"#
            )
        );
        assert_eq!(Refusal::Malformed("x".to_owned()).status_proto(), b"\x08\x03\x12\x01x");
    }
}
