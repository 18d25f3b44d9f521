//! One record to the intake: as an arrival, as history, or as what it is not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use throughline_otlp::json;

use super::rebalance::Shared;
use super::standing::{Record, Stage, Standing};
use crate::configuration::Encoding;
use crate::intake::origin::{Origin, Place, Role};
use crate::log::is_worth_a_line;
use crate::refusal::Refusal;

/// Whether everything that waited has been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    All,
    Later,
}

impl Shared {
    /// Takes what waits of a partition, in order, as far as that can be now.
    pub(super) fn take_waiting(&self, place: &Place, standing: &mut Standing) -> Taken {
        while let Some(record) = standing.waiting.pop_front() {
            if self.take(place, standing, &record) == Taken::Later {
                standing.waiting.push_front(record);
                return Taken::Later;
            }
        }
        Taken::All
    }

    fn take(&self, place: &Place, standing: &mut Standing, record: &Record) -> Taken {
        if record.offset < standing.begins {
            return self.take_history(place, standing, record);
        }
        if standing.stage != Stage::Live {
            if standing.stage == Stage::History {
                standing.stage = Stage::Opening;
            }
            return Taken::Later;
        }
        let (tracker, offset) = (Arc::clone(&standing.tracker), record.offset);
        standing.tracker.begun(offset);
        let request = match request(standing, record) {
            Ok(request) => request,
            Err(refusal) => return self.skip(place, standing, offset, &refusal),
        };
        let told = move |outcome: Result<Option<u64>, Refusal>| match outcome {
            Ok(Some(position)) => tracker.durable(offset, position),
            Ok(None) => tracker.done(offset),
            Err(_) => tracker.failed(offset),
        };
        let origin = origin(Role::Arrival, place, standing, offset);
        let signal = standing.reads.signal;
        match self.intake.submit(&self.entrance, signal, request, &origin, Box::new(told)) {
            Ok(()) => {
                standing.journalled(offset);
                Taken::All
            }
            Err(Refusal::Busy | Refusal::Unavailable(_)) => {
                standing.tracker.withdrawn(offset);
                Taken::Later
            }
            Err(refusal) => self.skip(place, standing, offset, &refusal),
        }
    }

    /// What the journal has already is not written once more.
    fn take_history(&self, place: &Place, standing: &mut Standing, record: &Record) -> Taken {
        let offset = record.offset;
        if !standing.holds(offset)
            && let Ok(request) = request(standing, record)
        {
            let writing = Arc::clone(&standing.history);
            writing.fetch_add(1, Ordering::AcqRel);
            let origin = origin(Role::History, place, standing, offset);
            let written = Arc::clone(&writing);
            // What the journal does not take is not found later: late spans and links do without it.
            let told = move |_| {
                written.fetch_sub(1, Ordering::AcqRel);
            };
            let signal = standing.reads.signal;
            match self.intake.submit(&self.entrance, signal, request, &origin, Box::new(told)) {
                Ok(()) => standing.journalled(offset),
                Err(refusal) => {
                    writing.fetch_sub(1, Ordering::AcqRel);
                    if matches!(refusal, Refusal::Busy | Refusal::Unavailable(_)) {
                        return Taken::Later;
                    }
                }
            }
        }
        if offset.saturating_add(1) >= standing.begins && standing.stage == Stage::History {
            standing.stage = Stage::Opening;
        }
        Taken::All
    }

    fn skip(&self, place: &Place, standing: &Standing, offset: u64, refusal: &Refusal) -> Taken {
        standing.tracker.done(offset);
        self.entrance.counters.refuse(refusal.reason());
        let skipped = self.skipped.fetch_add(1, Ordering::Relaxed);
        if is_worth_a_line(skipped) {
            let (receiver, why, skipped) = (self.name(), refusal.message(), skipped + 1);
            let (topic, partition) = (&*place.topic, place.partition);
            tracing::warn!(receiver, topic, partition, offset, why, skipped, "a record is skipped");
        }
        Taken::All
    }
}

fn origin(role: Role, place: &Place, standing: &Standing, offset: u64) -> Origin {
    Origin { role, place: place.clone(), offset, since: standing.since.min(offset) }
}

fn request(standing: &Standing, record: &Record) -> Result<Bytes, Refusal> {
    let malformed = |why: &dyn std::fmt::Display| Refusal::Malformed(why.to_string());
    let payload = record.payload.as_deref().ok_or_else(|| malformed(&"the record has no value"))?;
    match standing.reads.encoding {
        Encoding::Protobuf => Ok(Bytes::copy_from_slice(payload)),
        Encoding::Json => {
            let request = json::to_protobuf(standing.reads.signal, payload);
            request.map(Bytes::from).map_err(|error| malformed(&format!("not OTLP in JSON: {error}")))
        }
    }
}
