//! Baggage from a stranger: never a panic, and what is understood means the same after the next hop.
#![no_main]

use libfuzzer_sys::fuzz_target;
use throughline::opentelemetry::baggage::BaggageExt;
use throughline::opentelemetry::{Context, KeyValue};
use throughline::{extract, inject_context};

const TRACEPARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn members(cx: &Context) -> Vec<(String, String)> {
    let members = cx.baggage().iter().map(|(name, (value, _))| (name.as_str().to_owned(), value.as_str().to_owned()));
    let mut members: Vec<_> = members.collect();
    members.sort();
    members
}

fn incoming(baggage: &[u8]) -> Context {
    let headers = vec![("traceparent".to_owned(), TRACEPARENT.to_vec()), ("baggage".to_owned(), baggage.to_vec())];
    extract(&headers).context().clone()
}

fn outgoing(cx: &Context) -> Vec<u8> {
    let out = inject_context(cx, Vec::<(String, Vec<u8>)>::new());
    out.into_iter().find(|(name, _)| name == "baggage").map(|(_, value)| value).unwrap_or_default()
}

fuzz_target!(|baggage: &[u8]| {
    let cx = incoming(baggage);
    // Untouched, it goes out as it came in or in a form that means the same.
    assert_eq!(members(&incoming(&outgoing(&cx))), members(&cx));
    // Touched, it is written anew; the rest means the same.
    let mut kept: Vec<KeyValue> = members(&cx).into_iter().map(|(k, v)| KeyValue::new(k, v)).collect();
    if kept.len() < 60 && baggage.len() < 2000 {
        kept.push(KeyValue::new("added", "a=b c,d;é%"));
        let touched = cx.with_baggage(kept);
        assert_eq!(members(&incoming(&outgoing(&touched))), members(&touched));
    }
});
