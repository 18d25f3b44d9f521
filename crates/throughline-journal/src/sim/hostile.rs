//! Hostile segments: a valid one changed in a few places, its checksums made right again, so that what stands behind them
//! is reached. And what FORMAT.md promises of any bytes, read naively, for recovery to be held to. For the fuzz target.
//!
//! It shares no code with the reader and the writer: offsets are the document's.

use std::{path::Path, sync::Arc};

use super::SimFs;
use crate::{Journal, JournalError, Options, OwnedRecord, Position, ReadError, Recovery};

const PAGE: usize = 4096;
/// Smallest and largest length a header may state.
const LENGTHS: std::ops::RangeInclusive<usize> = (64 << 10)..=(1 << 30);

type Repair = fn(&mut [u8]);

/// In the first byte of an input: the rest is a file as it is, not a list of edits.
pub const RAW: u8 = 0x80;
/// Which checksums are made right: of heads, of payloads and keys, of record headers, of index blocks, of filter and footer.
const REPAIRS: [(u8, Repair); 5] = [(1, heads), (2, bodies), (4, records), (8, blocks), (16, footer)];

/// The segment that an input describes: its first byte says what is repaired, and whether the rest is the file or edits to
/// one of `bases` (bits 5 and 6). An edit is a place, an offset, a count and as many bytes; from place 128 on, half a page
/// is copied there from the place that the count names.
#[must_use]
pub fn segment(bases: &[&[u8]], input: &[u8]) -> Vec<u8> {
    let Some((&how, rest)) = input.split_first() else { return Vec::new() };
    let base = usize::from(how >> 5 & 3).checked_rem(bases.len()).and_then(|base| bases.get(base));
    let mut bytes = match base {
        Some(base) if how & RAW == 0 => base.to_vec(),
        _ => rest.to_vec(),
    };
    if how & RAW == 0 {
        edit(&mut bytes, rest);
    }
    for (_, repair) in REPAIRS.iter().filter(|(bit, _)| how & bit != 0) {
        repair(&mut bytes);
    }
    bytes
}

fn edit(bytes: &mut [u8], mut edits: &[u8]) {
    let places: Vec<usize> = (0..bytes.len()).step_by(8).filter(|at| begins(bytes, *at, b"TLJ")).collect();
    let place =
        |number: u8| usize::from(number).checked_rem(places.len()).and_then(|n| places.get(n).copied());
    while let [number, offset, count, rest @ ..] = edits {
        let Some(at) = place(*number % 128) else { return };
        let (data, after) = rest.split_at(usize::from(*count).min(rest.len()));
        edits = after;
        let (at, data) = match place(*count).filter(|_| *number >= 128) {
            Some(from) => (at, bytes.get(from..from + 512).unwrap_or_default().to_vec()),
            None => (at + usize::from(*offset), data.to_vec()),
        };
        if let Some(room) = bytes.get_mut(at..at + data.len()) {
            room.copy_from_slice(&data);
        }
    }
}

fn begins(bytes: &[u8], at: usize, magic: &[u8]) -> bool {
    bytes.get(at..).is_some_and(|rest| rest.starts_with(magic))
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(field.try_into().ok()?)).ok()
}

/// The checksum of `from..to`, at `at`.
fn sum(bytes: &mut [u8], from: usize, to: usize, at: usize) {
    let Some(sum) = bytes.get(from..to).map(crc32c::crc32c) else { return };
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}

fn heads(bytes: &mut [u8]) {
    for at in [0, 2048] {
        sum(bytes, at, at + 60, at + 60);
    }
}

fn bodies(bytes: &mut [u8]) {
    for at in (PAGE..bytes.len()).step_by(8).filter(|at| begins(bytes, *at, b"TLJR")).collect::<Vec<_>>() {
        if let (Some(keys), Some(payload)) = (number(bytes, at + 12), number(bytes, at + 16)) {
            sum(bytes, at + 64, at + 64 + keys + payload, at + 48);
        }
    }
}

fn records(bytes: &mut [u8]) {
    for at in (PAGE..bytes.len()).step_by(8).filter(|at| begins(bytes, *at, b"TLJR")).collect::<Vec<_>>() {
        sum(bytes, at, at + 60, at + 60);
    }
}

fn blocks(bytes: &mut [u8]) {
    for at in (PAGE..bytes.len()).step_by(PAGE).filter(|at| begins(bytes, *at, b"TLJY")).collect::<Vec<_>>() {
        sum(bytes, at, at + 4092, at + 4092);
    }
}

fn footer(bytes: &mut [u8]) {
    let Some(at) = bytes.len().checked_sub(PAGE).filter(|at| begins(bytes, *at, b"TLJEND")) else { return };
    if let (Some(filter), Some(words)) = (number(bytes, at + 48), number(bytes, at + 52)) {
        sum(bytes, filter, filter.saturating_add(words.saturating_mul(8)), at + 56);
    }
    sum(bytes, at, at + 124, at + 124);
}

/// What came through: found by recovery, and read.
#[derive(Debug, Default)]
pub struct Survivors {
    /// What the opening said.
    pub recovery: Recovery,
    /// Every record that could be read.
    pub records: Vec<OwnedRecord>,
    /// Positions of intact records that this version does not know how to read.
    pub strange: Vec<Position>,
}

/// Opens a journal that is this one segment, reads everything, and opens it again.
///
/// # Errors
/// The journal cannot be opened.
///
/// # Panics
/// Where a record that FORMAT.md says exists was lost, or one was made up; where the second opening finds anything else
/// than the first left.
pub fn survivors(segment: &[u8]) -> Result<Survivors, JournalError> {
    let fs = SimFs::with_file(Path::new("/j/segment-00000000.tlj"), segment);
    let (first, found) = open(&fs)?;
    let mut positions: Vec<Position> = first.records.iter().map(|record| record.position).collect();
    positions.extend(&first.strange);
    positions.sort_unstable();
    assert_eq!(positions, expected(segment), "records at these positions, and at those that FORMAT.md says");
    for record in &first.records {
        let at = record.position.offset() as usize + 64;
        let payload = segment.get(at..at + record.payload.len());
        assert_eq!(payload, Some(&record.payload[..]), "payload at {}", record.position);
    }
    // An index that was built here, and not found here, holds every key, unless there was no room for any.
    if first.recovery.indexes_built == 1 {
        assert!(found == 0 || found == first.records.iter().map(|record| record.keys.len()).sum(), "{found}");
    }
    let (second, _) = open(&fs)?;
    assert_eq!(second.records, first.records, "the second opening reads what the first has read");
    let Recovery { torn, headers_rebuilt, indexes_built, .. } = second.recovery;
    // A file without a record is not sealed: its torn write is told until the file is used.
    let torn = if positions.is_empty() { 0 } else { torn.len() };
    assert_eq!((torn, headers_rebuilt, indexes_built), (0, 0, 0), "nothing is left to repair");
    Ok(first)
}

/// Opens, reads, asks for every key, and closes; the number is that of the keys found.
fn open(fs: &SimFs) -> Result<(Survivors, usize), JournalError> {
    let options = Options { segment_bytes: 64 << 10, ..Options::default() };
    let (journal, recovery) = Journal::open(Arc::new(fs.clone()), Path::new("/j"), options)?;
    let mut all = Survivors { recovery, ..Survivors::default() };
    for read in journal.records_from(Position(0)) {
        match read {
            Ok(record) => all.records.push(record),
            Err(ReadError::Newer { position, .. } | ReadError::CodecNotBuilt(position)) => {
                all.strange.push(position);
            }
            Err(_) => {}
        }
    }
    let pairs = all
        .records
        .iter()
        .flat_map(|record| record.keys.iter().map(|(key, value)| (key, (record.position, value.to_vec()))));
    let found = pairs.filter(|(key, hit)| journal.lookup(key).contains(hit)).count();
    journal.close()?;
    Ok((all, found))
}

/// The records that exist, by FORMAT.md.
fn expected(bytes: &[u8]) -> Vec<Position> {
    let mut length = bytes.len();
    let (mut latest, mut intact) = (None, true);
    for at in [0, 2048] {
        match head(bytes, at) {
            Some((stated, identity)) => (length, latest) = (stated, latest.max(Some(identity))),
            None => intact = false,
        }
    }
    let identity = match intact || !LENGTHS.contains(&length) {
        true => latest,
        false => latest.max(walk(bytes, length, None).into_iter().map(|(_, identity)| identity).max()),
    };
    let Some(identity) = identity else { return Vec::new() };
    let limit = length.saturating_sub(PAGE);
    let end = data_end(bytes, limit, identity).unwrap_or(limit);
    let records = walk(bytes, end, Some(identity)).into_iter();
    records.map(|(at, (sequence, _))| Position((sequence as u64) << 32 | at as u64)).collect()
}

/// Length, then sequence and epoch, of an intact head.
fn head(bytes: &[u8], at: usize) -> Option<(usize, (usize, usize))> {
    let head = bytes.get(at..at + 64)?;
    let valid = head.starts_with(b"TLJSEG\r\n") && head.get(8..10)? == [1, 0] && holds(head);
    let length = number(head, 12).filter(|length| valid && LENGTHS.contains(length))?;
    Some((length, (number(head, 16)?, number(head, 20)?)))
}

fn holds(bytes: &[u8]) -> bool {
    let (body, sum) = bytes.split_at(bytes.len() - 4);
    sum == crc32c::crc32c(body).to_le_bytes()
}

/// Where the last record ends, by an intact footer.
fn data_end(bytes: &[u8], at: usize, identity: (usize, usize)) -> Option<usize> {
    let footer = bytes.get(at..at + 128)?;
    let valid = footer.starts_with(b"TLJEND\r\n") && footer.get(8..10)? == [1, 0] && holds(footer);
    let end = number(footer, 20)?;
    let ours = (number(footer, 12)?, number(footer, 16)?) == identity;
    let last = number(footer, 24)?;
    (valid && ours && (PAGE..=at).contains(&end) && (PAGE..end.max(PAGE + 1)).contains(&last)).then_some(end)
}

/// Intact records before `limit`, with their sequence and epoch: of one use of the file, or of any.
fn walk(bytes: &[u8], limit: usize, only: Option<(usize, usize)>) -> Vec<(usize, (usize, usize))> {
    let (mut found, mut at, mut group) = (Vec::new(), PAGE, 0);
    let bytes = bytes.get(..limit).unwrap_or(bytes);
    while at + 64 <= limit {
        let Some(record) = record(bytes, at) else {
            at += 8;
            continue;
        };
        let counts =
            only.is_none_or(|only| record.identity == only && record.group >= group && record.end <= limit);
        // Of one use, a damaged payload is stepped over as a whole.
        at = if counts && (record.whole || only.is_some()) { record.end } else { at + 8 };
        if counts && record.whole {
            group = record.group;
            found.push((record.at, record.identity));
        }
    }
    found
}

struct Naive {
    at: usize,
    end: usize,
    identity: (usize, usize),
    group: usize,
    /// Payload and keys are as they were written.
    whole: bool,
}

/// The record whose intact header stands at `at`.
fn record(bytes: &[u8], at: usize) -> Option<Naive> {
    let header = bytes.get(at..at + 64).filter(|header| header.starts_with(b"TLJR") && holds(header))?;
    let (keys, payload) = (number(header, 12)?, number(header, 16)?);
    let length = 64 + keys + payload;
    let body = bytes.get(at + 64..at + length);
    let whole = body.is_some_and(|body| number(header, 48) == usize::try_from(crc32c::crc32c(body)).ok());
    let identity = (number(header, 28)?, number(header, 32)?);
    let end = at + length.next_multiple_of(8);
    let in_place = number(header, 24)? == at && u32::try_from(end).is_ok();
    in_place.then_some(Naive { at, end, identity, group: number(header, 20)?, whole })
}

#[cfg(test)]
mod tests;
