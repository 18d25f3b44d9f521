//! Who the back-tier nodes are. The list comes from the configuration or from DNS and from nowhere else: that a node fails
//! to answer is no reason to forget it, or two fronts would disagree about who owns what.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::SettingError;
use super::ring::Ring;

/// `resolver` of a load-balancing exporter, or of peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolverSettings {
    /// These and no others.
    Static {
        /// `hostnames`: each `host` or `host:port`.
        hostnames: Vec<String>,
    },
    /// Every address that DNS has for a name.
    Dns {
        /// The name.
        hostname: String,
        /// Port of the members; the peer's ring names members without one if it is not set.
        port: Option<u16>,
        /// Time from one answer to the next question. Default 5 s.
        interval: Duration,
        /// A question without an answer by then has failed. Default 1 s.
        timeout: Duration,
    },
}

/// Port of a member whose name has none.
const DEFAULT_PORT: u16 = 4317;

/// Keeps a [`Ring`] up to date.
#[derive(Debug)]
pub struct Resolver {
    settings: ResolverSettings,
    ring: watch::Sender<Arc<Ring>>,
    /// The last question failed.
    failing: bool,
}

impl Resolver {
    /// Of a static list the ring is there at once; of DNS it is empty until the first answer.
    ///
    /// # Errors
    /// [`SettingError`] if there can never be a member.
    pub fn new(settings: ResolverSettings) -> Result<(Self, watch::Receiver<Arc<Ring>>), SettingError> {
        let members = match &settings {
            ResolverSettings::Static { hostnames } if hostnames.is_empty() => {
                return Err(SettingError::new("resolver.static.hostnames", "name at least one backend"));
            }
            ResolverSettings::Static { hostnames } => hostnames.as_slice(),
            ResolverSettings::Dns { hostname, .. } if hostname.is_empty() => {
                return Err(SettingError::new(
                    "resolver.dns.hostname",
                    "name the host whose addresses are the backends",
                ));
            }
            ResolverSettings::Dns { interval, .. } if interval.is_zero() => {
                return Err(SettingError::new("resolver.dns.interval", "must be longer than nothing"));
            }
            ResolverSettings::Dns { .. } => &[],
        };
        let ring = Arc::new(Ring::new(members.iter().map(String::as_str)));
        let (ring, members) = watch::channel(ring);
        Ok((Self { settings, ring, failing: false }, members))
    }

    /// Asks again and again, until nobody listens any more.
    pub async fn run(self) {
        self.run_with(|hostname| async move {
            let addresses = tokio::net::lookup_host((hostname.as_str(), 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        })
        .await;
    }

    async fn run_with<A>(mut self, lookup: impl Fn(String) -> A)
    where
        A: Future<Output = io::Result<Vec<IpAddr>>>,
    {
        let ResolverSettings::Dns { hostname, port, interval, timeout: limit } = self.settings.clone() else {
            return self.ring.closed().await;
        };
        loop {
            let answer = match timeout(limit, lookup(hostname.clone())).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {limit:?}")),
            };
            self.answered(&hostname, answer.map(|addresses| names(addresses, port)));
            tokio::select! {
                () = self.ring.closed() => return,
                () = sleep(interval) => {}
            }
        }
    }

    /// Without an answer, or with an empty one, the members stay who they were.
    fn answered(&mut self, hostname: &str, answer: Result<Vec<String>, String>) {
        let answer = answer.and_then(|names| {
            if names.is_empty() { Err("the name has no addresses".to_owned()) } else { Ok(names) }
        });
        match answer {
            Ok(names) => {
                self.failing = false;
                self.members_are(hostname, &names);
            }
            Err(error) => {
                if !self.failing {
                    let members = self.ring.borrow().members().len();
                    tracing::warn!(
                        hostname,
                        error,
                        members,
                        "cannot look up the backends; the last known ones stay"
                    );
                }
                self.failing = true;
            }
        }
    }

    fn members_are(&self, hostname: &str, names: &[String]) {
        let ring = Ring::new(names.iter().map(String::as_str));
        let known = self.ring.borrow().members().to_vec();
        if known == ring.members() {
            return;
        }
        let without = |list: &[Arc<str>], other: &[Arc<str>]| {
            let names: Vec<&str> =
                list.iter().filter(|name| !other.contains(name)).map(|name| &**name).collect();
            names.join(", ")
        };
        let (joined, left) = (without(ring.members(), &known), without(&known, ring.members()));
        tracing::info!(hostname, members = ring.members().len(), joined, left, "the backends changed");
        self.ring.send_replace(Arc::new(ring));
    }
}

/// Members' names as the peer writes them, so that the rings are equal.
fn names(addresses: Vec<IpAddr>, port: Option<u16>) -> Vec<String> {
    let name = |address| {
        let host = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
    };
    let mut names: Vec<String> = addresses.into_iter().map(name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Where a member is reached: its name, with a port.
pub(crate) fn address(name: &str) -> String {
    let host = name.rsplit_once(']').map_or(name, |(_, port)| port);
    if host.contains(':') { name.to_owned() } else { format!("{name}:{DEFAULT_PORT}") }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;

    fn dns(port: Option<u16>) -> ResolverSettings {
        let (interval, timeout) = (Duration::from_secs(5), Duration::from_secs(1));
        ResolverSettings::Dns { hostname: "backends".to_owned(), port, interval, timeout }
    }

    /// Each answer in turn, the members after each. `!` fails, `?` never answers.
    async fn check(port: Option<u16>, answers: &[&str], expected: &[&str]) {
        let (resolver, mut ring) = Resolver::new(dns(port)).unwrap();
        let left: Mutex<VecDeque<String>> =
            Mutex::new(answers.iter().map(|text| (*text).to_owned()).collect());
        let lookup = |hostname| {
            assert_eq!(hostname, "backends");
            let answer = left.lock().unwrap().pop_front();
            async move {
                match answer.as_deref() {
                    Some("!") => Err(io::Error::other("no such host")),
                    Some("?") | None => std::future::pending().await,
                    Some(text) => Ok(text.split_whitespace().map(|ip| ip.parse().unwrap()).collect()),
                }
            }
        };
        let watched = async {
            let mut seen = Vec::new();
            while seen.len() < expected.len() {
                ring.changed().await.unwrap();
                let names: Vec<String> =
                    ring.borrow_and_update().members().iter().map(|name| (**name).to_owned()).collect();
                seen.push(names.join(" "));
            }
            drop(ring);
            seen
        };
        // The resolver ends once nobody watches: nothing is changed behind the last expectation.
        let (seen, ()) = tokio::join!(watched, resolver.run_with(lookup));
        assert_eq!(seen, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn members_change_with_answers_and_outlast_failures() {
        check(Some(4317), &["10.0.0.2 10.0.0.1 10.0.0.2"], &["10.0.0.1:4317 10.0.0.2:4317"]).await;
        check(None, &["::1 10.0.0.1"], &["10.0.0.1 [::1]"]).await;
        check(
            Some(1),
            &["10.0.0.1", "!", "", "?", "10.0.0.1", "10.0.0.2 10.0.0.1", "!", "10.0.0.2"],
            &["10.0.0.1:1", "10.0.0.1:1 10.0.0.2:1", "10.0.0.2:1"],
        )
        .await;
    }

    #[tokio::test]
    async fn a_static_list_is_there_at_once() {
        let hostnames = vec!["b:1".to_owned(), "a".to_owned()];
        let (resolver, ring) = Resolver::new(ResolverSettings::Static { hostnames }).unwrap();
        let names: Vec<String> = ring.borrow().members().iter().map(|name| (**name).to_owned()).collect();
        assert_eq!(names, ["a", "b:1"]);
        drop(ring);
        resolver.run().await;
    }

    #[test]
    fn what_cannot_have_members_is_refused_and_ports_are_added() {
        let refused = |settings| Resolver::new(settings).unwrap_err().key;
        assert_eq!(refused(ResolverSettings::Static { hostnames: Vec::new() }), "resolver.static.hostnames");
        let settings = ResolverSettings::Dns {
            hostname: String::new(),
            port: None,
            interval: Duration::MAX,
            timeout: Duration::MAX,
        };
        assert_eq!(refused(settings), "resolver.dns.hostname");
        for (name, expected) in [
            ("a", "a:4317"),
            ("a:1", "a:1"),
            ("10.0.0.1", "10.0.0.1:4317"),
            ("[::1]", "[::1]:4317"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(address(name), expected);
        }
    }
}
