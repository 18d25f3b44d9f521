//! The query language: each condition, each error with its column, and that what is written is read back.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(text: &str, expected: Query) {
    let parsed = parse_query(text).unwrap();
    assert_eq!(parsed, expected, "{text}");
    assert_eq!(parse_query(&parsed.to_string()), Ok(parsed), "{text}");
}

fn attribute(key: &str, value: &str) -> Query {
    Query { attributes: vec![(key.to_owned(), value.to_owned())], ..Query::default() }
}

#[test]
fn every_condition_is_read() {
    check("", Query::default());
    check("  service=api ", Query { service: Some("api".into()), ..Query::default() });
    check(r#"operation="POST /x""#, Query { operation: Some("POST /x".into()), ..Query::default() });
    check("kind=consumer", Query { kind: Some(SpanKind::Consumer), ..Query::default() });
    check("kind=CONSUMER", Query { kind: Some(SpanKind::Consumer), ..Query::default() });
    check("name=x", Query { operation: Some("x".into()), ..Query::default() });
    check("status=error", Query { outcome: Outcome::Error, ..Query::default() });
    check("status=200", attribute("status", "200"));
    check(r#""status"=error"#, attribute("status", "error"));
    check(r#""a!"=b"#, attribute("a!", "b"));
    check("a!b=c!", attribute("a!b", "c!"));
    let (trace, span) = (TraceId::from_hex("4bf9"), SpanId::from_hex("a1"));
    check("trace_id=4bf9", Query { trace, ..Query::default() });
    check("span_id=A1 trace_id=4BF9", Query { trace, span, ..Query::default() });
    check("error", Query { outcome: Outcome::Error, ..Query::default() });
    check("error=true", Query { outcome: Outcome::Error, ..Query::default() });
    let half_a_second = Some(Duration::from_millis(500));
    check("duration>500ms", Query { at_least: half_a_second, ..Query::default() });
    check("duration>=0.5s", Query { at_least: half_a_second, ..Query::default() });
    check("duration<500000us", Query { at_most: half_a_second, ..Query::default() });
    check("since=1h", Query { since: Some(Duration::from_secs(3600)), ..Query::default() });
    check("after=1970-01-01T00:00:01Z", Query { after: Some(UnixNanos(1_000_000_000)), ..Query::default() });
    check("correlation_id=4bf9", attribute("correlation_id", "4bf9"));
    check("linked_trace_id_hash=a3f2", attribute("linked_trace_id_hash", "a3f2"));
    check("url.full=http://x/?a=b<c", attribute("url.full", "http://x/?a=b<c"));
    check(r#""kind"=x"#, attribute("kind", "x"));
    check(r#"k="say \"hi\" \\""#, attribute("k", r#"say "hi" \"#));
    check(r#"k="""#, attribute("k", ""));
}

#[test]
fn conditions_are_written_in_one_order() {
    let query = parse_query(r#"x=1 duration<2s error kind=server service="a b" since=90m"#).unwrap();
    assert_eq!(query.to_string(), r#"service="a b" kind=server error duration<2s since=90m x=1"#);
}

#[test]
fn an_error_says_where_and_what_is_allowed() {
    let cases: &[(&str, &str)] = &[
        (
            "service=api oops",
            "column 13: `oops` is not a condition; allowed: service=, operation=, kind=, error, duration>, duration<, since=, after=, before=, or ATTRIBUTE=VALUE",
        ),
        (
            "kind=boss",
            "column 6: `boss` is no value for `kind`; allowed: internal, server, client, producer, consumer",
        ),
        ("duration=5ms", "column 1: `duration` needs a bound; allowed: duration>500ms, duration<2s"),
        (
            "duration>5",
            "column 10: `5` is no value for `duration`; allowed: a length like 100us, 500ms, 1.5s, 10m, 2h, 3d",
        ),
        ("error=maybe", "column 7: `maybe` is no value for `error`; allowed: error or error=true"),
        ("x>5", "column 1: `x` can only be compared with =; allowed: > and < after duration"),
        (
            "a=1 b=",
            "column 7: `b` has no value; allowed: a value, \"\" for an empty one, without a space before it",
        ),
        ("service=a service=b", "column 11: `service` is given twice; allowed: each condition once"),
        ("x=1 service!=api", "column 12: `!=` is not an operator; allowed: =, or > and < after duration"),
        ("trace_id=xyz", "column 10: `xyz` is no value for `trace_id`; allowed: up to 32 hex digits"),
        (
            "error span_id=1",
            "column 7: `span_id` alone finds nothing: span ids are unique only within a trace; allowed: trace_id=… span_id=…",
        ),
        ("=x", "column 1: a condition needs a name; allowed: NAME=VALUE"),
        ("é=\"x", "column 3: this quote is never closed; allowed: \"text\", with \\\" for a quote in it"),
        (
            "k=\"x\"y",
            "column 6: text directly after a closing quote; allowed: a space, or an operator after a key",
        ),
        (
            "after=noon",
            "column 7: `noon` is no value for `after`; allowed: a time like 2026-01-15T14:03:22Z, 2026-01-15T14:03+01:00 or 2026-01-15",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(parse_query(text).unwrap_err().to_string(), *expected, "{text}");
    }
}

#[test]
fn the_later_of_after_and_since_holds() {
    let now = UnixNanos(10_000_000_000);
    assert_eq!(parse_query("").unwrap().earliest(now), None);
    assert_eq!(parse_query("since=3s").unwrap().earliest(now), Some(UnixNanos(7_000_000_000)));
    assert_eq!(parse_query("since=3h").unwrap().earliest(now), Some(UnixNanos(0)));
    let both = parse_query("since=3s after=1970-01-01T00:00:08Z").unwrap();
    assert_eq!(both.earliest(now), Some(UnixNanos(8_000_000_000)));
}

fn queries() -> impl Strategy<Value = Query> {
    let text = || "\\PC{0,12}";
    let length = || proptest::option::of((0..u64::MAX).prop_map(Duration::from_nanos));
    let time = || proptest::option::of((0..u64::MAX).prop_map(UnixNanos));
    (
        (proptest::option::of(text()), proptest::option::of(text())),
        proptest::option::of(proptest::sample::select(KINDS)),
        proptest::bool::ANY,
        (length(), length(), length()),
        (time(), time()),
        proptest::collection::vec(
            ("(\\PC{0,8}|service|kind|error|name|status|trace_id|span_id|a!)", text()),
            0..4,
        ),
    )
        .prop_map(
            |((service, operation), kind, error, (at_least, at_most, since), (after, before), attributes)| {
                Query {
                    service,
                    operation,
                    kind,
                    outcome: if error { Outcome::Error } else { Outcome::Any },
                    at_least,
                    at_most,
                    after,
                    before,
                    since,
                    trace: None,
                    span: None,
                    attributes,
                }
            },
        )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(query in queries()) {
        prop_assert_eq!(parse_query(&query.to_string()), Ok(query));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[\\PC\"\\\\=<> ]{0,60}") {
        if let Ok(query) = parse_query(&text) {
            prop_assert_eq!(parse_query(&query.to_string()), Ok(query));
        }
    }
}
