//! Real Kafka for `cargo xtask test`: starts one node for all tests of a run and says what to put into their
//! environment. It owns no way to start a broker: that is `e2e/src/broker.rs`, which tests with a broker of their own use too.

#[path = "../../e2e/src/broker.rs"]
#[expect(dead_code, reason = "xtask starts one node; killing and restarting one is for the tests")]
mod broker;

pub use broker::{Broker, BrokerError};

/// What a test run needs of Kafka: keep it until the tests are done.
#[derive(Debug)]
pub struct Provisioned {
    /// The running node, or why there is none. The reason says what to install.
    pub broker: Result<Broker, BrokerError>,
}

impl Provisioned {
    /// The variable that tells the tests: where the broker is, or why each test that needs it counts as skipped.
    pub fn variable(&self) -> (&'static str, String) {
        match &self.broker {
            Ok(broker) => (broker::BOOTSTRAP, broker.bootstrap().to_owned()),
            Err(reason) => (broker::UNAVAILABLE, reason.to_string()),
        }
    }
}

/// Starts a Kafka node; the first time, fetches it (40 MB, about a minute).
pub fn provision() -> Provisioned {
    Provisioned { broker: Broker::start() }
}
