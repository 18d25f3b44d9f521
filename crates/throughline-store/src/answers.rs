//! The store's answers: traces, searches, links, names. Owns folding of duplicates; reads one snapshot per answer.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use throughline_otlp::{LogRecord, Signal, Span, SpanId, SpanKind, TraceId, UnixNanos};

use crate::block::View;
use crate::error::StoreError;
use crate::hop::Hop;
use crate::memory::Slot;
use crate::newest::{Item, Match, Newest, candidates, intact, of_slot};
use crate::query::Query;
use crate::schema::{kind_of_byte, listed};
use crate::search::{Hit, Operation, Search};
use crate::snapshot::Snapshot;
use crate::store::Store;

/// Everything the store has of a trace.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TraceData {
    /// Spans, by start; duplicates folded.
    pub spans: Vec<Span>,
    /// Log records, by time; identical ones folded.
    pub logs: Vec<LogRecord>,
}

/// What makes two spans the same span. Kind and start are part of it because some instrumentation shares a span id
/// between the two sides of a call.
type Identity = (TraceId, SpanId, SpanKind, UnixNanos);

impl Store {
    /// Spans and records of a trace; both empty if the store has nothing of it.
    ///
    /// # Errors
    /// [`StoreError`] if a block cannot be reached.
    pub fn trace(&self, id: TraceId) -> Result<TraceData, StoreError> {
        self.trace_within(id, &mut |_| true)
    }

    /// Like [`Store::trace`], for a trace that may be too large: `admit` is asked before each span and record is kept, with
    /// the bytes of its OTLP. Decoded it takes some five times as much.
    ///
    /// # Errors
    /// [`StoreError::NotAdmitted`] as soon as `admit` says no; else as [`Store::trace`].
    pub fn trace_within(
        &self,
        id: TraceId,
        admit: &mut dyn FnMut(usize) -> bool,
    ) -> Result<TraceData, StoreError> {
        let spans = self.spans_of(id, admit)?.into_iter().map(|(span, _)| span).collect();
        let mut logs: Vec<LogRecord> = self
            .everything_of(Signal::Logs, id, admit)?
            .into_iter()
            .filter_map(distinct_log(&mut HashSet::new()))
            .collect();
        logs.sort_by_key(|log| log.time);
        Ok(TraceData { spans, logs })
    }

    /// The spans of a trace as one-span requests, by start, duplicates folded.
    ///
    /// # Errors
    /// [`StoreError`] if a block cannot be reached.
    pub fn trace_otlp(&self, id: TraceId) -> Result<Vec<Vec<u8>>, StoreError> {
        self.trace_otlp_within(id, &mut |_| true)
    }

    /// Like [`Store::trace_otlp`], with `admit` as in [`Store::trace_within`].
    ///
    /// # Errors
    /// [`StoreError::NotAdmitted`] as soon as `admit` says no; else as [`Store::trace_otlp`].
    pub fn trace_otlp_within(
        &self,
        id: TraceId,
        admit: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(self.spans_of(id, admit)?.into_iter().map(|(_, otlp)| otlp).collect())
    }

    /// Whether the store has a span or a record of the trace.
    ///
    /// # Errors
    /// [`StoreError`] if a block cannot be reached.
    pub fn has_trace(&self, id: TraceId) -> Result<bool, StoreError> {
        let (slots, snapshot) = self.snapshot_of(id);
        if !slots.is_empty() {
            return Ok(true);
        }
        let mut found = false;
        self.each_block(&snapshot, |view| {
            found = found || view.has_trace(Signal::Traces, id)? || view.has_trace(Signal::Logs, id)?;
            Ok(())
        })?;
        Ok(found)
    }

    /// Other traces with a span that links to this one, newest first by that span's start.
    ///
    /// # Errors
    /// [`StoreError`] if a block cannot be reached.
    pub fn linking_to(&self, id: TraceId, limit: usize) -> Result<Vec<TraceId>, StoreError> {
        let hits = self.newest_traces(&self.snapshot(), &Query::linking_to(id), limit)?;
        Ok(hits.into_iter().map(|hit| hit.trace_id).collect())
    }

    /// The newest spans that sent, received or processed the message, or link to it; duplicates folded.
    ///
    /// # Errors
    /// [`StoreError`] if a block cannot be reached.
    pub fn spans_at(&self, hop: &Hop, limit: usize) -> Result<Vec<Span>, StoreError> {
        let (snapshot, query) = (self.snapshot(), Query::hop(hop));
        let mut seen = HashSet::new();
        self.newest(&snapshot, &query, limit, |found| match found.item {
            Item::Span(span) if seen.insert(identity(&span)) => Some(span),
            _ => None,
        })
    }

    /// Traces with a span that meets every condition, newest first by that span's start. A span that claims to start
    /// more than an hour after it arrived stands at that hour.
    ///
    /// # Errors
    /// [`StoreError`] if a block cannot be reached.
    pub fn search(&self, search: &Search) -> Result<Vec<Hit>, StoreError> {
        let (snapshot, query) = (self.snapshot(), Query::search(Signal::Traces, search));
        let mut hits = self.newest_traces(&snapshot, &query, search.limit)?;
        let mut matches: HashMap<TraceId, HashSet<Identity>> =
            hits.iter().map(|hit| (hit.trace_id, HashSet::new())).collect();
        let terms = query.terms();
        for chunk in &snapshot.chunks {
            for (index, _) in candidates(chunk, &query, &terms) {
                let trace = chunk.items().get(index).and_then(|item| item.trace);
                let Some(of_trace) = trace.and_then(|id| matches.get_mut(&id)) else { continue };
                let found = of_slot(&Slot { chunk: Arc::clone(chunk), index });
                of_trace.extend(found.filter(|found| found.item.matches(&query)).and_then(|m| m.identity()));
            }
        }
        let on_disk = Snapshot { chunks: Vec::new(), blocks: snapshot.blocks };
        for hit in &mut hits {
            let of_trace = matches.entry(hit.trace_id).or_default();
            let within = query.within(hit.trace_id);
            of_trace.extend(self.newest(&on_disk, &within, usize::MAX, |found| found.identity())?);
            hit.matched = of_trace.len();
        }
        Ok(hits)
    }

    /// Log records that meet every condition, newest first; identical ones folded.
    ///
    /// # Errors
    /// [`StoreError`] if a block cannot be reached.
    pub fn search_logs(&self, search: &Search) -> Result<Vec<LogRecord>, StoreError> {
        let (snapshot, query) = (self.snapshot(), Query::search(Signal::Logs, search));
        let mut seen = HashSet::new();
        self.newest(&snapshot, &query, search.limit, distinct_log(&mut seen))
    }

    /// Names of the services that have spans, sorted.
    ///
    /// # Errors
    /// [`StoreError`] if a block cannot be reached.
    pub fn services(&self) -> Result<Vec<String>, StoreError> {
        let snapshot = self.snapshot();
        let mut services = BTreeSet::new();
        for (service, _, _) in operations_in_memory(&snapshot) {
            if !services.contains(service) {
                services.insert(service.to_owned());
            }
        }
        self.each_block(&snapshot, |view| view.services(&mut services))?;
        Ok(services.into_iter().collect())
    }

    /// Operations of a service, or of all, sorted by name.
    ///
    /// # Errors
    /// [`StoreError`] if a block cannot be reached.
    pub fn operations(&self, service: Option<&str>) -> Result<Vec<Operation>, StoreError> {
        let snapshot = self.snapshot();
        let wanted = service.map(listed);
        // Most spans in memory are of the same few: each is made a name of once.
        let in_memory: HashSet<_> = operations_in_memory(&snapshot).collect();
        let mut operations: HashSet<Operation> = in_memory
            .into_iter()
            .filter(|(service, _, _)| wanted.is_none_or(|wanted| wanted == *service))
            .map(|(_, kind, name)| Operation { name: name.to_owned(), kind: kind_of_byte(kind) })
            .collect();
        self.each_block(&snapshot, |view| view.operations(service, &mut operations))?;
        let mut operations: Vec<Operation> = operations.into_iter().collect();
        operations.sort_by(|a, b| (&a.name, a.kind.as_str()).cmp(&(&b.name, b.kind.as_str())));
        Ok(operations)
    }

    /// Reads every block; one that turns out to be damaged is left out and set aside.
    fn each_block(
        &self,
        snapshot: &Snapshot,
        mut read: impl FnMut(&View) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut damaged = Vec::new();
        for view in &snapshot.blocks {
            intact(view, read(view), &mut damaged)?;
        }
        self.set_aside(damaged)
    }

    /// Distinct traces of the query's matches; `matched` is left for the caller.
    fn newest_traces(
        &self,
        snapshot: &Snapshot,
        query: &Query,
        limit: usize,
    ) -> Result<Vec<Hit>, StoreError> {
        let mut seen = HashSet::new();
        self.newest(snapshot, query, limit, |found| match found.item {
            Item::Span(span) if seen.insert(span.trace_id) => {
                Some(Hit { trace_id: span.trace_id, matched: 1, start: span.start })
            }
            _ => None,
        })
    }

    /// At most `limit` of what `pick` takes from the matches, newest first.
    fn newest<T>(
        &self,
        snapshot: &Snapshot,
        query: &Query,
        limit: usize,
        mut pick: impl FnMut(Match) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut newest = Newest::new(snapshot, query);
        let mut picked = Vec::new();
        while picked.len() < limit {
            let Some(found) = newest.next()? else { break };
            picked.extend(pick(found));
        }
        self.set_aside(newest.damaged)?;
        Ok(picked)
    }

    fn everything_of(
        &self,
        signal: Signal,
        id: TraceId,
        admit: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<Match>, StoreError> {
        let (slots, snapshot) = self.snapshot_of(id);
        let query = Query::trace(signal, id);
        let mut newest = Newest::new(&snapshot, &query);
        let mut matches = Vec::new();
        let mut keep = |found: Match| {
            if !admit(found.otlp.len()) {
                return Err(StoreError::NotAdmitted);
            }
            matches.push(found);
            Ok(())
        };
        while let Some(found) = newest.next()? {
            keep(found)?;
        }
        for found in slots.iter().filter_map(of_slot).filter(|found| found.signal() == signal) {
            keep(found)?;
        }
        self.set_aside(newest.damaged)?;
        Ok(matches)
    }

    /// Of two spans with one identity, the one that ended later is kept, then the one with more to say: the answer does
    /// not depend on which arrived first.
    fn spans_of(
        &self,
        id: TraceId,
        admit: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<(Span, Vec<u8>)>, StoreError> {
        let mut kept: HashMap<Identity, (Span, Vec<u8>)> = HashMap::new();
        for Match { item, otlp } in self.everything_of(Signal::Traces, id, admit)? {
            let Item::Span(span) = item else { continue };
            match kept.entry(identity(&span)) {
                Entry::Vacant(vacant) => drop(vacant.insert((span, otlp))),
                Entry::Occupied(mut known) => {
                    let (before, before_otlp) = known.get();
                    if (span.end, otlp.len(), &otlp) > (before.end, before_otlp.len(), before_otlp) {
                        known.insert((span, otlp));
                    }
                }
            }
        }
        let mut spans: Vec<(Span, Vec<u8>)> = kept.into_values().collect();
        spans.sort_by_key(|(span, _)| (span.start, span.span_id, span.kind.as_str()));
        Ok(spans)
    }
}

impl Match {
    fn signal(&self) -> Signal {
        match self.item {
            Item::Span(_) => Signal::Traces,
            Item::Log(_) => Signal::Logs,
        }
    }

    fn identity(&self) -> Option<Identity> {
        match &self.item {
            Item::Span(span) => Some(identity(span)),
            Item::Log(_) => None,
        }
    }
}

fn identity(span: &Span) -> Identity {
    (span.trace_id, span.span_id, span.kind, span.start)
}

/// Log records have no id: only those equal to the last byte, as a client's retry sends them, are one.
fn distinct_log(seen: &mut HashSet<Vec<u8>>) -> impl FnMut(Match) -> Option<LogRecord> {
    |Match { item, otlp }| match item {
        Item::Log(log) if seen.insert(otlp) => Some(log),
        _ => None,
    }
}

fn operations_in_memory(snapshot: &Snapshot) -> impl Iterator<Item = (&str, u8, &str)> {
    snapshot.chunks.iter().flat_map(|chunk| chunk.operations())
}
