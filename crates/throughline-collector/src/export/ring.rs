//! Which back-tier node a trace belongs to: a consistent ring, point for point the OpenTelemetry Collector's (0.159), so
//! that fronts of both kinds agree. It is a function of the member list alone.
//!
//! 200 points for each member at CRC32 of its name and the point's number, on 131,071 positions; a point that finds its
//! position taken moves on, at most nine times, and is given up then. A key belongs to the first point at or behind its
//! CRC32.

use std::sync::Arc;

const POSITIONS: u32 = 131_071;
const POINTS: u32 = 200;
const PROBES: u32 = 10;

/// The ring of one member list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    members: Vec<Arc<str>>,
    /// Position and member, by position; no position twice.
    points: Vec<(u32, u16)>,
    /// For each stretch of positions the first point at or behind its beginning, so that nobody has to search for it.
    first: Vec<u32>,
}

/// Positions of a stretch: with a few members it has less than a point on average.
const STRETCH: u32 = 128;

/// A member's number in its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(u16);

impl Member {
    /// Its number among the members of its ring, sorted.
    #[must_use]
    pub fn number(self) -> usize {
        usize::from(self.0)
    }
}

impl Ring {
    /// Members in any order; one named twice counts once. Beyond 65,535 members there is no room on the ring, and those
    /// last in the alphabet are not on it.
    #[must_use]
    pub fn new<'m>(members: impl IntoIterator<Item = &'m str>) -> Self {
        let mut members: Vec<Arc<str>> = members.into_iter().map(Arc::from).collect();
        members.sort_unstable();
        members.dedup();
        members.truncate(usize::from(u16::MAX));
        let points = points(&members);
        let first_from = |position: u32| points.partition_point(|(point, _)| *point < position) as u32;
        let first = (0..POSITIONS).step_by(STRETCH as usize).map(first_from).collect();
        Self { members, points, first }
    }

    /// The members, sorted.
    #[must_use]
    pub fn members(&self) -> &[Arc<str>] {
        &self.members
    }

    /// The member with this number.
    #[must_use]
    pub fn member(&self, number: usize) -> Option<Member> {
        self.members.get(number).and_then(|_| u16::try_from(number).ok()).map(Member)
    }

    /// A member's name.
    #[must_use]
    pub fn name(&self, member: Member) -> &str {
        self.members.get(usize::from(member.0)).map_or("", |name| name)
    }

    /// Whom a key belongs to; `None` if there are no members.
    #[must_use]
    pub fn owner(&self, key: &[u8]) -> Option<Member> {
        self.owner_but(key, &[])
    }

    /// Whom a key belongs to if `without` were not there: the next other member on the ring. `None` if nobody is left.
    #[must_use]
    pub fn owner_but(&self, key: &[u8], without: &[Member]) -> Option<Member> {
        let position = crc32fast::hash(key) % POSITIONS;
        let mut at = self.first.get((position / STRETCH) as usize).map_or(0, |first| *first as usize);
        while self.points.get(at).is_some_and(|(point, _)| *point < position) {
            at += 1;
        }
        let (before, from) = self.points.split_at_checked(at)?;
        let mut candidates = from.iter().chain(before).map(|(_, member)| Member(*member));
        candidates.find(|member| !without.contains(member))
    }
}

fn points(members: &[Arc<str>]) -> Vec<(u32, u16)> {
    let mut wanted: Vec<(u32, u32, u16)> = (0..)
        .zip(members)
        .flat_map(|(number, name)| {
            (0..POINTS).map(move |point| {
                let mut hasher = crc32fast::Hasher::new();
                hasher.update(name.as_bytes());
                hasher.update(&point.to_le_bytes());
                let hash = hasher.finalize();
                (hash % POSITIONS, hash, number)
            })
        })
        .collect();
    // Members are sorted, so their numbers decide between equal hashes as their names would.
    wanted.sort_unstable();
    let mut taken = vec![false; POSITIONS as usize];
    let mut points = Vec::with_capacity(wanted.len());
    for (position, _, number) in wanted {
        let mut probes = (0..PROBES).map(|probe| (position + probe) % POSITIONS);
        let free = probes
            .find(|at| taken.get_mut(*at as usize).is_some_and(|taken| !std::mem::replace(taken, true)));
        points.extend(free.map(|at| (at, number)));
    }
    points.sort_unstable();
    points
}

#[cfg(test)]
mod tests;
