//! Visibility, duplicates, commit and crash.

use throughline_otlp::{Signal, decode_traces};
use throughline_store::{Ingest, Search, Store, StoreError, StoreOptions};

use crate::build::{Bench, LogSpec, SpanSpec, seconds, trace_id, traces};

fn names(store: &Store, trace: u8) -> Vec<String> {
    store.trace(trace_id(trace)).unwrap().spans.into_iter().map(|span| span.name).collect()
}

fn span(id: u8, name: &str) -> SpanSpec {
    SpanSpec { id, name: name.to_owned(), start: u64::from(id), ..SpanSpec::default() }
}

#[test]
fn a_span_is_found_at_once_and_the_same_after_commit_and_reopening() {
    let mut bench = Bench::new();
    let traces = bench.spans(&[span(1, "a"), SpanSpec { trace: 2, ..span(2, "b") }, span(3, "c")]);
    assert_eq!(traces, [trace_id(1), trace_id(2)]);
    assert_eq!(bench.logs(&[LogSpec::default()]), [trace_id(1)]);
    let check = |store: &Store, committed| {
        assert_eq!(store.committed(), committed);
        assert_eq!(names(store, 1), ["a", "c"]);
        assert_eq!(store.trace(trace_id(1)).unwrap().logs.len(), 1);
        assert_eq!(store.search(&Search::default()).unwrap().len(), 2);
        assert_eq!(store.search_logs(&Search::default()).unwrap().len(), 1);
        assert_eq!(store.services().unwrap(), ["api"]);
        assert_eq!(store.operations(None).unwrap().len(), 3);
        assert_eq!([1, 2, 3].map(|id| store.has_trace(trace_id(id)).unwrap()), [true, true, false]);
    };
    check(&bench.store, None);
    assert_eq!(bench.store.commit().unwrap(), Some(2));
    check(&bench.store, Some(2));
    assert_eq!((bench.store.stats().spans, bench.store.stats().logs), (3, 1));
    assert_eq!(bench.store.stats().memory_documents, 0);
    check(&bench.reopen().store, Some(2));
}

#[test]
fn duplicates_fold_across_memory_and_blocks() {
    let options = StoreOptions { block_documents: 1, ..StoreOptions::default() };
    let mut bench = Bench::with(options);
    for _ in 0..2 {
        bench.spans(&[span(1, "a")]);
        bench.logs(&[LogSpec::default()]);
        bench.store.commit().unwrap();
    }
    bench.spans(&[span(1, "a"), span(1, "a")]);
    assert_eq!(bench.store.stats().blocks, 2);
    assert_eq!(names(&bench.store, 1), ["a"]);
    assert_eq!(bench.store.trace_otlp(trace_id(1)).unwrap().len(), 1);
    assert_eq!(bench.store.trace(trace_id(1)).unwrap().logs.len(), 1);
    assert_eq!(bench.store.search_logs(&Search::default()).unwrap().len(), 1);
    let hits = bench.store.search(&Search::default()).unwrap();
    assert_eq!((hits.len(), hits[0].matched), (1, 1));

    // Another kind or start is another span: both sides of a call may share an id.
    bench.spans(&[SpanSpec { kind: 2, ..span(1, "server") }, SpanSpec { start: 7, ..span(1, "later") }]);
    assert_eq!(bench.store.trace(trace_id(1)).unwrap().spans.len(), 3);
}

#[test]
fn reading_a_trace_stops_where_no_more_is_admitted() {
    let mut bench = Bench::new();
    bench.spans(&[span(1, "a"), span(2, "b")]);
    bench.logs(&[LogSpec::default()]);
    let check = |store: &Store| {
        let mut asked = Vec::new();
        let whole = store.trace_within(trace_id(1), &mut |bytes| {
            asked.push(bytes);
            true
        });
        assert_eq!(whole.unwrap(), store.trace(trace_id(1)).unwrap());
        let otlp: usize = store.trace_otlp(trace_id(1)).unwrap().iter().map(Vec::len).sum();
        assert_eq!((asked.len(), asked[0] + asked[1]), (3, otlp));
        for most in 0..3 {
            let mut left: usize = most;
            let mut admit = |_| {
                let before = left;
                left = before.saturating_sub(1);
                before > 0
            };
            let refused = store.trace_within(trace_id(1), &mut admit);
            assert!(matches!(refused, Err(StoreError::NotAdmitted)), "{most}");
        }
        let refused = store.trace_otlp_within(trace_id(1), &mut |_| false);
        assert!(matches!(refused, Err(StoreError::NotAdmitted)));
    };
    check(&bench.store);
    bench.store.commit().unwrap();
    check(&bench.store);
}

#[test]
fn of_two_copies_the_one_that_ended_later_is_kept_whichever_came_first() {
    let (early, late) = (span(1, "early"), SpanSpec { nanos: 99, ..span(1, "late") });
    for order in [[&early, &late], [&late, &early]] {
        let mut bench = Bench::new();
        for spec in order {
            bench.spans(std::slice::from_ref(spec));
            bench.store.commit().unwrap();
        }
        assert_eq!(names(&bench.store, 1), ["late"]);
    }
}

#[test]
fn stored_bytes_are_the_spans_own_request() {
    let mut bench = Bench::new();
    bench.spans(&[span(2, "b"), span(1, "a")]);
    let decode = |bench: &Bench| -> Vec<String> {
        let requests = bench.store.trace_otlp(trace_id(1)).unwrap();
        requests.iter().flat_map(|otlp| decode_traces(otlp).unwrap()).map(|span| span.name).collect()
    };
    assert_eq!(decode(&bench), ["a", "b"]);
    bench.store.commit().unwrap();
    assert_eq!(decode(&bench), ["a", "b"]);
}

#[test]
fn after_a_crash_the_store_says_from_where_to_ingest_again() {
    let mut bench = Bench::new();
    bench.spans(&[span(1, "a")]);
    bench.store.commit().unwrap();
    bench.spans(&[span(2, "lost")]);
    let mut bench = bench.reopen();
    assert_eq!(bench.store.committed(), Some(1));
    assert_eq!(names(&bench.store, 1), ["a"]);

    // The journal hands over everything again, what is committed included.
    bench.next = 1;
    assert_eq!(bench.spans(&[span(1, "a")]), [], "known already");
    assert_eq!(bench.spans(&[span(2, "lost")]), [trace_id(1)]);
    assert_eq!(names(&bench.store, 1), ["a", "lost"]);
    assert_eq!(bench.store.commit().unwrap(), Some(2));
    assert_eq!(bench.store.stats().spans, 2);
}

#[test]
fn a_request_without_spans_moves_the_position() {
    let mut bench = Bench::new();
    assert_eq!(bench.spans(&[]), []);
    assert_eq!(bench.store.commit().unwrap(), Some(1));
    assert_eq!(bench.reopen().store.committed(), Some(1));
}

#[test]
fn a_full_memory_commits_by_itself() {
    let limits = [
        StoreOptions { memory_documents: 10, ..StoreOptions::default() },
        StoreOptions { memory_bytes: 500, ..StoreOptions::default() },
    ];
    for options in limits {
        let mut bench = Bench::with(options);
        for id in 1..=30 {
            bench.spans(&[span(id, "x")]);
            assert!(bench.store.stats().memory_documents <= 10);
        }
        assert!(bench.store.committed() > Some(10));
        assert_eq!(names(&bench.store, 1).len(), 30);
    }
}

#[test]
fn what_is_not_otlp_or_not_stored_is_refused_and_leaves_nothing() {
    let store = Bench::new().store;
    let ingest =
        |signal, otlp: &[u8]| store.ingest(Ingest { position: 5, arrived: seconds(1), signal, otlp });
    let error = ingest(Signal::Traces, b"\x0a\xffbroken").unwrap_err();
    assert!(matches!(error, StoreError::Wire { position: 5, .. }), "{error}");
    let error = ingest(Signal::Metrics, b"").unwrap_err();
    assert_eq!(error.to_string(), "store: metrics are not stored (position 5)");
    assert_eq!(store.commit().unwrap(), None);
    assert_eq!(ingest(Signal::Traces, &traces(&[span(1, "a")])).unwrap(), [trace_id(1)]);
}

#[test]
fn many_small_commits_do_not_leave_many_segments() {
    let mut bench = Bench::new();
    for id in 1..=100 {
        bench.spans(&[span(id, "x")]);
        bench.store.commit().unwrap();
    }
    // Merges run beside the commits, and show at the next one.
    let settled = (0..1_000).any(|_| {
        bench.spans(&[]);
        bench.store.commit().unwrap();
        bench.store.stats().segments < 40
    });
    assert!(settled, "{} segments", bench.store.stats().segments);
    assert_eq!(names(&bench.store, 1).len(), 100);
}
