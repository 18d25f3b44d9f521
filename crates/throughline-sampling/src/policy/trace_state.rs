//! `trace_state`: a span's W3C tracestate has a key with one of some values. A tracestate that W3C does not allow has none.

use super::judges::Judges;
use super::met::MetBySome;
use crate::builder::Builder;
use crate::condition::{Leaf, MAX_VALUE, Member, is_key, is_value};
use crate::error::{PlanError, Step};
use crate::settings::Invert;

pub(super) fn compile(
    key: &str,
    values: &[String],
    builder: &mut Builder,
) -> Result<Box<dyn Judges>, PlanError> {
    if !is_key(key.as_bytes()) {
        let message =
            format!("`{key}` is not a tracestate key: lower-case letters, digits, _ - * / and one @");
        return Err(builder.error(&[Step::Key("key")], message));
    }
    if values.is_empty() {
        return Err(builder.error(&[Step::Key("values")], "no value to match; give at least one"));
    }
    for (at, value) in values.iter().enumerate() {
        if !is_value(value.as_bytes()) {
            let message = format!(
                "`{value}` can not be a tracestate value: 1 to {MAX_VALUE} printable characters without , and ="
            );
            return Err(builder.error(&[Step::Key("values"), Step::Index(at)], message));
        }
    }
    let member = Member { key: key.to_owned(), values: values.to_vec() };
    let condition = builder.condition(Leaf::TraceState(member))?;
    Ok(Box::new(MetBySome { condition, invert: Invert::No }))
}
