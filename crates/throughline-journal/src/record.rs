//! What is appended and what is read back. It refuses to look into a payload or into a key's value: both are the
//! caller's, and each must carry its own version if its meaning can change.

use crate::Position;

/// What a record holds. All five exist from format version 1, so that no journal has to be migrated for a new one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RecordKind {
    /// An accepted export request of spans.
    Spans,
    /// An accepted export request of log records.
    Logs,
    /// Sampling decisions and their reasons.
    Decisions,
    /// How far an exporter's backend has acknowledged.
    ExporterAcknowledgement,
    /// A point in time or a state that its writer wants to find again.
    Mark,
}

/// How the payload is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    /// As handed over.
    None,
    /// Reserved: this build writes none (an append is refused) and cannot read one (a read says so).
    Lz4,
}

/// A record to append. `P` is owned by the journal until it is written: hand over a `Vec<u8>`, an `Arc<[u8]>`, a
/// `Bytes`: nothing is copied on the way to the kernel.
#[derive(Clone, Debug)]
pub struct Record<P> {
    /// What it holds.
    pub kind: RecordKind,
    /// Which of the caller's pipelines it belongs to; 0 if there is only one.
    pub pipeline: u16,
    /// How the payload is encoded.
    pub codec: Codec,
    /// Wall time of arrival, nanoseconds since the Unix epoch.
    pub arrived: u64,
    /// The bytes.
    pub payload: P,
    /// What the segment's index shall find this record by.
    pub keys: Keys,
}

impl<P> Record<P> {
    /// A record of the only pipeline, not compressed, found by no key.
    pub fn new(kind: RecordKind, arrived: u64, payload: P) -> Self {
        Self { kind, pipeline: 0, codec: Codec::None, arrived, payload, keys: Keys::default() }
    }
}

/// A record as it was read back: its checksum held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedRecord {
    /// Where it is.
    pub position: Position,
    /// What it holds.
    pub kind: RecordKind,
    /// Which pipeline it belongs to.
    pub pipeline: u16,
    /// Wall time of arrival, nanoseconds since the Unix epoch.
    pub arrived: u64,
    /// The bytes, as handed over.
    pub payload: Vec<u8>,
    /// The keys, as handed over.
    pub keys: Keys,
}

/// As [`OwnedRecord`], in the buffer of the [`crate::Reader`] that read it; its keys are left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadRecord<'a> {
    /// Where it is.
    pub position: Position,
    /// What it holds.
    pub kind: RecordKind,
    /// Which pipeline it belongs to.
    pub pipeline: u16,
    /// Wall time of arrival, nanoseconds since the Unix epoch.
    pub arrived: u64,
    /// The bytes, as handed over.
    pub payload: &'a [u8],
}

/// The keys of one record: pairs of 16 bytes (a trace id) and an opaque value, in one allocation.
///
/// They are written beside the payload and once more, sorted, when the segment is sealed: an index can always be built
/// again from the records, without anybody having to understand a payload.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Keys {
    encoded: Vec<u8>,
    count: u32,
    value_bytes: u32,
}

/// The keys of a record where they were read: as [`Keys`], not copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pairs<'a>(pub(crate) &'a [u8]);

impl<'a> Pairs<'a> {
    /// The pairs in the order they were pushed.
    pub fn iter(&self) -> impl Iterator<Item = ([u8; 16], &'a [u8])> + use<'a> {
        pairs(self.0)
    }
}

const KEY_HEAD: usize = 20;

impl Keys {
    /// No keys yet, with room for so many and so many bytes of values.
    #[must_use]
    pub fn with_room_for(keys: usize, value_bytes: usize) -> Self {
        let encoded = Vec::with_capacity(keys.saturating_mul(KEY_HEAD).saturating_add(value_bytes));
        Self { encoded, ..Self::default() }
    }

    /// Adds a pair. A key may occur more than once.
    pub fn push(&mut self, key: [u8; 16], value: &[u8]) {
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.encoded.extend_from_slice(&key);
        self.encoded.extend_from_slice(&length.to_le_bytes());
        self.encoded.extend_from_slice(value);
        self.count = self.count.saturating_add(1);
        self.value_bytes = self.value_bytes.saturating_add(length);
    }

    /// The pairs in the order they were pushed.
    pub fn iter(&self) -> impl Iterator<Item = ([u8; 16], &[u8])> {
        pairs(&self.encoded)
    }

    /// How many pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// True without any pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    pub(crate) fn value_bytes(&self) -> u32 {
        self.value_bytes
    }

    pub(crate) fn decode(encoded: &[u8]) -> Self {
        let mut keys = Self::default();
        for (key, value) in pairs(encoded) {
            keys.push(key, value);
        }
        keys
    }
}

impl<'a> FromIterator<([u8; 16], &'a [u8])> for Keys {
    fn from_iter<I: IntoIterator<Item = ([u8; 16], &'a [u8])>>(pairs: I) -> Self {
        let mut keys = Self::default();
        for (key, value) in pairs {
            keys.push(key, value);
        }
        keys
    }
}

/// Reads encoded pairs; ends at the first that is not whole, which a checksum has ruled out before.
fn pairs(mut rest: &[u8]) -> impl Iterator<Item = ([u8; 16], &[u8])> {
    std::iter::from_fn(move || {
        let (key, value) = first_pair(rest)?;
        rest = rest.get(pair_bytes(value)..)?;
        Some((*key, value))
    })
}

/// The pair that encoded pairs begin with.
pub(crate) fn first_pair(encoded: &[u8]) -> Option<(&[u8; 16], &[u8])> {
    let (key, rest) = encoded.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    Some((key, rest.get(..u32::from_le_bytes(*length) as usize)?))
}

/// Bytes a pair with this value takes, encoded.
pub(crate) const fn pair_bytes(value: &[u8]) -> usize {
    KEY_HEAD + value.len()
}

impl RecordKind {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Spans => 1,
            Self::Logs => 2,
            Self::Decisions => 3,
            Self::ExporterAcknowledgement => 4,
            Self::Mark => 5,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Spans),
            2 => Some(Self::Logs),
            3 => Some(Self::Decisions),
            4 => Some(Self::ExporterAcknowledgement),
            5 => Some(Self::Mark),
            _ => None,
        }
    }
}

impl Codec {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 1,
        }
    }
}
