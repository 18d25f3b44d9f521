//! What the tests across processes share: a real broker or a counted skip, Kafka clients on topics of their own, and our
//! backend as a process.
//! [`sink`] is where exported spans arrive, [`load`] what is sent when it matters which of them do, [`tier`] a front with
//! nodes behind it.
//! It holds no assertion about tracing; those stand in `tests/`.

pub mod broker;
pub mod kafka;
pub mod load;
pub mod serve;
pub mod sink;
pub mod tier;
pub mod wait;

pub use broker::{Broker, BrokerError};
pub use kafka::{Kafka, kafka};
