//! What the journal holds of receivers that no pipeline takes any more: nobody gets it, and the start says so. It refuses to
//! guess whose it could be.

use std::collections::{BTreeMap, HashSet, VecDeque};

use throughline_journal::{OwnedRecord, RecordKind};
use throughline_otlp::{Signal, TraceId};

use crate::delivery::checkpoint::Checkpoint;
use crate::intake::origin::Origin;
use crate::lines::Lines;
use crate::sampler::keys::Entry;

/// By the receiver's number.
#[derive(Debug, Default)]
pub(crate) struct Unclaimed(BTreeMap<u16, Left>);

/// What is left of one receiver.
#[derive(Debug, Default)]
struct Left {
    /// Where requests stand that no sampler has seen, and of which the last checkpoint does not say that they were delivered.
    requests: VecDeque<u64>,
    /// Traces on which a sampler has not decided.
    undecided: HashSet<TraceId>,
}

impl Unclaimed {
    /// A record of the journal, in order of position.
    pub(super) fn note(&mut self, record: &OwnedRecord, lines: &Lines) {
        match record.kind {
            RecordKind::Spans => self.request(record, Signal::Traces, lines),
            RecordKind::Logs => self.request(record, Signal::Logs, lines),
            RecordKind::Decisions if !self.0.is_empty() => {
                for trace in traces(record, Entry::Decides) {
                    for left in self.0.values_mut() {
                        left.undecided.remove(&trace);
                    }
                }
            }
            RecordKind::Decisions | RecordKind::ExporterAcknowledgement | RecordKind::Mark => {}
        }
    }

    fn request(&mut self, record: &OwnedRecord, signal: Signal, lines: &Lines) {
        // What came from Kafka comes from there again.
        if lines.wants(record.pipeline, signal) || Origin::of(&record.keys).is_some() {
            return;
        }
        let left = self.0.entry(record.pipeline).or_default();
        let mut traces = traces(record, Entry::Holds).peekable();
        if traces.peek().is_none() {
            left.requests.push_back(record.position.0);
        }
        left.undecided.extend(traces);
    }

    /// How far the exporters were, by then.
    pub(super) fn delivered(&mut self, checkpoint: &Checkpoint) {
        let through = checkpoint.acknowledged.iter().map(|(_, from)| *from).min();
        through.into_iter().for_each(|from| self.needed_from(from));
    }

    /// Requests before this position were delivered.
    pub(super) fn needed_from(&mut self, from: u64) {
        for left in self.0.values_mut() {
            while left.requests.pop_front_if(|position| *position < from).is_some() {}
        }
    }

    /// Says what there is, with the receivers' names by number.
    pub(crate) fn report(&self, names: &[String]) {
        for (number, Left { requests, undecided }) in &self.0 {
            if requests.is_empty() && undecided.is_empty() {
                continue;
            }
            let receiver = names.get(usize::from(*number)).map_or("?", String::as_str);
            let (requests, undecided_traces) = (requests.len(), undecided.len());
            tracing::warn!(
                receiver,
                requests,
                undecided_traces,
                "the journal holds what came through a receiver that no pipeline takes any more: it is not delivered. Put the receiver \
                 back within look_back, and its undecided traces are decided; the next time let the exporters drain \
                 (otelcol_exporter_queue_size is 0) before a receiver goes"
            );
        }
    }
}

/// The traces of which a record's keys say this.
fn traces(record: &OwnedRecord, what: Entry) -> impl Iterator<Item = TraceId> {
    let says = move |(key, value)| TraceId::new(key).filter(|_| Entry::read(value) == Some(what));
    record.keys.iter().filter_map(says)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use throughline_journal::{Keys, Position};

    use super::*;
    use crate::delivery::tests::{everything, journal};
    use crate::log::capture;
    use crate::sampler::keys::push_holds;
    use crate::topology::Wait;

    fn trace(number: u8) -> TraceId {
        TraceId::new([number; 16]).unwrap()
    }

    fn record(position: u64, kind: RecordKind, pipeline: u16, keys: Keys) -> OwnedRecord {
        OwnedRecord { position: Position(position), kind, pipeline, arrived: 0, payload: Vec::new(), keys }
    }

    fn holding(traces: &[u8]) -> Keys {
        let mut keys = Keys::default();
        traces.iter().for_each(|number| push_holds(&mut keys, trace(*number), 1));
        keys
    }

    fn deciding(traces: &[u8]) -> Keys {
        traces.iter().map(|number| ([*number; 16], &[3_u8][..])).collect()
    }

    #[test]
    fn what_nobody_gets_is_said_with_its_receiver_and_nothing_else_is() {
        use RecordKind::{Decisions, Logs, Spans};
        // Spans of receiver 0 have an exporter.
        let deliveries = vec![everything(journal(), Wait::Always(Default::default()))];
        let lines = Lines { samplers: Vec::new(), deliveries, keep: None, reach: Mutex::default() };
        let names = ["otlp", "otlp/sampled", "otlp/gone"].map(str::to_owned);
        let check = |records: &[OwnedRecord], delivered: &[u64], expected: &[(&str, usize, usize)]| {
            let mut unclaimed = Unclaimed::default();
            records.iter().for_each(|record| unclaimed.note(record, &lines));
            if !delivered.is_empty() {
                let of = |from: &u64| ("traces/otlp".to_owned(), *from);
                unclaimed.delivered(&Checkpoint { acknowledged: delivered.iter().map(of).collect() });
            }
            let lines = capture::lines(|| unclaimed.report(&names));
            assert_eq!(lines.len(), expected.len(), "{lines:?}");
            for (line, (receiver, requests, traces)) in lines.iter().zip(expected) {
                let said = format!("receiver=\"{receiver}\" requests={requests} undecided_traces={traces}");
                assert!(line.starts_with("WARN") && line.contains(&said), "{line}");
            }
        };
        let none = Keys::default;
        check(&[record(1, Spans, 0, none())], &[], &[]);
        check(&[record(1, Logs, 0, none())], &[], &[("otlp", 1, 0)]);
        let requests: Vec<_> = (1..=5).map(|at| record(10 * at, Spans, 2, none())).collect();
        check(&requests, &[], &[("otlp/gone", 5, 0)]);
        check(&requests, &[50, 30], &[("otlp/gone", 3, 0)]);
        check(&requests, &[51], &[]);
        let sampled = [
            record(10, Spans, 1, holding(&[1, 2])),
            record(20, Spans, 1, holding(&[2, 3])),
            record(30, Decisions, 0, deciding(&[1, 3])),
        ];
        check(&sampled, &[1000], &[("otlp/sampled", 0, 1)]);
        check(&[&sampled[..], &[record(40, Decisions, 0, deciding(&[2]))]].concat(), &[], &[]);
        check(&[&sampled[..], &requests].concat(), &[], &[("otlp/sampled", 0, 1), ("otlp/gone", 5, 0)]);
    }
}
