//! Real Kafka for one test: where it is, or a skip that is counted, never silent.

use crate::broker::{self, Broker};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The file that skipped tests are written to, one line each; `cargo xtask test` counts them.
pub const SKIPPED: &str = "THROUGHLINE_SKIPPED";

/// A reachable Kafka.
#[derive(Debug, Clone)]
pub struct Kafka {
    bootstrap: String,
}

/// The Kafka of this test run, or `None` after the skip was reported: the test returns.
///
/// It is the broker `cargo xtask test` started; without that, a node that this process starts once and that ends with it.
///
/// # Panics
/// With `CI=true` when there is no Kafka: on CI nothing is skipped.
pub fn kafka() -> Option<Kafka> {
    match bootstrap() {
        Ok(bootstrap) => Some(Kafka { bootstrap }),
        Err(reason) => {
            skip(&format!("needs Kafka: {reason}"));
            None
        }
    }
}

/// A node of this test alone, to kill and restart, or `None` after the skip was reported.
///
/// # Panics
/// With `CI=true` when no node can be started.
pub fn own_broker(properties: &[(&str, &str)]) -> Option<Broker> {
    let started = match std::env::var(broker::UNAVAILABLE) {
        Ok(reason) => Err(reason),
        Err(_) => Broker::start_with(properties).map_err(|error| error.to_string()),
    };
    started.map_err(|reason| skip(&format!("needs a Kafka node of its own: {reason}"))).ok()
}

/// Reports that the running test is skipped, and why.
///
/// # Panics
/// With `CI=true`.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}", thread.name().unwrap_or("?"));
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{line}");
    // Past the test runner's capture: a skip is seen even when everything passes.
    let _ = writeln!(std::io::stderr(), "{line}");
    if let Some(path) = std::env::var_os(SKIPPED) {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        let written = opened.and_then(|mut file| writeln!(file, "{line}"));
        assert!(written.is_ok(), "the skip could not be recorded in {SKIPPED}: {written:?}");
    }
}

fn bootstrap() -> Result<String, String> {
    static OWN: OnceLock<Result<Broker, String>> = OnceLock::new();
    if let Ok(given) = std::env::var(broker::BOOTSTRAP) {
        return Ok(given);
    }
    if let Ok(reason) = std::env::var(broker::UNAVAILABLE) {
        return Err(reason);
    }
    // Statics are never dropped: the node sees this process end through its pipe.
    let own = OWN.get_or_init(|| Broker::start().map_err(|error| error.to_string()));
    own.as_ref().map(|broker| broker.bootstrap().to_owned()).map_err(Clone::clone)
}

impl Kafka {
    /// A Kafka at a known address, such as a test's own [`Broker`].
    pub fn at(bootstrap: impl Into<String>) -> Kafka {
        Kafka { bootstrap: bootstrap.into() }
    }

    /// The value of `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A client configuration with only the address set.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    /// A consumer configuration: a group of this name, from the earliest message, nothing committed by itself.
    pub fn consumer_config(&self, group: &str) -> ClientConfig {
        let mut config = self.config();
        config.set("group.id", group).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
        config
    }

    /// A name nobody else in this run uses, so that tests share one broker.
    pub fn unique(name: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Creates a topic with a unique name that begins with `name`, and returns that name.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn topic(&self, name: &str, partitions: i32) -> String {
        self.topic_with(name, partitions, &[]).await
    }

    /// [`Kafka::topic`] with topic settings, such as `max.message.bytes`.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
        let topic = Self::unique(name);
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("an admin client");
        let mut new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            new = new.set(key, value);
        }
        let created =
            admin.create_topics([&new], &AdminOptions::new()).await.expect("an answer from the broker");
        assert!(created.iter().all(Result::is_ok), "create topic {topic}: {created:?}");
        topic
    }
}
