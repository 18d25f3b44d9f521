//! The ingesting thread: every record that belongs into the store, in order of position, until the store has it.

use std::sync::{Arc, PoisonError};

use throughline_journal::{OwnedRecord, Position, RecordKind};
use throughline_otlp::{Signal, TraceId, UnixNanos};
use throughline_store::{Ingest, StoreError};

use super::{Keep, RETRY_EVERY, Stop};
use crate::delivery::queue::Unit;
use crate::delivery::read_back::{self, Full, Outcome, Reasons, read_back};
use crate::pipeline::{Content, Durable, Step};

impl Keep {
    /// The body of the thread.
    pub(super) fn run_ingest(&self) {
        while let Some(step) = self.next_step() {
            match step {
                Step::Ingest(Durable { position, signal, arrived, content: Content::Here(request) }) => {
                    self.ingest(position, arrived, signal, &request)
                }
                Step::Ingest(Durable { position, .. }) => self.ingest_from_journal(position),
                Step::ReadBack { after, through } => self.read_back(after, through),
                Step::Wait => {}
            }
            // The first step after a restart reads back all there was.
            self.health.send_if_modified(|health| std::mem::take(&mut health.recovering));
        }
    }

    /// Waits for something to do; `None` is the end.
    fn next_step(&self) -> Option<Step> {
        let mut state = self.state();
        loop {
            if state.stop == Stop::Now {
                return None;
            }
            match state.pipeline.next() {
                Step::Wait if state.stop == Stop::Drain => return None,
                Step::Wait => {
                    state = self.ingest_due.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Step::ReadBack { .. } if state.stop == Stop::Drain => return None,
                step => return Some(step),
            }
        }
    }

    fn read_back(&self, after: Option<u64>, through: u64) {
        let records = match after {
            Some(after) => self.journal.records_after(Position(after)),
            None => self.journal.records_from(Position(0)),
        };
        for record in records {
            if self.state().stop > Stop::No {
                return;
            }
            match record {
                Ok(record) if record.position.0 > through => return,
                Ok(record) => self.ingest_record(&record),
                // Opening the journal has found and reported it already.
                Err(_) if self.health.borrow().recovering => {}
                Err(error) => self.quarantine(&error),
            }
        }
    }

    fn ingest_from_journal(&self, position: u64) {
        match self.journal.read(Position(position)) {
            Ok(record) => self.ingest_record(&record),
            Err(error) => {
                self.quarantine(&error);
                self.kept(position, Vec::new());
            }
        }
    }

    fn ingest_record(&self, record: &OwnedRecord) {
        let (position, arrived) = (record.position.0, UnixNanos(record.arrived));
        match record.kind {
            RecordKind::Spans if self.feeds.traces.contains(&record.pipeline) => {
                self.ingest(position, arrived, Signal::Traces, &record.payload)
            }
            RecordKind::Logs if self.feeds.logs.contains(&record.pipeline) => {
                self.ingest(position, arrived, Signal::Logs, &record.payload)
            }
            RecordKind::Decisions if !self.feeds.kept.is_empty() => self.ingest_kept(position, arrived),
            _ => {}
        }
    }

    /// The spans that decisions keep, read back and put into the store as one request: a commit must not fall between
    /// two parts of one position.
    fn ingest_kept(&self, position: u64, arrived: UnixNanos) {
        let unit = Unit { position, needs_from: position, items: 1 };
        let whole = Full { items: u64::MAX, bytes: usize::MAX, most_items: u64::MAX };
        let mut request = Vec::new();
        for pipeline in &self.feeds.kept {
            let mut emit = |mut part: read_back::Request| request.append(&mut part.body);
            let (mut journal, mut outcome) = (self.journal.reader(0), Outcome::default());
            // One record that the disk does not give costs what stood in it, not what stands beside it.
            while let Err(record) =
                read_back(&mut journal, pipeline, Reasons::Said, &[unit], whole, &mut outcome, &mut emit)
            {
                outcome.give_up(record);
            }
            outcome.into_gone().for_each(|gone| self.quarantine(&gone));
        }
        if request.is_empty() {
            self.kept(position, Vec::new());
        } else {
            self.ingest(position, arrived, Signal::Traces, &request);
        }
    }

    /// Until the store has it, or the end. A failing disk is tried again for as long as it takes.
    pub(super) fn ingest(&self, position: u64, arrived: UnixNanos, signal: Signal, otlp: &[u8]) {
        loop {
            match self.store.ingest(Ingest { position, arrived, signal, otlp }) {
                Ok(traces) => return self.kept(position, traces),
                Err(error @ (StoreError::Wire { .. } | StoreError::Metrics { .. })) => {
                    self.quarantine(&error);
                    return self.kept(position, Vec::new());
                }
                Err(error) => {
                    self.store_failed(&error);
                    if self.pause(RETRY_EVERY) > Stop::No {
                        return;
                    }
                }
            }
        }
    }

    fn kept(&self, position: u64, traces: Vec<TraceId>) {
        // The store commits by itself when its memory is full.
        let (committed, now) = (self.store.committed(), self.opened.elapsed());
        let release = {
            let mut state = self.state();
            state.pipeline.ingested(position, now);
            state.pipeline.committed(committed, committed, now)
        };
        self.release(release);
        self.commit_due.notify_one();
        // Last, so that whoever hears of it finds everything up to date. Nobody may be listening.
        let _ = self.arrivals.send(Arc::new(traces));
    }
}
