//! Three generations of names: span names, kinds and attributes, each with its type.

use crate::support::*;
use opentelemetry::Value;
use opentelemetry::trace::SpanKind;
use throughline::{Payload, Profile, SpanSpec, commit, poll, process, send};

fn spans_of(profile: Profile, spec: SpanSpec) -> (String, SpanKind, Vec<String>) {
    let pipeline = Pipeline::new();
    spec.profile(profile).parent(pipeline.context()).run_sync(|_| ());
    let span = pipeline.spans().remove(0);
    let mut attributes: Vec<_> = span
        .attributes
        .iter()
        .filter(|kv| !matches!(kv.key.as_str(), "correlation_id" | "messaging.message.conversation_id"))
        .map(|kv| match &kv.value {
            Value::I64(n) => format!("{}={n}", kv.key),
            value => format!("{}={:?}", kv.key, value.as_str()),
        })
        .collect();
    attributes.sort();
    (span.name.into_owned(), span.span_kind, attributes)
}

fn full() -> SpanSpec {
    process("orders").group("email").client_id("c1").partition(2).offset(7).key("k").record_timestamp(12)
}

#[test]
fn names_and_kinds() {
    let of = |profile, spec| {
        let (name, kind, _) = spans_of(profile, spec);
        (name, kind)
    };
    for (make, v1_44, legacy, kind) in [
        (send as fn(&'static str) -> SpanSpec, "send orders", "orders publish", SpanKind::Producer),
        (process, "process orders", "orders process", SpanKind::Consumer),
        (poll, "poll orders", "orders receive", SpanKind::Client),
        (commit, "commit orders", "orders settle", SpanKind::Client),
    ] {
        assert_eq!(of(Profile::V1_44, make("orders")), (v1_44.to_owned(), kind.clone()));
        assert_eq!(of(Profile::Dup, make("orders")), (v1_44.to_owned(), kind.clone()));
        assert_eq!(of(Profile::Legacy, make("orders")), (legacy.to_owned(), kind));
    }
}

#[test]
fn attributes_of_the_three_profiles() {
    let common = [
        "messaging.client.id=\"c1\"",
        "messaging.destination.name=\"orders\"",
        "messaging.kafka.message.key=\"k\"",
        "messaging.system=\"kafka\"",
        "throughline.record.timestamp=12",
    ];
    let new = [
        "messaging.consumer.group.name=\"email\"",
        "messaging.destination.partition.id=\"2\"",
        "messaging.kafka.offset=7",
        "messaging.operation.name=\"process\"",
        "messaging.operation.type=\"process\"",
    ];
    let old = [
        "messaging.kafka.consumer.group=\"email\"",
        "messaging.kafka.partition=2",
        "messaging.operation=\"process\"",
    ];
    let check = |profile, expected: &[&[&str]]| {
        let mut expected: Vec<_> = expected.concat().into_iter().map(str::to_owned).collect();
        expected.sort();
        assert_eq!(spans_of(profile, full()).2, expected, "{profile:?}");
    };
    check(Profile::V1_44, &[&common, &new]);
    check(Profile::Dup, &[&common, &new, &old]);
    check(Profile::Legacy, &[&common, &old, &["messaging.kafka.offset=\"7\""]]);
}

/// Partition and offset among attributes, whoever's names they are in.
fn positions(attributes: &[opentelemetry::KeyValue]) -> Vec<String> {
    let known = ["messaging.destination.partition.id", "messaging.kafka.partition", "messaging.kafka.offset"];
    let ours = attributes.iter().filter(|kv| known.contains(&kv.key.as_str()));
    let mut ours: Vec<_> = ours
        .map(|kv| match &kv.value {
            Value::I64(n) => format!("{}={n}", kv.key),
            value => format!("{}={:?}", kv.key, value.as_str()),
        })
        .collect();
    ours.sort();
    ours
}

/// One span may be written with other names than the process's: then so are its positions, its links' and its events',
/// known at the start or later.
#[test]
fn a_position_stands_in_the_names_of_its_span() {
    let new = ["messaging.destination.partition.id=\"2\"", "messaging.kafka.offset=7"];
    let old = ["messaging.kafka.offset=\"7\"", "messaging.kafka.partition=2"];
    let both = [new[0], new[1], old[1]];
    for (profile, expected) in
        [(Profile::V1_44, &new[..]), (Profile::Dup, &both[..]), (Profile::Legacy, &old[..])]
    {
        let pipeline = Pipeline::new();
        let _active = pipeline.context().attach();
        send("by handle").name("by handle").profile(profile).run_sync(|span| {
            span.position(2, 7);
            send("below").name("below").run_sync(|below| {
                below.position(2, 7);
            });
        });
        send("current").name("current").profile(profile).run_sync(|_| {
            throughline::Span::current().position(2, 7);
        });
        let message = throughline::Contribution {
            incoming: throughline::extract(&headers(&[("traceparent", PARENT)])),
            partition: Some(2),
            offset: Some(7),
            ..Default::default()
        };
        let lineage = throughline::extract_batch_lineage([&message], 10);
        process("batch").name("batch").lineage(lineage).profile(profile).run_sync(|span| {
            span.fail_message(0, &"no".to_owned());
        });
        let attributes = |name: &str| positions(&pipeline.span(name).attributes);
        assert_eq!(attributes("by handle"), expected, "{profile:?}");
        assert_eq!(attributes("current"), expected, "{profile:?}");
        assert_eq!(attributes("below"), new, "a span below it has the process's names");
        let batch = pipeline.span("batch");
        assert_eq!(positions(&batch.links[0].attributes), expected, "{profile:?}");
        assert_eq!(positions(&batch.events[0].attributes), expected, "{profile:?}");
    }
}

#[test]
fn another_system_and_other_names() {
    let spec = commit("orders").system("nats").operation_name("ack").name("ack it").message_count(1);
    let (name, _, attributes) = spans_of(Profile::V1_44, spec);
    assert_eq!(name, "ack it");
    for expected in [
        "messaging.system=\"nats\"",
        "messaging.operation.name=\"ack\"",
        "messaging.operation.type=\"settle\"",
        "messaging.batch.message_count=1",
    ] {
        assert!(attributes.contains(&expected.to_owned()), "{expected} not in {attributes:?}");
    }
}

#[test]
fn what_a_message_is_made_of() {
    let has = |spec: SpanSpec, expected: &str| {
        let attributes = spans_of(Profile::V1_44, spec).2;
        attributes.iter().any(|attribute| attribute == expected)
    };
    assert!(has(send("t").payload(Payload::Tombstone), "messaging.kafka.message.tombstone=\"true\""));
    assert!(has(send("t").payload(Payload::Bytes(12)), "messaging.message.body.size=12"));
    assert!(has(send("t").partition(40), "messaging.destination.partition.id=\"40\""));
    let binary = spans_of(Profile::V1_44, send("t").key([0xff, 0x00])).2;
    assert!(!binary.iter().any(|attribute| attribute.contains("message.key")), "no canonical string form");
}

/// The SDK exports a key twice that is set twice (trap 11): on the spec, the last value wins.
#[test]
fn an_attribute_set_on_the_spec_replaces_ours_and_its_own() {
    let spec = full().set("messaging.client.id", "mine").set("rows", 1).set("rows", 2);
    let attributes = spans_of(Profile::V1_44, spec).2;
    let of = |key: &str| attributes.iter().filter(|a| a.starts_with(key)).cloned().collect::<Vec<_>>();
    assert_eq!(of("messaging.client.id"), ["messaging.client.id=\"mine\""]);
    assert_eq!(of("rows"), ["rows=2"]);
}

/// Links and the attributes a sampler decides by are there when it is asked.
#[test]
fn a_sampler_sees_everything() {
    use opentelemetry::trace::{Link, TraceId};
    use opentelemetry::{Context, KeyValue};
    use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Debug, Default)]
    struct Spy(Arc<Mutex<Vec<(String, usize)>>>);
    impl ShouldSample for Spy {
        fn should_sample(
            &self,
            _: Option<&Context>,
            _: TraceId,
            name: &str,
            kind: &SpanKind,
            attributes: &[KeyValue],
            links: &[Link],
        ) -> SamplingResult {
            let keys: Vec<_> = attributes.iter().map(|kv| kv.key.as_str().to_owned()).collect();
            for needed in [
                "messaging.system",
                "messaging.operation.name",
                "messaging.destination.name",
                "messaging.destination.partition.id",
                "messaging.consumer.group.name",
                "correlation_id",
                "mine",
            ] {
                assert!(keys.contains(&needed.to_owned()), "{needed} is not there at creation");
            }
            assert_eq!(*kind, SpanKind::Consumer);
            self.0.lock().unwrap().push((name.to_owned(), links.len()));
            SamplingResult {
                decision: SamplingDecision::Drop,
                attributes: vec![],
                trace_state: Default::default(),
            }
        }
    }
    let spy = Spy::default();
    let provider = SdkTracerProvider::builder().with_sampler(spy.clone()).build();
    let base = throughline::with_tracer_provider(&Context::new(), &provider);
    full().headers(&headers(&[("traceparent", PARENT)])).set("mine", true).parent(base).run_sync(|_| ());
    assert_eq!(*spy.0.lock().unwrap(), [("process orders".to_owned(), 1)]);
}

#[test]
fn what_was_found_in_the_headers_is_on_the_span() {
    for (entries, found) in [
        (vec![], "none"),
        (vec![("traceparent", PARENT)], "traceparent"),
        (vec![("baggage", "a=1"), ("traceparent", PARENT)], "traceparent,baggage"),
        (
            vec![
                ("traceparent", PARENT),
                ("tracestate", "a=1"),
                ("x-tenant-id", "t"),
                ("x-correlation-id", "c"),
            ],
            "traceparent,tracestate,x-correlation-id,x-tenant-id",
        ),
        (vec![("traceparent", "garbage"), ("tracestate", "a=1")], "none"),
    ] {
        let attributes = spans_of(Profile::V1_44, process("t").headers(&headers(&entries))).2;
        assert!(
            attributes.contains(&format!("throughline.headers.found={found:?}")),
            "{found}: {attributes:?}"
        );
    }
}

#[test]
fn what_the_application_sets_takes_the_place_of_ours() {
    for headers in [headers(&[("traceparent", PARENT), ("x-tenant-id", "acme")]), headers(&[])] {
        let pipeline = Pipeline::new();
        let spec = process("t").headers(&headers).parent(pipeline.context());
        spec.set("correlation_id", "mine").set("tenant.id", "other").run_sync(|_| ());
        let span = pipeline.span("process t");
        // `text` fails if a key was exported twice.
        assert_eq!(text(&span, "correlation_id").as_deref(), Some("mine"));
        assert_eq!(text(&span, "tenant.id").as_deref(), Some("other"));
    }
}
