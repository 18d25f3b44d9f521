//! What a client's configuration says about it, read once: the attributes that every span and every metric of that client
//! carries.

use crate::SpanSpec;
use crate::span::Server;
use crate::text::Text;
use rdkafka::ClientConfig;
use std::sync::Arc;

/// The client, for its spans. Nothing is made up: what the configuration does not say is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ClientNames {
    /// `client.id`.
    pub(super) client: Option<Text>,
    /// `group.id`.
    pub(super) group: Option<Text>,
    /// The bootstrap server, if there is only one: librdkafka does not tell which broker took a record.
    pub(super) server: Option<Server>,
}

const DEFAULT_PORT: u16 = 9092;

impl ClientNames {
    pub(super) fn of(config: &ClientConfig) -> Arc<ClientNames> {
        let text = |key| config.get(key).filter(|value| !value.is_empty());
        let servers = text("bootstrap.servers").or_else(|| text("metadata.broker.list"));
        Arc::new(ClientNames {
            client: text("client.id").map(Text::of),
            group: text("group.id").map(Text::of),
            server: servers.and_then(only_server),
        })
    }

    /// Puts them on a producer's span: all but the group.
    pub(super) fn onto(&self, spec: SpanSpec) -> SpanSpec {
        spec.of_client(self.client.as_ref(), None, self.server.as_ref())
    }

    /// Puts them on a consumer's span.
    pub(super) fn onto_consumer(&self, spec: SpanSpec) -> SpanSpec {
        spec.of_client(self.client.as_ref(), self.group.as_ref(), self.server.as_ref())
    }
}

/// `[PROTOCOL://]HOST[:PORT][,…]`, as librdkafka takes it.
fn only_server(list: &str) -> Option<Server> {
    let mut entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let (Some(only), None) = (entries.next(), entries.next()) else { return None };
    let only = only.split_once("://").map_or(only, |(_, rest)| rest);
    let (host, port) = match only.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, port.parse().ok()?),
        _ => (only, DEFAULT_PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| Server { address: Text::of(host), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_bootstrap_server_is_the_server() {
        let cases = [
            ("kafka:19092", Some(("kafka", 19092))),
            ("kafka", Some(("kafka", 9092))),
            (" a:1 , b:2", None),
            (" a:1 ,", Some(("a", 1))),
            ("SASL_SSL://broker.example:9094", Some(("broker.example", 9094))),
            ("[::1]:9092", Some(("::1", 9092))),
            ("", None),
            (",", None),
            ("host:99999", None),
        ];
        for (list, want) in cases {
            let got = only_server(list);
            assert_eq!(got.as_ref().map(|s| (s.address.as_str(), s.port)), want, "{list:?}");
        }
    }

    #[test]
    fn names_come_from_the_configuration_and_from_nowhere_else() {
        let mut config = ClientConfig::new();
        assert_eq!(*ClientNames::of(&config), ClientNames::default());
        config.set("client.id", "svc").set("group.id", "workers").set("metadata.broker.list", "k:1");
        let names = ClientNames::of(&config);
        assert_eq!(
            (names.client.as_ref().map(Text::as_str), names.group.as_ref().map(Text::as_str)),
            (Some("svc"), Some("workers"))
        );
        assert_eq!(names.server.as_ref().map(|server| server.port), Some(1));
    }
}
