//! What is held, what is read back, and how both become requests.

use std::path::Path;
use std::sync::Arc;

use throughline_journal::sim::SimFs;
use throughline_journal::{Journal, Options, Record, RecordKind};
use throughline_otlp::decode_traces;
use throughline_otlp::json::to_protobuf;

use super::*;
use crate::delivery::tests::full;

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
    let mut outcome = Outcome::default();
    let mut emit = |request: Request| requests.push((request.body.joined().to_vec(), request.items));
    gather(&mut journal.reader(0), Signal::Traces, &taken, full, &mut outcome, &mut emit).unwrap();
    (requests, outcome.into_gone().count())
}

#[test]
fn held_or_read_back_it_is_the_same_request() {
    let one = |number: u8| vec![number; 3];
    let alone = full(1, 1000);
    let check = |held: &[bool], full, bodies: &[Vec<u8>]| {
        let expected = bodies.iter().map(|body| (body.clone(), 2 * (body.len() as u64 / 3))).collect();
        assert_eq!(gathered(held, full), (expected, 0), "{held:?} {full:?}");
    };
    for held in [[true, true, true], [false, false, false], [true, false, true], [false, true, false]] {
        check(&held, alone, &[one(0), one(1), one(2)]);
        check(&held, full(4, 1000), &[[one(0), one(1)].concat(), one(2)]);
        check(&held, full(100, 6), &[[one(0), one(1)].concat(), one(2)]);
        check(&held, full(100, 1000), &[[one(0), one(1), one(2)].concat()]);
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
    let full = full(100, 1000);
    let (mut outcome, mut emit) = (Outcome::default(), |request| requests.push(request));
    gather(&mut journal.reader(0), Signal::Logs, &[gone, here], full, &mut outcome, &mut emit).unwrap();
    assert_eq!(outcome.into_gone().map(|gone| gone.position).collect::<Vec<_>>(), [1 << 20]);
    assert_eq!(requests, [Request { signal: Signal::Logs, body: request(1, 3).into(), items: 2 }]);
}

#[test]
fn what_is_held_is_not_copied() {
    let (journal, _) =
        Journal::open(Arc::new(SimFs::new(1)), Path::new("/journal"), Options::default()).unwrap();
    let body = request(1, 64);
    let taken = [8, 16].map(|position| Taken { unit: unit(position), here: Some(body.clone()) });
    let full = full(4, 1000);
    let mut emit = |request: Request| {
        let pieces: Vec<_> = request.body.pieces().iter().map(|piece| piece.as_ptr()).collect();
        assert_eq!(pieces, [body.as_ptr(); 2]);
    };
    gather(&mut journal.reader(0), Signal::Traces, &taken, full, &mut Outcome::default(), &mut emit).unwrap();
}

#[test]
fn a_disk_that_does_not_answer_is_asked_again_and_nothing_is_handed_over_twice() {
    let fs = SimFs::new(1);
    let (journal, _) =
        Journal::open(Arc::new(fs.clone()), Path::new("/journal"), Options::default()).unwrap();
    let append =
        |number: u8| journal.append_wait(Record::new(RecordKind::Spans, 0, vec![number; 3])).unwrap().0;
    let positions: Vec<u64> = (0..5).map(append).collect();
    let taken: Vec<Taken> =
        positions.iter().map(|position| Taken { unit: unit(*position), here: None }).collect();
    let bad = positions[3] & u64::from(u32::MAX);
    fs.make_unreadable(Path::new("/journal/segment-00000000.tlj"), bad..bad + 1);
    let (mut requests, full) = (Vec::new(), full(4, 1000));
    let (mut reader, mut outcome) = (journal.reader(0), Outcome::default());
    let mut emit = |request: Request| requests.push((request.body.joined().to_vec(), request.items));
    let mut ask =
        |outcome: &mut Outcome| gather(&mut reader, Signal::Traces, &taken, full, outcome, &mut emit);
    for _ in 0..3 {
        assert_eq!(ask(&mut outcome).unwrap_err().position, positions[3]);
    }
    let given_up = ask(&mut outcome).unwrap_err();
    outcome.give_up(given_up);
    ask(&mut outcome).unwrap();
    assert_eq!(requests, [(vec![0, 0, 0, 1, 1, 1], 4), (vec![2; 3], 2), (vec![4; 3], 2)]);
    assert_eq!(outcome.into_gone().map(|gone| gone.position).collect::<Vec<_>>(), [positions[3]]);
}

/// Spans with names of these lengths.
fn spans(names: &[usize]) -> Bytes {
    let span = |length: &usize| {
        let (id, name) = ("0af7651916cd43dd8448eb211c80319c", "x".repeat(*length));
        format!(r#"{{"traceId":"{id}","spanId":"00000000000000aa","name":"{name}"}}"#)
    };
    let spans = names.iter().map(span).collect::<Vec<_>>().join(",");
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
    to_protobuf(Signal::Traces, json.as_bytes()).unwrap().into()
}

/// A backend refuses what is too large for it for good: with the small requests that were gathered with it.
#[test]
fn nothing_goes_out_that_is_larger_than_it_may_be() {
    let journal = crate::delivery::tests::journal();
    let check = |accepted: &[&[usize]], most_items, expected: &[&[usize]]| {
        let taken = |(position, names): (u64, &&[usize])| {
            let unit = Unit { position, needs_from: position, items: names.len() as u64 };
            Taken { unit, here: Some(spans(names)) }
        };
        let taken: Vec<Taken> = (1..).zip(accepted).map(taken).collect();
        let (mut sent, full) = (Vec::new(), Full { items: 1000, bytes: 1000, most_items });
        let mut emit = |request: Request| {
            let spans = decode_traces(&request.body.joined()).unwrap();
            assert_eq!(spans.len() as u64, request.items);
            sent.push(spans.iter().map(|span| span.name.len()).collect::<Vec<_>>());
        };
        let mut outcome = Outcome::default();
        gather(&mut journal.reader(0), Signal::Traces, &taken, full, &mut outcome, &mut emit).unwrap();
        assert_eq!(sent, expected, "{accepted:?}");
    };
    check(&[&[100], &[200], &[300]], u64::MAX, &[&[100, 200, 300]]);
    check(&[&[400], &[700], &[100]], u64::MAX, &[&[400], &[700, 100]]);
    check(&[&[400], &[300, 400, 500], &[100]], u64::MAX, &[&[400], &[300, 400], &[500], &[100]]);
    check(&[&[5000], &[100]], u64::MAX, &[&[5000], &[100]]);
    check(&[&[1, 2], &[3, 4], &[5]], 3, &[&[1, 2], &[3, 4, 5]]);
    check(&[&[1], &[2, 3, 4, 5, 6]], 2, &[&[1], &[2, 3], &[4, 5], &[6]]);
}
