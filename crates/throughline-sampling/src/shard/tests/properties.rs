//! Any arrivals in any order, against a model that knows everything and has no memory to save.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use proptest::prelude::*;
use throughline_otlp::{TraceId, UnixNanos};

use super::rig::{
    BASE, MANY, Replay, Rig, id, letter, links, policy, settings, spans, with_drop, with_links,
};
use crate::facts::{Root, TraceFacts};
use crate::settings::{Direction, LinkedTraces, Rule, Settings, Strategy};
use crate::shard::{Ending, ShardOptions};

/// Traces `a` to `j`.
const TRACES: u8 = 10;

/// What a request may bring of one trace.
#[derive(Clone)]
pub struct Piece {
    trace: u8,
    spans: u32,
    slow: bool,
    root: bool,
    links: Vec<u8>,
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { trace, spans, slow, root, links } = self;
        let links: String = links.iter().map(|link| char::from(b'a' + link)).collect();
        let (slow, root) = (if *slow { " slow" } else { "" }, if *root { " root" } else { "" });
        write!(f, "{} {spans}{root}{slow} ->{links}", char::from(b'a' + trace))
    }
}

impl Piece {
    pub fn facts(&self) -> TraceFacts {
        let links: Vec<TraceId> = self.links.iter().map(|link| id(b'a' + link)).collect();
        let mut facts = spans(id(b'a' + self.trace), self.spans, &links);
        if self.slow {
            facts.end = UnixNanos(BASE + 2_000_000_000);
        }
        if self.root {
            facts.root = Root::Seen;
        }
        facts
    }
}

fn piece() -> impl Strategy_<Value = Piece> {
    let links = prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(0..TRACES, 1..3)];
    (0..TRACES, 1..3_u32, prop::bool::weighted(0.1), prop::bool::weighted(0.3), links)
        .prop_map(|(trace, spans, slow, root, links)| Piece { trace, spans, slow, root, links })
}

use proptest::strategy::Strategy as Strategy_;

/// What happens between two requests.
#[derive(Clone, Copy, Debug)]
pub enum Pause {
    None,
    /// The caller does not poll.
    Unpolled,
    Seconds(u64),
    /// After one poll, its wishes still under way if it comes first.
    Crash(u64, bool),
}

#[derive(Clone, Debug)]
pub struct Course {
    /// Each with the pause after it.
    pub requests: Vec<(Vec<Piece>, Pause)>,
    pub shards: usize,
}

pub fn course(crashes: u32) -> impl Strategy_<Value = Course> {
    let pause = prop_oneof![
        3 => Just(Pause::None),
        1 => Just(Pause::Unpolled),
        3 => (0_u64..50).prop_map(Pause::Seconds),
        crashes => (0_u64..20, any::<bool>()).prop_map(|(down, whole)| Pause::Crash(down, whole)),
    ];
    let request = (prop::collection::vec(piece(), 1..5), pause);
    (prop::collection::vec(request, 1..25), 1_usize..4)
        .prop_map(|(requests, shards)| Course { requests, shards })
}

/// Pieces, then the same in another order and cut otherwise.
fn shuffled() -> impl Strategy_<Value = (Course, Course)> {
    (course(0), course(0))
        .prop_flat_map(|(one, cuts)| {
            let pieces: Vec<Piece> = one.requests.iter().flat_map(|(pieces, _)| pieces.clone()).collect();
            (Just(one), Just(cuts), Just(pieces).prop_shuffle())
        })
        .prop_map(|(one, cuts, pieces)| {
            let mut pieces = pieces.into_iter();
            let mut requests: Vec<_> = cuts
                .requests
                .iter()
                .map(|(cut, pause)| (pieces.by_ref().take(cut.len()).collect(), *pause))
                .collect();
            requests.push((pieces.collect::<Vec<_>>(), Pause::None));
            (one, Course { requests, shards: cuts.shards })
        })
}

/// Settings under which new facts only turn a no into a yes.
pub fn rising() -> impl Strategy_<Value = Settings> {
    let direction =
        prop_oneof![Just(Direction::Contributors), Just(Direction::Dependants), Just(Direction::Both)];
    let linked = prop::option::weighted(0.85, (direction, 1_u8..4));
    let memory = (
        prop_oneof![Just(1000_usize), 1..6_usize],
        prop::option::of(1..4_usize),
        prop::option::of(1..4_usize),
    );
    (linked, memory, prop::option::of(1_u64..20), any::<bool>()).prop_map(
        |(linked, memory, root_wait, ingest)| {
            let mut settings = settings();
            if let Some((direction, hops)) = linked {
                settings = with_links(settings, links(direction, hops));
            }
            settings.num_traces = NonZeroUsize::new(memory.0).unwrap();
            settings.decision_cache.sampled = memory.1.and_then(NonZeroUsize::new);
            settings.decision_cache.non_sampled = memory.2.and_then(NonZeroUsize::new);
            settings.decision_wait_after_root = root_wait.map(Duration::from_secs);
            settings.strategy = if ingest { Strategy::SpanIngest } else { Strategy::TraceComplete };
            settings
        },
    )
}

/// Any settings: also those under which a trace can grow out of a yes.
fn all() -> impl Strategy_<Value = Settings> {
    let more = (
        any::<bool>(),
        prop::option::of(4_u64..8),
        prop::option::of(200_u64..900),
        any::<bool>(),
        1_usize..4,
    );
    (rising(), more).prop_map(|(mut settings, (upper, dropping, large, budget, max_traces))| {
        settings.strategy = Strategy::TraceComplete;
        for policy in &mut settings.policies {
            match &mut policy.rule {
                Rule::LinkedTraces(linked) => linked.max_traces = NonZeroUsize::new(max_traces).unwrap(),
                Rule::SpanCount { max, .. } if upper => *max = Some(4),
                _ => {}
            }
        }
        if budget {
            let rule = Rule::RateLimiting { spans_per_second: 1, burst: NonZeroU64::new(3) };
            settings.policies.insert(0, policy("budget", rule));
        }
        settings.maximum_trace_size_bytes = large.and_then(NonZeroU64::new);
        match dropping {
            Some(spans) => with_drop(settings, spans),
            None => settings,
        }
    })
}

/// The final set of kept traces, from everything that came.
pub fn model(settings: &Settings, course: &Course) -> String {
    let mut traces: BTreeMap<TraceId, TraceFacts> = BTreeMap::new();
    for piece in course.requests.iter().flat_map(|(pieces, _)| pieces) {
        let facts = piece.facts();
        traces.entry(facts.trace).and_modify(|known| known.merge(&facts)).or_insert(facts);
    }
    let has_merit = |facts: &TraceFacts| facts.spans >= MANY;
    let is_slow = |facts: &TraceFacts| facts.end.0 - facts.start.0 > 1_000_000_000;
    let kept = |facts: &&TraceFacts| has_merit(facts) || is_slow(facts);
    let mut all: BTreeSet<TraceId> = traces.values().filter(kept).map(|facts| facts.trace).collect();
    let Some(linked) = linked(settings) else { return all.into_iter().map(letter).collect() };
    let mut reached: BTreeSet<TraceId> =
        traces.values().filter(|facts| has_merit(facts)).map(|facts| facts.trace).collect();
    for _ in 0..linked.max_hops {
        let near = |trace: &TraceId| {
            let contributor = reached.iter().any(|from| traces[from].links.contains(trace));
            let dependant = traces[trace].links.iter().any(|link| reached.contains(link));
            match linked.direction {
                Direction::Contributors => contributor,
                Direction::Dependants => dependant,
                Direction::Both => contributor || dependant,
            }
        };
        let next: Vec<TraceId> = traces.keys().copied().filter(near).collect();
        reached.extend(next);
    }
    all.extend(reached);
    all.into_iter().map(letter).collect()
}

fn linked(settings: &Settings) -> Option<&LinkedTraces> {
    settings.policies.iter().find_map(|policy| match &policy.rule {
        Rule::LinkedTraces(linked) => Some(linked),
        _ => None,
    })
}

fn run(settings: &Settings, options: &ShardOptions, course: &Course) -> Rig {
    let mut rig = Rig::new(settings.clone(), options.clone(), course.shards);
    for (pieces, pause) in &course.requests {
        let mut request: BTreeMap<u8, TraceFacts> = BTreeMap::new();
        for piece in pieces {
            let facts = piece.facts();
            request.entry(piece.trace).and_modify(|known| known.merge(&facts)).or_insert(facts);
        }
        if !request.is_empty() {
            rig.arrive(request.into_values().collect());
        }
        match pause {
            Pause::None => rig.settle(),
            Pause::Unpolled => {}
            Pause::Seconds(seconds) => rig.advance(rig.now.mono + Duration::from_secs(*seconds)),
            Pause::Crash(down, whole) => crash(&mut rig, *down, *whole),
        }
    }
    rig.advance(rig.now.mono + Duration::from_secs(500));
    rig.settle();
    rig.check_sent();
    rig
}

/// With all of the journal, wishes may be lost on their way; with its end only, they have arrived.
fn crash(rig: &mut Rig, down: u64, whole: bool) {
    if whole {
        rig.poll();
        rig.crash(Replay::Everything);
    } else {
        rig.settle();
        rig.crash(Replay::Undecided);
    }
    rig.advance(rig.now.mono + Duration::from_secs(down));
}

fn small_tables() -> impl Strategy_<Value = ShardOptions> {
    (any::<u64>(), prop_oneof![Just(1_usize), Just(4096)]).prop_map(|(seed, slice)| ShardOptions {
        seed,
        slice,
        clock_skew: Duration::from_secs(1),
        ..ShardOptions::default()
    })
}

/// `PROPTEST_CASES` makes it more. Every failure prints its input, made as small as it can be.
pub fn thorough() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(1_000), failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(thorough())]

    #[test]
    fn the_same_is_kept_in_any_order(settings in rising(), options in small_tables(), courses in shuffled()) {
        let expected = model(&settings, &courses.0);
        prop_assert_eq!(&expected, &model(&settings, &courses.1));
        for course in [&courses.0, &courses.1] {
            let rig = run(&settings, &options, course);
            prop_assert_eq!(&rig.journal.kept(), &expected, "{}", rig.story());
        }
    }

    #[test]
    fn a_crash_changes_nothing(settings in rising(), options in small_tables(), course in course(2)) {
        let expected = model(&settings, &course);
        let rig = run(&settings, &options, &course);
        prop_assert_eq!(rig.journal.kept(), expected, "{}", rig.story());
    }

    /// What every step checks: verdicts rise, no record twice, spans counted, bounds held; at the end, all is sent.
    #[test]
    fn under_all_settings_verdicts_rise_and_records_go_out_once(
        settings in all(), options in small_tables(), course in course(1),
    ) {
        let mut rig = run(&settings, &options, &course);
        let told = rig.told.len();
        rig.shutdown(Ending::Final);
        prop_assert_eq!(rig.told.len(), told, "nothing was left");
        for trace in rig.journal.traces() {
            prop_assert!(rig.journal.decisions(trace).next().is_some(), "each is decided");
        }
    }

    /// The table's seed is no part of any decision.
    #[test]
    fn the_same_input_gives_the_same_output(settings in all(), course in course(1), seeds in any::<(u64, u64)>()) {
        let told = |seed| run(&settings, &ShardOptions { seed, ..ShardOptions::default() }, &course).told;
        prop_assert_eq!(told(seeds.0), told(seeds.1));
    }
}
