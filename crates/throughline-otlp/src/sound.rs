//! A checked request of spans made sound, so that behind the door every reader sees the same spans, however it reads them:
//! a span without valid ids is left out, and one in which the trace id stands more than once keeps the last of them,
//! the one that protobuf says counts. Everything else is copied byte for byte.
//!
//! [`Counts`](crate::Counts) says whether a request needs it; nearly none does.

use std::collections::BTreeMap;

use crate::select::{Choice, is_plain, select_items};
use crate::view::TracesView;
use crate::wire::{Fields, WireError};

/// What becomes of a span that cannot stay as it is.
enum Odd {
    /// Its ids are not valid.
    Rejected,
    /// The same span with one trace id.
    Rewritten(Vec<u8>),
}

/// The request without the spans that [`Counts::rejected`](crate::Counts) counts, each other one with a single trace id, its
/// first field. Empty if no span is left.
///
/// # Errors
/// [`WireError`] if the request is not OTLP.
pub fn sound(request: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut odd = BTreeMap::new();
    let mut number = 0;
    TracesView::new(request).for_each(&mut |_, _, span| {
        if span.ids().is_none() {
            odd.insert(number, Odd::Rejected);
        } else if !is_plain(span.raw(), span.trace_id) {
            odd.insert(number, Odd::Rewritten(with_last_id(span.raw())?));
        }
        number += 1;
        Ok(())
    })?;
    let mut out = Vec::with_capacity(request.len());
    let mut choose = |number: usize, _: &[u8]| {
        Ok(match odd.get(&number) {
            None => Choice::Keep,
            Some(Odd::Rejected) => Choice::Drop,
            Some(Odd::Rewritten(span)) => Choice::Replace(span),
        })
    };
    select_items(request, &mut choose, &mut out)?;
    Ok(out)
}

fn with_last_id(span: &[u8]) -> Result<Vec<u8>, WireError> {
    let (mut id, mut others): (&[u8], _) = (&[], Vec::with_capacity(span.len()));
    for field in Fields::new(span) {
        let field = field?;
        if field.number == 1 {
            id = field.raw;
        } else {
            others.extend_from_slice(field.raw);
        }
    }
    Ok([id, &others].concat())
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::tests::generate;
    use crate::wire::put_bytes;
    use crate::{Signal, SpanId, TraceId, check, trace_id};

    /// A request that a decoder reads, of spans with several ids, mostly valid ones, before, between and behind their fields.
    fn doubled() -> impl Strategy<Value = Vec<u8>> {
        let id = prop_oneof![
            6 => any::<u8>().prop_map(|byte| vec![byte | 1; 16]),
            1 => Just(vec![0; 16]),
            1 => prop::collection::vec(any::<u8>(), 0..20),
        ];
        let ids = || prop::collection::vec(id.clone(), 0..3);
        let span = (ids(), generate::span(), ids(), generate::span(), ids());
        prop::collection::vec(span, 0..4).prop_map(|spans| {
            let mut scope = Vec::new();
            for (before, first, between, second, behind) in spans {
                let put = |span: &mut Vec<u8>, ids: &[Vec<u8>]| {
                    ids.iter().for_each(|id| put_bytes(span, 1, id));
                };
                let mut span = Vec::new();
                put(&mut span, &before);
                span.extend(first.encode_to_vec());
                put(&mut span, &between);
                // Two messages in a row are one message: all of its fields stand there twice.
                span.extend(second.encode_to_vec());
                put(&mut span, &behind);
                put_bytes(&mut scope, 2, &span);
            }
            let (mut resource, mut request) = (Vec::new(), Vec::new());
            put_bytes(&mut resource, 2, &scope);
            put_bytes(&mut request, 1, &resource);
            request
        })
    }

    fn spans(request: &ExportTraceServiceRequest) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
        let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| &scope.spans).map(|span| (&span.trace_id, &span.span_id))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Whoever looks at the first field only, and whoever decodes all, sees the same trace: the one that prost sees.
        #[test]
        fn behind_the_door_a_span_has_one_trace(bytes in doubled()) {
            let mut expected = ExportTraceServiceRequest::decode(&bytes[..]).expect("made so");
            let valid = |trace: &[u8], span: &[u8]| TraceId::from_slice(trace).is_some() && SpanId::from_slice(span).is_some();
            for scope in expected.resource_spans.iter_mut().flat_map(|resource| &mut resource.scope_spans) {
                scope.spans.retain(|span| valid(&span.trace_id, &span.span_id));
            }
            let counts = check(Signal::Traces, &bytes).unwrap();
            let sound = if counts.is_sound() { bytes } else { sound(&bytes).unwrap() };
            let decoded = ExportTraceServiceRequest::decode(&sound[..]).unwrap();
            prop_assert!(spans(&decoded).eq(spans(&expected)));
            let mut first = Vec::new();
            TracesView::new(&sound).for_each(&mut |_, _, span| {
                first.push(trace_id(Signal::Traces, span.raw())?.map(|id| id.bytes().to_vec()));
                Ok(())
            }).unwrap();
            prop_assert!(first.iter().map(Option::as_ref).eq(spans(&expected).map(|(trace, _)| Some(trace))));
            let after = check(Signal::Traces, &sound).unwrap();
            prop_assert_eq!((after.rejected, after.doubled), (0, 0));
        }

        #[test]
        fn a_request_of_an_encoder_loses_invalid_spans_only(request in generate::traces()) {
            let mut expected = request.clone();
            for resource in &mut expected.resource_spans {
                for scope in &mut resource.scope_spans {
                    scope.spans.retain(|span| {
                        TraceId::from_slice(&span.trace_id).is_some() && SpanId::from_slice(&span.span_id).is_some()
                    });
                }
                resource.scope_spans.retain(|scope| !scope.spans.is_empty());
            }
            expected.resource_spans.retain(|resource| !resource.scope_spans.is_empty());
            prop_assert_eq!(sound(&request.encode_to_vec()), Ok(expected.encode_to_vec()));
        }
    }
}
