//! Bounds that a number is held against.

use crate::span::Scalar;

/// Inclusive bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) min: i64,
    pub(crate) max: i64,
}

impl Bounds {
    pub(crate) fn contain(self, value: Scalar<'_>) -> bool {
        match value {
            Scalar::Int(number) => (self.min..=self.max).contains(&number),
            #[expect(clippy::cast_precision_loss, reason = "a double has no more precision than that either")]
            Scalar::Double(number) => {
                (self.min == i64::MIN || number >= self.min as f64)
                    && (self.max == i64::MAX || number <= self.max as f64)
                    && !number.is_nan()
            }
            _ => false,
        }
    }
}
