//! Compiling settings: numbers the conditions, collects what is asked for, and remembers where in the settings it is, for
//! errors.

use crate::budget::Limit;
use crate::condition::{FollowLinks, Leaf, Probes};
use crate::error::{PlanError, Step};
use crate::facts::{Bit, MAX_CONDITIONS};
use crate::span::AskedKeys;

/// A plan in the making.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    /// Attribute keys asked for so far.
    pub(crate) keys: AskedKeys,
    path: Vec<Step>,
    leaves: Vec<Leaf>,
    limits: Vec<Limit>,
}

impl Builder {
    /// Does `work` one place further down in the settings.
    pub(crate) fn within<T>(
        &mut self,
        steps: &[Step],
        work: impl FnOnce(&mut Self) -> Result<T, PlanError>,
    ) -> Result<T, PlanError> {
        let depth = self.path.len();
        self.path.extend_from_slice(steps);
        let done = work(self);
        self.path.truncate(depth);
        done
    }

    /// What is wrong with the setting at this place, or at `steps` below it.
    pub(crate) fn error(&self, steps: &[Step], message: impl Into<String>) -> PlanError {
        PlanError { path: [self.path.as_slice(), steps].concat(), message: message.into() }
    }

    /// The bit of a condition; equal conditions share one.
    pub(crate) fn condition(&mut self, leaf: Leaf) -> Result<Bit, PlanError> {
        self.number(leaf).and_then(|number| self.bit(number))
    }

    /// The bits of "`leaf` holds" and "evaluating it failed".
    pub(crate) fn fallible_condition(&mut self, leaf: Leaf) -> Result<(Bit, Bit), PlanError> {
        let holds = self.number(leaf)?;
        let failed = self.number(Leaf::OttlFailed(holds))?;
        Ok((self.bit(holds)?, self.bit(failed)?))
    }

    fn number(&mut self, leaf: Leaf) -> Result<usize, PlanError> {
        if let Some(number) = self.leaves.iter().position(|known| *known == leaf) {
            return Ok(number);
        }
        if self.leaves.len() == MAX_CONDITIONS {
            return Err(self.too_many());
        }
        self.leaves.push(leaf);
        Ok(self.leaves.len() - 1)
    }

    fn bit(&self, number: usize) -> Result<Bit, PlanError> {
        Bit::new(number).ok_or_else(|| self.too_many())
    }

    fn too_many(&self) -> PlanError {
        let message = format!(
            "more than {MAX_CONDITIONS} different conditions on spans (attribute, status, tracestate, flags, OTTL) in all \
             policies; equal ones count once, several values of one key are one condition"
        );
        self.error(&[], message)
    }

    /// The number of a budget of its own.
    pub(crate) fn budget(&mut self, limit: Limit) -> usize {
        self.limits.push(limit);
        self.limits.len() - 1
    }

    /// What was collected.
    pub(crate) fn finish(self, links: FollowLinks) -> (Probes, Vec<Limit>) {
        (Probes::new(self.leaves, self.keys, links), self.limits)
    }
}
