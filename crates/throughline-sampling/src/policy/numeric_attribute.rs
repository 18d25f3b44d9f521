//! `numeric_attribute`: a number among a span's or its resource's attributes lies within bounds.
//!
//! Whole numbers and doubles are compared by value; anything else is no number and does not match (the peer reads it as 0).

use super::judges::Judges;
use super::met::MetBySome;
use super::string_attribute::check_key;
use crate::builder::Builder;
use crate::condition::{Bounds, Leaf, Test};
use crate::error::{PlanError, Step};
use crate::settings::Invert;

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
