//! What a span is asked while it passes: each condition of the policies once, an answer a bit.

use throughline_otlp::WireError;

mod number;
mod status;
mod text;
mod trace_state;

pub(crate) use number::Bounds;
pub(crate) use status::Codes;
pub(crate) use text::{Place, Texts};
pub(crate) use trace_state::{MAX_VALUE, Member, is_key, is_value};

use crate::facts::{Bit, Met};
use crate::ottl::{Conditions, Outcome};
use crate::span::{AskedKeys, Found, Scalar, Subject, Twofold};

/// A condition that one span meets or does not meet.
#[derive(Debug, PartialEq)]
pub(crate) enum Leaf {
    /// It has one of these status codes.
    Status(Codes),
    /// It has the W3C sampled flag.
    SampledFlag,
    /// Its tracestate has one of these members.
    TraceState(Member),
    /// It or its resource has an attribute that passes a test.
    Attribute(Twofold, Test),
    /// It or one of its events meets one of these conditions.
    Ottl(Conditions),
    /// Evaluating the conditions with this number failed on it.
    OttlFailed(usize),
}

/// What an attribute's value is held against.
#[derive(Debug, PartialEq)]
pub(crate) enum Test {
    /// `numeric_attribute`
    Number(Bounds),
    /// `string_attribute`
    Text(Texts),
    /// `boolean_attribute`
    Bool(bool),
}

/// Whether links are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FollowLinks {
    /// No policy follows them: they are not looked into.
    #[default]
    No,
    /// `linked_traces` does.
    Yes,
}

/// All conditions, sorted by what they look at.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    pub(crate) keys: AskedKeys,
    pub(crate) links: FollowLinks,
    status: [Met; 3],
    sampled_flag: Met,
    trace_states: Vec<(Member, Bit)>,
    attributes: Vec<(Twofold, Test, Bit)>,
    ottl: Vec<(Conditions, Bit, Option<Bit>)>,
    scope: bool,
}

impl Probes {
    /// Sorts conditions, numbered by their place in `leaves`.
    pub(crate) fn new(leaves: Vec<Leaf>, keys: AskedKeys, links: FollowLinks) -> Self {
        let mut probes = Self { keys, links, ..Self::default() };
        let failures: Vec<(usize, Bit)> = (leaves.iter().enumerate())
            .filter_map(|(number, leaf)| match leaf {
                Leaf::OttlFailed(of) => Some((*of, Bit::new(number)?)),
                _ => None,
            })
            .collect();
        for (number, leaf) in leaves.into_iter().enumerate() {
            let Some(bit) = Bit::new(number) else { continue };
            match leaf {
                Leaf::Status(codes) => probes.add_status(codes, bit),
                Leaf::SampledFlag => probes.sampled_flag.set(bit),
                Leaf::TraceState(member) => probes.trace_states.push((member, bit)),
                Leaf::Attribute(asked, test) => probes.attributes.push((asked, test, bit)),
                Leaf::Ottl(conditions) => {
                    let failed = failures.iter().find(|(of, _)| *of == number).map(|(_, bit)| *bit);
                    probes.scope |= conditions.asks_for_scope();
                    probes.ottl.push((conditions, bit, failed));
                }
                Leaf::OttlFailed(_) => {}
            }
        }
        probes
    }

    fn add_status(&mut self, codes: Codes, bit: Bit) {
        for (code, met) in (0..).zip(&mut self.status) {
            if codes.contains(code) {
                met.set(bit);
            }
        }
    }

    /// Whether the scope around a span is asked for.
    pub(crate) fn asks_for_scope(&self) -> bool {
        self.scope
    }

    /// What a resource meets by itself.
    pub(crate) fn resource(&self, found: &Found<'_>) -> Result<Met, WireError> {
        let mut met = Met::default();
        for (asked, test, bit) in &self.attributes {
            if let Some(pair) = asked.on_resource(found)
                && test.passes(Scalar::of_pair(pair)?, Place::Resource)
            {
                met.set(*bit);
            }
        }
        Ok(met)
    }

    /// What a span meets by itself.
    #[inline]
    pub(crate) fn span(&self, subject: &Subject<'_, '_>) -> Result<Met, WireError> {
        let code = usize::try_from(subject.head.status_code).unwrap_or(usize::MAX);
        let mut met = self.status.get(code).copied().unwrap_or_default();
        if subject.head.flags & 1 == 1 {
            met.add(self.sampled_flag);
        }
        for (asked, test, bit) in &self.attributes {
            if let Some(pair) = asked.on_span(subject.attributes)
                && test.passes(Scalar::of_pair(pair)?, Place::Span)
            {
                met.set(*bit);
            }
        }
        for (member, bit) in &self.trace_states {
            if member.is_in(subject.head.trace_state) {
                met.set(*bit);
            }
        }
        for (conditions, yes, failed) in &self.ottl {
            match (conditions.ask(subject, &self.keys.event)?, failed) {
                (Outcome::Yes, _) => met.set(*yes),
                (Outcome::Failed, Some(failed)) => met.set(*failed),
                (Outcome::No | Outcome::Failed, _) => {}
            }
        }
        Ok(met)
    }
}

impl Test {
    fn passes(&self, value: Scalar<'_>, place: Place) -> bool {
        match self {
            Self::Number(bounds) => bounds.contain(value),
            Self::Text(texts) => texts.contain(value, place),
            Self::Bool(wanted) => value == Scalar::Bool(*wanted),
        }
    }
}
