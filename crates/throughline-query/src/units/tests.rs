//! Lengths and times as people write them.

use proptest::prelude::*;

use super::*;

#[test]
fn durations_are_read_as_go_reads_them() {
    let cases: &[(&str, Option<u64>)] = &[
        ("1.2s", Some(1_200_000_000)),
        ("100ms", Some(100_000_000)),
        ("100us", Some(100_000)),
        ("100µs", Some(100_000)),
        ("1h30m", Some(5_400_000_000_000)),
        (".5s", Some(500_000_000)),
        ("2d", Some(172_800_000_000_000)),
        ("0", Some(0)),
        ("", None),
        ("5", None),
        ("s", None),
        (".s", None),
        ("1.2.3s", None),
        ("-1s", None),
        ("1 s", None),
        ("999999999999h", None),
    ];
    for (text, nanos) in cases {
        assert_eq!(parse_duration(text), nanos.map(Duration::from_nanos), "{text}");
    }
}

#[test]
fn timestamps_are_read_with_what_people_leave_out() {
    let cases: &[(&str, Option<&str>)] = &[
        ("2026-01-15T14:03:22.114Z", Some("2026-01-15T14:03:22.114Z")),
        ("2026-01-15T14:03:22+01:00", Some("2026-01-15T13:03:22Z")),
        ("2026-01-15 14:03", Some("2026-01-15T14:03:00Z")),
        ("2026-01-15", Some("2026-01-15T00:00:00Z")),
        ("2024-02-29T00:00Z", Some("2024-02-29T00:00:00Z")),
        ("1970-01-01T00:00:00Z", Some("1970-01-01T00:00:00Z")),
        ("2000-03-01T23:59:59.000000001Z", Some("2000-03-01T23:59:59.000000001Z")),
        ("2025-02-29", None),
        ("2026-13-01", None),
        ("2026-01-15T25:00Z", None),
        ("2026-01-15T14", None),
        ("1969-12-31", None),
        ("1970-01-01T00:00+01:00", None),
        ("yesterday", None),
        ("2026-1-5", None),
    ];
    for (text, expected) in cases {
        assert_eq!(parse_timestamp(text).map(timestamp).as_deref(), *expected, "{text}");
    }
    assert_eq!(clock_time(parse_timestamp("2026-01-15T14:03:22.1149Z").unwrap()), "14:03:22.114");
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(nanos in 0_u64..18_446_744_073_709_551_615) {
        prop_assert_eq!(parse_duration(&exact(Duration::from_nanos(nanos))), Some(Duration::from_nanos(nanos)));
        prop_assert_eq!(parse_timestamp(&timestamp(UnixNanos(nanos))), Some(UnixNanos(nanos)));
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in "\\PC{0,40}") {
        let _ = parse_duration(&text);
        let _ = parse_timestamp(&text);
    }
}
