//! `traceparent`, read and written as W3C Trace Context says, flags 02 and future versions included.
//!
//! Unlike opentelemetry-rust's propagator it keeps flag 02 (random trace id). Bits beyond 0 and 1 mean nothing we know and
//! are never passed on.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The flags this version of the specification knows: sampled (01) and random trace id (02).
const KNOWN_FLAGS: u8 = 0b11;
/// Length of a version 00 value, and where a later version may go on with a dash.
pub(crate) const LENGTH: usize = 55;

/// A valid `traceparent`.
///
/// ```
/// use throughline::TraceParent;
/// let parsed = TraceParent::parse(b"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-more").unwrap();
/// assert_eq!(parsed.to_string(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// The trace; never all zero.
    pub trace_id: TraceId,
    /// The span; never all zero.
    pub span_id: SpanId,
    /// Bit 0 sampled, bit 1 random; every other bit is zero.
    flags: u8,
}

impl TraceParent {
    /// From ids and flags, or `None` if an id is invalid. Flags beyond 03 are dropped.
    #[must_use]
    pub fn new(trace_id: TraceId, span_id: SpanId, flags: u8) -> Option<Self> {
        let valid = trace_id != TraceId::INVALID && span_id != SpanId::INVALID;
        valid.then_some(Self { trace_id, span_id, flags: flags & KNOWN_FLAGS })
    }

    /// Reads a header's value: version 00 exactly, versions 01 to fe by their first four fields. `None` if it is invalid.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        let (head, rest) = value.split_at_checked(LENGTH)?;
        let head: &[u8; LENGTH] = head.try_into().ok()?;
        let [v1, v2, b'-', trace @ .., _, _, _] = head else { return None };
        let version = hex(&[*v1, *v2])?;
        let (trace, span) = trace.split_at_checked(32)?;
        let [b'-', span @ ..] = span else { return None };
        let [.., b'-', f1, f2] = head else { return None };
        match (version, rest) {
            (0xff, _) => return None,
            (0, []) | (1.., [] | [b'-', ..]) => {}
            _ => return None,
        }
        let flags = hex(&[*f1, *f2])?;
        let (high, low) = trace.split_at_checked(16)?;
        let trace = u128::from(hex(high)?) << 64 | u128::from(hex(low)?);
        Self::new(TraceId::from(trace), SpanId::from(hex(span)?), u8::try_from(flags).ok()?)
    }

    /// Bit 0 sampled, bit 1 random.
    #[must_use]
    pub fn flags(self) -> u8 {
        self.flags
    }

    /// The value to write: always version 00.
    #[must_use]
    pub fn to_bytes(self) -> [u8; LENGTH] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(out.get_mut(3..35), self.trace_id.to_bytes());
        write_hex(out.get_mut(36..52), self.span_id.to_bytes());
        write_hex(out.get_mut(53..), [self.flags]);
        out
    }

    /// As a remote span context, its `tracestate` left empty: the raw bytes travel beside it.
    #[must_use]
    pub fn to_span_context(self) -> SpanContext {
        SpanContext::new(self.trace_id, self.span_id, TraceFlags::new(self.flags), true, TraceState::NONE)
    }
}

impl std::fmt::Display for TraceParent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}

/// Lower-case hex digits only, as the specification demands. At most sixteen of them.
fn hex(digits: &[u8]) -> Option<u64> {
    // No way out halfway: checked as a whole, sixteen digits are a few instructions.
    let valid = digits.iter().fold(true, |valid, digit| valid & matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let value = digits.iter().fold(0, |value, digit| value << 4 | u64::from((digit & 15) + 9 * (digit >> 6)));
    valid.then_some(value)
}

const fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

fn write_hex<const N: usize>(out: Option<&mut [u8]>, bytes: [u8; N]) {
    for (pair, byte) in out.unwrap_or_default().chunks_exact_mut(2).zip(bytes) {
        if let [high, low] = pair {
            (*high, *low) = (digit(byte >> 4), digit(byte & 15));
        }
    }
}

/// The first 16 hex digits of a trace id: the correlation id of a trace that carries none.
pub(crate) fn first_half(trace_id: TraceId) -> [u8; 16] {
    let mut out = [b'0'; 16];
    write_hex(Some(&mut out), trace_id.to_bytes());
    out
}
