//! The pipeline driven step by step and by a property test over random traffic and restarts. No I/O, no clock.

use proptest::prelude::*;

use super::*;

fn request(position: u64, size: usize) -> Durable {
    Durable {
        position,
        signal: Signal::Traces,
        arrived: UnixNanos(position),
        content: Content::Here(Bytes::from(vec![0; size])),
    }
}

const COMMIT_EVERY: Duration = Duration::from_secs(5);

fn bounds(queue_bytes: usize) -> Bounds {
    Bounds { queue_bytes, commit_every: COMMIT_EVERY }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn what_does_not_fit_is_read_back_in_order() {
    let mut pipeline = Pipeline::new(bounds(10), None, None);
    for (position, size) in [(16, 6), (48, 4), (64, 1), (128, 1)] {
        pipeline.durable(request(position, size));
    }
    assert_eq!(pipeline.lag(), Lag { waiting: 4, queued_bytes: 10, overflowed: 2 });
    assert_eq!(pipeline.next(), Step::Ingest(request(16, 6)));
    pipeline.durable(request(256, 1));
    assert_eq!(pipeline.next(), Step::Ingest(request(48, 4)), "256 must not overtake 64, room or not");
    assert_eq!(pipeline.next(), Step::ReadBack { after: Some(48), through: 256 });
    pipeline.durable(request(512, 1));
    assert_eq!(pipeline.next(), Step::Ingest(request(512, 1)), "caught up: the queue serves again");
    assert_eq!(pipeline.next(), Step::Wait);
}

#[test]
fn a_restart_reads_back_what_the_store_has_not() {
    for (committed, end, expected) in [
        (None, None, Step::Wait),
        (Some(7), Some(7), Step::Wait),
        (Some(7), None, Step::Wait),
        (None, Some(7), Step::ReadBack { after: None, through: 7 }),
        (Some(3), Some(7), Step::ReadBack { after: Some(3), through: 7 }),
    ] {
        assert_eq!(Pipeline::new(bounds(10), committed, end).next(), expected);
    }
}

#[test]
fn commits_are_due_an_interval_after_the_first_uncommitted_request() {
    let mut pipeline = Pipeline::new(bounds(10), Some(1), Some(1));
    assert_eq!(pipeline.commit_at(), None);
    pipeline.ingested(2, seconds(100));
    pipeline.ingested(3, seconds(102));
    assert_eq!(pipeline.commit_at(), Some(seconds(100) + COMMIT_EVERY));
    let covers = pipeline.commit_covers();
    pipeline.ingested(4, seconds(105));
    assert_eq!(pipeline.committed(Some(3), covers, seconds(106)), Some(3));
    assert_eq!(pipeline.commit_at(), Some(seconds(106) + COMMIT_EVERY), "4 came during the commit");
    assert_eq!(pipeline.committed(Some(3), covers, seconds(107)), None, "no news");
    pipeline.commit_failed(seconds(111));
    assert_eq!(pipeline.commit_at(), Some(seconds(111) + COMMIT_EVERY));
    assert_eq!(pipeline.committed(Some(4), Some(4), seconds(112)), Some(4));
    assert_eq!(pipeline.commit_at(), None);
    // A request that can never be in the store is covered by a commit that did not move.
    pipeline.ingested(5, seconds(113));
    assert_eq!(pipeline.committed(Some(4), pipeline.commit_covers(), seconds(118)), None);
    assert_eq!(pipeline.commit_at(), None);
}

#[derive(Clone, Debug)]
enum Event {
    Durable { gap: u64, size: usize },
    Work,
    Commit,
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (1_u64..40, 0_usize..12).prop_map(|(gap, size)| Event::Durable { gap, size }),
        4 => Just(Event::Work),
        1 => Just(Event::Commit),
        1 => Just(Event::Restart),
    ]
}

const LIMIT: usize = 30;

/// A journal that is a list, a store that is two lists, and the pipeline between them.
struct World {
    pipeline: Pipeline,
    journal: Vec<(u64, usize)>,
    memory: Vec<u64>,
    disk: Vec<u64>,
}

impl World {
    fn step(&mut self, event: &Event) -> bool {
        match *event {
            Event::Durable { gap, size } => {
                let position = self.journal.last().map_or(0, |(last, _)| *last) + gap;
                self.journal.push((position, size));
                self.pipeline.durable(request(position, size));
            }
            Event::Work => return self.work(),
            Event::Commit => {
                self.disk.append(&mut self.memory);
                let covers = self.pipeline.commit_covers();
                self.pipeline.committed(self.disk.last().copied(), covers, Duration::ZERO);
            }
            Event::Restart => {
                self.memory.clear();
                let (committed, end) = (self.disk.last().copied(), self.journal.last().map(|(p, _)| *p));
                self.pipeline = Pipeline::new(bounds(LIMIT), committed, end);
            }
        }
        true
    }

    fn work(&mut self) -> bool {
        let positions = match self.pipeline.next() {
            Step::Ingest(request) => vec![request.position],
            Step::ReadBack { after, through } => {
                let wanted = |p: &u64| Some(*p) > after && *p <= through;
                self.journal.iter().map(|(p, _)| *p).filter(wanted).collect()
            }
            Step::Wait => return false,
        };
        for position in positions {
            self.memory.push(position);
            self.pipeline.ingested(position, Duration::ZERO);
        }
        true
    }
}

proptest! {
    #[test]
    fn every_durable_request_reaches_the_store_once_and_in_order(events in prop::collection::vec(event(), 0..200)) {
        let pipeline = Pipeline::new(bounds(LIMIT), None, None);
        let mut world = World { pipeline, journal: Vec::new(), memory: Vec::new(), disk: Vec::new() };
        for event in &events {
            world.step(event);
            prop_assert!(world.pipeline.lag().queued_bytes <= LIMIT);
        }
        while world.work() {}
        let stored: Vec<u64> = world.disk.iter().chain(&world.memory).copied().collect();
        let durable: Vec<u64> = world.journal.iter().map(|(position, _)| *position).collect();
        prop_assert_eq!(stored, durable);
        prop_assert_eq!(world.pipeline.lag().waiting, 0);
    }
}
