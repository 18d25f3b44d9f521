//! JSON: there and back, against prost's own JSON, and what is said about bad input.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message as _;

use super::generate;
use crate::{Signal, decode_logs, decode_traces, json, metrics};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_written_as_json_reads_back_the_same(request in generate::traces()) {
        let bytes = request.encode_to_vec();
        let text = json::traces([&bytes[..]]).unwrap().to_string();
        let back = json::to_protobuf(Signal::Traces, text.as_bytes()).unwrap();
        let sorted = |bytes: &[u8]| {
            // Grouping puts equal resources together, so order between groups may change.
            let mut spans: Vec<String> = decode_traces(bytes).unwrap().iter().map(|s| format!("{s:?}")).collect();
            spans.sort();
            spans
        };
        // JSON has one NaN; everything else must survive to the bit.
        if !format!("{request:?}").contains("NaN") {
            prop_assert_eq!(sorted(&back), sorted(&bytes));
        }
    }

    #[test]
    fn garbage_never_panics(text in ".{0,200}") {
        let _ = json::to_protobuf(Signal::Traces, text.as_bytes());
    }
}

/// What another implementation makes of the same text.
#[test]
fn agrees_with_the_generated_json_of_opentelemetry_proto() {
    let text = br#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"api"}}]},
        "scopeSpans":[{"scope":{"name":"s","version":"1"},"spans":[{"traceId":"5B8EFFF798038103D269B633813FC60C",
        "spanId":"EEE19B7EC3C1B174","parentSpanId":"EEE19B7EC3C1B173","name":"I'm a server span",
        "startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000","kind":2,
        "attributes":[{"key":"my.span.attr","value":{"stringValue":"some value"}},{"key":"n","value":{"intValue":"-7"}}]}]}]}]}"#;
    let theirs: ExportTraceServiceRequest = serde_json::from_slice(text).unwrap();
    let ours =
        ExportTraceServiceRequest::decode(&json::to_protobuf(Signal::Traces, text).unwrap()[..]).unwrap();
    assert_eq!(ours, theirs);
}

#[test]
fn lenient_where_the_specification_is() {
    let text = br#"{"resource_spans":[{"laterField":{"x":[1]},"scopeSpans":[{"spans":[{"traceId":"0af7651916cd43dd8448eb211c80319c",
        "spanId":"b7ad6b7169203331","parentSpanId":"","name":null,"kind":"SPAN_KIND_CONSUMER","startTimeUnixNano":5,
        "endTimeUnixNano":6e0,"status":{"code":"STATUS_CODE_ERROR"},
        "attributes":[{"key":"b","value":{"bytesValue":"_-8"}},{"key":"d","value":{"doubleValue":"Infinity"}},{"key":"i","value":{"intValue":3}}]}]}]}]}"#;
    let spans = decode_traces(&json::to_protobuf(Signal::Traces, text).unwrap()).unwrap();
    assert_eq!(spans[0].kind, crate::SpanKind::Consumer);
    assert_eq!((spans[0].start.0, spans[0].end.0), (5, 6));
    assert!(spans[0].is_error() && spans[0].parent.is_none());
    let shown: Vec<String> = spans[0].attributes.iter().map(|kv| kv.value.to_text()).collect();
    assert_eq!(shown, ["ffef", "Infinity", "3"]);
}

#[test]
fn bad_input_is_told_what_and_where() {
    for (text, expect) in [
        ("{", "EOF while parsing an object at line 1 column 1"),
        ("[]", "invalid type: sequence, expected an object (ExportTraceServiceRequest) at line 1 column 0"),
        (
            r#"{"resourceSpans":{}}"#,
            "invalid type: map, expected an array in `resourceSpans` at line 1 column 19",
        ),
        (
            r#"{"resourceSpans":[3]}"#,
            "expected an object (ResourceSpans) in `resourceSpans` at line 1 column 19",
        ),
        (
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xyz"}]}]}]}"#,
            r#"invalid value: string "xyz", expected a string of hex digits in `traceId` at line 1 column 59"#,
        ),
        (
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":99999999999}]}]}]}"#,
            "invalid value: integer `99999999999`, expected an integer in `kind` at line 1 column 62",
        ),
        (r#"{"resourceSpans":[]} x"#, "trailing characters at line 1 column 22"),
    ] {
        let said = json::to_protobuf(Signal::Traces, text.as_bytes()).unwrap_err().to_string();
        assert!(said.contains(expect), "{text}\n said: {said}\n want: {expect}");
    }
}

#[test]
fn logs_and_metrics_read_too() {
    let text = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"7","severityNumber":9,"severityText":"INFO",
        "body":{"stringValue":"hello"},"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331"}]}]}]}"#;
    let logs = decode_logs(&json::to_protobuf(Signal::Logs, text).unwrap()).unwrap();
    assert_eq!((logs[0].time.0, logs[0].severity, logs[0].body.to_text().as_str()), (7, 9, "hello"));
    assert_eq!(logs[0].trace_id.unwrap().to_string(), "0af7651916cd43dd8448eb211c80319c");

    let text = br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","unit":"s","histogram":{"aggregationTemporality":2,
        "dataPoints":[{"timeUnixNano":"9","count":"3","sum":1.5,"bucketCounts":["1","2"],"explicitBounds":[0.5]}]}}]}]}]}"#;
    let bytes = json::to_protobuf(Signal::Metrics, text).unwrap();
    let read = metrics::decode_metrics(&bytes).unwrap();
    let metrics::Data::Histogram { points, temporality } = &read[0].data else { panic!("{read:?}") };
    assert_eq!(*temporality, metrics::Temporality::Cumulative);
    assert_eq!((points[0].value.count, points[0].value.sum), (3, Some(1.5)));
    assert_eq!((&points[0].value.buckets[..], &points[0].value.bounds[..]), (&[1, 2][..], &[0.5][..]));
    assert_eq!(crate::check(Signal::Metrics, &bytes).unwrap().items, 1);
}
