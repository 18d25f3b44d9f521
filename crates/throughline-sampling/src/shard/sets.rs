//! Small sets of traces by trace, for a time: who waits for a trace to be kept, and what was kept because of one. Bounded in
//! each set, in all, and in time; the set that was begun first goes first.

use std::collections::{BTreeMap, VecDeque};

use throughline_otlp::TraceId;

/// What came of adding a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is new.
    New,
    /// It was there.
    Known,
    /// The set is full: left out.
    Full,
}

#[derive(Debug)]
pub(super) struct Sets {
    sets: BTreeMap<TraceId, Set>,
    /// When each set may go, in seconds, by the time it was begun.
    order: VecDeque<(u32, TraceId)>,
    members: usize,
    /// Most members of one set.
    each: usize,
    /// Most members of all.
    all: usize,
    /// Whether a set went before its time.
    pub(super) lost: bool,
}

#[derive(Debug)]
struct Set {
    members: Vec<TraceId>,
    until: u32,
}

impl Sets {
    pub(super) fn new(each: usize, all: usize) -> Self {
        Self { sets: BTreeMap::new(), order: VecDeque::new(), members: 0, each, all, lost: false }
    }

    /// Adds `member` to the set of `key`, which stays until then.
    pub(super) fn add(&mut self, key: TraceId, member: TraceId, until: u32) -> Added {
        let Some(set) = self.sets.get_mut(&key) else {
            self.make_room();
            self.sets.insert(key, Set { members: vec![member], until });
            self.order.push_back((until, key));
            self.members += 1;
            return Added::New;
        };
        set.until = set.until.max(until);
        let Err(at) = set.members.binary_search(&member) else { return Added::Known };
        if set.members.len() >= self.each {
            return Added::Full;
        }
        set.members.insert(at, member);
        self.members += 1;
        self.make_room();
        Added::New
    }

    pub(super) fn of(&self, key: TraceId) -> &[TraceId] {
        self.sets.get(&key).map_or(&[], |set| &set.members)
    }

    /// Members held.
    pub(super) fn members(&self) -> usize {
        self.members
    }

    fn make_room(&mut self) {
        while self.members > self.all
            && let Some((_, key)) = self.order.pop_front()
        {
            self.lost = true;
            self.remove(key);
        }
    }

    /// Drops sets whose time is over.
    pub(super) fn expire(&mut self, now: u32) {
        while let Some(&(until, key)) = self.order.front()
            && until < now
        {
            self.order.pop_front();
            match self.sets.get(&key) {
                Some(set) if set.until > until => self.order.push_back((set.until, key)),
                _ => self.remove(key),
            }
        }
    }

    fn remove(&mut self, key: TraceId) {
        self.members -= self.sets.remove(&key).map_or(0, |set| set.members.len());
    }
}
