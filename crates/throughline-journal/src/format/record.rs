//! The 64 bytes before each record. They have a checksum of their own, so that a damaged payload still has a known length.

use super::{Fields, Identity, align, checksum_holds, u16_at, u32_at, u64_at};
use crate::Position;

const MAGIC: u32 = u32::from_le_bytes(*b"TLJR");

/// Bytes of a record header.
pub(crate) const RECORD_HEADER_BYTES: usize = 64;

/// Version of a record's header; its payload's version is its writer's business.
const RECORD_VERSION: u8 = 1;

/// The record header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordHeader {
    pub(crate) version: u8,
    pub(crate) kind: u8,
    pub(crate) codec: u8,
    pub(crate) pipeline: u16,
    pub(crate) payload_bytes: u32,
    pub(crate) keys_bytes: u32,
    /// Counts attempts to write in this segment. Where it falls from one record to the next, the second is left over
    /// from an attempt that failed and was overwritten in part.
    pub(crate) group: u32,
    pub(crate) position: Position,
    pub(crate) epoch: u32,
    /// Everything in this segment before this offset was synced when this record was written: damage there is not a torn write.
    pub(crate) synced_to: u32,
    /// Where the record before this one ends, so that a gap that is padding is told from a record that is gone.
    pub(crate) follows: u32,
    pub(crate) arrived: u64,
    /// CRC32C of payload and keys.
    pub(crate) body_crc: u32,
}

impl RecordHeader {
    /// A header of this version: the rest is filled by the caller.
    pub(crate) const fn version() -> u8 {
        RECORD_VERSION
    }

    pub(crate) fn encode(&self) -> [u8; RECORD_HEADER_BYTES] {
        Fields::new()
            .u32(MAGIC)
            .put(&[self.version, self.kind, self.codec, 0])
            .put(&self.pipeline.to_le_bytes())
            .put(&[0; 2])
            .u32(self.keys_bytes)
            .u32(self.payload_bytes)
            .u32(self.group)
            .put(&self.position.0.to_le_bytes())
            .u32(self.epoch)
            .u32(self.synced_to)
            .put(&self.arrived.to_le_bytes())
            .u32(self.body_crc)
            .u32(self.follows)
            .sealed()
    }

    /// The header at the start of `bytes`, if one is there and intact: of whichever segment.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if u32_at(bytes, 0)? != MAGIC {
            return None;
        }
        let head = bytes.get(..RECORD_HEADER_BYTES).filter(|head| checksum_holds(head))?;
        let &[version, kind, codec, _] = head.get(4..8)? else { return None };
        Some(Self {
            version,
            kind,
            codec,
            pipeline: u16_at(head, 8)?,
            keys_bytes: u32_at(head, 12)?,
            payload_bytes: u32_at(head, 16)?,
            group: u32_at(head, 20)?,
            position: Position(u64_at(head, 24)?),
            epoch: u32_at(head, 32)?,
            synced_to: u32_at(head, 36)?,
            arrived: u64_at(head, 40)?,
            body_crc: u32_at(head, 48)?,
            follows: u32_at(head, 52)?,
        })
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity { sequence: self.position.sequence(), epoch: self.epoch }
    }

    /// Payload and keys.
    pub(crate) fn body_bytes(&self) -> u64 {
        u64::from(self.payload_bytes) + u64::from(self.keys_bytes)
    }

    /// Header, payload, keys and padding to eight bytes.
    pub(crate) fn total_bytes(&self) -> u64 {
        align(RECORD_HEADER_BYTES as u64 + self.body_bytes(), 8)
    }

    /// True if this program knows what the record is.
    pub(crate) fn is_current(&self) -> bool {
        self.version == RECORD_VERSION && crate::RecordKind::from_code(self.kind).is_some() && self.codec <= 1
    }
}
