//! Trace id, span id and time as newtypes. Hex is lower case on the way out, either case on the way in.

use std::fmt;

/// A trace id: 16 bytes. All zeros is invalid and is never constructed by [`TraceId::new`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

/// A span id: 8 bytes. All zeros is invalid and is never constructed by [`SpanId::new`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId([u8; 8]);

/// Nanoseconds since the Unix epoch, as OTLP carries time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct UnixNanos(pub u64);

impl TraceId {
    /// `None` if all bytes are zero (W3C Trace Context, trace-id).
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// From wire bytes: `None` unless exactly 16, not all zero.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Self::new(bytes.try_into().ok()?)
    }

    /// From exactly 32 hex digits, or from fewer (at least one), which are padded with zeros on the left as Jaeger does.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        decode_hex(hex, &mut bytes)?;
        Self::new(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }
}

impl SpanId {
    /// `None` if all bytes are zero (W3C Trace Context, parent-id).
    #[must_use]
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// From wire bytes: `None` unless exactly 8, not all zero.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Self::new(bytes.try_into().ok()?)
    }

    /// From at most 16 hex digits, padded with zeros on the left.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        let mut bytes = [0; 8];
        decode_hex(hex, &mut bytes)?;
        Self::new(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; 8] {
        self.0
    }
}

impl UnixNanos {
    /// Signed distance `self - earlier` in nanoseconds; negative if the clocks disagree.
    #[must_use]
    pub fn since(self, earlier: Self) -> i128 {
        i128::from(self.0) - i128::from(earlier.0)
    }
}

/// Right-aligned decode; `None` on a foreign digit, no digit or too many.
fn decode_hex(hex: &str, out: &mut [u8]) -> Option<()> {
    if hex.is_empty() || hex.len() > out.len() * 2 {
        return None;
    }
    for (i, c) in hex.bytes().rev().enumerate() {
        let digit = u8::try_from(char::from(c).to_digit(16)?).ok()?;
        let at = out.len() - 1 - i / 2;
        *out.get_mut(at)? |= if i % 2 == 0 { digit } else { digit << 4 };
    }
    Some(())
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_short_ids_are_padded() {
        let id = TraceId::from_hex("4BF92f3577b34da6a3ce929d0e0e4736").unwrap();
        assert_eq!(id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(TraceId::from_hex("abc").unwrap().to_string(), format!("{}abc", "0".repeat(29)));
        for bad in ["", "0", "g", &"1".repeat(33), "4bf92f3577b34da6-a3ce929d0e0e473", "é"] {
            assert_eq!(TraceId::from_hex(bad), None, "{bad}");
        }
        assert_eq!(SpanId::from_hex("00f067aa0ba902b7").unwrap().to_string(), "00f067aa0ba902b7");
        assert_eq!(UnixNanos(1).since(UnixNanos(3)), -2);
    }
}
