//! What the tests across processes share: a real broker or a counted skip, and Kafka clients on topics of their own.
//! It holds no assertion about tracing; those stand in `tests/`.

pub mod broker;
pub mod kafka;

pub use broker::{Broker, BrokerError};
pub use kafka::{Kafka, kafka};
