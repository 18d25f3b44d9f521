//! Where a service finds Kafka and where it listens. Everything about telemetry is in `OTEL_*`.

use std::{env, net::SocketAddr, time::Duration};

use crate::Service;

/// What the four services are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Kafka's bootstrap servers (`KAFKA_BOOTSTRAP_SERVERS`, default `localhost:9092`).
    pub bootstrap: String,
    /// Where the API listens (`CHECKOUT_LISTEN`, default `127.0.0.1:3000`; port 0 is any free one).
    pub listen: SocketAddr,
    /// How long librdkafka tries to deliver an order, its `message.timeout.ms` (`CHECKOUT_DELIVERY_TIMEOUT_MS`, default
    /// 5,000). When it gives up the API answers 503: at that time for an order that waits, some seconds later for one that
    /// was on its way to a broker that died.
    pub delivery_timeout: Duration,
    /// The service that sends with a plain rdkafka producer, so that its hop loses the trace
    /// (`CHECKOUT_BREAK_INJECTION`). Only a test wants that.
    pub break_injection: Option<Service>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            bootstrap: "localhost:9092".to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
            delivery_timeout: Duration::from_secs(5),
            break_injection: None,
        }
    }
}

/// A variable that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}={value:?} cannot be used: {expected}")]
pub struct SettingsError {
    variable: &'static str,
    value: String,
    expected: &'static str,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// If a variable holds what it should not.
    pub fn from_env() -> Result<Settings, SettingsError> {
        Settings::read(|name| env::var(name).ok())
    }

    fn read(lookup: impl Fn(&'static str) -> Option<String>) -> Result<Settings, SettingsError> {
        let defaults = Settings::default();
        let millis = |value: &str| value.parse().ok().filter(|millis| *millis > 0).map(Duration::from_millis);
        Ok(Settings {
            bootstrap: lookup("KAFKA_BOOTSTRAP_SERVERS").unwrap_or(defaults.bootstrap),
            listen: parsed(
                &lookup,
                "CHECKOUT_LISTEN",
                "expected an address such as 127.0.0.1:3000",
                |value| value.parse().ok(),
            )?
            .unwrap_or(defaults.listen),
            delivery_timeout: parsed(
                &lookup,
                "CHECKOUT_DELIVERY_TIMEOUT_MS",
                "expected milliseconds, above zero",
                millis,
            )?
            .unwrap_or(defaults.delivery_timeout),
            break_injection: parsed(
                &lookup,
                "CHECKOUT_BREAK_INJECTION",
                "expected api, payment-worker, email-worker or batcher",
                |value| value.parse().ok(),
            )?,
        })
    }
}

fn parsed<T>(
    lookup: impl Fn(&'static str) -> Option<String>,
    variable: &'static str,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, SettingsError> {
    let Some(value) = lookup(variable).filter(|value| !value.is_empty()) else { return Ok(None) };
    match parse(&value) {
        Some(parsed) => Ok(Some(parsed)),
        None => Err(SettingsError { variable, value, expected }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variable_is_read_or_named() {
        let read = |name: &'static str, value: &str| {
            Settings::read(|wanted| (wanted == name).then(|| value.to_owned()))
                .map_err(|error| error.to_string())
        };
        let default = Settings::default();
        for (name, value, expected) in [
            ("KAFKA_BOOTSTRAP_SERVERS", "k:1", Settings { bootstrap: "k:1".to_owned(), ..default.clone() }),
            (
                "CHECKOUT_LISTEN",
                "127.0.0.1:0",
                Settings { listen: ([127, 0, 0, 1], 0).into(), ..default.clone() },
            ),
            (
                "CHECKOUT_BREAK_INJECTION",
                "email-worker",
                Settings { break_injection: Some(Service::EmailWorker), ..default.clone() },
            ),
            (
                "CHECKOUT_DELIVERY_TIMEOUT_MS",
                "250",
                Settings { delivery_timeout: Duration::from_millis(250), ..default.clone() },
            ),
            ("CHECKOUT_LISTEN", "", default.clone()),
        ] {
            assert_eq!(read(name, value), Ok(expected), "{name}={value}");
        }
        for (name, value) in [
            ("CHECKOUT_LISTEN", "3000"),
            ("CHECKOUT_BREAK_INJECTION", "all"),
            ("CHECKOUT_DELIVERY_TIMEOUT_MS", "0"),
        ] {
            let error = read(name, value).unwrap_err();
            assert!(error.starts_with(&format!("{name}={value:?}")), "{error}");
        }
    }
}
