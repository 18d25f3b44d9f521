//! How far back the journal is asked: as far as `look_back` says, and no further than `journal_size` lets it reach.
//!
//! Records come in the order of their arrival, so age is told a segment at a time: a segment is too old when the first
//! record behind it is.

use std::time::Duration;

use throughline_journal::{Journal, Position};
use throughline_otlp::UnixNanos;

/// How far back late spans and links reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// What arrived before this is not brought back.
    pub since: UnixNanos,
    /// `look_back`
    pub look_back: Duration,
    /// Why not further.
    pub bound: Bound,
}

/// What bounds the look-back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Nothing yet: the journal still has everything.
    Nothing,
    /// `look_back`
    LookBack,
    /// `journal_size`: what is younger than `look_back` had to make room.
    JournalSize,
}

/// What arrived before this is too old.
pub(crate) fn since(now: UnixNanos, look_back: Duration) -> UnixNanos {
    UnixNanos(now.0.saturating_sub(u64::try_from(look_back.as_nanos()).unwrap_or(u64::MAX)))
}

/// How far back `journal` reaches; `None` if it is empty. Reads a record.
pub(crate) fn reach(journal: &Journal, look_back: Duration, now: UnixNanos) -> Option<Reach> {
    let stats = journal.stats();
    let (_, oldest) = journal.arrival_from(stats.first?)?;
    let (held, allowed) = (UnixNanos(oldest), since(now, look_back));
    let bound = match held > allowed {
        false => Bound::LookBack,
        true if stats.at_cap => Bound::JournalSize,
        true => Bound::Nothing,
    };
    Some(Reach { since: held.max(allowed), look_back, bound })
}

/// How much of a journal is too old, as far as it was looked at.
#[derive(Debug, Default)]
pub(crate) struct Aged {
    /// A record that is too old.
    through: Option<Position>,
}

impl Aged {
    /// Tells the journal which segments hold nothing that arrived at `since` or later. Reads a record a segment that has
    /// become too old, and one more.
    pub(crate) fn expire(&mut self, journal: &Journal, since: UnixNanos) {
        loop {
            let segment = self.through.map_or(0, |through| (through.0 >> 32) + 1);
            let Some((first, arrived)) = journal.arrival_from(Position(segment << 32)) else { return };
            if arrived >= since.0 {
                return;
            }
            if let Some(before) = first.0.checked_sub(1) {
                journal.expire(Position(before));
            }
            self.through = Some(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use throughline_journal::sim::SimFs;
    use throughline_journal::{Consumer, Options, Record, RecordKind};

    use super::*;

    /// Segments of 64 KiB, two records of 25,000 bytes in each.
    fn journal(cap_bytes: u64) -> (Journal, Consumer) {
        let options =
            Options { segment_bytes: 64 << 10, cap_bytes, look_back_bytes: cap_bytes, ..Options::default() };
        let (journal, _) = Journal::open(Arc::new(SimFs::new(1)), Path::new("/journal"), options).unwrap();
        let consumer = journal.consumer("all", None);
        (journal, consumer)
    }

    fn append(journal: &Journal, consumer: &Consumer, arrivals: std::ops::Range<u64>) {
        for arrived in arrivals {
            let record = Record::new(RecordKind::Spans, arrived, vec![0; 25_000]);
            let position = journal.append_wait(record).unwrap();
            journal.release(consumer, position);
        }
    }

    fn arrivals(journal: &Journal) -> Vec<u64> {
        journal.records_from(Position(0)).flatten().map(|record| record.arrived).collect()
    }

    #[test]
    fn what_is_too_old_makes_room_and_nothing_else_does() {
        let (journal, consumer) = journal(1 << 20);
        append(&journal, &consumer, 0..10);
        let files = journal.stats().segments;
        let mut aged = Aged::default();
        // 4 and 5 share a segment, and 5 is young enough.
        aged.expire(&journal, UnixNanos(5));
        append(&journal, &consumer, 10..14);
        assert_eq!((arrivals(&journal), journal.stats().segments), ((4..14).collect(), files));
        aged.expire(&journal, UnixNanos(5));
        append(&journal, &consumer, 14..18);
        assert_eq!(arrivals(&journal), (4..18).collect::<Vec<u64>>());
        assert!(journal.stats().segments > files, "it grows, as nothing else is too old");
    }

    #[test]
    fn the_reach_says_what_bounds_it() {
        let hour = Duration::from_nanos(100);
        let check = |cap: u64, records: u64, now: u64, expected: (u64, Bound)| {
            let (journal, consumer) = journal(cap);
            append(&journal, &consumer, 0..records);
            let reach = reach(&journal, hour, UnixNanos(now)).unwrap();
            assert_eq!(
                (reach.since.0, reach.bound, reach.look_back),
                (expected.0, expected.1, hour),
                "{now}"
            );
        };
        check(1 << 20, 6, 50, (0, Bound::LookBack));
        check(1 << 20, 6, 150, (50, Bound::LookBack));
        let (empty, _) = journal(1 << 20);
        assert_eq!(reach(&empty, hour, UnixNanos(1)), None);
        let (short, consumer) = journal(256 << 10);
        append(&short, &consumer, 1000..1020);
        let reached = reach(&short, Duration::from_nanos(500), UnixNanos(1020)).unwrap();
        assert_eq!((reached.since.0, reached.bound), (arrivals(&short)[0], Bound::JournalSize));
        assert!(reached.since.0 > 1000);
        let (young, consumer) = journal(1 << 20);
        append(&young, &consumer, 1000..1004);
        let reached = reach(&young, Duration::from_nanos(500), UnixNanos(1020)).unwrap();
        assert_eq!((reached.since.0, reached.bound), (1000, Bound::Nothing));
    }
}
