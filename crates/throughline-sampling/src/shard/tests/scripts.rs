//! Cases as data: what comes in, line by line, and every decision that comes out, with its time.
//!
//! A line is a time in seconds and one of: a request (`a 2 root slow ->b,c + d 1`: traces with their number of spans and what
//! else is true of them), `crash all`, `crash undecided`, `shutdown resumes`, `shutdown final`, `keep a from b 2`, `.`.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use throughline_otlp::{TraceId, UnixNanos};

use super::rig::{BASE, Replay, Rig, id, letter, links, settings, spans, with_drop, with_links};
use crate::decision::{Decision, Reason, Trigger, Verdict, Wish};
use crate::facts::{Root, TraceFacts};
use crate::settings::{Direction, Overflow, Settings, Shutdown, Strategy};
use crate::shard::{Before, Ending, ShardOptions};

fn check(settings: Settings, script: &str, expected: &str) {
    check_with(settings, ShardOptions::default(), script, expected);
}

/// With one shard and with three: what comes out is the same, up to the order within an instant.
fn check_with(settings: Settings, options: ShardOptions, script: &str, expected: &str) {
    let lines = |text: &str| {
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let one_shard_only = settings.num_traces.get() < 1000;
    for shards in if one_shard_only { vec![1] } else { vec![1, 3] } {
        let mut rig = Rig::new(settings.clone(), options.clone(), shards);
        for line in lines(script) {
            step(&mut rig, &line);
        }
        rig.settle();
        rig.check_sent();
        let (mut told, mut expected) = (rig.told.iter().map(told).collect::<Vec<_>>(), lines(expected));
        if shards > 1 {
            told.sort();
            expected.sort();
        }
        assert_eq!(told, expected, "\n{shards} shards:\n{}\n", told.join("\n"));
    }
}

fn step(rig: &mut Rig, line: &str) {
    let (time, what) = line.split_once(' ').expect("a time and what happens");
    rig.advance(Duration::from_secs_f64(time.parse().unwrap()));
    let words: Vec<&str> = what.split_whitespace().collect();
    match words[..] {
        ["."] => {}
        ["crash", "all"] => rig.crash(Replay::Everything),
        ["crash", "undecided"] => rig.crash(Replay::Undecided),
        ["shutdown", "resumes"] => rig.shutdown(Ending::Resumes),
        ["shutdown", "final"] => rig.shutdown(Ending::Final),
        ["keep", trace, "from", from, hops] => {
            let wish = Wish::Keep { trace: named(trace), from: named(from), hops: hops.parse().unwrap() };
            let owner = rig.owner(wish.trace());
            rig.shards[owner].keep(rig.now, wish);
        }
        _ => rig.arrive(what.split('+').map(facts).collect()),
    }
    rig.settle();
}

fn named(word: &str) -> TraceId {
    id(word.as_bytes()[0])
}

fn facts(text: &str) -> TraceFacts {
    let mut words = text.split_whitespace();
    let trace = named(words.next().unwrap());
    let mut facts = spans(trace, words.next().unwrap().parse().unwrap(), &[]);
    for word in words {
        match word {
            "root" => facts.root = Root::Seen,
            "slow" => facts.end = UnixNanos(BASE + 2_000_000_000),
            "big" => facts.bytes = 10_000,
            links => {
                links.strip_prefix("->").expect("links").split(',').for_each(|link| facts.link(named(link)))
            }
        }
    }
    facts
}

fn told((time, decision): &(Duration, Decision)) -> String {
    let verdict = match decision.verdict {
        Verdict::NotSampled => "no",
        Verdict::Sampled => "yes",
        Verdict::Dropped => "dropped",
    };
    let reason = match &decision.reason {
        Reason::Policy(name) => name.to_string(),
        Reason::NoPolicy => "no policy".to_owned(),
        Reason::LinkedFrom(origin) => format!("linked from {}", letter(*origin)),
        Reason::TooLarge => "too large".to_owned(),
        Reason::Shutdown => "shutdown".to_owned(),
    };
    let trigger = match decision.trigger {
        Trigger::Wait => "wait",
        Trigger::Root => "root",
        Trigger::Ingest => "ingest",
        Trigger::Size => "size",
        Trigger::Evicted => "evicted",
        Trigger::Late => "late",
        Trigger::Link => "link",
        Trigger::Promise => "promise",
        Trigger::Peer => "peer",
        Trigger::Shutdown => "shutdown",
    };
    let hops = decision.hops.map_or(String::new(), |hops| format!(", {hops} hops"));
    let records = match decision.records.iter().map(u64::to_string).collect::<Vec<_>>().join(" ") {
        none if none.is_empty() => String::new(),
        some => format!(", records {some}"),
    };
    let left_out =
        if decision.left_out > 0 { format!(", {} left out", decision.left_out) } else { String::new() };
    let trace = letter(decision.trace);
    format!("{} {trace} {verdict}: {reason}, {trigger}{hops}{records}{left_out}", time.as_secs_f64())
}

fn root_wait() -> Settings {
    Settings { decision_wait_after_root: Some(Duration::from_secs(5)), ..settings() }
}

fn few(num_traces: usize) -> Settings {
    Settings { num_traces: NonZeroUsize::new(num_traces).unwrap(), ..settings() }
}

#[test]
fn decided_at_the_exact_time_after_the_first_span() {
    check(
        settings(),
        "0 a 2
         0.25 b 1 slow + c 1
         7 a 1
         40 .",
        "30 a yes: many, wait, records 1 3
         30.25 b yes: slow, wait, records 2
         30.25 c no: no policy, wait",
    );
}

#[test]
fn a_root_shortens_the_wait_once_and_never_lengthens_it() {
    check(
        root_wait(),
        "0 a 1
         1 b 1 root
         2 a 2 root
         3 b 1 root
         10 c 1
         38 c 1 root
         60 .",
        "6 b no: no policy, root
         7 a yes: many, root, records 1 3
         40 c no: no policy, wait",
    );
}

#[test]
fn late_spans_follow_or_overturn_and_a_drop_stays() {
    check(
        with_drop(settings(), 5),
        "0 a 3 + b 1 + c 5
         40 a 1
         41 b 1
         42 b 1
         43 b 4
         44 c 1
         45 a 9",
        "30 a yes: many, wait, records 1
         30 b no: no policy, wait
         30 c dropped: drop, wait
         40 a yes: many, late, records 2
         42 b yes: many, late, records 1 3 4
         43 b yes: many, late, records 5
         45 a yes: many, late, records 7",
    );
}

#[test]
fn a_drop_that_shows_late_is_final_if_nothing_was_kept() {
    check(
        with_drop(settings(), 5),
        "0 a 1
         40 a 9
         41 a 9",
        "30 a no: no policy, wait
         40 a dropped: drop, late",
    );
}

#[test]
fn the_oldest_is_decided_early_and_its_late_spans_still_count() {
    check(
        few(2),
        "0 a 1
         1 b 3
         2 c 1
         3 d 1
         4 a 2
         60 .",
        "2 a no: no policy, evicted
         3 b yes: many, evicted, records 2
         4 a yes: many, late, records 1 5
         32 c no: no policy, wait
         33 d no: no policy, wait",
    );
}

#[test]
fn blocks_instead_of_deciding_early() {
    let mut rig = Rig::new(Settings { overflow: Overflow::Block, ..few(2) }, ShardOptions::default(), 1);
    let mut full = Vec::new();
    for line in ["0 a 3", "1 b 1", "2 c 1", "30 .", "31.5 .", "40 ."] {
        step(&mut rig, line);
        full.push(rig.shards[0].is_full());
    }
    assert_eq!(full, [false, true, true, true, false, false]);
    assert!(rig.told.iter().all(|(_, decision)| decision.trigger == Trigger::Wait));
}

#[test]
fn ingest_says_yes_at_once_and_no_at_the_deadline() {
    check(
        Settings { strategy: Strategy::SpanIngest, ..settings() },
        "0 a 1
         1 a 1
         2 a 1
         3 a 1
         4 b 1
         60 .",
        "2 a yes: many, ingest, records 1 2 3
         3 a yes: many, late, records 4
         34 b no: no policy, wait",
    );
}

#[test]
fn too_large_is_no_at_once_and_stays_no() {
    check(
        Settings { maximum_trace_size_bytes: NonZeroU64::new(9_000), ..settings() },
        "0 a 1
         1 a 1 big
         2 a 3
         3 b 3
         34 b 1 big",
        "1 a no: too large, size
         33 b yes: many, wait, records 4
         34 b yes: many, late, records 5",
    );
}

#[test]
fn what_memory_forgot_is_asked_from_history_when_decided() {
    let mut settings = few(1);
    settings.decision_cache.sampled = NonZeroUsize::new(1);
    settings.decision_cache.non_sampled = NonZeroUsize::new(1);
    check(
        settings,
        "0 a 3
         40 b 2
         80 c 3
         120 d 1
         160 e 3
         200 f 1
         240 a 1
         280 b 1
         320 .",
        "30 a yes: many, wait, records 1
         70 b no: no policy, wait
         110 c yes: many, wait, records 3
         150 d no: no policy, wait
         190 e yes: many, wait, records 5
         230 f no: no policy, wait
         270 a yes: many, late, records 7
         310 b yes: many, late, records 2 8",
    );
}

#[test]
fn a_root_younger_than_all_that_is_forgotten_needs_no_question() {
    let before = Before { position: 0, wall: UnixNanos(BASE - 100_000_000_000) };
    let mut rig = Rig::new(settings(), ShardOptions { before: Some(before), ..ShardOptions::default() }, 1);
    for line in ["0 a 1 root + b 1", "60 ."] {
        step(&mut rig, line);
    }
    assert_eq!((rig.told.len(), rig.journal.looks), (2, 1), "only b may have spans from before");
    assert_eq!(rig.journal.questions, 0, "which it has not: no record is read");
}

#[test]
fn only_what_is_forgotten_is_looked_for() {
    let few = Settings { num_traces: 2.try_into().unwrap(), ..settings() };
    let mut rig = Rig::new(few, ShardOptions::default(), 1);
    for (at, trace) in ('a'..='l').enumerate() {
        step(&mut rig, &format!("{} {trace} 1", at * 100));
    }
    step(&mut rig, "2000 .");
    assert!(rig.shards[0].horizon().is_some(), "a test of nothing");
    assert_eq!((rig.told.len(), rig.journal.looks), (12, 0), "new traces, though none shows its root");
    for line in ["2100 a 1", "2200 ."] {
        step(&mut rig, line);
    }
    assert_eq!((rig.journal.looks, rig.journal.questions), (1, 1));
}

#[test]
fn a_batch_brings_back_what_it_came_from() {
    check(
        with_links(settings(), links(Direction::Contributors, 1)),
        "0 a 1
         1 b 1 + c 1 ->b
         20 d 1
         40 e 3 ->a,d,x
         45 d 1
         50 x 1
         80 .",
        "30 a no: no policy, wait
         31 b no: no policy, wait
         31 c no: no policy, wait
         50 d no: no policy, wait
         70 e yes: many, wait, 0 hops, records 4
         70 a yes: linked from e, link, 1 hops, records 1
         70 d yes: linked from e, link, 1 hops, records 3 5
         70 x yes: linked from e, link, 1 hops, records 6",
    );
}

#[test]
fn a_promise_is_kept_when_spans_come_unless_they_are_dropped() {
    check(
        with_drop(with_links(settings(), links(Direction::Contributors, 1)), 5),
        "0 e 3 ->x,y
         40 x 1
         41 y 9
         42 x 1",
        "30 e yes: many, wait, 0 hops, records 1
         30 x yes: linked from e, promise, 1 hops
         30 y yes: linked from e, promise, 1 hops
         40 x yes: linked from e, link, 1 hops, records 2
         41 y dropped: drop, link
         42 x yes: linked from e, late, 1 hops, records 4",
    );
}

#[test]
fn a_promise_ends_with_look_back() {
    let mut linked = links(Direction::Contributors, 1);
    linked.look_back = Duration::from_secs(100);
    check(
        with_links(settings(), linked),
        "0 a 1
         200 e 3 ->a,x
         400 x 1
         500 .",
        "30 a no: no policy, wait
         230 e yes: many, wait, 0 hops, records 2
         230 x yes: linked from e, promise, 1 hops
         430 x no: no policy, wait",
    );
}

#[test]
fn the_shortest_way_wins_and_spreads_again() {
    // a -> b -> c -> d: two hops reach c. Later d gets merit of its own, and e links to b.
    check(
        with_links(settings(), links(Direction::Contributors, 2)),
        "0 d 1
         1 c 1 ->d
         2 b 1 ->c
         3 a 3 ->b
         60 f 3 ->c
         100 .",
        "30 d no: no policy, wait
         31 c no: no policy, wait
         32 b no: no policy, wait
         33 a yes: many, wait, 0 hops, records 4
         33 b yes: linked from a, link, 1 hops, records 3
         33 c yes: linked from a, link, 2 hops, records 2
         90 f yes: many, wait, 0 hops, records 5
         90 c yes: linked from f, link, 1 hops
         90 d yes: linked from f, link, 2 hops, records 1",
    );
}

#[test]
fn what_links_to_a_kept_trace_follows_before_and_after() {
    check(
        with_links(settings(), links(Direction::Dependants, 1)),
        "0 b 1 ->a
         1 a 3
         60 c 1 ->a
         61 d 1 ->b
         100 .",
        "30 b no: no policy, wait
         31 a yes: many, wait, 0 hops, records 2
         31 b yes: linked from a, link, 1 hops, records 1
         60 c yes: linked from a, link, 1 hops, records 3
         91 d no: no policy, wait",
    );
}

#[test]
fn merit_shown_late_spreads_late() {
    check(
        with_links(settings(), links(Direction::Contributors, 1)),
        "0 a 1
         1 b 1 slow ->a
         40 b 1
         41 b 1
         42 b 1 ->c",
        "30 a no: no policy, wait
         31 b yes: slow, wait, records 2
         40 b yes: slow, late, records 3
         41 b yes: slow, late, 0 hops, records 4
         41 a yes: linked from b, link, 1 hops, records 1
         42 b yes: slow, late, 0 hops, records 5
         42 c yes: linked from b, promise, 1 hops",
    );
}

#[test]
fn a_hub_says_what_it_left_out() {
    let mut linked = links(Direction::Contributors, 1);
    linked.max_traces = NonZeroUsize::new(2).unwrap();
    check(
        with_links(settings(), linked),
        "0 h 3 ->a,b,c,d,e
         1 h 1 ->f
         40 h 1 ->a",
        "30 h yes: many, wait, 0 hops, records 1 2, 4 left out
         30 a yes: linked from h, promise, 1 hops
         30 b yes: linked from h, promise, 1 hops
         40 h yes: many, late, 0 hops, records 3",
    );
}

#[test]
fn a_link_does_not_bring_back_what_was_dropped_or_lies_too_far_back() {
    let mut linked = links(Direction::Both, 1);
    linked.look_back = Duration::from_secs(60);
    check(
        with_drop(with_links(settings(), linked), 5),
        "0 a 5
         1 b 1
         100 c 3 ->a,b
         200 .",
        "30 a dropped: drop, wait
         31 b no: no policy, wait
         130 c yes: many, wait, 0 hops, records 3",
    );
}

#[test]
fn a_wish_from_elsewhere_decides_at_once() {
    check(
        with_links(settings(), links(Direction::Contributors, 2)),
        "0 a 1 ->b
         1 keep a from z 2
         2 keep a from y 1
         3 keep a from z 2
         4 keep a from z 3
         5 a 1",
        "1 a yes: linked from z, link, 2 hops, records 1
         2 a yes: linked from y, link, 1 hops
         2 b yes: linked from y, promise, 2 hops
         5 a yes: linked from y, late, 1 hops, records 2",
    );
}

#[test]
fn a_restart_resumes_and_gives_clients_time() {
    check(
        settings(),
        "0 a 1
         10 b 2
         29 crash all
         31 a 2
         32 b 1
         60 .",
        "34 a yes: many, wait, records 1 3
         40 b yes: many, wait, records 2 4",
    );
}

#[test]
fn a_restart_decides_nothing_again() {
    for replay in ["all", "undecided"] {
        check(
            with_drop(settings(), 5),
            &format!(
                "0 a 3 + b 1 + c 5
                 20 d 1
                 35 a 1
                 40 crash {replay}
                 41 a 1
                 42 c 3
                 43 b 2
                 60 ."
            ),
            "30 a yes: many, wait, records 1
             30 b no: no policy, wait
             30 c dropped: drop, wait
             35 a yes: many, late, records 3
             41 a yes: many, late, records 4
             43 b yes: many, late, records 1 6
             50 d no: no policy, wait",
        );
    }
}

#[test]
fn links_survive_a_restart() {
    // What was not restored is asked from History when it is due.
    for (replay, x, a) in [("all", "120", "121"), ("undecided", "150", "151")] {
        let trigger = if replay == "all" { "link" } else { "wait" };
        check(
            with_links(settings(), links(Direction::Both, 2)),
            &format!(
                "0 a 1
                 1 d 1 ->e
                 60 e 3 ->a,x
                 80 crash {replay}
                 100 crash {replay}
                 120 x 1
                 121 a 1
                 200 ."
            ),
            &format!(
                "30 a no: no policy, wait
                 31 d no: no policy, wait
                 90 e yes: many, wait, 0 hops, records 3
                 90 a yes: linked from e, link, 1 hops, records 1
                 90 d yes: linked from e, link, 1 hops, records 2
                 90 x yes: linked from e, promise, 1 hops
                 {x} x yes: linked from e, {trigger}, 1 hops, records 4
                 {a} a yes: linked from e, late, 1 hops, records 5"
            ),
        );
    }
}

#[test]
fn a_shutdown_leaves_or_decides_what_is_undecided() {
    let script = |ending: &str| format!("0 a 3\n1 b 1\n2 shutdown {ending}\n3 .");
    check(settings(), &script("resumes"), "");
    check(settings(), &script("final"), "2 a yes: many, shutdown, records 1\n2 b no: no policy, shutdown");
    let drop = Settings { shutdown: Shutdown::Drop, ..settings() };
    for ending in ["resumes", "final"] {
        check(drop.clone(), &script(ending), "2 a no: shutdown, shutdown\n2 b no: shutdown, shutdown");
    }
}
