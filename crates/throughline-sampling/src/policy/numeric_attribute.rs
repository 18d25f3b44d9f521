//! `numeric_attribute`: a number among a span's or its resource's attributes lies within bounds.
//!
//! Whole numbers and doubles are compared by value; anything else is no number and does not match (the peer reads it as 0).

use super::Judges;
use super::met::MetBySome;
use super::string_attribute::check_key;
use crate::plan::{Builder, Leaf, PlanError, Scalar, Step, Test};
use crate::settings::Invert;

/// Inclusive bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    min: i64,
    max: i64,
}

pub(super) fn compile(
    key: &str,
    min: Option<i64>,
    max: Option<i64>,
    invert: Invert,
    builder: &mut Builder,
) -> Result<Box<dyn Judges>, PlanError> {
    check_key(key, builder)?;
    let bounds = match (min, max) {
        (None, None) => {
            return Err(
                builder.error(&[], "no bounds; give min_value, max_value or both (0 counts as a bound)")
            );
        }
        (Some(min), Some(max)) if min > max => {
            let message = format!("no number is at least {min} and at most {max}; swap them");
            return Err(builder.error(&[Step::Key("min_value")], message));
        }
        (min, max) => Bounds { min: min.unwrap_or(i64::MIN), max: max.unwrap_or(i64::MAX) },
    };
    let asked = builder.keys.attribute(key);
    let condition = builder.condition(Leaf::Attribute(asked, Test::Number(bounds)))?;
    Ok(Box::new(MetBySome { condition, invert }))
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
