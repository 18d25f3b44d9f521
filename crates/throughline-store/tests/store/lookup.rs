//! Searching: every condition, alone and on the same span; links, correlation, hops, names.

use std::time::Duration;

use throughline_otlp::{SpanKind, UnixNanos};
use throughline_store::{Errors, Hop, Operation, Search, Store};

use crate::build::{Attribute, Bench, LogSpec, SpanSpec, seconds, trace_id};

/// Checks which traces are found, newest first: in memory, committed, and half of each.
fn check(spans: &[SpanSpec], search: &Search, expect: &[u8]) {
    for committed in [0, spans.len() / 2, spans.len()] {
        let mut bench = Bench::new();
        for (n, spec) in spans.iter().enumerate() {
            if n == committed {
                bench.store.commit().unwrap();
            }
            bench.spans(std::slice::from_ref(spec));
        }
        if committed == spans.len() {
            bench.store.commit().unwrap();
        }
        let found: Vec<_> = bench.store.search(search).unwrap().iter().map(|hit| hit.trace_id).collect();
        let expect: Vec<_> = expect.iter().copied().map(trace_id).collect();
        assert_eq!(found, expect, "{committed} of {} committed, {search:?}", spans.len());
    }
}

fn by(key: &str, value: &str) -> Search {
    Search { attributes: vec![(key.to_owned(), value.to_owned())], ..Search::default() }
}

#[test]
fn each_condition_finds_what_it_says() {
    let spans = [
        SpanSpec {
            trace: 1,
            service: "api",
            name: "GET /".to_owned(),
            kind: 2,
            start: 100,
            nanos: 5_000,
            attributes: vec![
                ("http.status_code", Attribute::Int(200)),
                ("http.route", "/".into()),
                ("ratio", Attribute::Double(0.5)),
                ("sampled", Attribute::Bool(true)),
            ],
            ..SpanSpec::default()
        },
        SpanSpec {
            trace: 2,
            service: "payment-worker",
            name: "process orders".to_owned(),
            kind: 5,
            start: 300,
            nanos: 70,
            error: true,
            event: vec![("exception.type", "Declined".into())],
            links: vec![(1, vec![("correlation_id", "order-7".into())])],
            ..SpanSpec::default()
        },
        SpanSpec { trace: 3, service: "api", start: 200, id: 2, ..SpanSpec::default() },
    ];
    let all = Search::default;
    let text = |text: &str| Some(text.to_owned());
    let cases: Vec<(Search, &[u8])> = vec![
        (all(), &[2, 3, 1]),
        (Search { limit: 2, ..all() }, &[2, 3]),
        (Search { limit: 0, ..all() }, &[]),
        (Search { service: text("api"), ..all() }, &[3, 1]),
        (Search { service: text("ap"), ..all() }, &[]),
        (Search { operation: text("GET /"), ..all() }, &[1]),
        (Search { kind: Some(SpanKind::Consumer), ..all() }, &[2]),
        (Search { errors: Errors::Only, ..all() }, &[2]),
        (Search { min_duration: Some(Duration::from_nanos(70)), ..all() }, &[2, 1]),
        (Search { max_duration: Some(Duration::from_nanos(70)), ..all() }, &[2, 3]),
        (Search { start: Some(UnixNanos(200)), ..all() }, &[2, 3]),
        (Search { end: Some(UnixNanos(200)), ..all() }, &[3, 1]),
        (Search { start: Some(UnixNanos(101)), end: Some(UnixNanos(199)), ..all() }, &[]),
        (by("http.status_code", "200"), &[1]),
        (by("http.response.status_code", "200"), &[1]),
        (by("http.status_code", "20"), &[]),
        (by("ratio", "0.5"), &[1]),
        (by("sampled", "true"), &[1]),
        (by("host.name", "node-1"), &[2, 3, 1]),
        (by("exception.type", "Declined"), &[2]),
        (by("correlation_id", "order-7"), &[2]),
        (by("messaging.message.conversation_id", "order-7"), &[2]),
        (by("trace_id", &trace_id(3).to_string()), &[3]),
        (by("span_id", "0202020202020202"), &[3]),
        (by("parent_span_id", "0101010101010101"), &[3]),
        (by("span_id", "not hex"), &[]),
        // All on one span: trace 1 has the route, trace 2 the error, none has both.
        (Search { errors: Errors::Only, ..by("http.route", "/") }, &[]),
        (Search { service: text("api"), max_duration: Some(Duration::from_nanos(70)), ..all() }, &[3]),
    ];
    for (search, expect) in cases {
        check(&spans, &search, expect);
    }
}

#[test]
fn conditions_hold_on_one_span_not_across_a_trace() {
    let spans = [
        SpanSpec { id: 1, start: 1, attributes: vec![("a", "1".into())], ..SpanSpec::default() },
        SpanSpec { id: 2, start: 2, attributes: vec![("b", "2".into())], ..SpanSpec::default() },
    ];
    let both = vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())];
    check(&spans, &Search { attributes: both, ..Search::default() }, &[]);
    check(&spans, &by("a", "1"), &[1]);
}

#[test]
fn values_too_long_for_a_term_are_still_told_apart() {
    let value = |last: char| Attribute::Text(format!("{}{last}", "x".repeat(5_000)));
    let spans = [
        SpanSpec { trace: 1, attributes: vec![("exception.stacktrace", value('1'))], ..SpanSpec::default() },
        SpanSpec { trace: 2, attributes: vec![("exception.stacktrace", value('2'))], ..SpanSpec::default() },
    ];
    check(&spans, &by("exception.stacktrace", &format!("{}2", "x".repeat(5_000))), &[2]);
    check(&spans, &by("exception.stacktrace", &"x".repeat(5_000)), &[]);
}

#[test]
fn large_integers_that_share_a_term_are_still_told_apart() {
    let spans = [
        SpanSpec { trace: 1, attributes: vec![("offset", 70_001.into())], ..SpanSpec::default() },
        SpanSpec { trace: 2, attributes: vec![("offset", "70002".into())], ..SpanSpec::default() },
        SpanSpec { trace: 3, attributes: vec![("offset", (-70_001).into())], ..SpanSpec::default() },
    ];
    check(&spans, &by("offset", "70001"), &[1]);
    check(&spans, &by("offset", "70002"), &[2]);
    check(&spans, &by("offset", "-70001"), &[3]);
    check(&spans, &by("offset", "+70001"), &[]);
    check(&spans, &by("offset", "070001"), &[]);
    check(&spans, &by("offset", "70003"), &[]);
}

#[test]
fn a_key_and_a_value_never_run_into_each_other() {
    let spans = [
        SpanSpec { trace: 1, attributes: vec![("a\0b", "c".into())], ..SpanSpec::default() },
        SpanSpec { trace: 2, attributes: vec![("a", "b\0c".into())], ..SpanSpec::default() },
    ];
    check(&spans, &by("a", "b\0c"), &[2]);
    check(&spans, &by("a\0b", "c"), &[1]);
}

#[test]
fn hits_count_matching_spans() {
    let mut bench = Bench::new();
    let span = |id, error| SpanSpec { id, error, start: u64::from(id), ..SpanSpec::default() };
    bench.spans(&[span(1, true), span(2, false)]);
    bench.store.commit().unwrap();
    bench.spans(&[span(3, true), span(1, true)]);
    let hits = bench.store.search(&Search { errors: Errors::Only, ..Search::default() }).unwrap();
    assert_eq!(hits.len(), 1);
    assert_eq!((hits[0].matched, hits[0].start), (2, UnixNanos(3)));
}

#[test]
fn links_lead_back_to_who_made_them() {
    let mut bench = Bench::new();
    let span = |trace, start, links: &[u8]| SpanSpec {
        trace,
        start,
        links: links.iter().map(|trace| (*trace, vec![])).collect(),
        ..SpanSpec::default()
    };
    bench.spans(&[span(1, 1, &[1]), span(2, 2, &[1, 3])]);
    bench.store.commit().unwrap();
    bench.spans(&[span(4, 4, &[1])]);
    let linking = |trace, limit| bench.store.linking_to(trace_id(trace), limit).unwrap();
    assert_eq!(linking(1, 10), [4, 2].map(trace_id), "newest first, and not itself");
    assert_eq!(linking(1, 1), [trace_id(4)]);
    assert_eq!(linking(3, 10), [trace_id(2)]);
    assert_eq!(linking(2, 10), []);
}

#[test]
fn the_spans_of_a_hop_meet_across_traces_and_generations() {
    let message = |offset: Attribute| {
        vec![
            ("messaging.system", "kafka".into()),
            ("messaging.destination.name", "orders".into()),
            ("messaging.destination.partition.id", "3".into()),
            ("messaging.kafka.offset", offset),
        ]
    };
    let mut bench = Bench::new();
    let older = vec![
        ("messaging.system", "kafka".into()),
        ("messaging.destination", "orders".into()),
        ("messaging.kafka.partition", Attribute::Int(3)),
        ("messaging.kafka.message.offset", Attribute::Int(17)),
    ];
    let on_link =
        vec![("messaging.destination.partition.id", "3".into()), ("messaging.kafka.offset", 17.into())];
    bench.spans(&[
        SpanSpec {
            trace: 1,
            start: 1,
            name: "send".to_owned(),
            attributes: message(17.into()),
            ..SpanSpec::default()
        },
        SpanSpec {
            trace: 2,
            start: 2,
            name: "other".to_owned(),
            attributes: message(18.into()),
            ..SpanSpec::default()
        },
    ]);
    bench.store.commit().unwrap();
    bench.spans(&[
        SpanSpec { trace: 3, start: 3, name: "process".to_owned(), attributes: older, ..SpanSpec::default() },
        SpanSpec {
            trace: 4,
            start: 4,
            name: "batch".to_owned(),
            attributes: message(99.into())[..2].to_vec(),
            links: vec![(1, on_link)],
            ..SpanSpec::default()
        },
    ]);
    let hop = |offset: &str| Hop {
        system: "kafka".to_owned(),
        destination: "orders".to_owned(),
        partition: "3".to_owned(),
        offset: offset.to_owned(),
    };
    let at = |store: &Store, offset| -> Vec<String> {
        store.spans_at(&hop(offset), 10).unwrap().into_iter().map(|span| span.name).collect()
    };
    assert_eq!(at(&bench.store, "17"), ["batch", "process", "send"]);
    bench.store.commit().unwrap();
    assert_eq!(at(&bench.store, "17"), ["batch", "process", "send"]);
    assert_eq!(at(&bench.store, "19"), Vec::<String>::new());
}

#[test]
fn services_and_operations_are_listed_from_everywhere() {
    let mut bench = Bench::new();
    let span =
        |service, name: &str, kind| SpanSpec { service, name: name.to_owned(), kind, ..SpanSpec::default() };
    bench.spans(&[span("api", "GET /", 2), span("api2", "x", 1)]);
    bench.store.commit().unwrap();
    bench.spans(&[span("api", "send orders", 4), span("batcher", "x", 1), span("api", "GET /", 2)]);
    bench.logs(&[LogSpec { service: "only-logs", ..LogSpec::default() }]);
    for _ in 0..2 {
        assert_eq!(bench.store.services().unwrap(), ["api", "api2", "batcher"]);
        let listed = |service| -> Vec<(String, SpanKind)> {
            let operations = bench.store.operations(service).unwrap();
            operations.into_iter().map(|Operation { name, kind }| (name, kind)).collect()
        };
        let of_api = [("GET /".to_owned(), SpanKind::Server), ("send orders".to_owned(), SpanKind::Producer)];
        assert_eq!(listed(Some("api")), of_api);
        assert_eq!(listed(Some("nobody")), []);
        assert_eq!(listed(None).len(), 3);
        bench.store.commit().unwrap();
    }
}

#[test]
fn records_are_found_by_what_they_have() {
    let mut bench = Bench::new();
    bench.logs(&[
        LogSpec {
            time: 1,
            trace: 1,
            body: "paid",
            attributes: vec![("correlation_id", "o-1".into())],
            ..LogSpec::default()
        },
        LogSpec { time: 2, trace: 2, body: "declined", severity: 17, ..LogSpec::default() },
    ]);
    let found = |search: &Search| -> Vec<String> {
        bench.store.search_logs(search).unwrap().into_iter().map(|log| log.body.to_text()).collect()
    };
    let all = Search::default;
    let cases: Vec<(Search, &[&str])> = vec![
        (all(), &["declined", "paid"]),
        (by("correlation_id", "o-1"), &["paid"]),
        (by("messaging.message.conversation_id", "o-1"), &["paid"]),
        (by("severity", "ERROR"), &["declined"]),
        (by("body", "paid"), &["paid"]),
        (by("trace_id", &trace_id(2).to_string()), &["declined"]),
        (by("span_id", "0101010101010101"), &["declined", "paid"]),
        (by("host.name", "node-1"), &["declined", "paid"]),
        (Search { service: Some("api".to_owned()), limit: 1, ..all() }, &["declined"]),
        (Search { errors: Errors::Only, ..all() }, &["declined"]),
        (Search { end: Some(UnixNanos(1)), ..all() }, &["paid"]),
        (Search { operation: Some("work".to_owned()), ..all() }, &[]),
        (Search { min_duration: Some(Duration::ZERO), ..all() }, &[]),
    ];
    for round in 0..2 {
        for (search, expect) in &cases {
            assert_eq!(found(search), *expect, "round {round}, {search:?}");
        }
        bench.store.commit().unwrap();
    }
}

#[test]
fn a_clock_far_ahead_makes_a_span_the_newest_for_an_hour_and_not_for_ever() {
    // They arrive in seconds 1, 2 and 3.
    let span = |trace, start| SpanSpec { trace, start, ..SpanSpec::default() };
    let spans = [span(1, 1 << 63), span(2, seconds(3_600).0), span(3, seconds(3_602).0)];
    check(&spans, &Search::default(), &[3, 1, 2]);
    check(&spans, &Search { limit: 1, ..Search::default() }, &[3]);
    for (since, found) in [(3_600, &[3, 1, 2][..]), (3_601, &[3, 1][..]), (3_602, &[3][..])] {
        check(&spans, &Search { start: Some(seconds(since)), ..Search::default() }, found);
    }
    check(&spans, &Search { end: Some(seconds(4_000)), ..Search::default() }, &[3, 2]);
    let mut bench = Bench::new();
    bench.spans(&spans);
    assert_eq!(bench.store.trace(trace_id(1)).unwrap().spans[0].start, UnixNanos(1 << 63), "kept as it was");
}
