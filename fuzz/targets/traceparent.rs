//! `traceparent` against a naive reading of W3C Trace Context, and back out again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use throughline::TraceParent;

/// The specification, word for word and slow.
fn naive(value: &[u8]) -> Option<(String, String, u8)> {
    // Only what a later version may append can be anything but ASCII.
    let text = String::from_utf8_lossy(value);
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let lower = |s: &str| s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut fields = text.splitn(5, '-');
    let [version, trace, span, flags] = [fields.next()?, fields.next()?, fields.next()?, fields.next()?];
    let rest = fields.next();
    let lengths = (version.len(), trace.len(), span.len(), flags.len()) == (2, 32, 16, 2);
    if !lengths || ![version, trace, span, flags].into_iter().all(lower) || version == "ff" {
        return None;
    }
    if (version == "00" && rest.is_some()) || trace == "0".repeat(32) || span == "0".repeat(16) {
        return None;
    }
    Some((trace.to_owned(), span.to_owned(), u8::from_str_radix(flags, 16).ok()? & 3))
}

fuzz_target!(|value: &[u8]| {
    let ours = TraceParent::parse(value);
    let shown = ours.map(|t| {
        let context = t.to_span_context();
        (context.trace_id().to_string(), context.span_id().to_string(), t.flags() & 3)
    });
    assert_eq!(shown, naive(value), "{:?}", String::from_utf8_lossy(value));
    if let Some(parsed) = ours {
        let written = parsed.to_bytes();
        let again = TraceParent::parse(&written).expect("what we write we read");
        assert_eq!(again.to_bytes(), written);
        assert!(naive(&written).is_some());
    }
});
