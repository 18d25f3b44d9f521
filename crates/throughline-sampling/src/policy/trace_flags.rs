//! `trace_flags`: a span has the W3C sampled flag.

use super::Judges;
use super::met::MetBySome;
use crate::plan::{Builder, Leaf, PlanError};
use crate::settings::Invert;

pub(super) fn compile(builder: &mut Builder) -> Result<Box<dyn Judges>, PlanError> {
    let condition = builder.condition(Leaf::SampledFlag)?;
    Ok(Box::new(MetBySome { condition, invert: Invert::No }))
}
