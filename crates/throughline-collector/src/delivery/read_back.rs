//! Reads kept spans back out of the journal and cuts them into requests. The bytes of a span, its resource and its scope are
//! those that came: nothing is decoded and encoded again.
//!
//! Spans of many decisions that stand in one accepted request are read once and leave in one group, in the order in
//! which they came.

use std::collections::BTreeMap;

use throughline_journal::{Position, ReadError, ReadRecord, Reader};
use throughline_otlp::{
    Attributes, Choice, OfPart, Signal, TraceId, select_traces_annotated, select_traces_around,
};
use throughline_sampling::decision::{Reason, Verdict};
use throughline_semconv::own::SAMPLING_REASON;

use super::cut::cut;
use super::queue::Unit;
use crate::sampler::keys::Parts;
use crate::sampler::record::{Decided, reason_text};

/// Which records of the journal an exporter's pipeline is fed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// What the pipeline of this name decided to keep.
    Kept {
        /// Name of the pipeline.
        pipeline: String,
        /// Whether spans say why they were kept.
        reasons: Reasons,
    },
    /// Every request of this signal that came through one of these receivers.
    Everything(Signal, Vec<u16>),
}

/// Whether a kept span says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reasons {
    /// It is as it came, byte for byte.
    Unsaid,
    /// It has one more attribute, [`SAMPLING_REASON`].
    Said,
}

/// One request to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) signal: Signal,
    /// An export request, protobuf.
    pub(crate) body: Vec<u8>,
    /// Spans or log records in it.
    pub(crate) items: u64,
}

/// When a request is full: it goes, and what would make it larger than it may be begins the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full {
    pub(crate) items: u64,
    pub(crate) bytes: usize,
    /// More than these are never in one request. More than `bytes` only if there is a single item that large.
    pub(crate) most_items: u64,
}

impl Full {
    pub(super) fn is_reached(&self, items: u64, bytes: usize) -> bool {
        items >= self.items || bytes >= self.bytes
    }

    pub(super) fn is_exceeded(&self, items: u64, bytes: usize) -> bool {
        items > self.most_items || bytes > self.bytes
    }
}

/// A record that is gone or damaged: what stood in it cannot be sent any more.
#[derive(Debug, thiserror::Error)]
#[error("record at {position}: {why}")]
pub(crate) struct Gone {
    pub(super) position: u64,
    pub(super) why: String,
}

/// What reading back came to, and how far it has come: who is told [`Unreadable`] tries again with the same, and nothing is
/// handed over twice.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Records that cannot be had, and why.
    gone: BTreeMap<u64, String>,
    /// What stands in records before this position has been handed over.
    pub(super) from: u64,
}

/// A disk that does not answer now; asked again it may.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the journal at {position}: {why}")]
pub(crate) struct Unreadable {
    pub(super) position: u64,
    pub(super) why: String,
}

impl Outcome {
    fn gone(&mut self, position: u64, why: &dyn std::fmt::Display) {
        self.gone.insert(position, why.to_string());
    }

    /// Nobody asks for this record any more.
    pub(crate) fn give_up(&mut self, Unreadable { position, why }: Unreadable) {
        self.gone.insert(position, why);
    }

    /// Records that cannot be had.
    pub(crate) fn into_gone(self) -> impl Iterator<Item = Gone> {
        self.gone.into_iter().map(|(position, why)| Gone { position, why })
    }
}

/// Reads back what these decisions of a pipeline keep and hands over the requests that makes, each at most a little larger
/// than `full`.
pub(crate) fn read_back(
    journal: &mut Reader,
    pipeline: &str,
    reasons: Reasons,
    units: &[Unit],
    full: Full,
    outcome: &mut Outcome,
    emit: &mut dyn FnMut(Request),
) -> Result<(), Unreadable> {
    let mut filling = Filling { full, request: None, before: 0 };
    let wanted = Wanted::read(journal, pipeline, reasons, units, outcome)?;
    for (position, traces) in wanted.records.range(outcome.from..) {
        if wanted.add_parts(&mut filling, journal, *position, traces, emit) {
            continue;
        }
        match read(journal, *position, outcome) {
            Ok(None) => {}
            Ok(Some(record)) => wanted.add(&mut filling, &record, traces, outcome, emit),
            Err(error) => {
                filling.finish(emit);
                outcome.from = *position;
                return Err(error);
            }
        }
    }
    filling.finish(emit);
    Ok(())
}

/// A trace, and which of the reasons holds for it.
type Kept = (TraceId, usize);

/// What is to be read back.
#[derive(Default)]
struct Wanted {
    /// The records that hold kept spans, in order, each with the traces kept of it, sorted.
    records: BTreeMap<u64, Vec<Kept>>,
    /// What is added to spans, by reason. Empty if nothing is.
    reasons: Vec<(Reason, Attributes)>,
}

impl Wanted {
    fn read(
        journal: &mut Reader,
        pipeline: &str,
        reasons: Reasons,
        units: &[Unit],
        outcome: &mut Outcome,
    ) -> Result<Self, Unreadable> {
        let mut wanted = Self::default();
        for unit in units {
            let Some(record) = read(journal, unit.position, outcome)? else { continue };
            match Decided::decode(record.payload) {
                Ok(decided) if decided.pipeline == pipeline => wanted.add_decided(decided, reasons),
                Ok(_) => {}
                Err(error) => outcome.gone(unit.position, &error),
            }
        }
        wanted.records.values_mut().for_each(|traces| traces.sort_unstable());
        Ok(wanted)
    }

    fn add_decided(&mut self, decided: Decided, reasons: Reasons) {
        for decision in decided.decisions {
            if decision.verdict != Verdict::Sampled {
                continue;
            }
            let reason = match reasons {
                Reasons::Unsaid => 0,
                Reasons::Said => self.reason(decision.reason),
            };
            for position in decision.records {
                self.records.entry(position).or_default().push((decision.trace, reason));
            }
        }
    }

    fn reason(&mut self, reason: Reason) -> usize {
        let known = self.reasons.iter().position(|(known, _)| *known == reason);
        known.unwrap_or_else(|| {
            let attributes = Attributes::of_text(&[(SAMPLING_REASON, &reason_text(&reason))]);
            self.reasons.push((reason, attributes));
            self.reasons.len() - 1
        })
    }

    /// What becomes of a span of this trace.
    fn choose(&self, traces: &[Kept], trace: TraceId) -> Choice<'_> {
        match find(traces, trace) {
            None => Choice::Drop,
            Some((_, reason)) => {
                self.reasons.get(*reason).map_or(Choice::Keep, |(_, attributes)| Choice::KeepWith(attributes))
            }
        }
    }

    /// Reads only what is kept, where the record's keys say where that stands. `false`: they do not, or what stands there is
    /// not what they say. Read whole, its checksum says what is wrong with it.
    fn add_parts(
        &self,
        filling: &mut Filling,
        journal: &mut Reader,
        position: u64,
        traces: &[Kept],
        emit: &mut dyn FnMut(Request),
    ) -> bool {
        let perhaps = Perhaps::of(traces);
        let is_kept = |trace| perhaps.has(trace) && find(traces, trace).is_some();
        let mut parts = None;
        let read = journal.read_parts(Position(position), &mut |keys, _| {
            parts = Parts::of(keys, is_kept);
            parts.as_ref().map(|parts| parts.at_hand.clone())
        });
        let (Ok(Some(record)), Some(parts)) = (read, parts) else { return false };
        let mut choose = |trace: TraceId| match perhaps.has(trace) {
            true => self.choose(traces, trace),
            false => Choice::Drop,
        };
        let body = filling.body(Signal::Traces);
        let before = body.len();
        match select_traces_around(record.payload, &parts.holes(record.payload.len()), &mut choose, body) {
            Ok(items) if items as u64 == parts.spans => {
                filling.added(items as u64, emit);
                true
            }
            Ok(_) | Err(_) => {
                body.truncate(before);
                false
            }
        }
    }

    fn add(
        &self,
        filling: &mut Filling,
        record: &ReadRecord<'_>,
        traces: &[Kept],
        outcome: &mut Outcome,
        emit: &mut dyn FnMut(Request),
    ) {
        let perhaps = Perhaps::of(traces);
        let mut choose = |trace: TraceId| match perhaps.has(trace) {
            true => self.choose(traces, trace),
            false => Choice::Drop,
        };
        let body = filling.body(Signal::Traces);
        match select_traces_annotated(record.payload, &mut choose, body) {
            Ok(items) => filling.added(items as u64, emit),
            Err(error) => outcome.gone(record.position.0, &error),
        }
    }
}

fn find(traces: &[Kept], trace: TraceId) -> Option<&Kept> {
    let found = traces.binary_search_by_key(&trace, |(kept, _)| *kept).ok();
    found.and_then(|at| traces.get(at))
}

/// Of most traces that are not kept it says so at a glance; of one that is, never. A record holds many traces, of which few
/// are kept.
struct Perhaps([u64; Perhaps::WORDS]);

impl Perhaps {
    const WORDS: usize = 64;

    fn of(traces: &[Kept]) -> Self {
        let mut perhaps = Self([0; Self::WORDS]);
        for (trace, _) in traces {
            let (word, bit) = Self::place(*trace);
            if let Some(word) = perhaps.0.get_mut(word) {
                *word |= bit;
            }
        }
        perhaps
    }

    #[inline]
    fn has(&self, trace: TraceId) -> bool {
        let (word, bit) = Self::place(trace);
        self.0.get(word).is_none_or(|word| word & bit != 0)
    }

    /// By the end of the id, which is random where the beginning may hold a clock.
    #[inline]
    fn place(trace: TraceId) -> (usize, u64) {
        let [.., high, low] = trace.bytes();
        (usize::from(high) % Self::WORDS, 1 << (low % 64))
    }
}

/// The record at a position; `None` if it is gone, which is noted, or was given up.
pub(super) fn read<'r>(
    journal: &'r mut Reader,
    position: u64,
    outcome: &mut Outcome,
) -> Result<Option<ReadRecord<'r>>, Unreadable> {
    if outcome.gone.contains_key(&position) {
        return Ok(None);
    }
    match journal.read(Position(position)) {
        Ok(record) => Ok(Some(record)),
        Err(error @ ReadError::Io { .. }) => Err(Unreadable { position, why: error.to_string() }),
        Err(error) => {
            outcome.gone(position, &error);
            Ok(None)
        }
    }
}

/// The request being filled.
struct Filling {
    full: Full,
    request: Option<Request>,
    /// Bytes of it, before what is being appended.
    before: usize,
}

impl Filling {
    /// Where to append the next items; then they are to be [`added`](Self::added).
    fn body(&mut self, signal: Signal) -> &mut Vec<u8> {
        let request = self.request.get_or_insert_with(|| Request { signal, body: Vec::new(), items: 0 });
        self.before = request.body.len();
        &mut request.body
    }

    /// So many items were appended, perhaps none.
    fn added(&mut self, items: u64, emit: &mut dyn FnMut(Request)) {
        let Some(request) = &mut self.request else { return };
        if self.before > 0 && self.full.is_exceeded(request.items + items, request.body.len()) {
            let body = request.body.split_off(self.before);
            let next = Request { body, items: 0, ..*request };
            emit(std::mem::replace(request, next));
        }
        request.items += items;
        let (items, bytes) = (request.items, request.body.len());
        if self.full.is_reached(items, bytes) || self.full.is_exceeded(items, bytes) {
            self.finish(emit);
        }
    }

    fn finish(&mut self, emit: &mut dyn FnMut(Request)) {
        let Some(request) = self.request.take().filter(|request| !request.body.is_empty()) else { return };
        if !self.full.is_exceeded(request.items, request.body.len()) {
            return emit(request);
        }
        match cut(&request.body, self.full.most_items, self.full.bytes) {
            Ok(parts) => parts.into_iter().for_each(|OfPart { request: body, items, .. }| {
                emit(Request { body, items: items as u64, ..request });
            }),
            // What was selected can be read.
            Err(_) => emit(request),
        }
    }
}

#[cfg(test)]
mod tests;
