//! One append on its way to the disk: bytes, checksum, and whom to tell. It refuses nothing: that happened before.

use crate::{
    AppendError, Position, Record, RecordKind, Refused,
    format::{RECORD_HEADER_BYTES, RecordHeader},
    record::Keys,
};

/// Whom to tell how an append ended.
pub(crate) type Done = Box<dyn FnOnce(Result<Position, AppendError>) + Send>;

/// A payload in whatever its caller keeps it.
pub(crate) type Payload = Box<dyn AsRef<[u8]> + Send>;

/// An append that waits.
pub(crate) struct Entry {
    header: RecordHeader,
    payload: Payload,
    pub(crate) keys: Keys,
    done: Done,
}

/// What only the place in the segment decides.
pub(crate) struct Placement {
    pub(crate) position: Position,
    pub(crate) epoch: u32,
    pub(crate) group: u32,
    pub(crate) synced_to: u32,
    pub(crate) follows: u32,
}

impl Entry {
    /// Computes the checksum: on the caller's thread, as the committer's is one for all.
    pub(crate) fn new<P: AsRef<[u8]> + Send + 'static>(record: Record<P>, done: Done) -> Self {
        let Record { kind, pipeline, codec, arrived, payload, keys } = record;
        let bytes = payload.as_ref();
        // Lengths beyond 32 bits are refused as too large, by `bytes`, before a header is written.
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let header = RecordHeader {
            version: RecordHeader::version(),
            kind: kind.code(),
            codec: codec.code(),
            pipeline,
            payload_bytes: length(bytes),
            keys_bytes: length(keys.encoded()),
            group: 0,
            position: Position(0),
            epoch: 0,
            synced_to: 0,
            follows: 0,
            arrived,
            body_crc: crc32c::crc32c_append(crc32c::crc32c(bytes), keys.encoded()),
        };
        Self { header, payload: Box::new(payload), keys, done }
    }

    /// Whether it may use the reserve, and exceed the cap: it is what lets segments go. A mark does not, and others may ask for
    /// as many as they like.
    pub(crate) fn may_use_reserve(&self) -> bool {
        let kind = RecordKind::from_code(self.header.kind);
        matches!(kind, Some(RecordKind::Decisions | RecordKind::ExporterAcknowledgement))
    }

    /// Payload and keys.
    pub(crate) fn bytes(&self) -> u64 {
        (self.payload().len() + self.keys.encoded().len()) as u64
    }

    /// What it takes in a segment.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.header.total_bytes()
    }

    pub(crate) fn payload(&self) -> &[u8] {
        (*self.payload).as_ref()
    }

    /// Zeros after payload and keys.
    pub(crate) fn padding(&self) -> usize {
        (self.total_bytes() - RECORD_HEADER_BYTES as u64 - self.header.body_bytes()) as usize
    }

    pub(crate) fn header(&self, placement: &Placement) -> [u8; RECORD_HEADER_BYTES] {
        let Placement { position, epoch, group, synced_to, follows } = *placement;
        RecordHeader { position, epoch, group, synced_to, follows, ..self.header }.encode()
    }

    pub(crate) fn stored(self, position: Position) {
        (self.done)(Ok(position));
    }

    pub(crate) fn refuse(self, why: Refused) {
        (self.done)(Err(why.into()));
    }

    pub(crate) fn fail(self, why: &std::sync::Arc<str>) {
        (self.done)(Err(AppendError::Failed(std::sync::Arc::clone(why))));
    }
}
