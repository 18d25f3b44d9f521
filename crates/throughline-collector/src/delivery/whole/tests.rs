//! What is held, what is read back, and how both become requests.

use std::path::Path;
use std::sync::Arc;

use throughline_journal::sim::SimFs;
use throughline_journal::{Journal, Options, Record, RecordKind};

use super::*;

fn unit(position: u64) -> Unit {
    Unit { position, needs_from: position, items: 2 }
}

fn request(byte: u8, length: usize) -> Bytes {
    Bytes::from(vec![byte; length])
}

#[test]
fn what_has_room_is_held_until_its_turn() {
    let mut held = Held::with_room_for(10);
    for (position, length) in [(1, 4), (2, 4), (3, 4), (5, 2)] {
        held.hold(position, &request(position as u8, length));
    }
    let here = |taken: Vec<Taken>| -> Vec<Option<usize>> {
        taken.iter().map(|taken| taken.here.as_ref().map(Bytes::len)).collect()
    };
    assert_eq!(held.bytes, 10);
    assert_eq!(here(held.take(vec![unit(1)])), [Some(4)]);
    // 3 found no room; there is some now.
    held.hold(6, &request(6, 4));
    assert_eq!(here(held.take(vec![unit(2), unit(3), unit(4)])), [Some(4), None, None]);
    // 5 was acknowledged in another way: it does not stay.
    assert_eq!(here(held.take(vec![unit(6), unit(7)])), [Some(4), None]);
    assert_eq!((held.bytes, held.requests.len()), (0, 0));
}

/// Bodies and items of the requests that come of what is `held` and of what the journal alone has, in turn.
fn gathered(held: &[bool], full: Full) -> (Vec<(Vec<u8>, u64)>, usize) {
    let (journal, _) =
        Journal::open(Arc::new(SimFs::new(1)), Path::new("/journal"), Options::default()).unwrap();
    let append = |number: u8| {
        let record = Record::new(RecordKind::Spans, 0, vec![number; 3]);
        journal.append_wait(record).unwrap().0
    };
    let taken: Vec<Taken> = (0..)
        .zip(held)
        .map(|(number, held)| {
            // The journal does not know the position of one that is held: who reads it finds nothing.
            let unit = unit(if *held { 8 } else { append(number) });
            Taken { unit, here: held.then(|| request(number, 3)) }
        })
        .collect();
    let mut requests = Vec::new();
    let outcome = gather(&mut journal.reader(0), Signal::Traces, &taken, full, &mut |request| {
        requests.push((request.body.joined().to_vec(), request.items));
    });
    (requests, outcome.unwrap().gone.len())
}

#[test]
fn held_or_read_back_it_is_the_same_request() {
    let one = |number: u8| vec![number; 3];
    let alone = Full { items: 1, bytes: 1000 };
    let check = |held: &[bool], full, bodies: &[Vec<u8>]| {
        let expected = bodies.iter().map(|body| (body.clone(), 2 * (body.len() as u64 / 3))).collect();
        assert_eq!(gathered(held, full), (expected, 0), "{held:?} {full:?}");
    };
    for held in [[true, true, true], [false, false, false], [true, false, true], [false, true, false]] {
        check(&held, alone, &[one(0), one(1), one(2)]);
        check(&held, Full { items: 4, bytes: 1000 }, &[[one(0), one(1)].concat(), one(2)]);
        check(&held, Full { items: 100, bytes: 6 }, &[[one(0), one(1)].concat(), one(2)]);
        check(&held, Full { items: 100, bytes: 1000 }, &[[one(0), one(1), one(2)].concat()]);
    }
    check(&[], alone, &[]);
}

#[test]
fn what_is_gone_is_said_and_the_rest_is_sent() {
    let (journal, _) =
        Journal::open(Arc::new(SimFs::new(1)), Path::new("/journal"), Options::default()).unwrap();
    let gone = Taken { unit: unit(1 << 20), here: None };
    let here = Taken { unit: unit(1 << 21), here: Some(request(1, 3)) };
    let mut requests = Vec::new();
    let full = Full { items: 100, bytes: 1000 };
    let mut emit = |request| requests.push(request);
    let outcome = gather(&mut journal.reader(0), Signal::Logs, &[gone, here], full, &mut emit).unwrap();
    assert_eq!(outcome.gone.iter().map(|gone| gone.position).collect::<Vec<_>>(), [1 << 20]);
    assert_eq!(requests, [Request { signal: Signal::Logs, body: request(1, 3).into(), items: 2 }]);
}

#[test]
fn what_is_held_is_not_copied() {
    let (journal, _) =
        Journal::open(Arc::new(SimFs::new(1)), Path::new("/journal"), Options::default()).unwrap();
    let body = request(1, 64);
    let taken = [8, 16].map(|position| Taken { unit: unit(position), here: Some(body.clone()) });
    let full = Full { items: 4, bytes: 1000 };
    let mut emit = |request: Request| {
        let pieces: Vec<_> = request.body.pieces().iter().map(|piece| piece.as_ptr()).collect();
        assert_eq!(pieces, [body.as_ptr(); 2]);
    };
    gather(&mut journal.reader(0), Signal::Traces, &taken, full, &mut emit).unwrap();
}
