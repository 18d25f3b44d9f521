//! W3C Baggage: read, written, and remembered. The parsed form is the SDK-neutral [`Baggage`] of the OpenTelemetry API.
//!
//! Unlike opentelemetry-rust's propagator it keeps an `=` inside a value, writes members in a fixed order, and passes on
//! untouched baggage as the bytes that came.

use crate::correlation::validate;
use opentelemetry::Context;
use opentelemetry::baggage::{Baggage, BaggageExt};
use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;
use throughline_semconv::own;

/// W3C: at least this many members have to be passed on; we keep no more.
const MAX_MEMBERS: usize = 64;
/// W3C: likewise in bytes.
const MAX_BYTES: usize = 8192;
/// Tenants and routing keys repeat: so many different values are remembered by each thread.
const REMEMBERED: usize = 16;

/// One `baggage` header: its bytes and what they say. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RawBaggage {
    /// As it came. What is forwarded while nobody changes the baggage, if `fit_to_forward`.
    pub(crate) raw: Arc<[u8]>,
    /// Within the limits, text, and every member understood: may go out again exactly as it came.
    pub(crate) fit_to_forward: bool,
    /// Holds only the parsed baggage (`Baggage` is not `Clone`, the context that holds it is). It also keeps the parsed
    /// value alive, so that "unchanged" can be told by address.
    pub(crate) context: Context,
    /// Where `context` has it.
    parsed_at: usize,
    /// What its `tenant.id` says, if that can be one.
    pub(crate) tenant: Option<Arc<str>>,
}

impl RawBaggage {
    /// Whether `context` still has exactly this baggage, untouched since it arrived.
    pub(crate) fn is_still_in(&self, context: &Context) -> bool {
        std::ptr::from_ref(context.baggage()).addr() == self.parsed_at
    }
}

thread_local! {
    static MEMO: RefCell<Vec<RawBaggage>> = const { RefCell::new(Vec::new()) };
}

/// Parses a header, or finds it among the last few this thread has parsed.
pub(crate) fn remember(raw: &[u8]) -> RawBaggage {
    MEMO.with_borrow_mut(|memo| {
        if let Some(known) = memo.iter().find(|known| *known.raw == *raw) {
            return known.clone();
        }
        let (baggage, fit_to_forward) = parse(raw);
        let context = if baggage.is_empty() { Context::new() } else { Context::new().with_baggage(baggage) };
        let tenant = tenant_in(context.baggage());
        let parsed_at = std::ptr::from_ref(context.baggage()).addr();
        let parsed = RawBaggage { raw: raw.into(), fit_to_forward, context, parsed_at, tenant };
        if raw.len() > MAX_BYTES {
            return parsed; // a stranger's megabyte is not worth a place
        }
        if memo.len() >= REMEMBERED {
            memo.remove(0);
        }
        memo.push(parsed.clone());
        parsed
    })
}

/// The tenant that a baggage names.
pub(crate) fn tenant_in(baggage: &Baggage) -> Option<Arc<str>> {
    let tenant = baggage.get(own::TENANT_ID)?;
    validate(tenant.as_str().as_bytes()).ok().map(Arc::from)
}

/// The members, and whether the bytes may be forwarded as they are.
pub(crate) fn parse(raw: &[u8]) -> (Baggage, bool) {
    let mut baggage = Baggage::new();
    let mut fit =
        raw.len() <= MAX_BYTES && std::str::from_utf8(raw).is_ok_and(|s| !s.contains(char::is_control));
    let mut length = 0;
    for (index, member) in raw.split(|b| *b == b',').enumerate() {
        length += member.len() + 1;
        if index >= MAX_MEMBERS || length > MAX_BYTES + 1 {
            fit = false;
            break;
        }
        let Ok(member) = std::str::from_utf8(member) else { continue };
        let (pair, properties) = member.split_once(';').unwrap_or((member, ""));
        // What was not understood was not checked against an allow-list either: it is not passed on.
        fit &= match pair.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
            Some((name, value)) => {
                baggage.insert_with_metadata(name.to_owned(), decode(value).into_owned(), properties);
                baggage.get(name).is_some()
            }
            None => member.trim().is_empty(),
        };
    }
    fit &= !baggage.is_empty();
    (baggage, fit)
}

/// Percent-decoding. A `%` that begins no valid triplet stays as it is; bytes that are not UTF-8 become U+FFFD.
fn decode(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let triplet = after.split_at_checked(2).and_then(|(digits, after)| Some((hex_pair(digits)?, after)));
        match (first, triplet) {
            (b'%', Some((byte, after))) => {
                out.push(byte);
                rest = after;
            }
            (byte, _) => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn hex_pair(digits: &[u8]) -> Option<u8> {
    digits
        .iter()
        .try_fold(0u8, |value, digit| Some(value << 4 | u8::try_from(char::from(*digit).to_digit(16)?).ok()?))
}

/// What a value may hold unencoded: baggage-octet without `%`, and without `=`, because readers in use cut a value there.
fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c | 0x3e..=0x5b | 0x5d..=0x7e) && byte != b'%'
}

/// What [`encode`] made of a baggage.
pub(crate) struct Encoded {
    pub(crate) value: Vec<u8>,
    /// Members that `keep` allowed and the W3C limits did not.
    pub(crate) over_limit: u64,
}

/// Writes the members that `keep` lets through, sorted by name so that equal baggage gives equal bytes.
pub(crate) fn encode(baggage: &Baggage, keep: &dyn Fn(&str) -> bool) -> Encoded {
    let mut members: Vec<_> = baggage.iter().filter(|(name, _)| keep(name.as_str())).collect();
    members.sort_unstable_by_key(|(name, _)| name.as_str());
    let mut encoded = Encoded { value: Vec::with_capacity(members.len() * 24), over_limit: 0 };
    for (index, (name, (value, properties))) in members.into_iter().enumerate() {
        let before = encoded.value.len();
        let out = &mut encoded.value;
        if before > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_str().as_bytes());
        out.push(b'=');
        encode_value(out, value.as_str());
        let properties = properties.as_str();
        if !properties.is_empty() && properties.bytes().all(|b| matches!(b, 0x20..=0x7e) && b != b',') {
            out.push(b';');
            out.extend_from_slice(properties.as_bytes());
        }
        if index >= MAX_MEMBERS || out.len() > MAX_BYTES {
            out.truncate(before);
            encoded.over_limit += 1;
        }
    }
    encoded
}

fn encode_value(out: &mut Vec<u8>, value: &str) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    for byte in value.bytes() {
        if is_plain(byte) {
            out.push(byte);
        } else {
            let nibble = |n: u8| HEX.get(usize::from(n)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'%', nibble(byte >> 4), nibble(byte & 15)]);
        }
    }
}
