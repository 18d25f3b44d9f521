//! What lies beyond a shard's memory, looked up in the journal: earlier spans of a trace, earlier decisions on it, and the
//! traces that link to it. As far back as the journal reaches, and no further than `look_back`.
//!
//! A record that cannot be read counts as not there; opening or exporting has said so already.

use throughline_journal::{Journal, OwnedRecord, Position, RecordKind};
use throughline_otlp::{TraceId, UnixNanos};
use throughline_sampling::Plan;
use throughline_sampling::decision::{Decision, History, Past, Verdict};
use throughline_sampling::facts::TraceFacts;

use super::elsewhere::Elsewhere;
use super::keys::Entry;
use super::record::Decided;
use crate::intake::origin::{Origin, Place};

/// The journal as one pipeline's sampler sees it.
pub(crate) struct JournalHistory<'a> {
    pub(crate) journal: &'a Journal,
    pub(crate) plan: &'a Plan,
    /// Name of the pipeline.
    pub(crate) pipeline: &'a str,
    /// Which receivers' requests feed it.
    pub(crate) intakes: &'a [u16],
    /// What arrived earlier counts as not there,
    pub(crate) since: UnixNanos,
    /// but for what undecided traces need: records from this position on.
    pub(crate) needed_from: u64,
    /// The other processes, if there are any.
    pub(crate) elsewhere: Option<&'a dyn Elsewhere>,
}

impl JournalHistory<'_> {
    /// A record of this kind, if it is there and not too old.
    pub(crate) fn record(&self, position: Position, kind: RecordKind) -> Option<OwnedRecord> {
        let record = self.journal.read(position).ok()?;
        let young = record.arrived >= self.since.0 || position.0 >= self.needed_from;
        (record.kind == kind && young).then_some(record)
    }

    /// The last decision on a trace and everything sent because of any.
    fn decisions(&self, trace: TraceId, position: Position) -> Vec<Decision> {
        let Some(record) = self.record(position, RecordKind::Decisions) else { return Vec::new() };
        let decided = Decided::decode(&record.payload).ok().filter(|it| it.pipeline == self.pipeline);
        let decisions = decided.map(|decided| decided.decisions).unwrap_or_default();
        decisions.into_iter().filter(|decision| decision.trace == trace).collect()
    }

    /// The last decision on a trace that is still in the journal.
    pub(crate) fn last_decision(&self, trace: TraceId) -> Option<Decision> {
        let decides = |value: &[u8]| Entry::read(value) == Some(Entry::Decides);
        let hits = self.journal.lookup(&trace.bytes());
        let mut positions = hits.iter().rev().filter(|(_, value)| decides(value)).map(|(at, _)| *at);
        positions.find_map(|position| self.decisions(trace, position).pop())
    }

    /// What a record says of a trace, and when it came.
    fn facts(&self, trace: TraceId, position: Position) -> Option<Found> {
        let record = self.record(position, RecordKind::Spans)?;
        if !self.intakes.contains(&record.pipeline) {
            return None;
        }
        let facts = self.plan.scan(&record.payload).ok()?;
        let facts = facts.into_iter().find(|facts| facts.trace == trace)?;
        Some(Found { position: position.0, arrived: UnixNanos(record.arrived), facts, from: source(&record) })
    }
}

/// What one record says of a trace.
struct Found {
    position: u64,
    arrived: UnixNanos,
    facts: TraceFacts,
    /// The record of Kafka that it was.
    from: Option<(Place, u64)>,
}

fn source(record: &OwnedRecord) -> Option<(Place, u64)> {
    Origin::of(&record.keys).map(|origin| (origin.place, origin.offset))
}

impl History for JournalHistory<'_> {
    fn past(&mut self, trace: TraceId) -> Option<Past> {
        let mut found: Vec<Found> = Vec::new();
        let (mut decided, mut sent_through) = (None, None);
        for (position, value) in self.journal.lookup(&trace.bytes()) {
            match Entry::read(&value) {
                Some(Entry::Holds) => {
                    let Some(facts) = self.facts(trace, position) else { continue };
                    // A record of Kafka that was read again is the same spans: the later copy is the one at hand.
                    if let Some(from) = &facts.from {
                        found.retain(|earlier| earlier.from.as_ref() != Some(from));
                    }
                    found.push(facts);
                }
                Some(Entry::Decides) => {
                    for decision in self.decisions(trace, position) {
                        if decision.verdict == Verdict::Sampled {
                            sent_through = sent_through.max(decision.records.last().copied());
                        }
                        decided = Some((decision.verdict, decision.reason, decision.hops));
                    }
                }
                Some(Entry::LinkedBy(_)) | None => {}
            }
        }
        found.sort_unstable_by_key(|found| found.position);
        found.dedup_by_key(|found| found.position);
        let records = found.iter().map(|found| found.position).collect();
        let last_arrival = found.iter().map(|found| found.arrived).max().unwrap_or(UnixNanos(0));
        let facts = found.into_iter().map(|found| found.facts).reduce(|mut all, facts| {
            all.merge(&facts);
            all
        });
        facts.map(|facts| Past { decided, records, sent_through, last_arrival, facts })
    }

    fn lies_before(&mut self, trace: TraceId, first: u64) -> bool {
        let hits = self.journal.lookup_before(&trace.bytes(), Position(first));
        hits.iter().any(|(_, value)| matches!(Entry::read(value), Some(Entry::Holds | Entry::Decides)))
    }

    fn dependants(&mut self, trace: TraceId, limit: usize) -> Vec<TraceId> {
        let mut found = Vec::new();
        for (_, value) in self.journal.lookup(&trace.bytes()) {
            if let Some(Entry::LinkedBy(by)) = Entry::read(&value)
                && by != trace
                && !found.contains(&by)
            {
                found.push(by);
                if found.len() >= limit {
                    break;
                }
            }
        }
        found
    }

    fn elsewhere(&mut self, trace: TraceId) -> Option<UnixNanos> {
        self.elsewhere?.holds_before(trace)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message as _;
    use throughline_journal::sim::SimFs;
    use throughline_journal::{Keys, Options, Record};

    use super::super::keys::push_holds;
    use super::super::tests::plan;
    use super::*;

    /// What a history that looks back to `since` says, of a trace whose only record arrived at 5 and stands at a position.
    fn ask<R>(
        since: u64,
        needed_from: u64,
        question: impl FnOnce(JournalHistory<'_>, TraceId, u64) -> R,
    ) -> R {
        let (journal, _) =
            Journal::open(Arc::new(SimFs::new(1)), Path::new("/journal"), Options::default()).unwrap();
        let trace = TraceId::new([7; 16]).unwrap();
        let span = Span { trace_id: vec![7; 16], span_id: vec![1; 8], ..Span::default() };
        let scope = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
        let group = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
        let request = ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec();
        let mut keys = Keys::default();
        push_holds(&mut keys, trace, 1);
        let record = Record { keys, ..Record::new(RecordKind::Spans, 5, request) };
        let position = journal.append_wait(record).unwrap().0;
        let plan = plan();
        let since = UnixNanos(since);
        let history = JournalHistory {
            journal: &journal,
            plan: &plan,
            pipeline: "traces",
            intakes: &[0],
            since,
            needed_from,
            elsewhere: None,
        };
        question(history, trace, position)
    }

    fn past_since(since: u64, needed_from: u64) -> Option<Vec<u64>> {
        ask(since, needed_from, |mut history, trace, _| history.past(trace).map(|past| past.records))
    }

    #[test]
    fn only_a_record_before_the_first_one_known_is_worth_reading() {
        let lies = ask(0, 0, |mut history, trace, at| {
            let other = TraceId::new([8; 16]).unwrap();
            [(trace, at), (trace, at + 1), (other, at + 1)]
                .map(|(trace, first)| history.lies_before(trace, first))
        });
        assert_eq!(lies, [false, true, false]);
    }

    #[test]
    fn what_is_older_than_look_back_is_not_brought_back() {
        assert_eq!(past_since(5, u64::MAX).map(|records| records.len()), Some(1));
        assert_eq!(past_since(6, u64::MAX), None);
        assert_eq!(past_since(6, 0).map(|records| records.len()), Some(1), "undecided traces need it");
    }
}
