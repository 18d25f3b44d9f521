//! What a client's configuration says about it, read once: the attributes every span of that client carries. And the
//! topics it has met, so that a span does not copy a name that is the same with every message.

use crate::SpanSpec;
use rdkafka::ClientConfig;
use std::sync::{Arc, PoisonError, RwLock};
use throughline_semconv::attribute;

/// The client, for its spans. Nothing is made up: what the configuration does not say is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ClientNames {
    /// `client.id`.
    pub(super) client: Option<Arc<str>>,
    /// `group.id`.
    pub(super) group: Option<Arc<str>>,
    /// The first bootstrap server: librdkafka does not tell which broker took a record.
    pub(super) server: Option<Server>,
}

/// Topics a client remembers; past that (a service that makes topics up as it goes) a name is copied each time.
const MAX_TOPICS: usize = 256;

/// The names of topics, each kept once.
#[derive(Debug, Default)]
pub(super) struct Topics(RwLock<Vec<Arc<str>>>);

impl Topics {
    pub(super) fn name(&self, topic: &str) -> Arc<str> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.iter().find(|name| ***name == *topic) {
            return Arc::clone(name);
        }
        drop(known);
        let name: Arc<str> = topic.into();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Two threads may have come here at once; a name that is kept twice does no harm.
        if known.len() < MAX_TOPICS {
            known.push(Arc::clone(&name));
        }
        name
    }
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) address: Arc<str>,
    pub(super) port: u16,
}

const DEFAULT_PORT: u16 = 9092;

impl ClientNames {
    pub(super) fn of(config: &ClientConfig) -> Arc<ClientNames> {
        let text = |key| config.get(key).filter(|value| !value.is_empty());
        let servers = text("bootstrap.servers").or_else(|| text("metadata.broker.list"));
        Arc::new(ClientNames {
            client: text("client.id").map(Into::into),
            group: text("group.id").map(Into::into),
            server: servers.and_then(first_server),
        })
    }

    /// Puts them on a span, all but the group.
    pub(super) fn onto(&self, mut spec: SpanSpec) -> SpanSpec {
        if let Some(id) = &self.client {
            spec = spec.client_id(Arc::clone(id));
        }
        if let Some(server) = &self.server {
            spec = spec.set(attribute::SERVER_ADDRESS, Arc::clone(&server.address));
            spec = spec.set(attribute::SERVER_PORT, i64::from(server.port));
        }
        spec
    }

    /// The same with the consumer group.
    pub(super) fn onto_consumer(&self, spec: SpanSpec) -> SpanSpec {
        let spec = self.onto(spec);
        match &self.group {
            Some(group) => spec.group(Arc::clone(group)),
            None => spec,
        }
    }
}

/// `[PROTOCOL://]HOST[:PORT][,…]`, as librdkafka takes it.
fn first_server(list: &str) -> Option<Server> {
    let first = list.split(',').map(str::trim).find(|entry| !entry.is_empty())?;
    let first = first.split_once("://").map_or(first, |(_, rest)| rest);
    let (host, port) = match first.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, port.parse().ok()?),
        _ => (first, DEFAULT_PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| Server { address: host.into(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bootstrap_server_is_the_server() {
        let cases = [
            ("kafka:19092", Some(("kafka", 19092))),
            ("kafka", Some(("kafka", 9092))),
            (" a:1 , b:2", Some(("a", 1))),
            ("SASL_SSL://broker.example:9094", Some(("broker.example", 9094))),
            ("[::1]:9092", Some(("::1", 9092))),
            ("", None),
            (",", None),
            ("host:99999", None),
        ];
        for (list, want) in cases {
            let got = first_server(list);
            assert_eq!(got.as_ref().map(|s| (&*s.address, s.port)), want, "{list:?}");
        }
    }

    #[test]
    fn a_topic_is_kept_once_and_only_so_many_are() {
        let topics = Topics::default();
        assert!(Arc::ptr_eq(&topics.name("orders"), &topics.name("orders")));
        for index in 0..2 * MAX_TOPICS {
            assert_eq!(&*topics.name(&index.to_string()), index.to_string());
        }
        assert_eq!(topics.0.read().unwrap().len(), MAX_TOPICS);
    }

    #[test]
    fn names_come_from_the_configuration_and_from_nowhere_else() {
        let mut config = ClientConfig::new();
        assert_eq!(*ClientNames::of(&config), ClientNames::default());
        config.set("client.id", "svc").set("group.id", "workers").set("metadata.broker.list", "k:1");
        let names = ClientNames::of(&config);
        assert_eq!((names.client.as_deref(), names.group.as_deref()), (Some("svc"), Some("workers")));
        assert_eq!(names.server.as_ref().map(|server| server.port), Some(1));
    }
}
