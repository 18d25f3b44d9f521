//! Selection against a naive model: decode everything with prost, drop what is not wanted, encode.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::tests::generate;

/// Decides by the id's last byte, so that neighbours differ.
fn wanted(mask: u8, id: &[u8]) -> bool {
    TraceId::from_slice(id).is_some_and(|id| id.bytes()[15] & mask != 0)
}

fn model(
    mut request: ExportTraceServiceRequest,
    mask: u8,
    add: &[(&str, &str)],
) -> (ExportTraceServiceRequest, usize) {
    let mut kept = 0;
    let annotate = |span: &mut Span| {
        span.attributes.extend(add.iter().map(|(key, text)| KeyValue {
            key: (*key).to_owned(),
            value: Some(AnyValue { value: Some(any_value::Value::StringValue((*text).to_owned())) }),
            ..KeyValue::default()
        }));
    };
    for resource in &mut request.resource_spans {
        for scope in &mut resource.scope_spans {
            scope.spans.retain(|span| wanted(mask, &span.trace_id));
            scope.spans.iter_mut().for_each(annotate);
            kept += scope.spans.len();
        }
        resource.scope_spans.retain(|scope| !scope.spans.is_empty());
    }
    request.resource_spans.retain(|resource| !resource.scope_spans.is_empty());
    (request, kept)
}

fn select(request: &[u8], mask: u8) -> Result<(Vec<u8>, usize), WireError> {
    // What stands there already must survive, and nothing may be read from it.
    let mut out = b"before".to_vec();
    let kept = select_traces(request, &mut |id| wanted(mask, &id.bytes()), &mut out)?;
    assert_eq!(out.drain(..6).collect::<Vec<_>>(), b"before");
    Ok((out, kept))
}

fn annotated(request: &[u8], mask: u8, attributes: &Attributes) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    let mut choose = |id: TraceId| {
        if wanted(mask, &id.bytes()) { Choice::KeepWith(attributes) } else { Choice::Drop }
    };
    let kept = select_traces_annotated(request, &mut choose, &mut out).unwrap();
    (out, kept)
}

/// Without spans that have no valid span id, which the door does not let in.
fn with_span_ids(mut request: ExportTraceServiceRequest) -> ExportTraceServiceRequest {
    for scope in request.resource_spans.iter_mut().flat_map(|resource| &mut resource.scope_spans) {
        scope.spans.retain(|span| crate::SpanId::from_slice(&span.span_id).is_some());
    }
    request
}

/// The fields of the spans that are to be hidden, joined where they meet.
fn holes(request: &[u8], hide: impl Fn(usize, &[u8]) -> bool) -> Vec<Range<usize>> {
    let mut spans = Spans { request, fields: Vec::new() };
    crate::check_spans(request, &mut spans).unwrap();
    let mut holes: Vec<Range<usize>> = Vec::new();
    for (number, (field, id)) in spans.fields.iter().enumerate() {
        match holes.last_mut() {
            _ if !hide(number, id) => {}
            Some(last) if last.end == field.start => last.end = field.end,
            _ => holes.push(field.clone()),
        }
    }
    holes
}

/// Notes where spans stand.
struct Spans<'a> {
    request: &'a [u8],
    fields: Vec<(Range<usize>, [u8; 16])>,
}

impl<'a> crate::Visit<'a> for Spans<'a> {
    fn resource(&mut self, _: &'a [u8]) -> Result<(), WireError> {
        Ok(())
    }
    fn scope(&mut self, _: &'a [u8]) -> Result<(), WireError> {
        Ok(())
    }
    fn span(&mut self, raw: &'a [u8], field: &'a [u8]) {
        let from = field.as_ptr().addr() - self.request.as_ptr().addr();
        assert!(field.ends_with(raw) && self.request[from..].starts_with(field));
        self.fields.push((from..from + field.len(), [0; 16]));
    }
    fn short(&mut self, _: u8, _: &'a [u8]) -> Result<(), WireError> {
        Ok(())
    }
    fn field(&mut self, _: &crate::wire::Field<'a>) -> Result<(), WireError> {
        Ok(())
    }
    fn end(&mut self, ids: Option<(TraceId, crate::SpanId)>) -> Result<(), WireError> {
        if let (Some((trace, _)), Some((_, id))) = (ids, self.fields.last_mut()) {
            *id = trace.bytes();
        }
        Ok(())
    }
}

/// A field of bytes.
pub(super) fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, number, bytes);
    out
}

/// Two fields of a later version.
pub(super) fn later(value: u8) -> Vec<u8> {
    [field(777, &[value]), vec![0xf8, 0x3f, value]].concat()
}

/// A request changed here and there: `edits` are where, a byte, and whether it is put there, put before or taken away.
pub(super) fn edited(mut bytes: Vec<u8>, edits: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    for (at, byte, kind) in edits {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        match kind {
            0 => bytes[at] = *byte,
            1 => bytes.insert(at, *byte),
            _ => drop(bytes.remove(at)),
        }
    }
    bytes
}

fn decoded(bytes: &[u8]) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(bytes).expect("what was selected is OTLP")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// prost writes fields in the order of their numbers, so its encoding of the model is the very bytes.
    #[test]
    fn what_is_kept_is_what_a_decoder_would_have_kept(request in generate::traces(), mask in any::<u8>()) {
        let (expected, kept) = model(request.clone(), mask, &[]);
        prop_assert_eq!(select(&request.encode_to_vec(), mask), Ok((expected.encode_to_vec(), kept)));
        prop_assert_eq!(count_items(&expected.encode_to_vec()), Ok(kept));
    }

    #[test]
    fn attributes_stand_behind_the_spans_own(request in generate::traces(), mask in any::<u8>(), long in 0..400usize) {
        let long = "x".repeat(long);
        let add = [("sampling.reason", "errors"), ("other", long.as_str())];
        let (expected, kept) = model(request.clone(), mask, &add);
        let (out, selected) = annotated(&request.encode_to_vec(), mask, &Attributes::of_text(&add));
        prop_assert_eq!(selected, kept);
        prop_assert_eq!(format!("{:?}", decoded(&out)), format!("{expected:?}"));
    }

    /// What a hole hides has no influence, so it may be anything.
    #[test]
    fn around_holes_is_what_the_whole_gives(
        request in generate::traces(),
        mask in any::<u8>(),
        hidden in any::<u64>(),
        filler in any::<u8>(),
    ) {
        let mut bytes = with_span_ids(request).encode_to_vec();
        let whole = select(&bytes, mask).unwrap();
        let holes = holes(&bytes, |number, id| hidden & 1 << (number % 64) != 0 && !wanted(mask, id));
        holes.iter().for_each(|hole| bytes[hole.clone()].fill(filler));
        let mut out = Vec::new();
        let mut choose = |id: TraceId| if wanted(mask, &id.bytes()) { Choice::Keep } else { Choice::Drop };
        let kept = select_traces_around(&bytes, &holes, &mut choose, &mut out);
        prop_assert_eq!((out, kept), (whole.0, Ok(whole.1)));
    }

    #[test]
    fn holes_that_are_none_are_an_error_at_worst(
        request in generate::traces(),
        holes in prop::collection::vec((0..400_usize, 0..400_usize), 0..4),
    ) {
        let bytes = request.encode_to_vec();
        let holes: Vec<_> = holes.into_iter().map(|(from, to)| from..to).collect();
        let mut out = b"before".to_vec();
        if select_traces_around(&bytes, &holes, &mut |_| Choice::Keep, &mut out).is_err() {
            prop_assert_eq!(out, b"before");
        }
    }

    /// Each trace's part is what selecting that trace gives, and nothing with a valid id is left over.
    #[test]
    fn parts_by_trace_are_what_selecting_each_gives(request in generate::traces()) {
        let bytes = request.encode_to_vec();
        let parts = split_by_trace(&bytes).unwrap();
        let mut all = 0;
        for part in &parts {
            let mut selected = Vec::new();
            let spans = select_traces(&bytes, &mut |id| id == part.trace, &mut selected).unwrap();
            prop_assert_eq!(format!("{:?}", decoded(&part.request)), format!("{:?}", decoded(&selected)));
            prop_assert_eq!(spans, part.spans);
            all += spans;
        }
        prop_assert_eq!(select_traces(&bytes, &mut |_| true, &mut Vec::new()), Ok(all));
        let mut traces: Vec<TraceId> = parts.iter().map(|part| part.trace).collect();
        traces.sort_unstable();
        traces.dedup();
        prop_assert_eq!(traces.len(), parts.len());
    }

    /// Fields out of order, twice, of a later version, with lengths written long.
    #[test]
    fn odd_encodings_survive(
        request in generate::traces(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 0..4),
        mask in any::<u8>(),
    ) {
        let bytes = edited(request.encode_to_vec().repeat(2), &edits);
        let _ = select(&bytes, mask);
        if let Ok(whole) = ExportTraceServiceRequest::decode(&bytes[..]) {
            let (expected, kept) = model(with_span_ids(whole), mask, &[]);
            let (out, selected) = select(&crate::sound(&bytes).unwrap(), mask).unwrap();
            prop_assert_eq!(selected, kept);
            prop_assert_eq!(format!("{:?}", decoded(&out)), format!("{expected:?}"));
        }
    }

    #[test]
    fn parts_by_number_are_a_partition(request in generate::traces(), ways in 1..4usize) {
        let bytes = request.encode_to_vec();
        let all: usize = request.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum();
        let mut kept = 0;
        for way in 0..ways {
            let mut choose = |number: usize, _: &[u8]| Ok(if number % ways == way { Choice::Keep } else { Choice::Drop });
            let mut out = Vec::new();
            kept += select_items(&bytes, &mut choose, &mut out).unwrap();
            decoded(&out);
        }
        prop_assert_eq!(kept, all);
    }

    #[test]
    fn whole_resources_are_copied_whole(request in generate::traces(), mask in any::<u8>()) {
        let bytes = request.encode_to_vec();
        let mut out = Vec::new();
        let mut keep = |number: usize, group: &[u8]| {
            assert_eq!(group, request.resource_spans[number].encode_to_vec());
            Ok(if mask >> number & 1 == 1 { Choice::Keep } else { Choice::Drop })
        };
        let kept = select_resources(&bytes, &mut keep, &mut out).unwrap();
        let mut number = 0;
        let mut expected = request.clone();
        expected.resource_spans.retain(|_| { number += 1; mask >> (number - 1) & 1 == 1 });
        let spans: usize = expected.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum();
        prop_assert_eq!((out, kept), (expected.encode_to_vec(), spans));
    }
}

#[test]
fn unknown_fields_stay_where_they_stood_and_ids_are_found_wherever_they_stand() {
    let span =
        |id: u8| Span { trace_id: vec![id; 16], span_id: vec![id; 8], ..Span::default() }.encode_to_vec();
    let mut twice = Vec::new();
    put_bytes(&mut twice, 2, &[1; 8]);
    put_bytes(&mut twice, 1, &[4; 16]);
    put_bytes(&mut twice, 1, &[1; 16]);
    let scope = |spans: [&[u8]; 2]| {
        [later(1), spans[0].to_vec(), later(2), field(1, b""), spans[1].to_vec(), field(3, b"url"), later(3)]
            .concat()
    };
    let group =
        |scope: &[u8]| [field(3, b"first"), field(2, scope), later(4), field(1, b"\x10\x03")].concat();
    let input = [
        field(1, &group(&scope([&field(2, &span(4)), &field(2, &twice)]))),
        field(1, &group(&scope([&field(2, &span(2)), &field(2, &span(4))]))),
        later(5),
    ]
    .concat();
    let expected = [field(1, &group(&scope([b"", &field(2, &twice)]))), later(5)].concat();
    assert_eq!(select(&input, 1), Ok((expected, 1)));
    assert_eq!(select(&input, 8), Ok((Vec::new(), 0)), "nothing at all");
    assert_eq!(select(&input, 7), Ok((input.clone(), 4)), "everything, byte for byte");
}

#[test]
fn what_is_not_otlp_leaves_no_trace() {
    let request =
        generate::wrap(vec![Span { trace_id: vec![1; 16], span_id: vec![1; 8], ..Span::default() }]);
    let good = request.encode_to_vec();
    for cut in 1..good.len() {
        let mut out = b"before".to_vec();
        assert!(select_traces(&good[..cut], &mut |_| true, &mut out).is_err(), "{cut}");
        assert_eq!(out, b"before", "{cut}");
    }
}

#[test]
fn logs_are_chosen_by_their_own_field() {
    let record = |id: &[u8], name: &str| LogRecord {
        trace_id: id.to_vec(),
        event_name: name.to_owned(),
        ..LogRecord::default()
    };
    let request = |log_records: Vec<LogRecord>| ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs { log_records, schema_url: "u".to_owned(), ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }],
    };
    let input = request(vec![record(&[1; 16], "a"), record(&[], "b"), record(&[2; 16], "c")]).encode_to_vec();
    let mut ids = Vec::new();
    let mut out = Vec::new();
    let mut choose = |_: usize, item: &[u8]| {
        let id = trace_id(Signal::Logs, item)?;
        ids.push(id.map(|id| id.bytes()[0]));
        Ok(if id.is_some_and(|id| id.bytes() == [1; 16]) { Choice::Drop } else { Choice::Keep })
    };
    assert_eq!(select_items(&input, &mut choose, &mut out), Ok(2));
    assert_eq!(ids, [Some(1), None, Some(2)]);
    assert_eq!(out, request(vec![record(&[], "b"), record(&[2; 16], "c")]).encode_to_vec());
}

#[test]
fn the_service_is_the_first_text_of_that_name() {
    use opentelemetry_proto::tonic::resource::v1::Resource;
    let pair = |key: &str, value| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value }),
        ..KeyValue::default()
    };
    let text = |text: &str| Some(any_value::Value::StringValue(text.to_owned()));
    for (attributes, expected) in [
        (
            vec![pair("x", text("no")), pair("service.name", text("api")), pair("service.name", text("b"))],
            Some("api"),
        ),
        (vec![pair("service.name", Some(any_value::Value::IntValue(3)))], None),
        (vec![pair("service.name", text(""))], Some("")),
        (vec![], None),
    ] {
        let resource = Some(Resource { attributes, ..Resource::default() });
        let group = ResourceSpans { resource, ..ResourceSpans::default() }.encode_to_vec();
        assert_eq!(service_name(&group), Ok(expected));
    }
}

#[test]
fn resources_without_items_are_counted_as_none() {
    let bytes = ExportTraceServiceRequest { resource_spans: vec![ResourceSpans::default()] }.encode_to_vec();
    let mut out = Vec::new();
    assert_eq!(select_resources(&bytes, &mut |_, _| Ok(Choice::Keep), &mut out), Ok(0));
    assert_eq!(out, bytes);
}

/// Not a measurement, only that it can be made: `cargo test --release -p throughline-otlp select::tests::cost -- --nocapture`.
#[test]
fn cost() {
    let text = |key: usize| KeyValue {
        key: format!("messaging.attribute.{key}"),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue("orders-value".to_owned())) }),
        ..KeyValue::default()
    };
    let span = |number: u8| Span {
        trace_id: vec![number | 1; 16],
        span_id: vec![number | 1; 8],
        parent_span_id: vec![3; 8],
        name: "process orders".to_owned(),
        kind: 5,
        start_time_unix_nano: 1 << 60,
        end_time_unix_nano: 1 << 60,
        attributes: (0..10).map(text).collect(),
        flags: 257,
        ..Span::default()
    };
    let request = generate::wrap((0..=255).chain(0..=255).map(span).collect()).encode_to_vec();
    let mut out = Vec::new();
    for (what, every) in [("none kept", 0), ("1 of 16 kept", 16), ("all kept", 1)] {
        let (mut kept, mut best) = (0, f64::INFINITY);
        for _ in 0..200 {
            let start = std::time::Instant::now();
            out.clear();
            let mut number = 0;
            let mut keep = |_| {
                number += 1;
                every != 0 && number % every == 0
            };
            kept = select_traces(&request, &mut keep, &mut out).unwrap();
            best = start.elapsed().as_secs_f64().min(best);
        }
        println!(
            "{what}: {:.1} ns a span, {kept} kept, {} bytes a span",
            best * 1e9 / 512.0,
            request.len() / 512
        );
    }
}
