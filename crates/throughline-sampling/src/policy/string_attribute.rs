//! `string_attribute`: a text among a span's or its resource's attributes has one of some values, or matches one of some
//! patterns.
//!
//! Patterns are written as for the peer, in Go's syntax, and searching is linear in the text as it is there. Where the peer
//! needs a cache of results to be fast (`cache_max_size`), all patterns are searched for in one pass here: the setting is
//! accepted and without effect.

use regex::RegexSet;

use super::judges::Judges;
use super::met::MetBySome;
use crate::builder::Builder;
use crate::condition::{Leaf, Test, Texts};
use crate::error::{PlanError, Step};
use crate::pattern;
use crate::settings::{Invert, Matching};

pub(super) fn compile(
    key: &str,
    values: &[String],
    matching: Matching,
    invert: Invert,
    builder: &mut Builder,
) -> Result<Box<dyn Judges>, PlanError> {
    check_key(key, builder)?;
    let texts = match matching {
        Matching::Exact => exact(values, builder)?,
        Matching::Regex { .. } => patterns(values, builder)?,
    };
    let asked = builder.keys.attribute(key);
    let condition = builder.condition(Leaf::Attribute(asked, Test::Text(texts)))?;
    Ok(Box::new(MetBySome { condition, invert }))
}

/// An attribute policy needs a key.
pub(super) fn check_key(key: &str, builder: &Builder) -> Result<(), PlanError> {
    if key.is_empty() {
        return Err(builder.error(&[Step::Key("key")], "empty; give the attribute's key"));
    }
    Ok(())
}

/// An empty value is left out, as the peer does: an empty attribute never matches exactly.
fn exact(values: &[String], builder: &Builder) -> Result<Texts, PlanError> {
    let mut texts: Vec<String> = values.iter().filter(|value| !value.is_empty()).cloned().collect();
    texts.sort();
    texts.dedup();
    if texts.is_empty() {
        return Err(
            builder.error(&[Step::Key("values")], "no value to match; give at least one that is not empty")
        );
    }
    Ok(Texts::Exact(texts))
}

fn patterns(values: &[String], builder: &Builder) -> Result<Texts, PlanError> {
    if values.is_empty() {
        return Err(builder.error(&[Step::Key("values")], "no pattern to match; give at least one"));
    }
    let mut translated = Vec::with_capacity(values.len());
    for (at, source) in values.iter().enumerate() {
        let compiled = pattern::compile(source).map_err(|error| {
            let place = [Step::Key("values"), Step::Index(at)];
            builder.error(&place, format!("invalid regular expression `{source}`: {error}"))
        })?;
        translated.push(compiled.as_str().to_owned());
    }
    match RegexSet::new(translated) {
        Ok(set) => Ok(Texts::Patterns { source: values.to_vec(), set }),
        Err(error) => Err(builder.error(&[Step::Key("values")], pattern::brief(&error))),
    }
}
