//! Reading records back: by position, in order, by key. Concurrent with appends and with recycling: what a reader gets was
//! published, its checksum holds, and it was not recycled while being read. It refuses to repair: damage is said and passed over.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use crate::{
    OwnedRecord, Position, ReadError, ReadRecord, RecordKind,
    catalog::{Catalog, View},
    format::{PAGE, RECORD_HEADER_BYTES, RecordHeader},
    fs::read_full,
    scan::{Found, Intact, Scan},
    segment::Sealed,
};

/// A key found: the record it came with, and its value.
pub type Hit = (Position, Vec<u8>);

/// The record at `position`.
pub(crate) fn read(catalog: &Catalog, position: Position) -> Result<OwnedRecord, ReadError> {
    let mut buffer = Vec::new();
    owned(read_into(catalog, position, &mut buffer)?)
}

/// Reads records by position, for who reads many. It can hold requests that it has read, those with the highest positions:
/// who goes through the journal in overlapping steps then reads and checks each of them once.
pub struct Reader {
    pub(crate) catalog: Arc<Catalog>,
    /// Of the records that this process wrote.
    pub(crate) epoch: u32,
    /// Most bytes that are held.
    room: usize,
    pub(crate) held: BTreeMap<Position, Held>,
    held_bytes: usize,
    /// The record read last, if it is not held. It stays as large as the largest record was.
    pub(crate) buffer: Vec<u8>,
    /// The keys read last.
    pub(crate) keys: Vec<u8>,
}

/// A record in a buffer.
pub(crate) struct Held {
    bytes: Vec<u8>,
    kind: RecordKind,
    pipeline: u16,
    arrived: u64,
    payload_bytes: usize,
}

impl Reader {
    pub(crate) fn new(catalog: Arc<Catalog>, epoch: u32, room: usize) -> Self {
        let (held, buffer, keys) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { catalog, epoch, room, held, held_bytes: 0, buffer, keys }
    }

    /// The record at `position`.
    ///
    /// # Errors
    /// As [`crate::Journal::read`], but of a record that is held: that is given although its segment was recycled since.
    pub fn read(&mut self, position: Position) -> Result<ReadRecord<'_>, ReadError> {
        if !self.held.contains_key(&position) {
            let record = readable(&read_into(&self.catalog, position, &mut self.buffer)?)?;
            let ReadRecord { kind, pipeline, arrived, payload, .. } = record;
            let payload_bytes = payload.len();
            let record = Held { bytes: Vec::new(), kind, pipeline, arrived, payload_bytes };
            if !self.may_hold(position, kind) {
                return Ok(record.read(position, &self.buffer));
            }
            self.hold(position, record);
        }
        let held = self.held.get(&position).ok_or(ReadError::Unknown(position))?;
        Ok(held.read(position, &held.bytes))
    }

    /// Whether there is room for what is in the buffer, or would be without records of lower positions.
    fn may_hold(&self, position: Position, kind: RecordKind) -> bool {
        let lower: usize = match self.held_bytes + self.buffer.len() > self.room {
            true => self.held.range(..position).map(|(_, held)| held.bytes.len()).sum(),
            false => 0,
        };
        let request = matches!(kind, RecordKind::Spans | RecordKind::Logs);
        request && self.held_bytes + self.buffer.len() <= self.room + lower
    }

    fn hold(&mut self, position: Position, mut record: Held) {
        let mut next = Vec::new();
        record.bytes = std::mem::take(&mut self.buffer);
        while self.held_bytes + record.bytes.len() > self.room
            && let Some((_, lowest)) = self.held.pop_first()
        {
            self.held_bytes -= lowest.bytes.len();
            next = lowest.bytes;
        }
        self.buffer = next;
        self.held_bytes += record.bytes.len();
        self.held.insert(position, record);
    }
}

impl Held {
    fn read<'b>(&self, position: Position, bytes: &'b [u8]) -> ReadRecord<'b> {
        let payload = bytes.get(RECORD_HEADER_BYTES..).and_then(|body| body.get(..self.payload_bytes));
        let Self { kind, pipeline, arrived, .. } = *self;
        ReadRecord { position, kind, pipeline, arrived, payload: payload.unwrap_or_default() }
    }
}

/// The intact record at `position`, in `buffer`, which grows as it must and holds anything behind the record.
fn read_into<'b>(
    catalog: &Catalog,
    position: Position,
    buffer: &'b mut Vec<u8>,
) -> Result<Intact<'b>, ReadError> {
    let (view, header) = header(catalog, position)?;
    let length = usize::try_from(header.total_bytes()).unwrap_or(usize::MAX).min(view.data_end as usize);
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    let room = buffer.get_mut(..length).unwrap_or_default();
    let read = read_full(view.file.file.as_ref(), room, u64::from(position.offset()))
        .map_err(|source| ReadError::Io { position, source })?;
    let bytes = buffer.get(..read).unwrap_or_default();
    match Scan::new(bytes, position.offset(), view.identity).next() {
        Some(Found::Record(record)) if record.at == position.offset() => Ok(record),
        _ => Err(unsound(catalog, &view, position, header.total_bytes())),
    }
}

/// The header at `position`, and the segment it is in.
pub(crate) fn header(catalog: &Catalog, position: Position) -> Result<(View, RecordHeader), ReadError> {
    let offset = position.offset();
    if offset < PAGE || !offset.is_multiple_of(8) {
        return Err(ReadError::Unknown(position));
    }
    let view = catalog.view(position.sequence()).ok_or_else(|| match catalog.usage().last {
        Some(last) if position < last => ReadError::Recycled(position),
        _ => ReadError::Unknown(position),
    })?;
    if offset >= view.data_end {
        return Err(ReadError::Unknown(position));
    }
    let mut bytes = [0; RECORD_HEADER_BYTES];
    // What lies behind the end of the file stays zero, which is no header.
    read_full(view.file.file.as_ref(), &mut bytes, u64::from(offset))
        .map_err(|source| ReadError::Io { position, source })?;
    match RecordHeader::decode(&bytes) {
        Some(header) if header.position == position && header.identity() == view.identity => {
            Ok((view, header))
        }
        _ => Err(unsound(catalog, &view, position, RECORD_HEADER_BYTES as u64)),
    }
}

/// Position and arrival of the first record at or after `position`: where one stands, its header says both.
pub(crate) fn arrival_from(catalog: &Arc<Catalog>, position: Position) -> Option<(Position, u64)> {
    let view = catalog.view_from(position.sequence())?;
    let same = view.identity.sequence == position.sequence();
    let offset = if same { position.offset().max(PAGE) } else { PAGE };
    if let Ok((_, header)) = header(catalog, Position::new(view.identity.sequence, offset)) {
        return Some((header.position, header.arrived));
    }
    let mut records = Records::from(Arc::clone(catalog), position).flatten();
    records.next().map(|record| (record.position, record.arrived))
}

/// Bytes without a valid checksum are damage only if the file still is the segment they were looked for in.
fn unsound(catalog: &Catalog, view: &View, position: Position, bytes: u64) -> ReadError {
    if catalog.holds(view.identity) {
        ReadError::Damaged { position, bytes }
    } else {
        ReadError::Recycled(position)
    }
}

fn owned(record: Intact<'_>) -> Result<OwnedRecord, ReadError> {
    let ReadRecord { position, kind, pipeline, arrived, payload } = readable(&record)?;
    Ok(OwnedRecord { position, kind, pipeline, arrived, payload: payload.to_vec(), keys: record.keys() })
}

/// The record, if this program can read it.
fn readable<'a>(record: &Intact<'a>) -> Result<ReadRecord<'a>, ReadError> {
    let RecordHeader { version, kind, codec, pipeline, position, arrived, .. } = record.header;
    match RecordKind::from_code(kind).filter(|_| record.header.is_current()) {
        None => Err(ReadError::Newer { position, version, kind }),
        Some(_) if codec != 0 => Err(ReadError::CodecNotBuilt(position)),
        Some(kind) => Ok(ReadRecord { position, kind, pipeline, arrived, payload: record.payload }),
    }
}

/// Records in order, across segments. Ends at what is published at that moment; asked again, it goes on with what came since.
///
/// It holds at most one segment's bytes. A record that cannot be read is an `Err`, and the next call goes on behind it.
pub struct Records {
    catalog: Arc<Catalog>,
    sequence: u32,
    at: u32,
    start: Start,
    /// Of the last record in this segment.
    group: u32,
    chunk: Option<Chunk>,
}

/// What is known of where reading begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// A record starts there, or the next one does after padding.
    Boundary,
    /// Perhaps inside a record.
    Anywhere,
}

struct Chunk {
    view: View,
    base: u32,
    bytes: Vec<u8>,
}

impl Records {
    /// From the record at `position`, or the first after it.
    pub(crate) fn from(catalog: Arc<Catalog>, position: Position) -> Self {
        let at = position.offset().max(PAGE).checked_next_multiple_of(8).unwrap_or(u32::MAX);
        let start = if at == PAGE { Start::Boundary } else { Start::Anywhere };
        Self { catalog, sequence: position.sequence(), at, start, group: 0, chunk: None }
    }

    /// From the first record after the one at `position`.
    pub(crate) fn after(catalog: Arc<Catalog>, position: Position) -> Self {
        let known = header(&catalog, position).ok();
        let end =
            known.map(|(_, header)| (u64::from(position.offset()) + header.total_bytes(), header.group));
        match end.and_then(|(end, group)| Some((u32::try_from(end).ok()?, group))) {
            Some((at, group)) => Self { at, start: Start::Boundary, group, ..Self::from(catalog, position) },
            None => Self::from(catalog, Position(position.0.saturating_add(1))),
        }
    }

    /// Loads what is published from `self.at` on, in this segment or the next that has any. `None` at the end.
    fn refill(&mut self) -> Option<Result<(), ReadError>> {
        loop {
            let view = self.catalog.view_from(self.sequence)?;
            if view.identity.sequence != self.sequence {
                self.enter(view.identity.sequence);
            }
            if self.at < view.data_end {
                let base = self.at;
                let bytes = view.file.read(base, (view.data_end - base) as usize);
                if self.catalog.holds(view.identity) {
                    self.chunk = Some(Chunk { view, base, bytes });
                    return Some(Ok(()));
                }
                let gone = Position::new(self.sequence, base);
                self.enter(self.sequence.saturating_add(1));
                return Some(Err(ReadError::Recycled(gone)));
            }
            // Nothing more here for now. If a later segment has begun, this one is complete.
            let next = self.sequence.checked_add(1)?;
            self.catalog.view_from(next)?;
            self.enter(next);
        }
    }

    /// Goes on at the start of a segment.
    fn enter(&mut self, sequence: u32) {
        (self.sequence, self.at, self.start, self.group) = (sequence, PAGE, Start::Boundary, 0);
        self.chunk = None;
    }

    /// The next step in the bytes loaded. `None` once they are used up.
    fn step(&mut self) -> Option<Result<OwnedRecord, ReadError>> {
        let Chunk { view, base, bytes } =
            self.chunk.as_ref().filter(|chunk| self.at < chunk.view.data_end)?;
        let rest = bytes.get((self.at - base) as usize..)?;
        let scan = match self.start {
            Start::Boundary => Scan::new(rest, self.at, view.identity),
            Start::Anywhere => Scan::from_anywhere(rest, self.at, view.identity),
        };
        let mut scan = scan.after_group(self.group);
        let (result, at) = match scan.next() {
            Some(Found::Record(record)) => {
                self.group = record.header.group;
                (Some(owned(record)), record.end)
            }
            Some(Found::Hole(hole)) => {
                (Some(Err(damaged(view, hole.from, hole.to))), scan.next_record().unwrap_or(hole.to))
            }
            None if self.start == Start::Boundary => {
                (Some(Err(damaged(view, self.at, view.data_end))), view.data_end)
            }
            None => (None, view.data_end),
        };
        (self.at, self.start) = (at, Start::Boundary);
        result
    }
}

impl Iterator for Records {
    type Item = Result<OwnedRecord, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(result) = self.step() {
                return Some(result);
            }
            if let Err(error) = self.refill()? {
                return Some(Err(error));
            }
        }
    }
}

fn damaged(view: &View, from: u32, to: u32) -> ReadError {
    ReadError::Damaged { position: Position::new(view.identity.sequence, from), bytes: u64::from(to - from) }
}

/// All pairs of a key, oldest first: memory holds a filter for each sealed segment, so most are not touched.
pub(crate) fn lookup(catalog: &Catalog, key: &[u8; 16]) -> Vec<Hit> {
    lookup_through(catalog, key, u32::MAX)
}

/// Those before a position: later segments are not asked.
pub(crate) fn lookup_before(catalog: &Catalog, key: &[u8; 16], before: Position) -> Vec<Hit> {
    let mut hits = lookup_through(catalog, key, before.sequence());
    hits.retain(|(position, _)| *position < before);
    hits
}

/// Those in segments up to this one.
fn lookup_through(catalog: &Catalog, key: &[u8; 16], last: u32) -> Vec<Hit> {
    let lookups = catalog.lookups();
    let mut hits = Vec::new();
    let asked = |sealed: &&Arc<Sealed>| sealed.sequence() <= last && sealed.filter.may_contain(key);
    for sealed in lookups.sealed.iter().filter(asked) {
        let pairs = sealed.index().find(key).unwrap_or_else(|_| pairs_of_records(catalog, sealed, key));
        hits.extend(pairs.into_iter().map(|(record, value)| (sealed.position(record), value)));
    }
    if let Some((sequence, entries)) = lookups.open.filter(|(sequence, _)| *sequence <= last) {
        let pairs = entries.lock().unwrap_or_else(PoisonError::into_inner).find(key);
        hits.extend(pairs.into_iter().map(|(record, value)| (Position::new(sequence, record), value)));
    }
    hits
}

/// The slow way, for an index that is damaged: its records hold the same pairs.
fn pairs_of_records(catalog: &Catalog, sealed: &Sealed, key: &[u8; 16]) -> Vec<(u32, Vec<u8>)> {
    let bytes = sealed.file.read(PAGE, sealed.footer.data_end.saturating_sub(PAGE) as usize);
    if !catalog.holds(sealed.footer.identity) {
        return Vec::new();
    }
    let mut pairs = Vec::new();
    for found in Scan::new(&bytes, PAGE, sealed.footer.identity) {
        if let Found::Record(record) = found {
            let keys = record.keys();
            let matching = keys.iter().filter(|(found, _)| found == key);
            pairs.extend(matching.map(|(_, value)| (record.at, value.to_vec())));
        }
    }
    pairs
}

#[cfg(test)]
mod tests;
