//! Requests that nobody waits for: records of a log, read one after the other. They are checked and journalled like those off
//! the network, but who hands them over goes on at once and is told later where they are.

use std::sync::Arc;

use bytes::Bytes;
use throughline_journal::{AppendError, Record, RecordKind};
use throughline_otlp::{Signal, check, sound};

use super::origin::{Origin, Role};
use super::{Entrance, Intake, not_otlp, refusal, wall_clock};
use crate::lines::Scanned;
use crate::pipeline::{Content, Durable};
use crate::refusal::Refusal;

/// Told where a request is: its position, `None` if nothing of it needed to be kept, or why the journal has it not.
pub(crate) type Told = Box<dyn FnOnce(Result<Option<u64>, Refusal>) + Send>;

impl Intake {
    /// Every pipeline of the process.
    pub(crate) fn lines(&self) -> &Arc<crate::lines::Lines> {
        &self.lines
    }

    /// Takes one protobuf request. `Err`: it is not taken, now or ever, as the refusal says, and nobody is told anything.
    pub(crate) fn submit(
        &self,
        from: &Entrance,
        signal: Signal,
        request: Bytes,
        origin: &Origin,
        told: Told,
    ) -> Result<(), Refusal> {
        if signal == Signal::Metrics {
            self.measure(from, &request)?;
            told(Ok(None));
            return Ok(());
        }
        let counts = check(signal, &request).map_err(|error| not_otlp(signal, error))?;
        let counter = from.counters.signal(signal);
        let kept = counts.items - counts.rejected;
        if kept == 0 {
            counter.reject(counts.rejected);
            told(Ok(None));
            return Ok(());
        }
        let request = if counts.is_sound() {
            request
        } else {
            Bytes::from(sound(&request).map_err(|error| not_otlp(signal, error))?)
        };
        if !self.lines.have_room(from.number) {
            return Err(Refusal::Unavailable("too many traces wait for their decision".to_owned()));
        }
        self.memory.admit(from.number, signal, kept)?;
        self.append_record(from.number, signal, kept, request, origin, told)?;
        // Counted when it is on its way: a record that the journal does not take in the end is read again.
        if origin.role == Role::Arrival {
            counter.accept(kept);
            counter.reject(counts.rejected);
        }
        Ok(())
    }

    fn append_record(
        &self,
        from: u16,
        signal: Signal,
        items: u64,
        request: Bytes,
        origin: &Origin,
        told: Told,
    ) -> Result<(), Refusal> {
        let mut scanned =
            self.scan(from, signal, &request).map_err(|error| not_otlp(signal, error))?.of_partition(origin);
        let mut keys = std::mem::take(&mut scanned.keys);
        origin.push(&mut keys);
        let arrived = wall_clock();
        let kind = if signal == Signal::Logs { RecordKind::Logs } else { RecordKind::Spans };
        let record = Record { keys, pipeline: from, ..Record::new(kind, arrived.0, request.clone()) };
        let (lines, role) = (Arc::clone(&self.lines), origin.role);
        let appended = self.journal.append(record, move |result| {
            let result = result.map(|position| {
                let content = Content::Here(request);
                let request = Durable { position: position.0, signal, arrived, content };
                match role {
                    Role::Arrival => lines.durable(from, items, request, scanned),
                    Role::History => lines.pass(position.0),
                }
                Some(position.0)
            });
            told(result.map_err(|error| refusal(&error)));
        });
        appended.map_err(|refused| refusal(&AppendError::Refused(refused)))
    }
}

impl Scanned {
    /// History is handed to nobody; an arrival goes to the sampler of its partition.
    fn of_partition(mut self, origin: &Origin) -> Self {
        match origin.role {
            Role::Arrival => self.partition = Some(origin.place.partition),
            Role::History => self = Self::of_keys(self.keys),
        }
        self
    }
}
