//! `trace_flags`: a span has the W3C sampled flag.

use super::judges::Judges;
use super::met::MetBySome;
use crate::builder::Builder;
use crate::condition::Leaf;
use crate::error::PlanError;
use crate::settings::Invert;

pub(super) fn compile(builder: &mut Builder) -> Result<Box<dyn Judges>, PlanError> {
    let condition = builder.condition(Leaf::SampledFlag)?;
    Ok(Box::new(MetBySome { condition, invert: Invert::No }))
}
