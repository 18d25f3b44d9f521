//! One finding for everything of one kind at one hop: a loop that sends three hundred messages that nobody traces is one
//! thing to know, not three hundred.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{Cause, Finding, FindingKind, Hop};

/// What findings are told together by.
#[derive(PartialEq, Eq, Hash)]
struct Group {
    name: &'static str,
    cause: Option<Cause>,
    headers: Option<String>,
    hop: Option<Hop>,
}

impl Group {
    fn of(finding: &Finding) -> Self {
        let (cause, headers) = match &finding.kind {
            FindingKind::ContextLost { cause, .. } => (Some(*cause), None),
            FindingKind::HeadersDropped { names } => (None, Some(names.clone())),
            _ => (None, None),
        };
        Self { name: finding.name(), cause, headers, hop: finding.hop.clone() }
    }
}

/// Each group once, in the order of the first of each.
pub(super) fn fold(findings: Vec<Finding>) -> Vec<Finding> {
    let mut places: HashMap<Group, usize> = HashMap::new();
    let mut folded: Vec<Finding> = Vec::new();
    for finding in findings {
        match places.entry(Group::of(&finding)) {
            Entry::Vacant(vacant) => {
                vacant.insert(folded.len());
                folded.push(finding);
            }
            Entry::Occupied(place) => {
                if let Some(first) = folded.get_mut(*place.get()) {
                    join(first, finding);
                }
            }
        }
    }
    folded
}

fn join(first: &mut Finding, next: Finding) {
    first.count += next.count;
    match (&mut first.kind, next.kind) {
        (FindingKind::ContextLost { other, .. }, FindingKind::ContextLost { other: next, .. }) => {
            *other = other.or(next);
        }
        (FindingKind::ClockSkew { nanos }, FindingKind::ClockSkew { nanos: next_nanos })
        | (FindingKind::StaleContext { nanos }, FindingKind::StaleContext { nanos: next_nanos })
            if next_nanos > *nanos =>
        {
            *nanos = next_nanos;
            first.node = next.node;
        }
        _ => {}
    }
}
