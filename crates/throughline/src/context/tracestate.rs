//! `tracestate`: kept as the bytes that came, checked, and cut to 32 members. Never parsed into the SDK's `TraceState`,
//! which loses an `=` in a value and is cloned deeply with every span.

use opentelemetry::trace::TraceState;

/// W3C: at most this many list members.
const MAX_MEMBERS: usize = 32;

/// The bytes to pass on: whole members from the left, at most 32. `None` if there is nothing worth passing on (empty, or
/// bytes that no header may hold).
pub(crate) fn accept(raw: &[u8]) -> Option<&[u8]> {
    let raw = raw.trim_ascii();
    let printable = raw.iter().all(|b| matches!(b, b'\t' | 0x20..=0x7e));
    if !printable || !raw.iter().any(|b| !matches!(b, b',' | b' ' | b'\t')) {
        return None;
    }
    let mut members = 0;
    let mut end = 0usize;
    for member in raw.split(|b| *b == b',') {
        if !member.trim_ascii().is_empty() {
            members += 1;
        }
        if members > MAX_MEMBERS {
            return raw.get(..end.saturating_sub(1));
        }
        end += member.len() + 1;
    }
    Some(raw)
}

/// What a sampler put into the SDK's state goes first, what came stays behind it, a key of both only once.
pub(crate) fn merge(ours: &TraceState, raw: Option<&[u8]>) -> Vec<u8> {
    let mut merged = ours.header().into_bytes();
    for member in raw.unwrap_or_default().split(|b| *b == b',') {
        let key = member.trim_ascii().split(|b| *b == b'=').next().unwrap_or_default();
        let known = std::str::from_utf8(key).is_ok_and(|key| ours.get(key).is_some());
        if !key.is_empty() && !known {
            merged.push(b',');
            merged.extend_from_slice(member.trim_ascii());
        }
    }
    match accept(&merged).map(<[u8]>::len) {
        Some(length) => merged.truncate(length),
        None => merged.clear(),
    }
    merged
}
