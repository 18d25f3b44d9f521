//! Three nodes and a ring that changes twice: traces that one of them began are another's from some moment on, the front and
//! each node learn of it when they do, and some spans go astray at any time. Held against the model that knows everything.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use throughline_otlp::TraceId;

use super::properties::{Course, Pause, course, model, rising, thorough};
use super::rig::{Rig, id, letter, settings, spans, with_drop};
use crate::decision::{Decision, Heard, Held, Reason, Trigger, Verdict, Wish};
use crate::facts::TraceFacts;
use crate::settings::Settings;
use crate::shard::ShardOptions;

const NODES: usize = 3;

/// The third node joins, which moves a third of the traces; then the second takes a quarter of all.
fn owner(trace: TraceId, ring: usize) -> usize {
    let number = usize::from(trace.bytes()[15]);
    match ring {
        2 if number % 4 == 0 => 1,
        1 | 2 if number % 3 == 2 => 2,
        _ => number % 2,
    }
}

/// Who may hold a part of a trace: whoever owned it, as far as a node knows, and whoever asked about it.
#[derive(Default)]
struct Places {
    /// What each node knows.
    rings: [usize; NODES],
    partners: BTreeSet<(usize, TraceId, usize)>,
}

impl Places {
    fn holders(&self, at: usize, trace: TraceId) -> Vec<usize> {
        let owners = (0..=self.rings[at]).map(|ring| owner(trace, ring));
        let partners = (0..NODES).filter(|node| self.partners.contains(&(at, trace, *node)));
        let all: BTreeSet<usize> = owners.chain(partners).collect();
        all.into_iter().filter(|node| *node != at).collect()
    }
}

/// A part of a trace is kept, or will be.
#[derive(Clone, Debug)]
struct News {
    to: usize,
    by: usize,
    decision: Decision,
    relayed: bool,
}

struct Nodes {
    rigs: Vec<Rig>,
    places: Rc<RefCell<Places>>,
    /// Who asks, about what, and which nodes answer: when the question arrives.
    questions: Vec<(usize, TraceId)>,
    answers: Vec<(usize, TraceId, Heard)>,
    wishes: Vec<(usize, Wish)>,
    news: Vec<News>,
    /// Promises that a node has only been told of.
    heard_of: BTreeSet<(usize, TraceId)>,
    seen: [usize; NODES],
}

impl Nodes {
    fn new(settings: &Settings, shards: usize) -> Self {
        let options = || ShardOptions { clock_skew: Duration::from_secs(1), ..ShardOptions::default() };
        let places: Rc<RefCell<Places>> = Rc::default();
        let mut rigs: Vec<Rig> = (0..NODES).map(|_| Rig::new(settings.clone(), options(), shards)).collect();
        for (at, rig) in rigs.iter_mut().enumerate() {
            let places = Rc::clone(&places);
            let elsewhere = move |trace| !places.borrow().holders(at, trace).is_empty();
            rig.journal.elsewhere = Some(Box::new(elsewhere));
        }
        Self {
            rigs,
            places,
            questions: Vec::new(),
            answers: Vec::new(),
            wishes: Vec::new(),
            news: Vec::new(),
            heard_of: BTreeSet::new(),
            seen: [0; NODES],
        }
    }

    /// The nodes learn who owns what.
    fn change(&self, rings: [usize; NODES]) {
        self.places.borrow_mut().rings = rings;
    }

    fn arrive(&mut self, at: usize, facts: Vec<TraceFacts>) {
        self.rigs[at].arrive(facts);
    }

    /// What came out of the nodes goes on its way.
    fn collect(&mut self) {
        for at in 0..NODES {
            let questions = std::mem::take(&mut self.rigs[at].questions);
            self.questions.extend(questions.into_iter().map(|trace| (at, trace)));
            for wish in self.rigs[at].take_wishes() {
                self.wishes.push((owner(wish.trace(), self.places.borrow().rings[at]), wish));
            }
            let news = &self.rigs[at].told[self.seen[at]..];
            let places = self.places.borrow();
            for (_, decision) in
                news.iter().filter(|(_, it)| it.verdict == Verdict::Sampled && !it.is_hearsay())
            {
                if decision.promised().is_some() && self.heard_of.remove(&(at, decision.trace)) {
                    continue;
                }
                for to in places.holders(at, decision.trace) {
                    self.news.push(News { to, by: at, decision: decision.clone(), relayed: false });
                }
            }
            drop(places);
            self.seen[at] = self.rigs[at].told.len();
        }
    }

    /// What is under way arrives: answers to what was asked are under way then.
    fn deliver(&mut self) {
        for (at, wish) in std::mem::take(&mut self.wishes) {
            let rig = &mut self.rigs[at];
            let (now, shard) = (rig.now, rig.owner(wish.trace()));
            rig.shards[shard].keep(now, wish);
        }
        for (at, trace, heard) in std::mem::take(&mut self.answers) {
            let shard = self.rigs[at].owner(trace);
            self.rigs[at].shards[shard].told(trace, heard);
        }
        for news in std::mem::take(&mut self.news) {
            self.hear(news);
        }
        for (at, trace) in std::mem::take(&mut self.questions) {
            let held = self.ask(at, trace);
            self.answers.push((at, trace, Heard::Answer(held)));
        }
    }

    /// First-hand news goes on to those who have asked.
    fn hear(&mut self, News { to, by, decision, relayed }: News) {
        let (trace, mut places) = (decision.trace, self.places.borrow_mut());
        if !relayed {
            let others =
                (0..NODES).filter(|node| *node != by && places.partners.contains(&(to, trace, *node)));
            let others: Vec<usize> = others.collect();
            let on = |to| News { to, by, decision: decision.clone(), relayed: true };
            self.news.extend(others.into_iter().map(on));
        }
        places.partners.insert((to, trace, by));
        let rig = &mut self.rigs[to];
        let (now, shard) = (rig.now, rig.owner(trace));
        match decision.promised() {
            Some(wish) => {
                self.heard_of.insert((to, trace));
                rig.shards[shard].keep(now, wish);
            }
            None => rig.shards[shard].told(trace, Heard::Kept(decision.reason, decision.hops)),
        }
    }

    /// Those that may hold a part are asked, and those that they name.
    fn ask(&mut self, at: usize, trace: TraceId) -> Held {
        let mut places = self.places.borrow_mut();
        let mut held = Held::default();
        let mut asked = BTreeSet::from([at]);
        while let Some(node) = places.holders(at, trace).into_iter().find(|node| !asked.contains(node)) {
            asked.insert(node);
            let named: Vec<usize> =
                (0..NODES).filter(|other| places.partners.contains(&(node, trace, *other))).collect();
            places.partners.extend(named.into_iter().map(|other| (at, trace, other)));
            places.partners.insert((node, trace, at));
            let rig = &mut self.rigs[node];
            let here = rig.shards[rig.owner(trace)].holds(trace, &mut rig.journal);
            if here != Held::default() {
                places.partners.insert((at, trace, node));
            }
            held.join(here);
        }
        held
    }

    fn step(&mut self) {
        self.rigs.iter_mut().for_each(Rig::poll);
        self.collect();
        self.deliver();
    }

    /// Until nothing is under way.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 1000, "the nodes talk for ever");
            self.step();
            let quiet = self.questions.is_empty()
                && self.answers.is_empty()
                && self.wishes.is_empty()
                && self.news.is_empty();
            if quiet && self.rigs.iter().all(|rig| !rig.is_busy()) {
                return;
            }
        }
    }

    fn advance(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.pass(1);
            self.settle();
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.rigs.iter_mut().for_each(|rig| rig.pass(Duration::from_secs(seconds)));
    }

    /// Kept traces; of each all of its spans have gone out, wherever they are.
    fn kept(&self) -> String {
        let mut kept = BTreeSet::new();
        let mut left = BTreeSet::new();
        for rig in &self.rigs {
            let here: BTreeSet<char> = rig.journal.kept().chars().collect();
            left.extend(rig.journal.traces().into_iter().map(letter).filter(|it| !here.contains(it)));
            kept.extend(here);
        }
        let torn: String = kept.intersection(&left).collect();
        assert_eq!(torn, "", "kept on one node only: {}", self.story());
        kept.into_iter().collect()
    }

    fn story(&self) -> String {
        let stories: Vec<String> = self.rigs.iter().map(Rig::story).collect();
        stories.join("\n---- the next node")
    }

    fn stats(&self, figure: impl Fn(crate::shard::Stats) -> u64) -> Vec<u64> {
        let of = |rig: &Rig| rig.shards.iter().map(|shard| figure(shard.stats())).sum();
        self.rigs.iter().map(of).collect()
    }
}

/// When rings change, by the number of the request: for the front, and for each node.
#[derive(Clone, Copy, Debug)]
struct Changes {
    front: [usize; 2],
    nodes: [[usize; 2]; NODES],
}

impl Changes {
    fn ring(changes: [usize; 2], number: usize) -> usize {
        changes.iter().filter(|at| **at <= number).count()
    }
}

/// Each node learns of a change a few requests before or after the front.
fn changes() -> impl Strategy<Value = Changes> {
    let lags = [[0..10_usize, 0..10_usize], [0..10, 0..10], [0..10, 0..10]];
    ([5..30_usize, 5..30_usize], lags).prop_map(|(mut front, mut nodes)| {
        front.sort_unstable();
        for node in &mut nodes {
            *node = [front[0] + node[0] - 5, front[1] + node[1] - 5];
            node.sort_unstable();
        }
        Changes {
            front: front.map(|at| at - 5),
            nodes: nodes.map(|node| node.map(|at| at.saturating_sub(5))),
        }
    })
}

fn run(settings: &Settings, course: &Course, changes: Changes, astray: &[bool]) -> Nodes {
    let mut nodes = Nodes::new(settings, course.shards);
    let mut astray = astray.iter().cycle();
    for (number, (pieces, pause)) in course.requests.iter().enumerate() {
        nodes.change(changes.nodes.map(|node| Changes::ring(node, number)));
        let ring = Changes::ring(changes.front, number);
        let mut parts: [BTreeMap<TraceId, TraceFacts>; NODES] = Default::default();
        for piece in pieces {
            let facts = piece.facts();
            // Of a node that does not answer the next one is the front's choice.
            let at = (owner(facts.trace, ring) + usize::from(*astray.next().unwrap())) % NODES;
            parts[at].entry(facts.trace).and_modify(|known| known.merge(&facts)).or_insert(facts);
        }
        for (at, part) in parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            nodes.arrive(at, part.into_values().collect());
        }
        match pause {
            Pause::None => nodes.settle(),
            Pause::Unpolled => {}
            // Calls are under way while the next request comes.
            Pause::Crash(..) => nodes.step(),
            Pause::Seconds(seconds) => nodes.advance(*seconds),
        }
    }
    nodes.change([2; NODES]);
    nodes.advance(120);
    nodes.rigs.iter().for_each(Rig::check_sent);
    nodes
}

proptest! {
    #![proptest_config(thorough())]

    /// The same is kept as on one node, whenever the ring changes and whoever knows, and each node has kept its part.
    #[test]
    fn a_ring_that_changes_keeps_what_one_node_would_have_kept(
        settings in rising(), course in course(2), changes in changes(),
        astray in prop::collection::vec(prop::bool::weighted(0.2), 1..20),
    ) {
        let nodes = run(&settings, &course, changes, &astray);
        prop_assert_eq!(nodes.kept(), model(&settings, &course), "{}", nodes.story());
        prop_assert_eq!(nodes.stats(|stats| stats.unanswered), [0; NODES]);
    }
}

/// Two spans of a trace on the first node, one on the third, which owns it since.
fn straddling() -> (Nodes, TraceId) {
    let mut nodes = Nodes::new(&settings(), 1);
    let trace = id(b'b');
    assert_eq!((owner(trace, 0), owner(trace, 1)), (0, 2));
    nodes.arrive(0, vec![spans(trace, 2, &[])]);
    nodes.change([1; NODES]);
    nodes.arrive(2, vec![spans(trace, 1, &[])]);
    nodes.pass(30);
    nodes.rigs.iter_mut().for_each(Rig::poll);
    (nodes, trace)
}

#[test]
fn what_another_node_holds_is_asked_for_once_and_waited_for() {
    let (mut nodes, trace) = straddling();
    nodes.collect();
    assert_eq!(nodes.questions, [(0, trace), (2, trace)]);
    for at in [0, 2] {
        assert!(nodes.rigs[at].told.is_empty() && nodes.rigs[at].shards[0].stats().undecided == 1);
        assert_eq!(nodes.rigs[at].shards[0].oldest_undecided(), Some(1), "still needed");
        assert_eq!(nodes.rigs[at].shards[0].deadline(), Some(Duration::from_secs(32)));
    }
    nodes.settle();
    assert_eq!(nodes.kept(), "b", "three spans, two here and one there");
    for at in [0, 2] {
        let (_, decision) = &nodes.rigs[at].told[0];
        assert_eq!((decision.trigger, &decision.reason), (Trigger::Wait, &Reason::Policy("many".into())));
    }
    assert_eq!(nodes.stats(|stats| stats.asked_elsewhere), [1, 0, 1]);
    assert_eq!(nodes.stats(|stats| stats.unanswered), [0; NODES]);
}

#[test]
fn a_node_that_does_not_answer_is_waited_for_no_longer_than_said() {
    let (mut nodes, trace) = straddling();
    nodes.pass(1);
    nodes.rigs.iter_mut().for_each(Rig::poll);
    assert!(nodes.rigs[2].told.is_empty());
    nodes.pass(1);
    nodes.rigs[2].poll();
    let (at, decision) = nodes.rigs[2].told[0].clone();
    assert_eq!(
        (at, decision.verdict, decision.trigger),
        (Duration::from_secs(32), Verdict::NotSampled, Trigger::Wait)
    );
    assert_eq!(nodes.stats(|stats| stats.unanswered), [0, 0, 1]);
    // What it says late still counts.
    nodes.rigs[0].poll();
    nodes.settle();
    assert_eq!(nodes.kept(), "b");
    assert_eq!(nodes.stats(|stats| stats.overturned), [1, 0, 1]);
    assert_eq!(nodes.rigs[2].told[1].1.trace, trace);
}

/// What becomes of a trace with one span that waits for an answer and hears this.
fn check(heard: Heard, expected: (Verdict, Trigger, &str), unanswered: u64) {
    let mut nodes = Nodes::new(&settings(), 1);
    let trace = id(b'b');
    nodes.change([1; NODES]);
    nodes.arrive(2, vec![spans(trace, 1, &[])]);
    nodes.pass(30);
    nodes.rigs[2].poll();
    assert!(nodes.rigs[2].told.is_empty());
    nodes.rigs[2].shards[0].told(trace, heard.clone());
    nodes.rigs[2].poll();
    let (_, decision) = &nodes.rigs[2].told[0];
    let reason = match &decision.reason {
        Reason::Policy(name) => name.to_string(),
        other => format!("{other:?}"),
    };
    assert_eq!((decision.verdict, decision.trigger, reason.as_str()), expected, "{heard:?}");
    assert_eq!(nodes.stats(|stats| stats.unanswered)[2], unanswered, "{heard:?}");
}

#[test]
fn what_is_answered_is_followed() {
    use Verdict::{Dropped, NotSampled, Sampled};
    let held = |verdict: Verdict, reason: &str, facts: u32| Held {
        decided: (!reason.is_empty()).then(|| (verdict, Reason::Policy(reason.into()), None)),
        promised: None,
        followed: false,
        facts: (facts > 0).then(|| spans(id(b'b'), facts, &[])),
    };
    let nothing = (NotSampled, Trigger::Wait, "NoPolicy");
    check(Heard::Answer(Held::default()), nothing, 0);
    check(Heard::Partly(Held::default()), nothing, 1);
    check(Heard::Answer(held(NotSampled, "", 1)), nothing, 0);
    check(Heard::Answer(held(NotSampled, "x", 2)), (Sampled, Trigger::Wait, "many"), 0);
    check(Heard::Partly(held(NotSampled, "x", 2)), (Sampled, Trigger::Wait, "many"), 1);
    check(Heard::Answer(held(Sampled, "x", 0)), (Sampled, Trigger::Peer, "x"), 0);
    check(Heard::Answer(held(Dropped, "x", 0)), (Dropped, Trigger::Peer, "x"), 0);
    check(Heard::Kept(Reason::Policy("x".into()), Some(0)), (Sampled, Trigger::Peer, "x"), 0);
    check(
        Heard::Kept(Reason::LinkedFrom(id(b'c')), Some(2)),
        (Sampled, Trigger::Peer, &format!("{:?}", Reason::LinkedFrom(id(b'c')))),
        0,
    );
}

#[test]
fn of_several_answers_the_one_that_keeps_counts_and_what_they_hold_adds_up() {
    use Verdict::{Dropped, NotSampled, Sampled};
    let held = |verdict, hops, facts| Held {
        decided: Some((verdict, Reason::NoPolicy, hops)),
        promised: None,
        followed: false,
        facts: Some(spans(id(b'b'), facts, &[])),
    };
    let order = [
        held(NotSampled, None, 1),
        held(Dropped, None, 2),
        held(Sampled, None, 3),
        held(Sampled, Some(2), 4),
        held(Sampled, Some(0), 5),
    ];
    for (at, one) in order.iter().enumerate() {
        for other in &order[at..] {
            for (first, second) in [(one, other), (other, one)] {
                let mut both = Held::default();
                both.join(first.clone());
                both.join(second.clone());
                assert_eq!(both.decided, other.decided);
                let spans = |held: &Held| held.facts.as_ref().unwrap().spans;
                assert_eq!(spans(&both), spans(one) + spans(other));
            }
        }
    }
}

#[test]
fn what_is_kept_elsewhere_is_kept_here_too_even_if_it_comes_much_later_or_would_be_dropped() {
    let mut nodes = Nodes::new(&with_drop(settings(), 2), 1);
    let trace = id(b'b');
    nodes.rigs[2].shards[0].told(trace, Heard::Kept(Reason::Policy("slow".into()), None));
    nodes.rigs[2].poll();
    let (_, decision) = &nodes.rigs[2].told[0];
    assert_eq!((decision.verdict, decision.trigger, decision.spans), (Verdict::Sampled, Trigger::Peer, 0));
    nodes.advance(600);
    nodes.arrive(2, vec![spans(trace, 2, &[])]);
    nodes.settle();
    let (_, decision) = &nodes.rigs[2].told[1];
    assert_eq!((decision.verdict, decision.records.as_slice()), (Verdict::Sampled, &[1][..]));
    assert_eq!(nodes.stats(|stats| stats.asked_elsewhere), [0; NODES], "it is known");
}
