//! Who the nodes of the tier are, which of them this one is, and who owns a trace. No I/O, no clock.
//!
//! The ring is made of the names by which fronts send to the nodes, letter for letter, or fronts and nodes would place traces
//! differently. Where a node is called by its peers follows from its name: the same host, at the port of `endpoint`.

use std::net::IpAddr;
use std::sync::Arc;

use throughline_otlp::{TraceId, UnixNanos};

use crate::configuration::{Host, HostPort};
use crate::export::ring::Ring;

/// The nodes as one of them sees them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tier {
    ring: Arc<Ring>,
    /// This node's name, once it is known; `None` also if it is not, or not yet, on the ring.
    us: Option<Arc<str>>,
    /// Rings of before, the latest first, each with the time until which it held.
    former: Vec<(UnixNanos, Arc<Ring>)>,
}

/// Rings of before that are remembered.
const FORMER: usize = 8;

/// Who owns a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Us,
    Peer(Arc<str>),
    /// The ring is empty: DNS has not answered yet.
    Unknown,
}

impl Tier {
    #[cfg(test)]
    fn new(ring: Arc<Ring>, us: Option<Arc<str>>) -> Self {
        Self { ring, us, former: Vec::new() }
    }

    /// The tier after `self`, which held until `now`. What was before this node was there is not known: the others owned what
    /// is its own now.
    pub(crate) fn followed_by(&self, ring: Arc<Ring>, us: Option<Arc<str>>, now: UnixNanos) -> Self {
        let mut former = self.former.clone();
        let before = Some(&self.ring).filter(|before| !before.members().is_empty() && ***before != *ring);
        former.splice(0..0, before.map(|before| (now, Arc::clone(before))));
        if let (Some(us), None) = (&us, &self.us) {
            let others = ring.members().iter().filter(|member| *member != us);
            let without = Ring::new(others.map(|member| &**member));
            former.splice(0..0, (!without.members().is_empty()).then(|| (now, Arc::new(without))));
        }
        former.truncate(FORMER);
        Self { ring, us, former }
    }

    /// Other nodes that own a trace, or have owned it since then.
    pub(crate) fn holders(&self, trace: TraceId, since: UnixNanos) -> Vec<Arc<str>> {
        let mut holders = Vec::new();
        for ring in std::iter::once(&self.ring).chain(self.former_since(since).map(|(_, ring)| ring)) {
            let owner = self.other(ring, trace);
            holders.extend(owner.filter(|owner| !holders.contains(owner)));
        }
        holders
    }

    /// Until when spans of a trace may have come to other nodes that have owned it since then; `None` if none has.
    pub(crate) fn elsewhere(&self, trace: TraceId, since: UnixNanos) -> Option<UnixNanos> {
        if self.other(&self.ring, trace).is_some() {
            return Some(UnixNanos(u64::MAX));
        }
        // The latest first.
        let mut former = self.former_since(since);
        former.find(|(_, ring)| self.other(ring, trace).is_some()).map(|(until, _)| *until)
    }

    fn former_since(&self, since: UnixNanos) -> impl Iterator<Item = &(UnixNanos, Arc<Ring>)> {
        self.former.iter().take_while(move |(until, _)| *until >= since)
    }

    /// Whose a trace is by a ring, if it is not this node's.
    fn other(&self, ring: &Ring, trace: TraceId) -> Option<Arc<str>> {
        let owner = ring.name(ring.owner(&trace.bytes())?);
        if self.us.as_deref() == Some(owner) {
            return None;
        }
        ring.members().iter().find(|name| ***name == *owner).map(Arc::clone)
    }

    pub(crate) fn members(&self) -> &[Arc<str>] {
        self.ring.members()
    }

    pub(crate) fn us(&self) -> Option<&Arc<str>> {
        self.us.as_ref()
    }

    pub(crate) fn owner(&self, trace: TraceId) -> Owner {
        if self.ring.members().is_empty() {
            return Owner::Unknown;
        }
        self.other(&self.ring, trace).map_or(Owner::Us, Owner::Peer)
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
    fn who_held_a_trace_before_is_remembered_as_long_as_it_matters() {
        let at = |seconds: u64| UnixNanos(seconds * 1_000_000_000);
        let name = |name: &str| -> Arc<str> { Arc::from(name) };
        let ids: Vec<TraceId> = (1..200_u128)
            .map(|number| TraceId::new((number * 0x9e37_79b9_7f4a_7c15).to_be_bytes()).unwrap())
            .collect();
        let always = Some(UnixNanos(u64::MAX));
        // The node that was there before, and the one that joins.
        let old = Tier::default().followed_by(ring(&["a"]), Some(name("a")), at(10));
        assert!(
            ids.iter().all(|id| old.holders(*id, at(0)).is_empty() && old.elsewhere(*id, at(0)).is_none())
        );
        let both = ring(&["a", "b"]);
        let old = old.followed_by(Arc::clone(&both), Some(name("a")), at(20));
        let new = Tier::default().followed_by(Arc::clone(&both), Some(name("b")), at(21));
        let moved = ids.iter().filter(|id| new.owner(**id) == Owner::Us).count();
        assert!((50..150).contains(&moved), "{moved}");
        for id in &ids {
            let moved = new.owner(*id) == Owner::Us;
            assert_eq!(old.elsewhere(*id, at(0)), always.filter(|_| moved));
            assert_eq!(old.holders(*id, at(0)), if moved { vec![name("b")] } else { Vec::new() });
            assert_eq!(new.holders(*id, at(21)), [name("a")]);
            assert_eq!(new.elsewhere(*id, at(21)), if moved { Some(at(21)) } else { always });
            assert_eq!(new.holders(*id, at(22)).is_empty(), moved, "look-back is over");
            assert_eq!(new.elsewhere(*id, at(22)), always.filter(|_| !moved));
        }
        // A third: whoever had it may hold a part, and its new owner knows of one of them.
        let three = ring(&["a", "b", "c"]);
        let old = old.followed_by(Arc::clone(&three), Some(name("a")), at(30));
        let third = Tier::default().followed_by(Arc::clone(&three), Some(name("c")), at(30));
        for id in ids.iter().filter(|id| third.owner(**id) == Owner::Us) {
            let before = both.name(both.owner(&id.bytes()).unwrap());
            assert_eq!(third.holders(*id, at(0)), [name(before)]);
            assert_eq!(old.holders(*id, at(0)).len(), if before == "a" { 1 } else { 2 });
        }
        // Off the ring and on it again, as a name that DNS loses for a moment.
        let away = old.followed_by(ring(&["b", "c"]), None, at(40));
        assert!(ids.iter().all(|id| away.elsewhere(*id, at(0)) == always));
        let back = away.followed_by(three, Some(name("a")), at(50));
        for id in ids.iter().filter(|id| back.owner(**id) == Owner::Us) {
            assert_eq!(back.elsewhere(*id, at(45)), Some(at(50)));
        }
        let many = (0..20).fold(back, |tier, count| {
            tier.followed_by(ring(&["a", &format!("n{count}")]), Some(name("a")), at(60 + count))
        });
        assert_eq!(many.former.len(), FORMER);
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
