//! What leaves the collector: one request at a time, to one destination, with one [`Outcome`].
//!
//! In the order of a request's way: [`balance`] splits it over the members of a [`ring`] that a [`resolver`] keeps,
//! [`otlp`] speaks OTLP over gRPC and HTTP with [`tls`] beneath and a token of [`bearer`], [`kafka`] writes records, [`mod@file`] and [`debug`] write; [`retry`] says when to try
//! again. What to send, and in which order, is not known here: whoever calls holds the queue, and nothing waits in
//! memory but what it has handed over.

use std::time::Duration;

use throughline_otlp::Signal;

pub use self::body::Body;

pub mod balance;
pub mod bearer;
pub mod body;
pub mod debug;
pub mod file;
pub mod kafka;
pub mod otlp;
pub mod resolver;
pub mod retry;
pub mod ring;
pub mod tls;

/// How sending one request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The destination has it; it need not be sent again.
    Accepted {
        /// What of it the destination refused for good, or only what it had to say (zero items).
        rejected: Option<Rejected>,
    },
    /// It may succeed later.
    Retry {
        /// The pause that the destination asked for.
        after: Option<Duration>,
        /// Who is in trouble.
        trouble: Trouble,
        /// For the log.
        why: String,
        /// What is still to be sent if the rest has arrived: send this in place of the request. `None`: all of it.
        rest: Option<Body>,
    },
    /// It will never succeed: drop it, count it, say why.
    Refused {
        /// For the log.
        why: String,
    },
}

/// Partial success: the rest of the request was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Spans or log records that were not.
    pub items: u64,
    /// What the destination says about it.
    pub why: String,
}

/// Whose trouble a failure is, which decides whether another member of a ring may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The destination could not be reached, or did not answer. It may have the request all the same.
    Connection,
    /// The destination answered that it cannot take it now.
    Destination,
}

/// A setting that cannot work: found when an exporter is made, before anything is sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {problem}")]
pub struct SettingError {
    /// The key as it stands in the exporter's block of the configuration, with dots.
    pub key: &'static str,
    /// What is wrong with it and what is allowed.
    pub problem: String,
}

impl SettingError {
    pub(crate) fn new(key: &'static str, problem: impl Into<String>) -> Self {
        Self { key, problem: problem.into() }
    }
}

/// One destination, of any kind.
#[derive(Debug)]
pub enum Exporter {
    /// `otlp`, `otlp_grpc`, `otlphttp`, `otlp_http`
    Otlp(Box<otlp::OtlpExporter>),
    /// `loadbalancing`, `load_balancing`
    LoadBalancing(Box<balance::LoadBalancer>),
    /// `kafka`
    Kafka(Box<kafka::KafkaExporter>),
    /// `file`
    File(file::FileExporter),
    /// `debug`
    Debug(debug::DebugExporter),
}

impl Exporter {
    /// Sends one `Export*ServiceRequest`. Cancelling it leaves open whether the destination has it.
    pub async fn send(&self, signal: Signal, request: Body) -> Outcome {
        match self {
            Self::Otlp(otlp) => otlp.send(signal, request).await,
            Self::LoadBalancing(balancer) => balancer.send(signal, request).await,
            Self::Kafka(kafka) => kafka.send(signal, request.joined()).await,
            Self::File(file) => file.send(signal, request.joined()).await,
            Self::Debug(debug) => debug.send(signal, request.joined()),
        }
    }
}

impl Outcome {
    pub(crate) const ACCEPTED: Self = Self::Accepted { rejected: None };

    pub(crate) fn unreachable(why: impl Into<String>) -> Self {
        Self::Retry { after: None, trouble: Trouble::Connection, why: why.into(), rest: None }
    }
}

/// The destination of the tests, of whose crate nothing else is wanted here.
#[cfg(test)]
#[path = "../../../e2e/src/sink.rs"]
#[expect(dead_code, reason = "it is a process of its own elsewhere")]
mod sink;
