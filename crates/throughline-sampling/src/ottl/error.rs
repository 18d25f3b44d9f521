//! What is wrong with the text of a condition, and where.

use std::fmt;

/// Text that is not a condition of the subset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// In characters, from 1.
    pub(crate) column: usize,
    /// What is wrong and what is allowed.
    pub(crate) message: String,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.message)
    }
}
