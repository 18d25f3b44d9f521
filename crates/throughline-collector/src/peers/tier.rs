//! Who the nodes of the tier are, which of them this one is, and who owns a trace. No I/O, no clock.
//!
//! The ring is made of the names by which fronts send to the nodes, letter for letter, or fronts and nodes would place traces
//! differently. Where a node is called by its peers follows from its name: the same host, at the port of `endpoint`.

use std::net::IpAddr;
use std::sync::Arc;

use throughline_otlp::TraceId;

use crate::configuration::{Host, HostPort};
use crate::export::ring::Ring;

/// The nodes as one of them sees them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tier {
    ring: Arc<Ring>,
    /// This node's name, once it is known; `None` also if it is not, or not yet, on the ring.
    us: Option<Arc<str>>,
}

/// Who owns a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Us,
    Peer(Arc<str>),
    /// The ring is empty: DNS has not answered yet.
    Unknown,
}

impl Tier {
    pub(crate) fn new(ring: Arc<Ring>, us: Option<Arc<str>>) -> Self {
        Self { ring, us }
    }

    pub(crate) fn members(&self) -> &[Arc<str>] {
        self.ring.members()
    }

    pub(crate) fn us(&self) -> Option<&Arc<str>> {
        self.us.as_ref()
    }

    pub(crate) fn owner(&self, trace: TraceId) -> Owner {
        let Some(owner) = self.ring.owner(&trace.bytes()) else { return Owner::Unknown };
        let owner = self.ring.name(owner);
        if self.us.as_deref() == Some(owner) {
            return Owner::Us;
        }
        let named = self.ring.members().iter().find(|name| ***name == *owner);
        named.map_or(Owner::Unknown, |name| Owner::Peer(Arc::clone(name)))
    }
}

/// The host in a member's name.
pub(crate) fn host(name: &str) -> Option<String> {
    let host = HostPort::to_reach(name, Some(1)).ok()?.host;
    Some(match host {
        Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        Host::Address(address) => address.to_string(),
        Host::Name(name) => name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(members: &[&str]) -> Arc<Ring> {
        Arc::new(Ring::new(members.iter().copied()))
    }

    #[test]
    fn a_tier_places_traces_where_a_front_with_the_same_names_does() {
        let names = ["a:4317", "b:4317", "c:4317"];
        let front = ring(&names);
        let tiers = names.map(|us| Tier::new(ring(&["c:4317", "a:4317", "b:4317"]), Some(Arc::from(us))));
        for number in 1..500_u128 {
            let trace = TraceId::new((number * 0x9e37_79b9_7f4a_7c15).to_be_bytes()).unwrap();
            let owner = front.name(front.owner(&trace.bytes()).unwrap());
            for (us, tier) in names.iter().zip(&tiers) {
                let expected = if *us == owner { Owner::Us } else { Owner::Peer(Arc::from(owner)) };
                assert_eq!(tier.owner(trace), expected);
            }
        }
        let nobody = Tier::new(ring(&[]), None);
        assert_eq!(nobody.owner(TraceId::new([1; 16]).unwrap()), Owner::Unknown);
        let outside = Tier::new(ring(&["a"]), None);
        assert_eq!(outside.owner(TraceId::new([1; 16]).unwrap()), Owner::Peer(Arc::from("a")));
    }

    #[test]
    fn the_host_is_what_stands_before_the_port() {
        for (name, expected) in [
            ("backend-1:4317", Some("backend-1")),
            ("backend-1", Some("backend-1")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("[::1]", Some("[::1]")),
            ("[fe80::1]:4317", Some("[fe80::1]")),
            ("a b", None),
            ("", None),
        ] {
            assert_eq!(host(name).as_deref(), expected, "{name}");
        }
    }
}
