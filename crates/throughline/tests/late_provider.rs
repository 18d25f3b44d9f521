//! Trap 9: a tracer taken before `set_tracer_provider` is a no-op for ever. Ours is never taken too early; nor are the
//! instruments. One process, one provider: a test binary of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use opentelemetry::global;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use std::collections::BTreeMap;
use support::Pipeline;
use throughline::{extract_batch_lineage, poll, process, send, settings};

fn points(exporter: &InMemoryMetricExporter) -> BTreeMap<String, (u64, Vec<String>)> {
    let mut points = BTreeMap::new();
    for resource in exporter.get_finished_metrics().unwrap() {
        for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
            let mut total = 0;
            let mut labels = Vec::new();
            let mut label = |attributes: &mut dyn Iterator<Item = &opentelemetry::KeyValue>| {
                let mut all: Vec<_> =
                    attributes.map(|kv| format!("{}={}", kv.key, kv.value.as_str())).collect();
                all.sort();
                labels.push(all.join(" "));
            };
            match metric.data() {
                AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                    for point in histogram.data_points() {
                        total += point.count();
                        label(&mut point.attributes());
                        assert_eq!(point.bounds().next(), Some(0.005), "{}", metric.name());
                    }
                }
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    for point in sum.data_points() {
                        total += point.value();
                        label(&mut point.attributes());
                    }
                }
                other => panic!("unexpected data of {}: {other:?}", metric.name()),
            }
            labels.sort();
            points.insert(metric.name().to_owned(), (total, labels));
        }
    }
    points
}

#[test]
fn what_was_used_before_the_providers_were_set_works_after() {
    send("early").run_sync(|span| assert!(!span.is_recording()));

    let pipeline = Pipeline::new();
    global::set_tracer_provider(pipeline.provider.clone());
    send("late").run_sync(|span| assert!(span.is_recording()));

    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    global::set_meter_provider(meters.clone());
    throughline::providers_are_set();
    let second = Pipeline::new();
    send("kept").run_sync(|_| ());
    assert_eq!(pipeline.span("send kept").name, "send kept");
    global::set_tracer_provider(second.provider.clone());
    throughline::providers_are_set();
    send("replaced").run_sync(|_| ());
    assert_eq!(second.span("send replaced").name, "send replaced");

    process("replaced").group("g").run_sync(|_| Err::<(), _>("no".to_owned())).unwrap_err();
    let batch = || extract_batch_lineage([(), (), ()], 10);
    poll("replaced").lineage(batch()).run_sync(|_| ());
    process("replaced").group("g").lineage(batch()).run_sync(|_| ());
    process("replaced").group("g").already_counted().run_sync(|_| ());
    settings::set_metrics(settings::Metrics::Off);
    send("unmeasured").run_sync(|_| ());
    settings::set_metrics(settings::Metrics::On);

    meters.force_flush().unwrap();
    let points = points(&exporter);
    let send_labels = |topic: &str| {
        format!("messaging.destination.name={topic} messaging.operation.name=send messaging.system=kafka")
    };
    let poll_labels =
        "messaging.destination.name=replaced messaging.operation.name=poll messaging.system=kafka".to_owned();
    let group = "messaging.consumer.group.name=g messaging.destination.name=replaced messaging.operation.name=process messaging.system=kafka".to_owned();
    assert_eq!(
        points["messaging.client.operation.duration"],
        (3, vec![send_labels("kept"), poll_labels, send_labels("replaced")])
    );
    assert_eq!(
        points["messaging.process.duration"],
        (3, vec![format!("error.type=_OTHER {group}"), group.clone()])
    );
    assert_eq!(points["messaging.client.sent.messages"].0, 2);
    assert_eq!(points["messaging.client.consumed.messages"].0, 1 + 3, "a delivery counts once");
}
