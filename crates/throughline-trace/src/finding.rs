//! What is wrong with a trace, and at which hop: a context that was lost, a parent that is missing, clocks that
//! disagree. Each finding is told from the spans alone and says what it was told from; nothing here is a guess about
//! spans that may still come.

use std::fmt;

use throughline_otlp::{SpanId, TraceId};

use crate::id::NodeId;
use crate::time;

mod context;
mod fold;
mod rules;
mod scene;

pub(crate) use rules::find;
pub(crate) use scene::Scene;

/// One thing that is wrong or worth knowing, however often it happened at this hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What. Where it happened more than once, the ids in it are those of the first time, lengths are the longest.
    pub kind: FindingKind,
    /// At which node: where it happened first, or longest.
    pub node: Option<NodeId>,
    /// At which hop, if it is about one.
    pub hop: Option<Hop>,
    /// How often; one or more.
    pub count: usize,
}

/// One hop of a message, as findings name it: `payment-worker -> payments -> email-worker`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// The sending service; `None` if its span is not at hand.
    pub from: Option<String>,
    /// Topic, queue or stream; `None` where no span names it, or where the hop is a call.
    pub destination: Option<String>,
    /// The receiving service.
    pub to: Option<String>,
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// A message was sent in one trace and processed in another, without a link.
    ContextLost {
        /// How it came to be lost.
        cause: Cause,
        /// The trace with the other half, if it is at hand.
        other: Option<TraceId>,
    },
    /// A span names a parent that was not received.
    MissingParent {
        /// The parent.
        span_id: SpanId,
    },
    /// Something happened before its cause, because two clocks disagree.
    ClockSkew {
        /// By how much at least, in nanoseconds.
        nanos: i128,
    },
    /// A span is its own ancestor.
    ParentLoop,
    /// Two different spans have one id.
    SpanIdReused {
        /// The id.
        span_id: SpanId,
    },
    /// A message carried two different `traceparent` headers; the last one was believed.
    HeadersConflict,
    /// Headers were left out of a message because of the byte budget.
    HeadersDropped {
        /// Their names, joined by commas.
        names: String,
    },
    /// A context was kept and used again long after its span had ended.
    StaleContext {
        /// How long after, in nanoseconds.
        nanos: i128,
    },
    /// A message was sent and no span of its processing is known.
    NotConsumed,
}

/// How the context of a message came to be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It arrived without a `traceparent`: the sender did not inject one, or something on the way dropped it.
    NotInjected,
    /// It carried a `traceparent`, which the receiver neither continued nor linked.
    NotContinued,
    /// The receiver's span does not say what it found in the headers.
    Unknown,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The trace is broken or wrong here.
    Problem,
    /// Worth knowing; nothing need be wrong.
    Notice,
}

impl Finding {
    /// How much it matters.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self.kind {
            FindingKind::NotConsumed
            | FindingKind::StaleContext { .. }
            | FindingKind::HeadersDropped { .. } => Severity::Notice,
            _ => Severity::Problem,
        }
    }

    /// A name for programs, as in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.kind {
            FindingKind::ContextLost { .. } => "context-lost",
            FindingKind::MissingParent { .. } => "missing-parent",
            FindingKind::ClockSkew { .. } => "clock-skew",
            FindingKind::ParentLoop => "parent-loop",
            FindingKind::SpanIdReused { .. } => "span-id-reused",
            FindingKind::HeadersConflict => "headers-conflict",
            FindingKind::HeadersDropped { .. } => "headers-dropped",
            FindingKind::StaleContext { .. } => "stale-context",
            FindingKind::NotConsumed => "not-consumed",
        }
    }
}

impl Severity {
    /// As in JSON: `problem`, `notice`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Notice => "notice",
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unknown = |name: &Option<String>| name.clone().unwrap_or_else(|| "?".to_owned());
        f.write_str(&or_unknown(&self.from))?;
        if let Some(destination) = &self.destination {
            write!(f, " -> {destination}")?;
        }
        write!(f, " -> {}", or_unknown(&self.to))
    }
}

/// One sentence: what and how often, at which hop, told from what.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&if self.count > 1 { self.what_many() } else { self.what() })?;
        if let Some(hop) = &self.hop {
            write!(f, " at {hop}")?;
        }
        let (up_to, one) = if self.count > 1 { ("up to ", ", for one") } else { ("", "") };
        match &self.kind {
            FindingKind::ContextLost { cause, other } => {
                write!(f, ": {cause}")?;
                other.map_or(Ok(()), |other| write!(f, "; the other half is trace {other}{one}"))
            }
            FindingKind::MissingParent { span_id } | FindingKind::SpanIdReused { span_id }
                if self.count > 1 =>
            {
                write!(f, ": {span_id}{one}")
            }
            FindingKind::ClockSkew { nanos } => {
                write!(f, ": it happened {up_to}{} before its cause", time::duration(*nanos))
            }
            FindingKind::StaleContext { nanos } => write!(f, ": {up_to}{} after", time::duration(*nanos)),
            _ => Ok(()),
        }
    }
}

impl Finding {
    /// What happened, if it happened once.
    fn what(&self) -> String {
        match &self.kind {
            FindingKind::ContextLost { .. } => "the trace is lost".to_owned(),
            FindingKind::MissingParent { span_id } => format!("parent span {span_id} was not received"),
            FindingKind::ClockSkew { .. } => "clock skew".to_owned(),
            FindingKind::ParentLoop => "a span is its own ancestor; the loop is cut at it".to_owned(),
            FindingKind::SpanIdReused { span_id } => format!("span id {span_id} is used twice"),
            FindingKind::HeadersConflict => "a message carried two different traceparent headers".to_owned(),
            FindingKind::HeadersDropped { names } => {
                format!("headers left out of a message for its size: {names}")
            }
            FindingKind::StaleContext { .. } => {
                "a context was used again after its span had ended".to_owned()
            }
            FindingKind::NotConsumed => "no processing of a message is known".to_owned(),
        }
    }

    /// The same, if it happened more than once.
    fn what_many(&self) -> String {
        let count = self.count;
        match &self.kind {
            FindingKind::ContextLost { .. } => format!("the trace is lost {count} times"),
            FindingKind::MissingParent { .. } => format!("{count} parent spans were not received"),
            FindingKind::ClockSkew { .. } => format!("clock skew {count} times"),
            FindingKind::ParentLoop => {
                format!("{count} spans are their own ancestors; the loops are cut at them")
            }
            FindingKind::SpanIdReused { .. } => format!("{count} spans have the id of another one"),
            FindingKind::HeadersConflict => {
                format!("{count} messages carried two different traceparent headers each")
            }
            FindingKind::HeadersDropped { names } => {
                format!("headers left out of {count} messages for their size: {names}")
            }
            FindingKind::StaleContext { .. } => {
                format!("contexts were used again after their spans had ended, {count} times")
            }
            FindingKind::NotConsumed => format!("no processing of {count} messages is known"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotInjected => "the message arrived without a traceparent",
            Self::NotContinued => "the message carried a traceparent that was neither continued nor linked",
            Self::Unknown => "the message is processed in a trace that does not link it",
        })
    }
}

#[cfg(test)]
mod tests;
