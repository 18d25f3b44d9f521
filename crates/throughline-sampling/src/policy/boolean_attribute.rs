//! `boolean_attribute`: a boolean among a span's or its resource's attributes has a value.
//!
//! Anything but a boolean does not match (the peer reads it as false).

use super::judges::Judges;
use super::met::MetBySome;
use super::string_attribute::check_key;
use crate::builder::Builder;
use crate::condition::{Leaf, Test};
use crate::error::PlanError;
use crate::settings::Invert;

pub(super) fn compile(
    key: &str,
    value: bool,
    invert: Invert,
    builder: &mut Builder,
) -> Result<Box<dyn Judges>, PlanError> {
    check_key(key, builder)?;
    let asked = builder.keys.attribute(key);
    let condition = builder.condition(Leaf::Attribute(asked, Test::Bool(value)))?;
    Ok(Box::new(MetBySome { condition, invert }))
}
