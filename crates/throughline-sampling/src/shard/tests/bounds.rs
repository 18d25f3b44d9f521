//! What memory a shard takes, as its documentation says.

use std::num::NonZeroUsize;
use std::time::Duration;

use throughline_otlp::{TraceId, UnixNanos};

use super::rig::{Journal, MANY, Rig, id, links, settings, spans, with_links};
use crate::Plan;
use crate::facts::{MAX_LINKS, Now};
use crate::settings::{Direction, Settings};
use crate::shard::row::{Block, Memo, Row};
use crate::shard::{MAX_RECORDS, Output, Shard, ShardOptions};

#[test]
fn sizes_are_as_stated() {
    assert_eq!((size_of::<Row>(), align_of::<Row>()), (128, 64));
    assert_eq!(size_of::<Memo>(), 36);
    assert_eq!(size_of::<Block>(), 32);
}

fn numbered(number: u64) -> TraceId {
    let mut bytes = [1; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    TraceId::new(bytes).unwrap()
}

#[test]
fn a_pending_trace_of_eight_spans_takes_what_is_stated() {
    const TRACES: u64 = 200_000;
    let settings = Settings { num_traces: NonZeroUsize::new(TRACES as usize).unwrap(), ..settings() };
    let plan = std::sync::Arc::new(Plan::compile(settings).unwrap());
    let mut shard = Shard::new(plan.clone(), plan.budgets().into(), ShardOptions::default());
    let now = Now { wall: UnixNanos(0), mono: Duration::ZERO };
    for position in 0..8 {
        let facts: Vec<_> = (0..TRACES).map(|number| spans(numbered(number), 1, &[])).collect();
        shard.handle(now, position, &facts);
    }
    let stats = shard.stats();
    assert_eq!((stats.undecided, stats.records), (TRACES as usize, 7 * TRACES as usize));
    let each = stats.bytes as u64 / TRACES;
    assert!((128 + 64..=128 + 64 + 15 + 2).contains(&each), "{each} bytes a trace");
}

#[test]
fn records_beyond_the_bound_come_from_history() {
    let mut rig = Rig::new(settings(), ShardOptions::default(), 1);
    let all = MAX_RECORDS as u64 + 500;
    for _ in 0..all {
        rig.arrive(vec![spans(id(b'a'), 1, &[])]);
        assert!(rig.shards[0].stats().records <= MAX_RECORDS);
    }
    rig.advance(Duration::from_secs(60));
    assert_eq!(rig.told.len(), 1);
    assert_eq!(rig.told[0].1.records, (1..=all).collect::<Vec<_>>());
    assert_eq!((rig.shards[0].stats().spilled, rig.shards[0].stats().records), (1, 0));
    rig.check_sent();
}

#[test]
fn num_traces_and_caches_are_the_pipelines_and_each_shard_holds_its_part() {
    for (shards, part) in [(1, 10), (2, 5), (3, 4), (64, 1)] {
        let settings = Settings { num_traces: NonZeroUsize::new(10).unwrap(), ..settings() };
        let shards = NonZeroUsize::new(shards).unwrap();
        let mut rig = Rig::new(settings, ShardOptions { shards, ..ShardOptions::default() }, 1);
        for number in 0..30 {
            rig.arrive(vec![spans(numbered(number), 1, &[])]);
            rig.settle();
        }
        assert_eq!(rig.shards[0].stats().undecided, part);
        rig.advance(Duration::from_secs(30));
        for number in 30..60 {
            rig.arrive(vec![spans(numbered(number), 1, &[])]);
            rig.settle();
        }
        assert_eq!(rig.shards[0].stats().remembered_not_sampled, part, "{shards}");
    }
}

#[test]
fn links_beyond_the_bound_come_from_history() {
    let options = ShardOptions { max_links: 4, ..ShardOptions::default() };
    let settings = with_links(settings(), links(Direction::Contributors, 1));
    let mut rig = Rig::new(settings, options, 1);
    rig.arrive((b'a'..=b'j').map(|letter| spans(id(letter), 1, &[])).collect());
    rig.arrive(vec![spans(id(b'y'), 1, &[id(b'a'), id(b'b'), id(b'c')])]);
    let targets: Vec<TraceId> = (b'd'..=b'i').map(id).collect();
    rig.arrive(vec![spans(id(b'z'), MANY, &targets)]);
    assert_eq!(rig.shards[0].stats().links, 4);
    rig.advance(Duration::from_secs(60));
    assert_eq!(rig.journal.kept(), "defghiz");
}

#[test]
fn a_hub_holds_no_more_links_than_stated() {
    let roomy = Settings { num_traces: NonZeroUsize::new(10_000).unwrap(), ..settings() };
    let settings = with_links(roomy, links(Direction::Both, 1));
    let mut rig = Rig::new(settings, ShardOptions::default(), 1);
    for number in 0..MAX_LINKS as u64 + 300 {
        rig.arrive(vec![spans(id(b'h'), 1, &[numbered(number)])]);
        // Dependants of one trace are bounded as well.
        rig.arrive(vec![spans(numbered(10_000 + number), 1, &[id(b'z')])]);
        rig.settle();
    }
    let shard = &rig.shards[0];
    assert_eq!(shard.traces.links, MAX_LINKS + MAX_LINKS + 300, "the hub's, and one of each dependant");
    assert_eq!(shard.waiting.of(id(b'z')).len(), MAX_LINKS);
    assert_eq!(shard.stats().links_left_out, 300);
    rig.advance(Duration::from_secs(30));
    let hub = rig.journal.decisions(id(b'h')).next().unwrap();
    assert_eq!(hub.left_out, 300 + (MAX_LINKS as u32 - 100), "beyond the bound on links, and on traces");
}

#[test]
fn wishes_that_wait_are_bounded() {
    let settings = with_links(settings(), links(Direction::Contributors, 1));
    let mut rig = Rig::new(settings, ShardOptions { max_wishes: 2, ..ShardOptions::default() }, 1);
    for letter in b'a'..=b'd' {
        let wish = crate::decision::Wish::Keep { trace: id(letter), from: id(b'z'), hops: 1 };
        rig.shards[0].keep(rig.now, wish);
    }
    assert_eq!((rig.shards[0].stats().wishes_refused, rig.shards[0].unheeded()), (2, 2));
    rig.settle();
    assert_eq!(rig.told.len(), 2);
    // What had been acknowledged before a restart is not refused, and the newest least of all.
    for letter in b'e'..=b'h' {
        let wish = crate::decision::Wish::Keep { trace: id(letter), from: id(b'z'), hops: 1 };
        rig.shards[0].restore_wish(rig.now.wall, wish);
    }
    rig.settle();
    let asked: Vec<TraceId> = rig.told.iter().map(|(_, decision)| decision.trace).collect();
    assert_eq!((asked, rig.shards[0].unheeded()), (b"abefgh".iter().copied().map(id).collect(), 0));
}

#[test]
fn a_poll_does_a_slice() {
    let mut rig = Rig::new(settings(), ShardOptions { slice: 10, ..ShardOptions::default() }, 1);
    rig.arrive((0..25).map(|number| spans(numbered(number), 1, &[])).collect());
    let now = Now { mono: Duration::from_secs(30), ..rig.now };
    let counts = [0; 4].map(|_| {
        let mut out = Output::default();
        rig.shards[0].poll(now, &mut Journal::default(), &mut out);
        out.decisions.len()
    });
    assert_eq!(counts, [10, 10, 5, 0]);
    assert_eq!(rig.shards[0].deadline(), None);
}
