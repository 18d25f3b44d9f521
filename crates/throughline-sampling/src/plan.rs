//! The settings compiled, once. It knows which facts the policies need of a span.

mod error;

pub use error::{PlanError, Step};
use throughline_otlp::WireError;

use crate::facts::TraceFacts;
use crate::settings::{LinkedTraces, Settings};

/// Compiled settings: what a span is asked while it passes, and which policies judge the answers. Immutable, shared by
/// all shards.
#[derive(Debug)]
pub struct Plan {
    settings: Settings,
}

impl Plan {
    /// Compiles `settings`; everything that can be wrong with them is found here.
    ///
    /// # Errors
    /// [`PlanError`] for the first setting that can not work, with its place.
    pub fn compile(settings: Settings) -> Result<Self, PlanError> {
        Ok(Self { settings })
    }

    /// The facts of each trace of an `ExportTraceServiceRequest`: one per distinct valid trace id, in order of first
    /// appearance.
    ///
    /// # Errors
    /// [`WireError`] if the request is not OTLP as far as it was read.
    pub fn scan(&self, _request: &[u8]) -> Result<Vec<TraceFacts>, WireError> {
        Ok(Vec::new())
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The block `linked_traces`, if a policy has one.
    #[must_use]
    pub fn links(&self) -> Option<&LinkedTraces> {
        None
    }

    /// Names of the policies, in order.
    pub fn policies(&self) -> impl Iterator<Item = &str> {
        self.settings.policies.iter().map(|policy| policy.name.as_str())
    }
}
