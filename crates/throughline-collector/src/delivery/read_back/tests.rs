//! What is read in parts is what would have been read whole; what is damaged is said.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use throughline_journal::sim::{Random, SimFs};
use throughline_journal::{Journal, Options, Record, RecordKind};
use throughline_otlp::json::to_protobuf;
use throughline_sampling::decision::{Decision, Trigger};
use throughline_sampling::facts::TraceFacts;

use super::*;
use crate::delivery::tests::full;
use crate::sampler::keys;
use crate::sampler::tests::plan;

const TRACES: u64 = 6;

fn open(fs: &SimFs) -> Journal {
    let options = Options { group_wait: Duration::ZERO, ..Options::default() };
    Journal::open(Arc::new(fs.clone()), Path::new("/journal"), options).unwrap().0
}

fn trace(number: u64) -> TraceId {
    TraceId::from_hex(&format!("{number:032x}")).unwrap()
}

/// Spans of some traces, in several groups, with and without a schema.
fn request(random: &mut Random) -> Vec<u8> {
    let name = |random: &mut Random, most| "x".repeat(usize::try_from(random.below(most)).unwrap());
    let span = |random: &mut Random| {
        let (trace, span) = (trace(1 + random.below(TRACES)), 1 + random.below(1 << 40));
        let name = name(random, 3000);
        format!(r#"{{"traceId":"{trace}","spanId":"{span:016x}","name":"{name}"}}"#)
    };
    let list = |random: &mut Random, most: u64, of: &dyn Fn(&mut Random) -> String| {
        (0..random.below(most)).map(|_| of(random)).collect::<Vec<_>>().join(",")
    };
    let scope = |random: &mut Random| {
        let (url, name) = (name(random, 9), name(random, 9));
        let spans = list(random, 8, &span);
        format!(r#"{{"scope":{{"name":"{name}"}},"schemaUrl":"{url}","spans":[{spans}]}}"#)
    };
    let resource = |random: &mut Random| {
        let url = name(random, 9);
        let scopes = list(random, 4, &scope);
        let attributes = r#"[{"key":"service.name","value":{"stringValue":"shop"}}]"#;
        format!(r#"{{"resource":{{"attributes":{attributes}}},"schemaUrl":"{url}","scopeSpans":[{scopes}]}}"#)
    };
    let resources = list(random, 4, &resource);
    to_protobuf(Signal::Traces, format!(r#"{{"resourceSpans":[{resources}]}}"#).as_bytes()).unwrap()
}

/// A journal with some requests, where they are, and one list of decisions that keeps half of their traces.
struct Scene {
    journal: Journal,
    requests: Vec<u64>,
    decided: Unit,
}

impl Scene {
    fn new(fs: &SimFs, random: &mut Random) -> Self {
        let (journal, plan) = (open(fs), plan());
        let (mut requests, mut records) = (Vec::new(), vec![Vec::new(); 1 + TRACES as usize]);
        for _ in 0..8 {
            let request = request(random);
            let survey = plan.survey(&request).unwrap();
            let record =
                Record { keys: keys::of_survey(&survey), ..Record::new(RecordKind::Spans, 1, request) };
            let Position(position) = journal.append_wait(record).unwrap();
            requests.push(position);
            for facts in &survey.facts {
                records[usize::from(facts.trace.bytes()[15])].push(position);
            }
        }
        let kept = (1..=TRACES).filter(|number| number % 2 == 1).map(|number| Decision {
            trace: trace(number),
            verdict: Verdict::Sampled,
            reason: Reason::Policy(Arc::from(format!("p{number}"))),
            trigger: Trigger::Wait,
            hops: None,
            records: records[number as usize].clone(),
            spans: 1,
            through: 0,
            left_out: 0,
        });
        let decided = Decided { pipeline: "traces".to_owned(), decisions: kept.collect() };
        let record = Record::new(RecordKind::Decisions, 1, decided.encode());
        let Position(position) = journal.append_wait(record).unwrap();
        Self { journal, requests, decided: Unit { position, needs_from: 0, items: 1 } }
    }

    fn read_back(&self, reasons: Reasons) -> (Vec<Request>, Vec<u64>) {
        let (mut requests, mut outcome) = (Vec::new(), Outcome::default());
        self.try_read_back(reasons, &mut outcome, &mut requests).unwrap();
        (requests, outcome.into_gone().map(|gone| gone.position).collect())
    }

    fn try_read_back(
        &self,
        reasons: Reasons,
        outcome: &mut Outcome,
        requests: &mut Vec<Request>,
    ) -> Result<(), Unreadable> {
        let full = full(7, 1 << 20);
        let (mut reader, mut emit) = (self.journal.reader(0), |request| requests.push(request));
        read_back(&mut reader, "traces", reasons, &[self.decided], full, outcome, &mut emit)
    }

    /// How many kept spans a request holds.
    fn kept_in(&self, position: u64) -> u64 {
        let record = self.journal.read(Position(position)).unwrap();
        let is_odd = |facts: &&TraceFacts| facts.trace.bytes()[15] % 2 == 1;
        let facts = plan().scan(&record.payload).unwrap();
        facts.iter().filter(is_odd).map(|facts| u64::from(facts.spans)).sum()
    }

    /// How many of the requests hold kept spans.
    fn holding(&self) -> usize {
        self.requests.iter().filter(|position| self.kept_in(**position) > 0).count()
    }

    /// How many of the requests are read in parts.
    fn in_parts(&self) -> usize {
        let (mut reader, mut outcome) = (self.journal.reader(0), Outcome::default());
        let wanted =
            Wanted::read(&mut reader, "traces", Reasons::Unsaid, &[self.decided], &mut outcome).unwrap();
        let mut filling = Filling { full: full(1, 1), request: None, before: 0 };
        let mut in_parts = |(position, traces): &(&u64, &Vec<Kept>)| {
            wanted.add_parts(&mut filling, &mut reader, **position, traces, &mut |_| ())
        };
        wanted.records.iter().filter(&mut in_parts).count()
    }
}

#[test]
fn parts_are_what_the_whole_gives() {
    let mut spans = 0;
    for seed in 0..60 {
        let (fs, mut random) = (SimFs::new(seed), Random::new(seed));
        let mut scene = Scene::new(&fs, &mut random);
        let in_parts = [Reasons::Unsaid, Reasons::Said].map(|reasons| scene.read_back(reasons));
        assert_eq!(scene.in_parts(), scene.holding());
        // Closes the one before.
        scene.journal = open(&SimFs::new(seed));
        scene.journal = open(&fs);
        assert_eq!(scene.in_parts(), 0, "an earlier process wrote them");
        assert_eq!(in_parts, [Reasons::Unsaid, Reasons::Said].map(|reasons| scene.read_back(reasons)));
        assert!(in_parts[0].1.is_empty());
        spans += items(&in_parts[0].0);
    }
    assert!(spans > 1000, "{spans}");
}

#[test]
fn a_kept_span_that_is_not_what_was_written_is_said() {
    let (fs, mut random) = (SimFs::new(1), Random::new(1));
    let scene = Scene::new(&fs, &mut random);
    let (before, gone) = scene.read_back(Reasons::Unsaid);
    assert!(gone.is_empty());
    let id = trace(1).bytes();
    let path = Path::new("/journal/segment-00000000.tlj");
    let holds = |position: &&u64| {
        let record = scene.journal.read(Position(**position)).unwrap();
        record.payload.windows(16).any(|window| window == id)
    };
    let damaged = *scene.requests.iter().find(holds).unwrap();
    fs.damage(path, |bytes| {
        let from = usize::try_from(damaged & 0xffff_ffff).unwrap();
        let at = bytes[from..].windows(18).position(|window| window[..2] == [10, 16] && window[2..] == id);
        bytes[from + at.unwrap() + 3] ^= 1;
    });
    let (after, gone) = scene.read_back(Reasons::Unsaid);
    assert_eq!(gone, [damaged]);
    assert!(items(&after) < items(&before));
}

/// Spans of all requests.
fn items(requests: &[Request]) -> u64 {
    requests.iter().map(|request| request.items).sum()
}

#[test]
fn a_disk_that_does_not_answer_is_asked_again_and_nothing_is_handed_over_twice() {
    for seed in 0..20 {
        let (fs, mut random) = (SimFs::new(seed), Random::new(seed));
        let mut scene = Scene::new(&fs, &mut random);
        // Records that an earlier process wrote are read whole: whatever of one is bad is met.
        scene.journal = open(&SimFs::new(seed));
        scene.journal = open(&fs);
        let (all, _) = scene.read_back(Reasons::Unsaid);
        let Some(bad) = scene.requests.iter().rev().find(|position| scene.kept_in(**position) > 0) else {
            continue;
        };
        let before = items(&all) - scene.kept_in(*bad);
        let at = (bad & u64::from(u32::MAX)) + 70;
        fs.make_unreadable(Path::new("/journal/segment-00000000.tlj"), at..at + 1);
        let (mut requests, mut outcome) = (Vec::new(), Outcome::default());
        for _ in 0..3 {
            let record = scene.try_read_back(Reasons::Unsaid, &mut outcome, &mut requests).unwrap_err();
            assert_eq!(record.position, *bad);
        }
        assert_eq!(items(&requests), before, "seed {seed}");
        let record = scene.try_read_back(Reasons::Unsaid, &mut outcome, &mut requests).unwrap_err();
        outcome.give_up(record);
        scene.try_read_back(Reasons::Unsaid, &mut outcome, &mut requests).unwrap();
        assert_eq!(items(&requests), before, "nothing that is kept stands behind it");
        assert_eq!(outcome.into_gone().map(|gone| gone.position).collect::<Vec<_>>(), [*bad]);
    }
}

#[test]
fn nothing_goes_out_that_is_larger_than_it_may_be() {
    for seed in 0..20 {
        let (fs, mut random) = (SimFs::new(seed), Random::new(seed));
        let scene = Scene::new(&fs, &mut random);
        let (all, _) = scene.read_back(Reasons::Unsaid);
        for (bytes, most_items) in [(4000, u64::MAX), (1 << 20, 3), (4000, 3)] {
            let (mut requests, mut outcome) = (Vec::new(), Outcome::default());
            let (mut reader, mut emit) = (scene.journal.reader(0), |request| requests.push(request));
            let full = Full { items: 1000, bytes, most_items };
            let reasons = Reasons::Unsaid;
            read_back(&mut reader, "traces", reasons, &[scene.decided], full, &mut outcome, &mut emit)
                .unwrap();
            assert_eq!(spans(&requests), spans(&all), "seed {seed}");
            for request in &requests {
                let least = request.items == 1;
                // A name has 3,000 bytes at most; what is around spans comes on top.
                assert!(least || (request.items <= most_items && request.body.len() <= bytes + 200));
            }
        }
    }
}

/// Every span of all requests, in order.
fn spans(requests: &[Request]) -> Vec<(TraceId, usize)> {
    let of = |request: &Request| {
        let spans = throughline_otlp::decode_traces(&request.body).unwrap();
        assert_eq!(spans.len() as u64, request.items);
        spans
    };
    requests.iter().flat_map(of).map(|span| (span.trace_id, span.name.len())).collect()
}
