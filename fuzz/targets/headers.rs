//! A message with any headers: reading never fails, a send leaves exactly one of ours and every foreign one untouched.
#![no_main]

use libfuzzer_sys::fuzz_target;
use throughline::{HeaderSink, HeaderSource, OWNED, extract, inject_context, is_owned, normalize_headers};

#[derive(Clone)]
struct Bytes(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl HeaderSource for Bytes {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        for (name, value) in &self.0 {
            each(name, value.as_deref());
        }
    }
}

impl HeaderSink for Bytes {
    fn replace(mut self, owned: &[&'static str], entries: &[(&'static str, &[u8])]) -> Self {
        self.0.retain(|(name, _)| !is_owned(name, owned));
        self.0.extend(entries.iter().map(|(name, value)| (name.as_bytes().to_vec(), Some(value.to_vec()))));
        self
    }
}

/// Headers out of bytes: a name by number or raw, a value null or up to the next 0xfe.
fn headers(bytes: &[u8]) -> Bytes {
    let parts = bytes.split(|b| *b == 0xfe).filter_map(|part| {
        let (first, rest) = part.split_first()?;
        let name = match OWNED.get(usize::from(*first)) {
            Some(name) => name.as_bytes().to_vec(),
            None if (8..16).contains(first) => OWNED.get(usize::from(*first) - 8)?.to_ascii_uppercase().into_bytes(),
            None => rest.get(..3.min(rest.len()))?.to_vec(),
        };
        Some((name, (*first != 255).then(|| rest.to_vec())))
    });
    Bytes(parts.collect())
}

fuzz_target!(|bytes: &[u8]| {
    let headers = headers(bytes);
    let incoming = extract(&headers);
    let _ = normalize_headers(&headers);
    let foreign = |h: &Bytes| h.0.iter().filter(|(name, _)| !is_owned(name, &OWNED)).cloned().collect::<Vec<_>>();
    let out = inject_context(incoming.context(), headers.clone());
    assert_eq!(foreign(&out), foreign(&headers), "a foreign header changed");
    if incoming.trace_id().is_some() {
        let count = out.0.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"traceparent")).count();
        assert_eq!(count, 1);
        let again = extract(&out);
        assert_eq!(again.trace_id(), incoming.trace_id());
        assert!(again.conflicts().is_empty());
    }
});
