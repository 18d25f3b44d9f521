//! The first page of a segment file: whose records follow. It has two places for a header, written in turn.

use super::{Fields, HEAD_BYTES, Head, Identity, VERSION, head, u32_at};

/// Where the two headers are. Both are written when the file is new, later the one that is not in use: a header that is
/// torn while a file is recycled leaves the one before it whole.
pub(crate) const HEADER_PLACES: [u32; 2] = [0, 2048];

const MAGIC: &[u8; 8] = b"TLJSEG\r\n";

/// The segment header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) identity: Identity,
    /// Length of the file.
    pub(crate) segment_bytes: u32,
}

impl SegmentHeader {
    pub(crate) fn encode(self) -> [u8; HEAD_BYTES] {
        Fields::new()
            .put(MAGIC)
            .u32(u32::from(VERSION))
            .u32(self.segment_bytes)
            .u32(self.identity.sequence)
            .u32(self.identity.epoch)
            .sealed()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Head<Self> {
        head(bytes, MAGIC, |head| {
            Some(Self {
                segment_bytes: u32_at(head, 12)?,
                identity: Identity { sequence: u32_at(head, 16)?, epoch: u32_at(head, 20)? },
            })
        })
    }
}
