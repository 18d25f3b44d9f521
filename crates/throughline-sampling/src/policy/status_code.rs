//! `status_code`: a span has one of some status codes.

use super::judges::Judges;
use super::met::MetBySome;
use crate::builder::Builder;
use crate::condition::{Codes, Leaf};
use crate::error::{PlanError, Step};
use crate::settings::{Invert, StatusCode};

pub(super) fn compile(codes: &[StatusCode], builder: &mut Builder) -> Result<Box<dyn Judges>, PlanError> {
    if codes.is_empty() {
        return Err(builder.error(&[Step::Key("status_codes")], "no code to match; give OK, ERROR or UNSET"));
    }
    let codes = codes.iter().fold(0, |set, code| {
        set | match code {
            StatusCode::Unset => 1,
            StatusCode::Ok => 1 << 1,
            StatusCode::Error => 1 << 2,
        }
    });
    let condition = builder.condition(Leaf::Status(Codes(codes)))?;
    Ok(Box::new(MetBySome { condition, invert: Invert::No }))
}
