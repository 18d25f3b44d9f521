//! Requests that an exporter is to send as they came: those of a pipeline that does not sample. What has just come is still in
//! memory and is not read back from the journal.
//!
//! Memory: what [`Held`] has room for, and the buffers that these requests were received into: a few small requests may share
//! one. What finds no room is read back when its turn comes; so an exporter whose backend is away holds the first of its
//! backlog and no more.

use std::collections::VecDeque;

use bytes::Bytes;
use throughline_journal::Reader;
use throughline_otlp::Signal;

use super::queue::Unit;
use super::read_back::{Full, Outcome, Unreadable, read};
use super::sending::Request;

/// A unit whose turn has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) unit: Unit,
    /// The request itself, if it is still in memory.
    pub(super) here: Option<Bytes>,
}

/// Requests that wait, by position.
#[derive(Debug)]
pub(super) struct Held {
    requests: VecDeque<(u64, Bytes)>,
    bytes: usize,
    room: usize,
}

impl Held {
    pub(super) fn with_room_for(room: usize) -> Self {
        Self { requests: VecDeque::new(), bytes: 0, room }
    }

    /// Holds the request at this position, which is higher than any before, if there is room.
    pub(super) fn hold(&mut self, position: u64, request: &Bytes) {
        if self.bytes.saturating_add(request.len()) <= self.room {
            self.bytes += request.len();
            self.requests.push_back((position, request.clone()));
        }
    }

    /// These units, in order of position, each with its request if that is held. What stands before them is let go of.
    pub(super) fn take(&mut self, units: Vec<Unit>) -> Vec<Taken> {
        let with = |unit: Unit| Taken { here: self.take_one(unit.position), unit };
        units.into_iter().map(with).collect()
    }

    fn take_one(&mut self, wanted: u64) -> Option<Bytes> {
        while let Some((position, request)) = self.requests.pop_front_if(|(position, _)| *position <= wanted)
        {
            self.bytes -= request.len();
            if position == wanted {
                return Some(request);
            }
        }
        None
    }
}

/// Hands over the requests that these units make, each at most a little larger than `full`. What is held is not copied.
pub(super) fn gather(
    journal: &mut Reader,
    signal: Signal,
    units: &[Taken],
    full: Full,
    emit: &mut dyn FnMut(Request),
) -> Result<Outcome, Unreadable> {
    let mut outcome = Outcome::default();
    let mut filling = Filling::default();
    for Taken { unit, here } in units {
        match here {
            Some(request) => filling.add(request.clone()),
            None => match read(journal, unit.position, &mut outcome)? {
                Some(record) => filling.add(Bytes::copy_from_slice(record.payload)),
                None => continue,
            },
        }
        filling.items += unit.items;
        if filling.items >= full.items || filling.bytes >= full.bytes {
            emit(std::mem::take(&mut filling).into_request(signal));
        }
    }
    if filling.bytes > 0 {
        emit(filling.into_request(signal));
    }
    Ok(outcome)
}

/// The request being filled.
#[derive(Debug, Default)]
struct Filling {
    parts: Vec<Bytes>,
    bytes: usize,
    items: u64,
}

impl Filling {
    fn add(&mut self, part: Bytes) {
        self.bytes += part.len();
        self.parts.push(part);
    }

    fn into_request(self, signal: Signal) -> Request {
        Request { signal, body: self.parts.into_iter().collect(), items: self.items }
    }
}

#[cfg(test)]
mod tests;
