//! What is wrong with settings, and where: a path that the configuration's reader maps to line and column.

use std::fmt;

/// A setting that can not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// Where, from the `tail_sampling` block downwards.
    pub path: Vec<Step>,
    /// What is wrong and what is allowed, as a lower-case fragment.
    pub message: String,
}

/// One step of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into the value of this key.
    Key(&'static str),
    /// To this element of a list.
    Index(usize),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.path.iter().enumerate() {
            match step {
                Step::Key(key) if at == 0 => write!(f, "{key}")?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for PlanError {}
