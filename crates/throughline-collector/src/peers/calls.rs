//! A peer over HTTP.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, header};

use super::asking::{self, Inquiry, Silence};
use super::outbox::{self, Delivery, Failure};
use super::{HOLDS_PATH, KEEP_PATH, Peers};
use crate::export::otlp::Caller;

/// Which process calls, by a number that is drawn at its start. A node that does not know its own name among the others may
/// call itself: what it holds must not count twice.
#[derive(Clone, Debug)]
pub(super) struct Instance(HeaderValue);

const INSTANCE: HeaderName = HeaderName::from_static("x-throughline-instance");

impl Instance {
    pub(super) fn new() -> Self {
        let drawn = RandomState::new().hash_one(std::process::id());
        Self(HeaderValue::from_str(&format!("{drawn:016x}")).unwrap_or(HeaderValue::from_static("0")))
    }

    /// What every call of this process says.
    pub(super) fn headers(&self, bearer: HeaderValue) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, bearer), (INSTANCE, self.0.clone())])
    }

    /// Whether this process is the caller.
    pub(super) fn calls(&self, headers: &HeaderMap) -> bool {
        headers.get(INSTANCE) == Some(&self.0)
    }
}

/// Tells a peer what is wished of it.
pub(super) struct Telling(pub(super) Arc<Caller>);

impl outbox::Line for Telling {
    async fn keep(&self, call: Bytes) -> Delivery {
        let answered = match self.0.post(KEEP_PATH, call).await {
            Ok(answered) => answered,
            Err(why) => return Delivery::Again(Failure::Unreachable, why),
        };
        let said = || format!("{}: {}", answered.status, String::from_utf8_lossy(&answered.body));
        match answered.status {
            StatusCode::OK => Delivery::Taken,
            // All may be put right while this process runs.
            StatusCode::UNAUTHORIZED => Delivery::Again(Failure::Unauthenticated, said()),
            StatusCode::NOT_FOUND => Delivery::Again(Failure::Unknown, said()),
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Delivery::Never(said()),
            _ => Delivery::Again(Failure::Unavailable, said()),
        }
    }
}

/// Asks a peer what it holds.
pub(super) struct Asking {
    pub(super) caller: Arc<Caller>,
    pub(super) peers: Weak<Peers>,
}

impl asking::Line for Asking {
    async fn holds(&self, call: Bytes) -> Result<Vec<u8>, (Silence, String)> {
        let answered = self.caller.post(HOLDS_PATH, call).await.map_err(|why| (Silence::Unreachable, why))?;
        match answered.status {
            StatusCode::OK => Ok(answered.body),
            // 404 is a node of before, which does not know the call.
            status => {
                Err((Silence::Refused, format!("{status}: {}", String::from_utf8_lossy(&answered.body))))
            }
        }
    }

    fn from(&self) -> String {
        self.peers.upgrade().and_then(|peers| peers.name()).map_or_else(String::new, |name| name.to_string())
    }

    fn holding(&self, inquiry: &Inquiry, node: &str) {
        if let Some(peers) = self.peers.upgrade() {
            peers.partners.add(inquiry.trace(), node);
        }
    }

    fn named(&self, inquiry: &Arc<Inquiry>, others: &[Arc<str>]) {
        if let Some(peers) = self.peers.upgrade() {
            peers.named(inquiry, others);
        }
    }
}
