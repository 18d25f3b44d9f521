//! The recorder fails when it should: unclaimed, unfinished, wrong.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use opentelemetry::trace::SpanKind;

use super::*;
use crate::{internal, process, send};

/// What a recorder says when `test` is over, if it says anything.
fn complaint(test: impl FnOnce(&Recorder)) -> String {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let recorder = Recorder::local(Ids::Sequential);
        let _active = recorder.context().attach();
        test(&recorder);
    }));
    match outcome {
        Ok(()) => String::new(),
        Err(payload) => payload.downcast_ref::<String>().cloned().unwrap_or_default(),
    }
}

#[test]
fn what_is_left_over_or_missing_fails_the_test() {
    assert_eq!(
        complaint(|recorder| {
            send("orders").run_sync(|_| ());
            recorder.claim("send orders");
        }),
        ""
    );
    assert_eq!(
        complaint(|_| send("orders").run_sync(|_| ())),
        "spans were left over; claim them, or find out why they are there:\n  unclaimed   \"send orders\" \
         (Producer, 00000000000000000000000000000001-0000000000000001)"
    );
    let mut kept = None;
    let unfinished = complaint(|_| kept = Some(process("orders").start()));
    assert!(unfinished.ends_with("\n  unfinished  process orders"), "{unfinished}");
    let missing = complaint(|recorder| {
        recorder.claim("send orders");
    });
    assert_eq!(missing, "0 spans \"send orders\" to claim, expected one; there are:\n  none");
    let twice = complaint(|recorder| {
        send("orders").run_sync(|_| ());
        send("orders").run_sync(|_| ());
        recorder.claim("send orders");
    });
    assert!(twice.starts_with("2 spans \"send orders\" to claim, expected one"), "{twice}");
    let late = complaint(|recorder| {
        recorder.claim_within("send orders", Duration::from_millis(1));
    });
    assert!(late.starts_with("no such span \"send orders\" ended within 1ms"), "{late}");
}

#[test]
fn assertions_hold_only_for_what_is_so() {
    let recorder = Recorder::local(Ids::Random);
    let _active = recorder.context().attach();
    internal("outer").run_sync(|_| {
        let _failed = send("orders").set("rows", 3).run_sync(|_| Err::<(), _>(std::io::Error::other("no")));
    });
    let (outer, inner) = (recorder.claim("outer"), recorder.claim("send orders"));
    inner
        .assert_kind(SpanKind::Producer)
        .assert_child_of(&outer)
        .assert_attribute("rows", 3)
        .assert_error("Other");
    outer.assert_root().assert_ok().assert_no_attribute("rows");

    type Claim = fn(&RecordedSpan, &RecordedSpan);
    let wrong: [Claim; 8] = [
        |outer, inner| drop(outer.assert_child_of(inner).clone()),
        |_, inner| drop(inner.assert_kind(SpanKind::Client).clone()),
        |_, inner| drop(inner.assert_attribute("rows", "3").clone()),
        |_, inner| drop(inner.assert_no_attribute("rows").clone()),
        |_, inner| drop(inner.assert_root().clone()),
        |_, inner| drop(inner.assert_ok().clone()),
        |outer, _| drop(outer.assert_error("Other").clone()),
        |outer, inner| drop(inner.assert_links_to(outer).clone()),
    ];
    for (index, claim) in wrong.into_iter().enumerate() {
        assert!(catch_unwind(AssertUnwindSafe(|| claim(&outer, &inner))).is_err(), "case {index} passed");
    }
}

#[test]
fn a_span_that_ends_elsewhere_is_waited_for() {
    let recorder = Recorder::local(Ids::Random);
    let active = recorder.context().attach();
    let span = send("orders").start();
    drop(active);
    let elsewhere = std::thread::spawn(move || span.end());
    recorder.claim_within("send orders", Duration::from_secs(10)).assert_ok();
    elsewhere.join().unwrap();
}
