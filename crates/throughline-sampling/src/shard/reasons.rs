//! Reasons as numbers, so that a remembered decision takes two bytes for its reason.

use std::sync::Arc;

use throughline_otlp::TraceId;

use crate::decision::Reason;

/// No policy said yes.
pub(super) const NO_POLICY: u16 = 0;
/// Too large.
pub(super) const TOO_LARGE: u16 = 1;
/// Shutdown.
pub(super) const SHUTDOWN: u16 = 2;
/// Linked; from which trace stands beside it.
pub(super) const LINKED: u16 = 3;
const FIRST_POLICY: u16 = 4;

/// Names of policies by number: those of the plan, and those that restored decisions were made by.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    names: Vec<Arc<str>>,
}

impl Reasons {
    pub(super) fn number(&mut self, reason: &Reason) -> u16 {
        match reason {
            Reason::NoPolicy => NO_POLICY,
            Reason::TooLarge => TOO_LARGE,
            Reason::Shutdown => SHUTDOWN,
            Reason::LinkedFrom(_) => LINKED,
            Reason::Policy(name) => self.policy(name),
        }
    }

    fn policy(&mut self, name: &Arc<str>) -> u16 {
        let known = self.names.iter().position(|known| Arc::ptr_eq(known, name) || known == name);
        let at = known.unwrap_or_else(|| {
            self.names.push(Arc::clone(name));
            self.names.len() - 1
        });
        // More names than fit come from no configuration; they share the last number.
        u16::try_from(at).ok().and_then(|at| at.checked_add(FIRST_POLICY)).unwrap_or(u16::MAX)
    }

    /// `origin` is what [`LINKED`] is linked from.
    pub(super) fn reason(&self, number: u16, origin: Option<TraceId>) -> Reason {
        match (number, origin) {
            (TOO_LARGE, _) => Reason::TooLarge,
            (SHUTDOWN, _) => Reason::Shutdown,
            (LINKED, Some(origin)) => Reason::LinkedFrom(origin),
            (NO_POLICY | LINKED, _) => Reason::NoPolicy,
            (policy, _) => {
                let name = self.names.get(usize::from(policy - FIRST_POLICY));
                name.map_or(Reason::NoPolicy, |name| Reason::Policy(Arc::clone(name)))
            }
        }
    }
}
