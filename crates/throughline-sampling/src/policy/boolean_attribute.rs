//! `boolean_attribute`: a boolean among a span's or its resource's attributes has a value.
//!
//! Anything but a boolean does not match (the peer reads it as false).

use super::Judges;
use super::met::MetBySome;
use super::string_attribute::check_key;
use crate::plan::{Builder, Leaf, PlanError, Scalar, Test};
use crate::settings::Invert;

/// The value asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted(bool);

pub(super) fn compile(
    key: &str,
    value: bool,
    invert: Invert,
    builder: &mut Builder,
) -> Result<Box<dyn Judges>, PlanError> {
    check_key(key, builder)?;
    let asked = builder.keys.attribute(key);
    let condition = builder.condition(Leaf::Attribute(asked, Test::Bool(Wanted(value))))?;
    Ok(Box::new(MetBySome { condition, invert }))
}

impl Wanted {
    pub(crate) fn is(self, value: Scalar<'_>) -> bool {
        value == Scalar::Bool(self.0)
    }
}
