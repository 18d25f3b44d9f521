//! The checkout demo: four services as a reader would write them, business code and the drop-in Kafka clients. No
//! propagator, no attribute, no header is touched here; that is the point.
//!
//! ```text
//! POST /rpc/checkout/start
//!   api ──orders──▶ payment-worker ──payments──▶ email-worker ──notifications──▶ batcher ──settlements──▶
//! ```
//!
//! - [`api`]: takes a checkout over HTTP, publishes an [`Order`](events::Order).
//! - [`payment`]: charges it. The user `usr_declined`, and carts above [`payment::LIMIT`], are declined.
//! - [`email`]: tells the customer. The user `usr_bounce` has a mailbox that throws.
//! - [`batcher`]: collects five, or what came until two seconds after the last one, and publishes one
//!   [`Settlement`](events::Settlement).
//!
//! A message is committed after its handler ended (at least once). A business failure is final, marked on its span and
//! committed; if Kafka does not take the next message, the service ends with the error and its successor starts at the
//! message that was not finished.

pub mod api;
pub mod batcher;
pub mod broker;
pub mod email;
pub mod events;
pub mod payment;
mod settings;

use std::{fmt, future::Future, net::SocketAddr, str::FromStr};

pub use settings::{Settings, SettingsError};

/// One of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Takes checkouts over HTTP.
    Api,
    /// `orders` to `payments`.
    PaymentWorker,
    /// `payments` to `notifications`.
    EmailWorker,
    /// `notifications` to `settlements`, five at a time.
    Batcher,
}

impl Service {
    /// In the order in which a checkout meets them.
    pub const ALL: [Service; 4] =
        [Service::Api, Service::PaymentWorker, Service::EmailWorker, Service::Batcher];

    /// As it is called in traces, and as its consumer group.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Service::Api => "api",
            Service::PaymentWorker => "payment-worker",
            Service::EmailWorker => "email-worker",
            Service::Batcher => "batcher",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Service {
    type Err = UnknownService;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Service::ALL.into_iter().find(|service| service.name() == name).ok_or(UnknownService)
    }
}

/// Not one of the four names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected api, payment-worker, email-worker or batcher")]
pub struct UnknownService;

/// A service is up: the API listens, a worker has its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Requests are answered here.
    Listening(SocketAddr),
    /// The consumer group has given this member its partitions.
    Assigned {
        /// How many.
        partitions: usize,
    },
}

/// Why a service ended, or could not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Telemetry could not be set up.
    #[error(transparent)]
    Telemetry(#[from] throughline::telemetry::TelemetryError),
    /// Kafka refused a client, or did not take a message in time.
    #[error("kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// The API's address is not to be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The API's listener broke.
    #[error("http: {0}")]
    Http(std::io::Error),
}

/// Runs one service, with telemetry, until `stop` completes. `ready` is called once, when it is up.
///
/// # Errors
/// If telemetry, Kafka or the listener fail. What was not finished is delivered again to the next one.
pub async fn run(
    service: Service,
    settings: Settings,
    ready: impl FnOnce(Ready) + Send + 'static,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let _telemetry = throughline::telemetry::init(service.name())?;
    let outcome = match service {
        Service::Api => api::run(&settings, ready, stop).await,
        Service::PaymentWorker => payment::run(&settings, ready, stop).await,
        Service::EmailWorker => email::run(&settings, ready, stop).await,
        Service::Batcher => batcher::run(&settings, ready, stop).await,
    };
    if let Err(error) = &outcome {
        tracing::error!(%error, "{service} ended");
    }
    outcome
}
