//! Texts that an attribute is held against.

use regex::RegexSet;

use crate::span::Scalar;

/// Where an attribute was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Span,
    Resource,
}

/// Texts that match.
#[derive(Debug)]
pub(crate) enum Texts {
    /// Sorted, each once.
    Exact(Vec<String>),
    Patterns {
        source: Vec<String>,
        set: RegexSet,
    },
}

impl PartialEq for Texts {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(one), Self::Exact(other)) => one == other,
            (Self::Patterns { source: one, .. }, Self::Patterns { source: other, .. }) => one == other,
            _ => false,
        }
    }
}

impl Texts {
    /// An empty text on a span matches no pattern, one on a resource does: the peer's rule.
    pub(crate) fn contain(&self, value: Scalar<'_>, place: Place) -> bool {
        let Scalar::Text(text) = value else { return false };
        match self {
            Self::Exact(texts) => texts.binary_search_by(|known| known.as_str().cmp(text)).is_ok(),
            Self::Patterns { set, .. } => {
                (!text.is_empty() || place == Place::Resource) && set.is_match(text)
            }
        }
    }
}
