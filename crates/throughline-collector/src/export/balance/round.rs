//! One request on its way to several members, as a state machine: what to send next, what an answer means, how it ended.
//! It knows no connections and no time.
//!
//! Each parcel is on its way to one member at a time. It leaves the round accepted, refused, or as part of what is to be
//! sent again: never lost, and never sent to a second member unless the first could not be reached.

use std::sync::Arc;

use bytes::Bytes;
use throughline_otlp::Signal;
use throughline_otlp::wire::WireError;

use super::split::{Part, RoutingKey, split};
use crate::export::ring::{Member, Ring};
use crate::export::{Body, Outcome, Rejected, Trouble};

/// What one member is to get, and who could not be reached with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parcel {
    member: Member,
    request: Body,
    items: usize,
    unreachable: Vec<Member>,
}

/// A request until all of it has an answer.
#[derive(Debug)]
pub(super) struct Round {
    ring: Arc<Ring>,
    key: RoutingKey,
    signal: Signal,
    waiting: Vec<Parcel>,
    end: End,
}

/// What has been answered so far.
#[derive(Debug, Default)]
struct End {
    rejected: Rejected,
    /// Parcels to be sent again, as one request.
    rest: Vec<Bytes>,
    after: Option<std::time::Duration>,
    trouble: Option<Trouble>,
    why: Vec<String>,
    accepted: bool,
}

impl Parcel {
    pub(super) fn member(&self) -> Member {
        self.member
    }

    pub(super) fn request(&self) -> Body {
        self.request.clone()
    }
}

impl Round {
    pub(super) fn new(
        ring: Arc<Ring>,
        key: RoutingKey,
        signal: Signal,
        request: &Body,
    ) -> Result<Self, WireError> {
        let mut round = Self { ring, key, signal, waiting: Vec::new(), end: End::default() };
        if round.ring.members().is_empty() {
            round.end.again(request, None, Trouble::Connection, "no backends are known yet".to_owned());
        } else {
            let parts = split(&round.ring, key, signal, request, &[])?;
            round.waiting = parcels(parts, &[]);
        }
        Ok(round)
    }

    /// Something to send now; `None` if everything is on its way or answered.
    pub(super) fn next_parcel(&mut self) -> Option<Parcel> {
        self.waiting.pop()
    }

    pub(super) fn answered(&mut self, parcel: Parcel, outcome: Outcome) {
        match outcome {
            Outcome::Accepted { rejected } => {
                self.end.accepted = true;
                if let Some(rejected) = rejected {
                    self.end.rejected.add(rejected.items, &rejected.why);
                }
            }
            Outcome::Retry { trouble: Trouble::Connection, why, .. } => self.redirect(parcel, why),
            Outcome::Retry { after, trouble, why, rest } => {
                let why = format!("{}: {why}", self.ring.name(parcel.member));
                self.end.again(rest.as_ref().unwrap_or(&parcel.request), after, trouble, why);
            }
            Outcome::Refused { why } => {
                let why = format!("{}: {why}", self.ring.name(parcel.member));
                self.end.rejected.add(parcel.items as u64, &why);
            }
        }
    }

    /// Each trace of the parcel to the next member on the ring that has not failed with it.
    fn redirect(&mut self, parcel: Parcel, why: String) {
        let Parcel { member, request, mut unreachable, .. } = parcel;
        unreachable.push(member);
        let why = format!("{}: {why}", self.ring.name(member));
        match split(&self.ring, self.key, self.signal, &request, &unreachable) {
            Ok(parts) if !parts.is_empty() => {
                tracing::debug!(why, "sending to the next member of the ring");
                self.waiting.extend(parcels(parts, &unreachable));
            }
            // Nobody is left; and what was split once can be split again.
            _ => self.end.again(&request, None, Trouble::Connection, why),
        }
    }

    /// How it ended, once every parcel has been answered.
    pub(super) fn finish(self) -> Outcome {
        let End { rejected, rest, after, trouble, why, accepted } = self.end;
        if let Some(trouble) = trouble {
            // What was refused on the way is said with what is tried again: nobody else would say it.
            let mut why = why.join("; ");
            if rejected.items > 0 {
                why = format!("{why}; {} items refused: {}", rejected.items, rejected.why);
            }
            return Outcome::Retry { after, trouble, why, rest: Some(rest.into_iter().collect()) };
        }
        if !accepted && rejected.items > 0 {
            return Outcome::Refused { why: rejected.why };
        }
        Outcome::Accepted { rejected: (rejected != Rejected::default()).then_some(rejected) }
    }
}

fn parcels(parts: Vec<Part>, unreachable: &[Member]) -> Vec<Parcel> {
    let parcel = |Part { member, request, items }| Parcel {
        member,
        request,
        items,
        unreachable: unreachable.to_vec(),
    };
    parts.into_iter().map(parcel).collect()
}

impl End {
    /// Requests one after the other are one request.
    fn again(&mut self, request: &Body, after: Option<std::time::Duration>, trouble: Trouble, why: String) {
        self.rest.extend_from_slice(request.pieces());
        self.after = self.after.max(after);
        // That somebody could be reached is the better news.
        self.trouble = match self.trouble {
            Some(Trouble::Destination) => Some(Trouble::Destination),
            _ => Some(trouble),
        };
        if !self.why.contains(&why) {
            self.why.push(why);
        }
    }
}

impl Rejected {
    fn add(&mut self, items: u64, why: &str) {
        self.items += items;
        if !self.why.is_empty() && !why.is_empty() {
            self.why.push_str("; ");
        }
        self.why.push_str(why);
    }
}
