//! Where a request stood that came as a record of Kafka: written beside its keys, so that a restart knows what this journal
//! holds of a partition. The bytes of FORMAT.md, "Keys".

use std::collections::BTreeMap;
use std::sync::Arc;

use throughline_journal::Keys;

use crate::sampler::keys::NO_TRACE;

/// First byte of the value.
const FROM_KAFKA: u8 = 4;

/// A record of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) role: Role,
    pub(crate) place: Place,
    pub(crate) offset: u64,
    /// Everything of the partition from this offset up to the record has been dealt with: journalled, or no request.
    pub(crate) since: u64,
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: u32,
}

/// What a record is journalled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is to be decided about and delivered.
    Arrival,
    /// Somebody has done that already: late spans and links are to find it.
    History,
}

impl Origin {
    /// Adds it to a record's keys.
    pub(crate) fn push(&self, keys: &mut Keys) {
        let mut value = vec![FROM_KAFKA, if self.role == Role::Arrival { 1 } else { 2 }];
        value.extend_from_slice(&self.place.partition.to_le_bytes());
        value.extend_from_slice(&self.offset.to_le_bytes());
        value.extend_from_slice(&self.since.to_le_bytes());
        value.extend_from_slice(self.place.topic.as_bytes());
        keys.push(NO_TRACE, &value);
    }

    /// That of a record; `None` if it did not come from Kafka.
    pub(crate) fn of(keys: &Keys) -> Option<Self> {
        let is_origin =
            |(key, value): &([u8; 16], &[u8])| *key == NO_TRACE && value.first() == Some(&FROM_KAFKA);
        let value = keys.iter().find(is_origin)?.1;
        let ([FROM_KAFKA, role], rest) = value.split_first_chunk::<2>()? else { return None };
        let (partition, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (since, topic) = rest.split_first_chunk()?;
        Some(Self {
            role: if *role == 1 { Role::Arrival } else { Role::History },
            place: Place {
                topic: Arc::from(std::str::from_utf8(topic).ok()?),
                partition: u32::from_le_bytes(*partition),
            },
            offset: u64::from_le_bytes(*offset),
            since: u64::from_le_bytes(*since),
        })
    }
}

/// What the journal holds of each receiver's partitions, without a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    places: BTreeMap<(u16, Place), Stretch>,
}

/// Records of a partition, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Offset of the first.
    pub(crate) from: u64,
    /// Behind the last.
    pub(crate) to: u64,
    /// The arrivals among them: offset and position in the journal.
    pub(crate) arrivals: Vec<(u64, u64)>,
}

impl Held {
    /// Notes a record, in the journal's order. One that does not join what is held begins anew: what lies between was another
    /// process's, or was lost.
    pub(crate) fn note(&mut self, intake: u16, origin: Origin, position: u64) {
        let Origin { role, place, offset, since } = origin;
        let known = self.places.entry((intake, place)).or_default();
        let behind = offset.saturating_add(1);
        if known.to > known.from && (known.from..=known.to).contains(&since) {
            known.to = known.to.max(behind);
        } else {
            *known = Stretch { from: since.min(offset), to: behind, arrivals: Vec::new() };
        }
        if role == Role::Arrival {
            known.arrivals.push((offset, position));
        }
    }

    /// What is held of one partition.
    pub(crate) fn take(&mut self, intake: u16, place: &Place) -> Stretch {
        self.places.remove(&(intake, place.clone())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(offset: u64, since: u64) -> Origin {
        let place = Place { topic: Arc::from("otlp_spans"), partition: 7 };
        Origin { role: Role::Arrival, place, offset, since }
    }

    #[test]
    fn what_is_written_is_read() {
        for (offset, since, role) in [(0, 0, Role::Arrival), (u64::MAX, u64::MAX - 1, Role::History)] {
            let written = Origin { role, ..origin(offset, since) };
            let mut keys = Keys::default();
            keys.push([1; 16], &[1, 0, 0, 0, 0]);
            written.push(&mut keys);
            assert_eq!(Origin::of(&keys), Some(written));
        }
        assert_eq!(Origin::of(&Keys::default()), None);
    }

    #[test]
    fn only_what_has_no_gap_counts_as_held() {
        for (records, expected) in [
            (&[(5, 5), (6, 6), (9, 7)][..], (5, 10)),
            // 3 and 4 were no requests.
            (&[(5, 3), (6, 6)], (3, 7)),
            // 7 was refused by a full disk, and is read again.
            (&[(5, 5), (6, 6), (8, 8)], (8, 9)),
            (&[(5, 5), (6, 6), (8, 8), (7, 7), (8, 8)], (7, 9)),
            // Another process had the partition in between.
            (&[(5, 5), (6, 6), (50, 50), (51, 51)], (50, 52)),
            // Read again from the committed offset.
            (&[(5, 5), (6, 6), (5, 5), (6, 6), (7, 7)], (5, 8)),
        ] {
            let mut held = Held::default();
            for (position, (offset, since)) in (100..).zip(records) {
                held.note(3, origin(*offset, *since), position);
            }
            let stretch = held.take(3, &origin(0, 0).place);
            assert_eq!((stretch.from, stretch.to), expected, "{records:?}");
            assert_eq!(held, Held::default());
        }
    }
}
