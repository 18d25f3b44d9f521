//! Whatever prost reads, the views read the same; whatever it refuses, they refuse. For all three signals.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use throughline_otlp::view::TracesView;
use throughline_otlp::{Signal, Splice, check, decode_logs, decode_traces, metrics};

fuzz_target!(|bytes: &[u8]| {
    let traces = ExportTraceServiceRequest::decode(bytes);
    assert_eq!(check(Signal::Traces, bytes).is_ok(), traces.is_ok(), "prost: {traces:?}");
    if let Ok(request) = traces {
        let spans = decode_traces(bytes).expect("checked");
        let theirs = request.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans);
        let valid = |id: &[u8], length| id.len() == length && id.iter().any(|b| *b != 0);
        let theirs: Vec<_> = theirs.filter(|s| valid(&s.trace_id, 16) && valid(&s.span_id, 8)).collect();
        assert_eq!(spans.len(), theirs.len());
        for (ours, theirs) in spans.iter().zip(&theirs) {
            assert_eq!(ours.name, theirs.name);
            assert_eq!(ours.trace_id.bytes()[..], theirs.trace_id[..]);
            assert_eq!((ours.start.0, ours.end.0), (theirs.start_time_unix_nano, theirs.end_time_unix_nano));
            assert_eq!(ours.attributes.len(), theirs.attributes.len());
            assert_eq!(ours.events.len(), theirs.events.len());
        }
        let (mut splice, mut spans) = (Splice::default(), spans.iter());
        let walked = TracesView::new(bytes).for_each(&mut |resource, scope, view| {
            if view.ids().is_some() {
                let mut part = Vec::new();
                splice.append(resource, scope, view.raw(), &mut part)?;
                let again = decode_traces(&part).expect("a splice is valid");
                assert_eq!(format!("{again:?}"), format!("{:?}", [spans.next().expect("as many")]));
            }
            Ok(())
        });
        walked.expect("checked");
    }
    assert_eq!(check(Signal::Logs, bytes).is_ok(), ExportLogsServiceRequest::decode(bytes).is_ok());
    assert_eq!(check(Signal::Metrics, bytes).is_ok(), ExportMetricsServiceRequest::decode(bytes).is_ok());
    let _ = decode_logs(bytes);
    let _ = metrics::decode_metrics(bytes);
});
