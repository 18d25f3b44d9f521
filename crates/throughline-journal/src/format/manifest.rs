//! The journal's manifest: what must be known even when no segment is left.

use super::{Fields, HEAD_BYTES, Head, VERSION, head, u32_at};

const MAGIC: &[u8; 8] = b"TLJMAN\r\n";

/// The manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Manifest {
    /// How often the journal was opened.
    pub(crate) epoch: u32,
    /// The first sequence number of this epoch: all below may have been used.
    pub(crate) next_sequence: u32,
}

impl Manifest {
    pub(crate) fn encode(self) -> [u8; HEAD_BYTES] {
        Fields::new().put(MAGIC).u32(u32::from(VERSION)).u32(self.epoch).u32(self.next_sequence).sealed()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Head<Self> {
        head(bytes, MAGIC, |head| Some(Self { epoch: u32_at(head, 12)?, next_sequence: u32_at(head, 16)? }))
    }
}
