//! The installed recorder, in a process of its own: it hears whatever the process traces.

use opentelemetry::{
    global,
    trace::{Tracer as _, TracerProvider as _},
};
use throughline::{
    send,
    testing::{Ids, Recorder},
};

#[test]
fn it_hears_the_global_tracer_and_starts_anew_each_time() {
    for _ in 0..2 {
        let recorder = Recorder::install_with(Ids::Sequential);
        global::tracer("somebody else").in_span("outer", |_| send("orders").run_sync(|_| ()));
        let (outer, send) = (recorder.claim("outer"), recorder.claim("send orders"));
        send.assert_child_of(&outer);
        assert_eq!((outer.span_id().to_string(), send.span_id().to_string()), (id(1), id(2)));
        assert!(recorder.claim_rest().is_empty());
    }
}

#[test]
fn two_tests_take_turns() {
    let first = Recorder::install();
    let second = std::thread::spawn(|| {
        let recorder = Recorder::install();
        send("payments").run_sync(|_| ());
        recorder.claim("send payments");
    });
    send("orders").run_sync(|_| ());
    first.claim("send orders");
    drop(first);
    second.join().unwrap();
}

#[test]
fn spans_of_another_provider_are_none_of_its_business() {
    let recorder = Recorder::install();
    let other = Recorder::local(Ids::Random);
    other.provider().tracer("other").in_span("elsewhere", |_| ());
    other.claim("elsewhere");
    assert!(recorder.claim_rest().is_empty());
}

fn id(number: u64) -> String {
    format!("{number:016x}")
}
