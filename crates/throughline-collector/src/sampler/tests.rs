//! Shards as threads over a simulated disk: what a shutdown decides, and where wishes go.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use throughline_journal::sim::SimFs;
use throughline_journal::{Durability, Options};
use throughline_otlp::UnixNanos;
use throughline_sampling::decision::{Reason, Verdict};
use throughline_sampling::facts::{Met, Root};
use throughline_sampling::settings::{
    DecisionCache, Direction, FirstMatch, LinkedTraces, Overflow, Policy, Rule, Settings, Shutdown, Strategy,
};

use super::*;

/// Kept: what has two spans, and what such a trace links to.
pub(crate) fn plan() -> Arc<Plan> {
    let policy = |name: &str, rule| Policy { name: name.to_owned(), rule };
    let links = LinkedTraces {
        direction: Direction::Contributors,
        from_policies: None,
        max_hops: 3,
        max_traces: 100.try_into().unwrap(),
        look_back: Duration::from_secs(3600),
    };
    Arc::new(
        Plan::compile(Settings {
            decision_wait: Duration::from_secs(3600),
            decision_wait_after_root: None,
            num_traces: 1000.try_into().unwrap(),
            overflow: Overflow::DecideOldest,
            decision_cache: DecisionCache { sampled: None, non_sampled: None },
            strategy: Strategy::TraceComplete,
            first_match: FirstMatch::AskAll,
            maximum_trace_size_bytes: None,
            shutdown: Shutdown::Resume,
            policies: vec![
                policy("pairs", Rule::SpanCount { min: Some(2), max: None }),
                policy("linked", Rule::LinkedTraces(links)),
            ],
        })
        .unwrap(),
    )
}

pub(crate) fn trace(number: u8) -> TraceId {
    TraceId::new([number; 16]).unwrap()
}

pub(crate) fn facts(number: u8, spans: u32, links: &[u8]) -> TraceFacts {
    let mut facts = TraceFacts {
        trace: trace(number),
        met: Met::default(),
        start: UnixNanos(1),
        end: UnixNanos(2),
        spans,
        bytes: 100,
        root: Root::Unseen,
        links: Vec::new(),
        links_left_out: 0,
    };
    links.iter().for_each(|to| facts.link(trace(*to)));
    facts
}

fn sampler(shards: usize) -> (Arc<Sampler>, Vec<Shard>, Journal) {
    let options = Options { durability: Durability::Sync, ..Options::default() };
    let (journal, _) = Journal::open(Arc::new(SimFs::new(1)), Path::new("/journal"), options).unwrap();
    let build = Build {
        pipeline: "traces".to_owned(),
        intakes: vec![0],
        budgets: Arc::new(plan().budgets()),
        plan: plan(),
        outlets: Vec::new(),
        form: Form::Shards(shards),
        before: None,
        grace: Duration::ZERO,
        look_back: Duration::MAX,
        ask_wait: Duration::ZERO,
    };
    let (sampler, shards) = Sampler::new(build, journal.clone());
    (sampler, shards, journal)
}

/// Decisions in the journal, by trace.
fn decided(journal: &Journal) -> Vec<(TraceId, Verdict, Reason)> {
    let records = journal.records_from(throughline_journal::Position(0)).flatten();
    let decisions = records.flat_map(|it| record::Decided::decode(&it.payload).unwrap().decisions);
    let mut decisions: Vec<_> = decisions.map(|it| (it.trace, it.verdict, it.reason)).collect();
    decisions.sort_by_key(|(trace, verdict, _)| (*trace, *verdict));
    decisions
}

#[test]
fn a_shutdown_that_decides_follows_links_from_shard_to_shard_to_their_end() {
    for shards in [1, 2, 7] {
        let (sampler, built, journal) = sampler(shards);
        let threads = sampler.start(built, 0).unwrap();
        // 1 is kept for itself; 2, 3 and 4 are 1, 2 and 3 links away; 5 is one too many.
        let all = vec![
            facts(1, 2, &[2]),
            facts(2, 1, &[3]),
            facts(3, 1, &[4]),
            facts(4, 1, &[5]),
            facts(5, 1, &[]),
        ];
        sampler.arrived(0, sampler.split(all));
        threads.stop(Stop::Decide);
        let sampled: Vec<_> =
            decided(&journal).into_iter().filter(|(_, verdict, _)| *verdict == Verdict::Sampled).collect();
        let linked = |number| (trace(number), Verdict::Sampled, Reason::LinkedFrom(trace(1)));
        let own = (trace(1), Verdict::Sampled, Reason::Policy(Arc::from("pairs")));
        assert_eq!(sampled, [own, linked(2), linked(3), linked(4)], "{shards} shards");
    }
}

/// Owns some traces, and remembers what is wished of them.
#[derive(Default)]
struct Other {
    owned: Vec<TraceId>,
    wishes: Mutex<Vec<Wish>>,
}

impl Elsewhere for Other {
    fn take(&self, pipeline: &str, wish: Wish) -> Option<Wish> {
        assert_eq!(pipeline, "traces");
        if !self.owned.contains(&wish.trace()) {
            return Some(wish);
        }
        self.wishes.lock().unwrap().push(wish);
        None
    }
}

#[test]
fn wishes_for_traces_of_another_process_go_there_and_nowhere_else() {
    let (sampler, built, journal) = sampler(3);
    let other = Arc::new(Other { owned: vec![trace(3)], ..Other::default() });
    sampler.connect(Arc::clone(&other) as Arc<dyn Elsewhere>);
    let threads = sampler.start(built, 0).unwrap();
    sampler.arrived(0, sampler.split(vec![facts(1, 2, &[2, 3]), facts(2, 1, &[])]));
    threads.stop(Stop::Decide);
    let keep = Wish::Keep { trace: trace(3), from: trace(1), hops: 1 };
    assert_eq!(*other.wishes.lock().unwrap(), [keep]);
    let traces: Vec<_> = decided(&journal).into_iter().map(|(trace, _, _)| trace).collect();
    assert!(traces.contains(&trace(2)) && !traces.contains(&trace(3)), "{traces:?}");
}

#[test]
fn where_too_many_wishes_wait_no_more_are_to_be_taken() {
    let (sampler, built, _) = sampler(2);
    let wish = Wish::Follow { trace: trace(1), from: trace(2) };
    let told = (0_u32..).take_while(|_| !sampler.is_behind()).inspect(|_| sampler.wish(wish, Duration::ZERO));
    assert_eq!(told.count(), 16_384);
    // Its shards act on them, and there is room again.
    let threads = sampler.start(built, 0).unwrap();
    threads.stop(Stop::Decide);
    assert!(!sampler.is_behind());
}
