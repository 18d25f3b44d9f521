//! Reading some of a record: who wants a few bytes of each of many large records need not have all of them copied.
//!
//! A checksum covers the whole record, so it cannot be asked here. It refuses all records but those that this process has
//! written: their bytes are what it handed to the operating system, in the order it published them. Everything else, and
//! whatever the caller finds not to be what it should be, is read whole, and then the checksum has the word.

use std::ops::Range;

use crate::{
    Pairs, Position, ReadError, ReadRecord, Reader, RecordKind, format::RECORD_HEADER_BYTES, fs::read_full,
    read::header,
};

/// Parts with no more than this between them are read in one go: a call costs as much as copying it.
const BETWEEN: usize = 1024;

/// What is wanted of a record's payload, ascending, given its keys and the payload's length; `None`: all of it.
pub type Choose<'c> = &'c mut dyn FnMut(Pairs<'_>, usize) -> Option<Vec<Range<usize>>>;

impl Reader {
    /// Some of the payload of the record at `position`: `choose` is told its keys and the payload's length and says what is wanted,
    /// ascending. The rest of what comes back is anything. `None`: it is to be read whole, by [`Reader::read`]; because
    /// `choose` says so, because it is held, or because an earlier process wrote it.
    ///
    /// # Errors
    /// As [`crate::Journal::read`], as far as it shows in what was read.
    pub fn read_parts(
        &mut self,
        position: Position,
        choose: Choose<'_>,
    ) -> Result<Option<ReadRecord<'_>>, ReadError> {
        if self.held.contains_key(&position) {
            return Ok(None);
        }
        let (view, header) = header(&self.catalog, position)?;
        let kind = RecordKind::from_code(header.kind).filter(|_| header.is_current() && header.codec == 0);
        let Some(kind) = kind.filter(|_| header.epoch == self.epoch) else { return Ok(None) };
        let (payload_bytes, keys_bytes) = (header.payload_bytes as usize, header.keys_bytes as usize);
        let payload_at = u64::from(position.offset()) + RECORD_HEADER_BYTES as u64;
        let read = |room: &mut [u8], at: usize| {
            let read = read_full(view.file.file.as_ref(), room, payload_at + at as u64);
            read.map(|read| read == room.len()).map_err(|source| ReadError::Io { position, source })
        };
        // The header has a checksum of its own: the lengths are those of a record within a segment.
        self.keys.resize(keys_bytes, 0);
        if !read(&mut self.keys, payload_bytes)? {
            return Ok(None);
        }
        let Some(wanted) = choose(Pairs(&self.keys), payload_bytes) else { return Ok(None) };
        if self.buffer.len() < payload_bytes {
            self.buffer.resize(payload_bytes, 0);
        }
        for part in joined(wanted) {
            let at = part.start;
            let Some(room) = self.buffer.get_mut(part) else { return Ok(None) };
            if !read(room, at)? {
                return Ok(None);
            }
        }
        // Asked last: what was read before is of this record.
        if !self.catalog.holds(view.identity) {
            return Err(ReadError::Recycled(position));
        }
        let payload = self.buffer.get(..payload_bytes).unwrap_or_default();
        Ok(Some(ReadRecord { position, kind, pipeline: header.pipeline, arrived: header.arrived, payload }))
    }
}

/// The same with what lies close together joined.
fn joined(parts: Vec<Range<usize>>) -> impl Iterator<Item = Range<usize>> {
    let mut parts = parts.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut part = parts.next()?;
        while let Some(next) = parts.next_if(|next| next.start <= part.end.saturating_add(BETWEEN)) {
            part.end = part.end.max(next.end);
        }
        Some(part)
    })
}

#[cfg(test)]
mod tests;
