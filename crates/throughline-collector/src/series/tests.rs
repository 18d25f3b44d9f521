//! Series in bounded memory and the names they get, case by case.

use std::sync::Arc;

use throughline_otlp::metrics::Buckets;
use throughline_otlp::model::Scope;

use super::*;

fn key_value(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Value::Str(value.to_owned()) }
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        description: format!("What {name} says."),
        unit: unit.to_owned(),
        data,
        resource: Arc::new(Resource {
            attributes: vec![
                key_value("service.name", "api"),
                key_value("service.namespace", "shop"),
                key_value("service.instance.id", "i-1"),
                key_value("host.name", "h"),
            ],
            schema_url: String::new(),
        }),
        scope: Arc::new(Scope { name: "throughline".to_owned(), ..Scope::default() }),
    }
}

fn point<T>(topic: &str, time: u64, value: T) -> Point<T> {
    Point {
        attributes: vec![key_value("messaging.destination.name", topic)],
        start: UnixNanos(0),
        time: UnixNanos(time),
        value,
    }
}

fn sum(temporality: Temporality, points: Vec<Point<Number>>) -> Data {
    Data::Sum { points, monotonic: true, temporality }
}

fn histogram(count: u64, sum: f64, buckets: &[u64]) -> Histogram {
    Histogram { count, sum: Some(sum), buckets: buckets.to_vec(), bounds: vec![0.005, 1.0] }
}

/// Records each request in turn and gives the page's sample lines, without job, instance and scope.
fn check(limit: usize, requests: Vec<Vec<Metric>>) -> (Vec<String>, Refused) {
    let now = Instant::now();
    let mut series = Series::new(limit, Duration::from_secs(300));
    let mut refused = Refused::default();
    for request in requests {
        let more = series.record(&request, now);
        refused.full += more.full;
        refused.conflict += more.conflict;
        refused.reserved += more.reserved;
    }
    let mut page = Exposition::default();
    series.write(&mut page, now);
    let text = page.finish().replace("instance=\"i-1\",job=\"shop/api\",", "");
    let text =
        text.replace(",otel_scope_name=\"throughline\"", "").replace("messaging_destination_name", "topic");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("target_info"));
    (lines.map(str::to_owned).collect(), refused)
}

#[test]
fn a_page_as_prometheus_reads_it() {
    let now = Instant::now();
    let mut series = Series::new(100, Duration::from_secs(300));
    let duration = Data::Histogram {
        points: vec![point("orders", 1, histogram(3, 0.75, &[1, 2, 0]))],
        temporality: Temporality::Cumulative,
    };
    let summary = Summary { count: 2, sum: 3.5, quantiles: vec![(0.5, 1.0), (0.99, 2.5)] };
    let refused = series.record(
        &[
            metric("messaging.client.operation.duration", "s", duration),
            metric("queue.depth", "{message}", Data::Gauge(vec![point("a \"b\"", 1, Number::Int(-4))])),
            metric("gc.pause", "ms", Data::Summary(vec![point("x", 1, summary)])),
        ],
        now,
    );
    assert_eq!((refused.total(), series.len()), (0, 4), "target_info is a series too");
    let mut page = Exposition::default();
    series.write(&mut page, now);
    let common = r#"instance="i-1",job="shop/api",messaging_destination_name="#;
    let scope = r#"otel_scope_name="throughline""#;
    let expected = format!(
        r##"# HELP gc_pause_milliseconds What gc.pause says.
# TYPE gc_pause_milliseconds summary
gc_pause_milliseconds{{{common}"x",{scope},quantile="0.5"}} 1
gc_pause_milliseconds{{{common}"x",{scope},quantile="0.99"}} 2.5
gc_pause_milliseconds_sum{{{common}"x",{scope}}} 3.5
gc_pause_milliseconds_count{{{common}"x",{scope}}} 2
# HELP messaging_client_operation_duration_seconds What messaging.client.operation.duration says.
# TYPE messaging_client_operation_duration_seconds histogram
messaging_client_operation_duration_seconds_bucket{{{common}"orders",{scope},le="0.005"}} 1
messaging_client_operation_duration_seconds_bucket{{{common}"orders",{scope},le="1"}} 3
messaging_client_operation_duration_seconds_bucket{{{common}"orders",{scope},le="+Inf"}} 3
messaging_client_operation_duration_seconds_sum{{{common}"orders",{scope}}} 0.75
messaging_client_operation_duration_seconds_count{{{common}"orders",{scope}}} 3
# HELP queue_depth What queue.depth says.
# TYPE queue_depth gauge
queue_depth{{{common}"a \"b\"",{scope}}} -4
# HELP target_info Target metadata
# TYPE target_info gauge
target_info{{host_name="h",instance="i-1",job="shop/api"}} 1
"##
    );
    assert_eq!(page.finish(), expected);
}

#[test]
fn the_backends_own_names_are_not_a_senders() {
    let gauge = |name: &str| metric(name, "", Data::Gauge(vec![point("t", 1, Number::Int(7))]));
    let counter =
        |name: &str| metric(name, "", sum(Temporality::Cumulative, vec![point("t", 1, Number::Int(7))]));
    for (sent, kept) in [
        (gauge("throughline_ready"), None),
        (gauge("throughline.ready"), None),
        (counter("throughline.receiver.refused.requests"), None),
        (gauge("throughline.events"), None),
        // What the library itself sends.
        (counter("throughline.events"), Some("throughline_events_total{topic=\"t\"} 7")),
        (gauge("throughlines"), Some("throughlines{topic=\"t\"} 7")),
    ] {
        let (lines, refused) = check(9, vec![vec![sent]]);
        assert_eq!(lines, Vec::from_iter(kept));
        assert_eq!(refused.reserved, u64::from(kept.is_none()));
    }
    let all = Refused { full: 1, conflict: 1, reserved: 1 };
    let said = [all, Refused { full: 0, ..all }, Refused { full: 0, conflict: 0, ..all }].map(Refused::why);
    assert!(
        said[0].contains("too many") && said[1].contains("another kind") && said[2].contains("throughline_")
    );
}

#[test]
fn the_last_value_counts_and_deltas_add_up() {
    let int = |time, value| vec![point("t", time, Number::Int(value))];
    let cumulative = |time, value| vec![metric("n", "", sum(Temporality::Cumulative, int(time, value)))];
    let delta = |time, value| vec![metric("n", "", sum(Temporality::Delta, int(time, value)))];
    for (requests, expected) in [
        (vec![cumulative(1, 5), cumulative(2, 7)], "n_total{topic=\"t\"} 7"),
        (vec![cumulative(2, 7), cumulative(1, 5)], "n_total{topic=\"t\"} 7"),
        (vec![delta(1, 5), delta(2, 7)], "n_total{topic=\"t\"} 12"),
        (vec![delta(1, i64::MAX), delta(2, 1)], "n_total{topic=\"t\"} 9223372036854775807"),
    ] {
        assert_eq!(check(9, requests).0, [expected]);
    }
    let delta = |buckets: &[u64]| {
        let points = vec![point("t", 1, histogram(buckets.iter().sum(), 0.5, buckets))];
        vec![metric("h", "", Data::Histogram { points, temporality: Temporality::Delta })]
    };
    assert_eq!(
        check(9, vec![delta(&[1, 0, 0]), delta(&[1, 2, 3])]).0,
        [
            "h_bucket{topic=\"t\",le=\"0.005\"} 2",
            "h_bucket{topic=\"t\",le=\"1\"} 4",
            "h_bucket{topic=\"t\",le=\"+Inf\"} 7",
            "h_sum{topic=\"t\"} 1",
            "h_count{topic=\"t\"} 7",
        ]
    );
}

#[test]
fn too_many_series_and_two_kinds_of_one_name_are_refused_and_counted() {
    let gauge =
        |topic: &str, value| metric("g", "", Data::Gauge(vec![point(topic, 1, Number::Double(value))]));
    // target_info takes the first of three places.
    let (lines, refused) =
        check(3, vec![vec![gauge("a", 1.0), gauge("b", 2.0), gauge("c", 3.0)], vec![gauge("a", 4.5)]]);
    assert_eq!(lines, ["g{topic=\"a\"} 4.5", "g{topic=\"b\"} 2"], "a known series is always updated");
    assert_eq!(refused, Refused { full: 1, ..Refused::default() });

    let sum = Data::Summary(vec![point("a", 1, Summary::default())]);
    let (lines, refused) = check(9, vec![vec![gauge("a", 1.0), metric("g", "", sum)]]);
    assert_eq!(
        (lines, refused),
        (vec!["g{topic=\"a\"} 1".to_owned()], Refused { conflict: 1, ..Refused::default() })
    );
}

#[test]
fn a_silent_or_ended_series_makes_room() {
    let mut now = Instant::now();
    let mut series = Series::new(2, Duration::from_secs(60));
    let gauge = |topic: &str, value| metric("g", "", Data::Gauge(vec![point(topic, 1, value)]));
    assert_eq!(series.record(&[gauge("a", Number::Int(1))], now).total(), 0);
    assert_eq!(series.record(&[gauge("b", Number::Int(1))], now).full, 1);
    series.record(&[gauge("a", Number::Absent)], now);
    assert_eq!(series.record(&[gauge("b", Number::Int(1))], now).total(), 0, "a has ended");
    now += Duration::from_secs(60);
    assert_eq!(series.record(&[gauge("c", Number::Int(1))], now).total(), 0, "b is silent");
    assert_eq!(series.len(), 2);
}

fn exponential(scale: i32, offset: i32, counts: &[u64]) -> Exponential {
    let count = counts.iter().sum();
    let positive = Buckets { offset, counts: counts.to_vec() };
    Exponential { count, sum: Some(1.0), scale, positive, ..Exponential::default() }
}

fn exponentials(temporality: Temporality, values: &[Exponential]) -> Vec<String> {
    let request = |value: &Exponential| {
        let points = vec![point("t", 1, value.clone())];
        vec![metric("h", "", Data::ExponentialHistogram { points, temporality })]
    };
    let lines = check(9, values.iter().map(request).collect()).0;
    let buckets = lines.iter().filter_map(|line| line.strip_prefix("h_bucket{topic=\"t\",le=\""));
    buckets.map(|line| line.replace("\"}", "")).collect()
}

#[test]
fn exponential_histograms_become_classic_ones() {
    let cumulative = |value: Exponential| exponentials(Temporality::Cumulative, &[value]);
    // Scale 0: (1, 2], (2, 4]; an empty one in between stays.
    assert_eq!(cumulative(exponential(0, 0, &[1, 0, 2])), ["0 0", "2 1", "4 1", "8 3", "+Inf 3"]);
    // Empty ones at the ends go.
    assert_eq!(cumulative(exponential(0, -2, &[0, 5, 0])), ["0 0", "1 5", "+Inf 5"]);
    // Scale 3 is finer than what is shown: eight to a doubling become four.
    let shown = cumulative(exponential(3, -2, &[1, 2, 4, 8]));
    assert_eq!(shown, ["0 0", "1 3", "1.189207115002721 15", "+Inf 15"]);
    let mixed = Exponential {
        count: 10,
        zero_count: 4,
        zero_threshold: 0.25,
        negative: Buckets { offset: 0, counts: vec![1, 2] },
        ..exponential(0, 1, &[3])
    };
    // Of -3 in [-4, -2) the upper bound is -2.
    assert_eq!(cumulative(mixed), ["-2 2", "-1 3", "0.25 7", "4 10", "+Inf 10"]);
}

#[test]
fn exponential_deltas_of_different_scales_add_up() {
    let shown = exponentials(
        Temporality::Delta,
        &[exponential(2, 0, &[1, 1, 1, 1, 1]), exponential(0, 0, &[10, 20])],
    );
    assert_eq!(shown, ["0 0", "2 14", "4 35", "+Inf 35"]);
}

#[test]
fn no_exponential_histogram_has_more_buckets_than_fit_or_bounds_that_are_none() {
    for scale in [i32::MIN, -20, -11, -1, 0, 2, 20, i32::MAX] {
        for offset in [i32::MIN, -1_100, -1, 0, 1_000, i32::MAX - 500] {
            let shown = exponentials(
                Temporality::Delta,
                &[exponential(scale, offset, &[1; 500]), exponential(0, 0, &[1])],
            );
            assert!(shown.len() <= 82, "{scale} {offset}: {} lines", shown.len());
            assert_eq!(shown.last().unwrap(), "+Inf 501");
            let bounds: Vec<f64> = shown
                .iter()
                .map(|line| line.split(' ').next().unwrap().replace("+Inf", "inf").parse().unwrap())
                .collect();
            assert!(bounds.is_sorted_by(|one, next| one < next), "{scale} {offset}: {bounds:?}");
        }
    }
}
