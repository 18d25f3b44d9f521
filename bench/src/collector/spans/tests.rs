//! The load is what it says: decoded by the peer's own schema, every trace comes whole, with its fate.

use std::collections::BTreeMap;

use bytes::BytesMut;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::*;

const STARTED: u64 = 1_790_000_000_000_000_000;

/// The spans of the first `requests` requests, by trace.
fn decoded(shape: Shape, requests: u64) -> BTreeMap<u64, Vec<Span>> {
    let load = Requests::new(shape, STARTED, 0);
    let mut buffer = BytesMut::new();
    let mut traces: BTreeMap<u64, Vec<Span>> = BTreeMap::new();
    for number in 0..requests {
        load.write(number, &mut buffer);
        let (prefix, message) = buffer.split_at(5);
        assert_eq!(prefix[0], 0);
        assert_eq!(u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize, message.len());
        let request = ExportTraceServiceRequest::decode(message).unwrap();
        let spans = request.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
        let mut in_request = 0;
        for span in spans {
            in_request += 1;
            traces.entry(trace_of(&span.trace_id).unwrap()).or_default().push(span);
        }
        assert_eq!(in_request, SPANS_A_REQUEST);
    }
    traces
}

fn check(shape: Shape, requests: u64) {
    assert!(Requests::new(shape, STARTED, 0).complete(requests));
    let traces = decoded(shape, requests);
    assert_eq!(
        traces.keys().copied().collect::<Vec<_>>(),
        Vec::from_iter(0..Requests::traces_before(requests))
    );
    for (trace, mut spans) in traces {
        spans.sort_by_key(|span| span.start_time_unix_nano);
        assert_eq!(spans.len() as u64, SPANS_A_TRACE);
        let parents: Vec<_> = spans.iter().map(|span| span.parent_span_id.clone()).collect();
        let ids: Vec<_> = spans.iter().map(|span| span.span_id.clone()).collect();
        assert_eq!(parents[0], Vec::<u8>::new());
        assert_eq!(parents[1..], ids[..7]);
        assert!(spans.iter().all(|span| span.attributes.len() == 10));
        let failed = spans.iter().any(|span| span.status.as_ref().is_some_and(|status| status.code == 2));
        let end = spans.iter().map(|span| span.end_time_unix_nano).max().unwrap();
        let millis = (end - spans[0].start_time_unix_nano) / MILLISECOND;
        let expect = match fate(trace) {
            Fate::Error => (true, 155),
            Fate::Slow => (false, 2_600),
            Fate::Ordinary => (false, 155),
        };
        assert_eq!((failed, millis), expect, "trace {trace}");
    }
}

#[test]
fn interleaved_traces_come_whole() {
    for apart in [1, 8, 20] {
        check(Shape::Interleaved { apart }, 2 * apart * SPANS_A_TRACE);
    }
}

#[test]
fn whole_traces_come_whole() {
    check(Shape::Whole, 5);
}

#[test]
fn a_span_is_of_the_size_that_is_said() {
    let bytes = |more| {
        Requests::new(Shape::Interleaved { apart: 8 }, STARTED, more).request_bytes() as u64 / SPANS_A_REQUEST
    };
    assert!((440..=480).contains(&bytes(0)), "{}", bytes(0));
    assert!(bytes(1000) > bytes(0) + 1000, "{}", bytes(1000));
}

#[test]
fn an_id_says_which_trace_it_is() {
    for trace in [0, 1, 7, 1 << 20, u64::MAX >> 8, u64::MAX] {
        assert_eq!(trace_of(&trace_id(trace)), Some(trace));
    }
    assert_eq!(trace_of(&[7; 16]), None);
    assert_eq!(trace_of(&[7; 8]), None);
}

#[test]
fn six_in_a_hundred_are_errors_or_slow() {
    let count = |what| (0..100_000).filter(|trace| fate(*trace) == what).count();
    for what in [Fate::Error, Fate::Slow] {
        assert!((2_800..3_200).contains(&count(what)), "{what:?}: {}", count(what));
    }
}
