//! `tracestate` goes through a hop byte for byte, or not at all; never empty, never more than 32 members.
#![no_main]

use libfuzzer_sys::fuzz_target;
use throughline::{extract, inject_context};

const TRACEPARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn hop(tracestate: &[u8]) -> Option<Vec<u8>> {
    let headers = vec![("traceparent".to_owned(), TRACEPARENT.to_vec()), ("tracestate".to_owned(), tracestate.to_vec())];
    let incoming = extract(&headers);
    let out = inject_context(incoming.context(), Vec::<(String, Vec<u8>)>::new());
    assert_eq!(out.iter().filter(|(name, _)| name == "traceparent").count(), 1);
    let mut states = out.into_iter().filter(|(name, _)| name == "tracestate").map(|(_, value)| value);
    let state = states.next();
    assert!(states.next().is_none());
    state
}

fuzz_target!(|tracestate: &[u8]| {
    let Some(out) = hop(tracestate) else { return };
    assert!(!out.is_empty());
    let came = tracestate.trim_ascii();
    assert!(came.starts_with(&out), "members are cut from the right, nothing else changes");
    let members = out.split(|b| *b == b',').filter(|member| !member.trim_ascii().is_empty()).count();
    assert!((1..=32).contains(&members));
    assert_eq!(hop(&out).as_deref(), Some(out.trim_ascii()), "a second hop changes nothing");
});
