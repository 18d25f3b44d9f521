//! Requests that an exporter is to send as they came: those of a pipeline that does not sample. What has just come is still in
//! memory and is not read back from the journal.
//!
//! Memory: what [`Held`] has room for, and the buffers that these requests were received into: a few small requests may share
//! one. What finds no room is read back when its turn comes; so an exporter whose backend is away holds the first of its
//! backlog and no more.

use std::collections::VecDeque;

use bytes::Bytes;
use throughline_journal::Reader;
use throughline_otlp::{OfPart, Signal};

use super::cut::cut;
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

/// Hands over the requests that these units make. What is held is not copied, unless it is cut.
pub(super) fn gather(
    journal: &mut Reader,
    signal: Signal,
    units: &[Taken],
    full: Full,
    outcome: &mut Outcome,
    emit: &mut dyn FnMut(Request),
) -> Result<(), Unreadable> {
    let mut filling = Filling::default();
    let mut ended = Ok(());
    let from = outcome.from;
    for Taken { unit, here } in units.iter().skip_while(|taken| taken.unit.position < from) {
        let request = match here {
            Some(request) => request.clone(),
            None => match read(journal, unit.position, outcome) {
                Ok(Some(record)) => Bytes::copy_from_slice(record.payload),
                Ok(None) => continue,
                Err(error) => {
                    outcome.from = unit.position;
                    ended = Err(error);
                    break;
                }
            },
        };
        if full.is_exceeded(filling.items + unit.items, filling.bytes + request.len()) {
            filling.finish(signal, emit);
        }
        filling.add(request, unit.items);
        if full.is_exceeded(filling.items, filling.bytes) {
            filling.finish_in_parts(signal, full, emit);
        } else if full.is_reached(filling.items, filling.bytes) {
            filling.finish(signal, emit);
        }
    }
    filling.finish(signal, emit);
    ended
}

/// The request being filled.
#[derive(Debug, Default)]
struct Filling {
    parts: Vec<Bytes>,
    bytes: usize,
    items: u64,
}

impl Filling {
    fn add(&mut self, part: Bytes, items: u64) {
        self.bytes += part.len();
        self.items += items;
        self.parts.push(part);
    }

    fn finish(&mut self, signal: Signal, emit: &mut dyn FnMut(Request)) {
        let Self { parts, bytes, items } = std::mem::take(self);
        if bytes > 0 {
            emit(Request { signal, body: parts.into_iter().collect(), items });
        }
    }

    /// Of one accepted request that is larger than any may be that goes out.
    fn finish_in_parts(&mut self, signal: Signal, full: Full, emit: &mut dyn FnMut(Request)) {
        let parts = |request: &Bytes| cut(request, full.most_items, full.bytes);
        match self.parts.iter().map(parts).collect::<Result<Vec<_>, _>>() {
            Ok(parts) => parts.into_iter().flatten().for_each(|OfPart { request, items, .. }| {
                emit(Request { signal, body: request.into(), items: items as u64 });
            }),
            // What was accepted can be read.
            Err(_) => return self.finish(signal, emit),
        }
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests;
