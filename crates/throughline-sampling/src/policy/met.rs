//! What the policies on a single span's properties have in common: some span met the condition, or none did.

use super::judges::{Answer, Case, Judges};
use crate::facts::Bit;
use crate::settings::Invert;

/// Yes if a span met the condition; inverted, if none did. It is plain negation and vetoes nothing.
#[derive(Debug)]
pub(super) struct MetBySome {
    pub(super) condition: Bit,
    pub(super) invert: Invert,
}

impl Judges for MetBySome {
    fn says(&self, case: &Case<'_>) -> Answer {
        Answer::of(case.facts.met.has(self.condition) != (self.invert == Invert::Yes))
    }
}
