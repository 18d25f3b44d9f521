//! What live data says of tail sampling, as plain data: decisions on one trace, figures of the samplers; and the words for
//! them, the same on the page, at the terminal and in JSON. It decides nothing.

use std::time::Duration;

use serde_json::{Value as Json, json};
use throughline_otlp::{TraceId, UnixNanos};

use crate::units;

mod figures;
pub use figures::{Bound, Count, Exporter, Moment, Peer, Reach, Sampler, Sampling, Tier};

/// What one pipeline that samples says of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Which pipeline.
    pub pipeline: String,
    /// What happens to the trace there.
    pub verdict: Verdict,
    /// Why; `None` while undecided.
    pub reason: Option<Reason>,
    /// What made the decision fall; `None` while undecided.
    pub trigger: Option<Trigger>,
    /// How many links away from a trace kept on its own merit.
    pub hops: Option<u8>,
    /// Linked traces that were left out.
    pub left_out: u32,
    /// `decision_wait` of the pipeline.
    pub wait: Duration,
    /// What may still overturn a "not sampled".
    pub again: Again,
}

/// What happens to a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its spans are here and wait for the decision.
    Undecided,
    /// No policy said yes.
    NotSampled,
    /// It is kept.
    Sampled,
    /// A `drop` policy matched.
    Dropped,
}

/// Why it was decided so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The policy of this name said so.
    Policy(String),
    /// No policy said yes.
    NoPolicy,
    /// It is linked with this trace, which was kept on its own merit.
    LinkedFrom(TraceId),
    /// Larger than `maximum_trace_size_bytes`.
    TooLarge,
    /// Undecided at a shutdown with `drop_pending_traces_on_shutdown`.
    Shutdown,
}

/// What made the decision fall when it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// `decision_wait` was over.
    Wait,
    /// `decision_wait_after_root_received` was over.
    Root,
    /// Decided at arrival.
    Ingest,
    /// It grew too large.
    Size,
    /// `num_traces` was reached.
    Evicted,
    /// A late span.
    Late,
    /// A linked trace was kept.
    Link,
    /// A linked trace was kept before any span of this one came.
    Promise,
    /// Another node of the tier said so.
    Peer,
    /// The process stopped.
    Shutdown,
}

/// What may still bring a trace back that was not sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Nothing: its spans are not in the journal any more.
    Nothing,
    /// A late span that makes a policy say yes.
    LateSpan,
    /// That, or a linked trace that is kept.
    LateSpanOrLink,
}

impl Verdict {
    /// As in JSON and in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Undecided => "undecided",
            Self::NotSampled => "not_sampled",
            Self::Sampled => "sampled",
            Self::Dropped => "dropped",
        }
    }
}

impl Trigger {
    fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Root => "root",
            Self::Ingest => "ingest",
            Self::Size => "size",
            Self::Evicted => "evicted",
            Self::Late => "late",
            Self::Link => "link",
            Self::Promise => "promise",
            Self::Peer => "peer",
            Self::Shutdown => "shutdown",
        }
    }
}

impl Decision {
    /// The trace because of which this one is kept, if a link is the reason.
    pub(crate) fn linked_from(&self) -> Option<TraceId> {
        match &self.reason {
            Some(Reason::LinkedFrom(trace)) => Some(*trace),
            _ => None,
        }
    }

    /// `kept by policy errors`, `not sampled: no policy said yes`.
    pub(crate) fn why(&self) -> String {
        let because = match &self.reason {
            None => {
                let wait = units::exact(self.wait);
                return format!(
                    "undecided: its spans are here, the decision falls {wait} after the first of them"
                );
            }
            Some(Reason::Policy(name)) if self.verdict == Verdict::Sampled => {
                return format!("kept by policy {name}");
            }
            Some(Reason::Policy(name)) => format!("policy {name} said so"),
            Some(Reason::NoPolicy) => "no policy said yes".to_owned(),
            Some(Reason::LinkedFrom(trace)) => {
                return format!("kept because it is linked with trace {trace}");
            }
            Some(Reason::TooLarge) => "larger than maximum_trace_size_bytes".to_owned(),
            Some(Reason::Shutdown) => {
                "undecided when the process stopped, with drop_pending_traces_on_shutdown".to_owned()
            }
        };
        match self.verdict {
            Verdict::Sampled => format!("kept: {because}"),
            Verdict::Dropped => format!("dropped: {because}"),
            Verdict::NotSampled | Verdict::Undecided => format!("not sampled: {because}"),
        }
    }

    /// `decided 30s after its first span (decision_wait)`.
    pub(crate) fn when(&self) -> Option<String> {
        let when = match self.trigger? {
            Trigger::Wait => {
                let wait = units::exact(self.wait);
                return Some(format!("decided {wait} after its first span (decision_wait)"));
            }
            Trigger::Root => "after its root came (decision_wait_after_root_received)",
            Trigger::Ingest => "as its spans came (span-ingest)",
            Trigger::Size => "when it grew too large",
            Trigger::Evicted => "early, because num_traces was reached",
            Trigger::Late => "on a late span",
            Trigger::Link => "when the linked trace was kept",
            Trigger::Promise => "when the linked trace was kept, before a span of this one came",
            Trigger::Peer => "when another node of the tier, which has spans of it too, told of it",
            Trigger::Shutdown => "when the process stopped",
        };
        Some(format!("decided {when}"))
    }

    /// What may still bring it back, or that nothing does; `None` if it need not be brought back.
    pub(crate) fn again(&self) -> Option<&'static str> {
        match (self.verdict, self.again) {
            (Verdict::Undecided | Verdict::Sampled, _) => None,
            (Verdict::Dropped, _) => Some("an explicit drop is final: nothing brings it back"),
            (Verdict::NotSampled, Again::Nothing) => {
                Some("its spans are not in the journal any more: nothing brings them back")
            }
            (Verdict::NotSampled, Again::LateSpan) => Some(
                "its spans are still in the journal: a late span that makes a policy say yes brings all of them back",
            ),
            (Verdict::NotSampled, Again::LateSpanOrLink) => Some(
                "its spans are still in the journal: a late span that makes a policy say yes, or a linked trace that is kept, brings all of them back",
            ),
        }
    }

    /// All of it as one line, with the pipeline.
    pub(crate) fn line(&self) -> String {
        let when = self.when().map(|when| format!(", {when}")).unwrap_or_default();
        let hops = self.hops.filter(|hops| *hops > 0 && self.linked_from().is_some());
        let away = hops.map(|hops| format!(", {} away", units::counted(usize::from(hops), "link")));
        let left_out = (self.left_out > 0)
            .then(|| format!("; {} left out", units::counted(self.left_out as usize, "linked trace")));
        let again = self.again().map(|again| format!("; {again}")).unwrap_or_default();
        let (away, left_out) = (away.unwrap_or_default(), left_out.unwrap_or_default());
        format!("{}{away}{when} (pipeline {}){left_out}{again}", self.why(), self.pipeline)
    }

    /// For programs.
    pub(crate) fn json(&self) -> Json {
        let reason = self.reason.as_ref().map(|reason| match reason {
            Reason::Policy(_) => "policy",
            Reason::NoPolicy => "no policy",
            Reason::LinkedFrom(_) => "linked",
            Reason::TooLarge => "too large",
            Reason::Shutdown => "shutdown",
        });
        let policy = match &self.reason {
            Some(Reason::Policy(name)) => Some(name),
            _ => None,
        };
        let again = match self.again {
            _ if self.verdict != Verdict::NotSampled => None,
            Again::Nothing => Some("nothing"),
            Again::LateSpan => Some("late span"),
            Again::LateSpanOrLink => Some("late span or link"),
        };
        json!({
            "pipeline": self.pipeline,
            "verdict": self.verdict.as_str(),
            "reason": reason,
            "policy": policy,
            "linkedFrom": self.linked_from().map(|trace| trace.to_string()),
            "hops": self.hops,
            "trigger": self.trigger.map(Trigger::as_str),
            "linksLeftOut": self.left_out,
            "broughtBackBy": again,
            "text": self.line(),
        })
    }
}

/// Whether one of these pipelines may still keep the trace without anything new coming.
pub(crate) fn is_undecided(decisions: &[Decision]) -> bool {
    decisions.iter().any(|decision| decision.verdict == Verdict::Undecided)
}

/// How far back a moment lies, in words: `52 min`.
pub(crate) fn reach(since: UnixNanos, now: UnixNanos) -> String {
    throughline_trace::time::duration(i128::from(now.0.saturating_sub(since.0)))
}
