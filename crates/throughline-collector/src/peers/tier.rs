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
    /// What was before, the latest first, each with the time until which it held: each ring once, and not the present one.
    former: Vec<(UnixNanos, Former)>,
}

/// What was before.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Former {
    /// These nodes were there.
    Ring(Arc<Ring>),
    /// This node was not there, and which of the others were is not known: those on this ring at the most.
    WithoutUs(Arc<Ring>),
}

/// Rings of before that are remembered.
const FORMER: usize = 8;

/// Nodes behind this one on the ring that may have owned its traces before it was there. The first of them did, unless it has
/// joined just now as well: so many nodes may join at once, and each asks one that was there before all of them.
pub(crate) const JOINING: usize = 4;

/// Who owns a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This node, by its name.
    Us(Arc<str>),
    Peer(Arc<str>),
    /// The ring is empty: DNS has not answered yet.
    Unknown,
}

impl Tier {
    #[cfg(test)]
    fn new(ring: Arc<Ring>, us: Option<Arc<str>>) -> Self {
        Self { ring, us, former: Vec::new() }
    }

    /// A node that has been started again, and knows which rings held until when, the latest first.
    pub(crate) fn remembered(rings: impl IntoIterator<Item = (UnixNanos, Ring)>) -> Self {
        let former =
            rings.into_iter().take(FORMER).map(|(until, ring)| (until, Former::Ring(Arc::new(ring))));
        Self { former: former.collect(), ..Self::default() }
    }

    /// The rings that there were, the latest first.
    pub(crate) fn rings(&self) -> impl Iterator<Item = (UnixNanos, &Ring)> {
        self.former.iter().filter_map(|(until, former)| match former {
            Former::Ring(ring) => Some((*until, &**ring)),
            Former::WithoutUs(_) => None,
        })
    }

    /// The tier after `self`, which held until `now`. What was before this node was there is not known: the others owned what
    /// is its own now.
    pub(crate) fn followed_by(&self, ring: Arc<Ring>, us: Option<Arc<str>>, now: UnixNanos) -> Self {
        let mut former = self.former.clone();
        let mut held = |before: Former| {
            // A ring that comes and goes is one ring: it must not push out the others.
            former.retain(|(_, known)| *known != before);
            former.insert(0, (now, before));
        };
        if !self.ring.members().is_empty() {
            held(Former::Ring(Arc::clone(&self.ring)));
        }
        if us.is_some() && self.us.is_none() {
            held(Former::WithoutUs(Arc::clone(&ring)));
        }
        former.retain(|(_, known)| *known != Former::Ring(Arc::clone(&ring)));
        former.truncate(FORMER);
        Self { ring, us, former }
    }

    /// Other nodes that own a trace, or may have owned it since then, if `joining` nodes at the most joined together with this one.
    pub(crate) fn holders(&self, trace: TraceId, since: UnixNanos, joining: usize) -> Vec<Arc<str>> {
        let mut holders: Vec<Arc<str>> = self.other(&self.ring, trace).into_iter().collect();
        for (_, former) in self.former_since(since) {
            let owners = match former {
                Former::Ring(ring) => self.other(ring, trace).into_iter().collect(),
                Former::WithoutUs(ring) => self.behind_us(ring, trace, joining),
            };
            for owner in owners {
                if !holders.contains(&owner) {
                    holders.push(owner);
                }
            }
        }
        holders
    }

    /// Until when spans of a trace may have come to other nodes that may have owned it since then; `None` if none has.
    pub(crate) fn elsewhere(&self, trace: TraceId, since: UnixNanos) -> Option<UnixNanos> {
        // Who the others are is not known yet, or one of them owns it.
        if self.ring.members().is_empty() || self.other(&self.ring, trace).is_some() {
            return Some(UnixNanos(u64::MAX));
        }
        let others = |former: &Former| match former {
            Former::Ring(ring) => self.other(ring, trace).is_some(),
            Former::WithoutUs(ring) => ring.members().len() > 1,
        };
        self.former_since(since).filter(|(_, former)| others(former)).map(|(until, _)| *until).max()
    }

    /// The clock may have been set back between two of them.
    fn former_since(&self, since: UnixNanos) -> impl Iterator<Item = &(UnixNanos, Former)> {
        self.former.iter().filter(move |(until, _)| *until >= since)
    }

    /// Whose a trace is by a ring, if it is not this node's.
    fn other(&self, ring: &Ring, trace: TraceId) -> Option<Arc<str>> {
        let owner = ring.members().get(ring.owner(&trace.bytes())?.number())?;
        (self.us.as_ref() != Some(owner)).then(|| Arc::clone(owner))
    }

    /// Whose a trace was; of one of this node, whose it might have been while this node was not on the ring, and some of the
    /// others were not either.
    fn behind_us(&self, ring: &Ring, trace: TraceId, joining: usize) -> Vec<Arc<str>> {
        if let Some(other) = self.other(ring, trace) {
            return vec![other];
        }
        let mut without: Vec<_> = ring.owner(&trace.bytes()).into_iter().collect();
        let mut behind = Vec::new();
        while behind.len() < joining
            && let Some(next) = ring.owner_but(&trace.bytes(), &without)
        {
            behind.extend(ring.members().get(next.number()).map(Arc::clone));
            without.push(next);
        }
        behind
    }

    pub(crate) fn members(&self) -> &[Arc<str>] {
        self.ring.members()
    }

    pub(crate) fn us(&self) -> Option<&Arc<str>> {
        self.us.as_ref()
    }

    pub(crate) fn owner(&self, trace: TraceId) -> Owner {
        match (self.ring.members(), self.other(&self.ring, trace), &self.us) {
            ([_, ..], Some(peer), _) => Owner::Peer(peer),
            ([_, ..], None, Some(us)) => Owner::Us(Arc::clone(us)),
            _ => Owner::Unknown,
        }
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
                let of = if *us == owner { Owner::Us } else { Owner::Peer };
                let expected = of(Arc::from(owner));
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
            ids.iter()
                .all(|id| old.holders(*id, at(0), JOINING).is_empty() && old.elsewhere(*id, at(0)).is_none())
        );
        let both = ring(&["a", "b"]);
        let old = old.followed_by(Arc::clone(&both), Some(name("a")), at(20));
        let new = Tier::default().followed_by(Arc::clone(&both), Some(name("b")), at(21));
        let moved = ids.iter().filter(|id| new.owner(**id) == Owner::Us(name("b"))).count();
        assert!((50..150).contains(&moved), "{moved}");
        for id in &ids {
            let moved = new.owner(*id) == Owner::Us(name("b"));
            assert_eq!(old.elsewhere(*id, at(0)), always.filter(|_| moved));
            assert_eq!(old.holders(*id, at(0), JOINING), if moved { vec![name("b")] } else { Vec::new() });
            assert_eq!(new.holders(*id, at(21), JOINING), [name("a")]);
            assert_eq!(new.elsewhere(*id, at(21)), if moved { Some(at(21)) } else { always });
            assert_eq!(new.holders(*id, at(22), JOINING).is_empty(), moved, "look-back is over");
            assert_eq!(new.elsewhere(*id, at(22)), always.filter(|_| !moved));
        }
        // A third: whoever had it may hold a part, and its new owner knows of one of them.
        let three = ring(&["a", "b", "c"]);
        let old = old.followed_by(Arc::clone(&three), Some(name("a")), at(30));
        let third = Tier::default().followed_by(Arc::clone(&three), Some(name("c")), at(30));
        for id in ids.iter().filter(|id| third.owner(**id) == Owner::Us(name("c"))) {
            let before = both.name(both.owner(&id.bytes()).unwrap());
            assert_eq!(third.holders(*id, at(0), JOINING)[0], name(before));
            assert_eq!(
                third.holders(*id, at(0), JOINING).len(),
                2,
                "the other might have joined just now as well"
            );
            assert_eq!(third.holders(*id, at(0), 1), [name(before)], "if nobody else has");
            assert_eq!(old.holders(*id, at(0), JOINING).len(), if before == "a" { 1 } else { 2 });
        }
        // Off the ring and on it again, as a name that DNS loses for a moment.
        let away = old.followed_by(ring(&["b", "c"]), None, at(40));
        assert!(ids.iter().all(|id| away.elsewhere(*id, at(0)) == always));
        let back = away.followed_by(three, Some(name("a")), at(50));
        for id in ids.iter().filter(|id| back.owner(**id) == Owner::Us(name("a"))) {
            assert_eq!(back.elsewhere(*id, at(45)), Some(at(50)));
        }
        let many = (0..20).fold(back, |tier, count| {
            tier.followed_by(ring(&["a", &format!("n{count}")]), Some(name("a")), at(60 + count))
        });
        assert_eq!(many.former.len(), FORMER);
    }

    #[test]
    fn of_several_that_join_at_once_each_knows_somebody_who_was_there() {
        let at = |seconds: u64| UnixNanos(seconds * 1_000_000_000);
        let old = ["a", "b"];
        let before = ring(&old);
        for joining in 1..=JOINING {
            let names: Vec<String> = (0..joining).map(|number| format!("new-{number}")).collect();
            let all: Vec<&str> = old.iter().copied().chain(names.iter().map(String::as_str)).collect();
            let after = ring(&all);
            let tiers = names.iter().map(|us| {
                Tier::default().followed_by(Arc::clone(&after), Some(Arc::from(us.as_str())), at(10))
            });
            let tiers: Vec<Tier> = tiers.collect();
            for number in 1..2_000_u128 {
                let trace = TraceId::new((number * 0x9e37_79b9_7f4a_7c15).to_be_bytes()).unwrap();
                let former = before.name(before.owner(&trace.bytes()).unwrap());
                for tier in tiers.iter().filter(|tier| matches!(tier.owner(trace), Owner::Us(_))) {
                    let holders = tier.holders(trace, at(0), JOINING);
                    assert!(holders.iter().any(|holder| **holder == *former), "{former} of {holders:?}");
                    assert!(
                        holders.iter().all(|holder| Some(holder) != tier.us()) && holders.len() <= JOINING
                    );
                }
            }
        }
    }

    #[test]
    fn a_ring_that_comes_and_goes_does_not_push_out_those_before() {
        let (us, at) = (Some(Arc::from("a")), |seconds: u64| UnixNanos(seconds * 1_000_000_000));
        let mut tier = Tier::default().followed_by(ring(&["a", "old"]), us.clone(), at(0));
        for flap in 0..50 {
            let members: &[&str] = if flap % 2 == 0 { &["a", "b"] } else { &["a", "b", "c"] };
            tier = tier.followed_by(ring(members), us.clone(), at(10 + flap));
        }
        let ids = (1..100_u128).map(|number| TraceId::new((number << 64 | number).to_be_bytes()).unwrap());
        let old = ids
            .filter(|id| tier.holders(*id, at(0), JOINING).iter().any(|holder| **holder == *"old"))
            .count();
        assert!(old > 10, "{old} traces were another's in the beginning");
        assert_eq!(tier.former.len(), 3, "the first ring, the other one, and what was before this node");
        // A clock that is set back hides nothing.
        let tier = tier.followed_by(ring(&["a"]), us, at(5));
        assert_eq!(tier.former_since(at(20)).count(), 1);
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
