//! Who still needs what: each consumer's release position. It refuses to release on behalf of one that has not spoken yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::Position;

/// The consumers of a journal.
#[derive(Debug, Default)]
pub(crate) struct Consumers {
    /// Announced in the options, not registered yet.
    expected: BTreeSet<Arc<str>>,
    /// Up to which record each needs nothing any more; `None` if it needs all.
    released: BTreeMap<Arc<str>, Option<Position>>,
}

impl Consumers {
    pub(crate) fn expecting(names: &[String]) -> Self {
        Self {
            expected: names.iter().map(|name| Arc::from(name.as_str())).collect(),
            released: BTreeMap::new(),
        }
    }

    /// Registers, or moves forward. A release is never taken back: what it freed may be gone.
    pub(crate) fn release(&mut self, name: &Arc<str>, up_to: Option<Position>) {
        self.expected.remove(name);
        let released = self.released.entry(Arc::clone(name)).or_default();
        *released = (*released).max(up_to);
    }

    /// Ends a consumer's claim.
    pub(crate) fn forget(&mut self, name: &Arc<str>) {
        self.expected.remove(name);
        self.released.remove(name);
    }

    /// Up to here nobody needs anything. `None`: everything is needed, or nobody has said.
    pub(crate) fn floor(&self) -> Option<Position> {
        if self.expected.is_empty() { self.released.values().copied().min().flatten() } else { None }
    }

    /// Who holds the floor where it is.
    pub(crate) fn slowest(&self) -> Arc<str> {
        let slowest = self.released.iter().min_by_key(|(_, released)| **released).map(|(name, _)| name);
        self.expected
            .first()
            .or(slowest)
            .cloned()
            .unwrap_or_else(|| Arc::from("a consumer that is not registered"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(expected: &[&str], said: &[(&str, Option<u64>)]) -> (Option<u64>, String) {
        let names: Vec<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        let mut consumers = Consumers::expecting(&names);
        for (name, up_to) in said {
            consumers.release(&Arc::from(*name), up_to.map(Position));
        }
        (consumers.floor().map(|position| position.0), consumers.slowest().to_string())
    }

    #[test]
    fn the_slowest_consumer_sets_the_floor_and_a_silent_one_keeps_everything() {
        let nobody = "a consumer that is not registered";
        for (expected, said, at, slowest) in [
            (&[][..], &[][..], None, nobody),
            (&[], &[("store", Some(5))], Some(5), "store"),
            (&[], &[("store", Some(5)), ("otlp", Some(3))], Some(3), "otlp"),
            (&[], &[("store", Some(5)), ("otlp", None)], None, "otlp"),
            (&["otlp"], &[("store", Some(5))], None, "otlp"),
            (&["otlp"], &[("store", Some(5)), ("otlp", Some(9))], Some(5), "store"),
            (&[], &[("store", Some(5)), ("store", Some(2)), ("store", None)], Some(5), "store"),
        ] {
            assert_eq!(floor(expected, said), (at, slowest.to_owned()), "{expected:?} {said:?}");
        }
    }

    #[test]
    fn a_forgotten_consumer_holds_nothing_back() {
        let mut consumers = Consumers::expecting(&["gone".to_owned()]);
        consumers.release(&Arc::from("store"), Some(Position(5)));
        assert_eq!(consumers.floor(), None);
        consumers.forget(&Arc::from("gone"));
        assert_eq!(consumers.floor(), Some(Position(5)));
    }
}
