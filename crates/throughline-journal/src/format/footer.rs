//! The last page of a sealed segment: what was written, where its index and its filter are.

use super::{Fields, Identity, checksum_holds, u16_at, u32_at};

const MAGIC: &[u8; 8] = b"TLJEND\r\n";

/// Version of footer and index. Of the one before, the index is not read: it is made again.
const VERSION: u16 = 2;
const VERSION_BEFORE: u16 = 1;

/// Bytes of the footer, at the start of the segment's last page.
pub(crate) const FOOTER_BYTES: usize = 128;

/// The footer. One that is intact proves that every record before it was synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Footer {
    pub(crate) identity: Identity,
    /// Where the last record ends.
    pub(crate) data_end: u32,
    /// Where the last record starts.
    pub(crate) last_record: u32,
    pub(crate) records: u32,
    /// Damage before this offset came after a sync: the data's end, or less if a crash came before the last sync.
    pub(crate) synced_to: u32,
    pub(crate) index: IndexPlace,
}

/// Where the parts of a sealed index are, as offsets in the segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct IndexPlace {
    /// The first block, on a page boundary.
    pub(crate) start: u32,
    pub(crate) blocks: u32,
    /// The filter, after the last block.
    pub(crate) filter_start: u32,
    pub(crate) filter_words: u32,
    pub(crate) filter_crc: u32,
}

impl Footer {
    pub(crate) fn encode(&self) -> [u8; FOOTER_BYTES] {
        let index = &self.index;
        Fields::new()
            .put(MAGIC)
            .u32(u32::from(VERSION))
            .u32(self.identity.sequence)
            .u32(self.identity.epoch)
            .u32(self.data_end)
            .u32(self.last_record)
            .u32(self.records)
            .u32(index.start)
            .u32(index.blocks)
            .u32(0)
            .u32(0)
            .u32(index.filter_start)
            .u32(index.filter_words)
            .u32(index.filter_crc)
            .u32(self.synced_to)
            .sealed()
    }

    /// The footer in `bytes`, if it is intact and belongs to this segment's present use.
    pub(crate) fn decode(bytes: &[u8], identity: Identity) -> Option<Self> {
        let footer =
            bytes.get(..FOOTER_BYTES).filter(|footer| footer.starts_with(MAGIC) && checksum_holds(footer))?;
        let found = Identity { sequence: u32_at(footer, 12)?, epoch: u32_at(footer, 16)? };
        let index = match u16_at(footer, 8)? {
            VERSION => IndexPlace::decode(footer)?,
            VERSION_BEFORE => IndexPlace::UNREADABLE,
            _ => return None,
        };
        if found != identity {
            return None;
        }
        Some(Self {
            identity,
            data_end: u32_at(footer, 20)?,
            last_record: u32_at(footer, 24)?,
            records: u32_at(footer, 28)?,
            synced_to: u32_at(footer, 60)?,
            index,
        })
    }
}

impl IndexPlace {
    /// Of an index that this program cannot read: nothing is there.
    const UNREADABLE: Self =
        Self { start: u32::MAX, blocks: 0, filter_start: u32::MAX, filter_words: 1, filter_crc: 0 };

    fn decode(footer: &[u8]) -> Option<Self> {
        Some(Self {
            start: u32_at(footer, 32)?,
            blocks: u32_at(footer, 36)?,
            filter_start: u32_at(footer, 48)?,
            filter_words: u32_at(footer, 52)?,
            filter_crc: u32_at(footer, 56)?,
        })
    }
}
