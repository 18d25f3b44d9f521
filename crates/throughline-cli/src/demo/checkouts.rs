//! The seven checkouts: what is posted, and what must become of each.

use serde_json::{Value as Json, json};
use throughline_checkout::Service;
use throughline_otlp::TraceId;

use crate::exit::Failure;

/// What must become of a checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It goes all the way into a batch.
    Settled,
    /// The payment is declined.
    Declined,
    /// The e-mail throws.
    Bounced,
}

/// A checkout that was taken.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) outcome: Outcome,
    pub(super) user: &'static str,
    pub(super) trace_id: TraceId,
    pub(super) correlation_id: String,
}

/// Whose checkout, and what must become of it. The first is the source's, and the one that is shown.
const CHECKOUTS: [(&str, Outcome); 7] = [
    ("usr_123", Outcome::Settled),
    ("usr_124", Outcome::Settled),
    ("usr_declined", Outcome::Declined),
    ("usr_125", Outcome::Settled),
    ("usr_bounce", Outcome::Bounced),
    ("usr_126", Outcome::Settled),
    ("usr_127", Outcome::Settled),
];

/// How many of them go into the batch.
pub(super) fn settled() -> usize {
    CHECKOUTS.iter().filter(|(_, outcome)| *outcome == Outcome::Settled).count()
}

/// How many there are.
pub(super) fn total() -> usize {
    CHECKOUTS.len()
}

impl Outcome {
    /// The service whose processing must fail.
    pub(super) fn fails_at(self) -> Option<Service> {
        match self {
            Self::Settled => None,
            Self::Declined => Some(Service::PaymentWorker),
            Self::Bounced => Some(Service::EmailWorker),
        }
    }

    /// For a person, and for JSON.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Declined => "declined",
            Self::Bounced => "bounced",
        }
    }
}

/// The request's path.
pub(super) const PATH: &str = "/rpc/checkout/start";

/// The source's body, for a user.
pub(super) fn body(user: &str) -> Json {
    json!({ "cartValue": 149.99, "itemCount": 2, "userId": user, "tenantId": "acme" })
}

/// Posts all of them, one after the other.
pub(super) async fn place_all(api: &str) -> Result<Vec<Placed>, Failure> {
    let url = format!("{api}{PATH}");
    // The client blocks; the runtime must not.
    let posted = tokio::task::spawn_blocking(move || {
        CHECKOUTS.iter().map(|(user, outcome)| place(&url, user, *outcome)).collect()
    });
    posted.await.unwrap_or_else(|error| Err(format!("posting was cut off: {error}"))).map_err(Failure::Check)
}

fn place(url: &str, user: &'static str, outcome: Outcome) -> Result<Placed, String> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build();
    let sent = config
        .new_agent()
        .post(url)
        .header("content-type", "application/json")
        .send(body(user).to_string())
        .map_err(|error| format!("POST {url} failed: {error}"));
    let mut response = sent?;
    let status = response.status().as_u16();
    let text =
        response.body_mut().read_to_string().map_err(|error| format!("POST {url} broke off: {error}"))?;
    let wrong = |what: &str| format!("the checkout of {user} was answered with {status} and {what}: {text}");
    let answer: Json = serde_json::from_str(&text).map_err(|_| wrong("no JSON"))?;
    if !(200..300).contains(&status) {
        return Err(wrong("an error"));
    }
    let field = |name: &str| answer.get(name).and_then(Json::as_str);
    let trace_id = field("traceId").and_then(TraceId::from_hex).ok_or_else(|| wrong("no trace id"))?;
    let header = response.headers().get("x-trace-id").and_then(|value| value.to_str().ok());
    if header != Some(trace_id.to_string().as_str()) {
        return Err(wrong("another or no x-trace-id"));
    }
    let correlation_id = field("correlationId").ok_or_else(|| wrong("no correlation id"))?.to_owned();
    Ok(Placed { outcome, user, trace_id, correlation_id })
}
