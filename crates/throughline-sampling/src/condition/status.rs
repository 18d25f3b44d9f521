//! Status codes that a span's is held against.

/// A set of OTLP's status codes 0 to 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Codes(pub(crate) u8);

impl Codes {
    pub(crate) fn contains(self, code: u8) -> bool {
        self.0 & (1 << code) != 0
    }
}
