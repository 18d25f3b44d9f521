//! Figures of running samplers and exporters, and what follows from them: rates over the last seconds, as JSON.

use std::time::Duration;

use serde_json::{Value as Json, json};
use throughline_otlp::UnixNanos;

use super::Verdict;

/// Rates are over this long.
pub(crate) const RATE_OVER: Duration = Duration::from_secs(10);

/// All samplers and exporters of the process at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sampling {
    /// Of each pipeline that samples.
    pub samplers: Vec<Sampler>,
    /// Of each exporter in each pipeline.
    pub exporters: Vec<Exporter>,
    /// Of the nodes that share traces with this one; `None`: it is alone.
    pub tier: Option<Tier>,
    /// How far back late spans and links reach; `None`: nothing has come yet.
    pub reach: Option<Reach>,
    /// The totals now and in the last minutes, oldest first.
    pub history: Vec<Moment>,
}

/// How far back late spans and links reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// What arrived before this is not brought back.
    pub since: UnixNanos,
    /// `look_back`: the furthest that is configured.
    pub look_back: Duration,
    /// Why it is not further.
    pub bound: Bound,
}

/// What bounds the look-back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Nothing yet: all that came is still there.
    Nothing,
    /// `look_back`
    LookBack,
    /// `journal_size`, before `look_back` does.
    JournalSize,
}

/// Totals since the start, at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Since the start.
    pub at: Duration,
    /// Spans accepted.
    pub spans_in: u64,
    /// Spans kept.
    pub spans_kept: u64,
    /// Traces decided.
    pub decided: u64,
}

/// A pipeline that samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sampler {
    /// Its name.
    pub pipeline: String,
    /// `decision_wait`
    pub wait: Duration,
    /// `num_traces`
    pub num_traces: usize,
    /// How many shards decide.
    pub shards: usize,
    /// Names of the policies, in order.
    pub policies: Vec<String>,
    /// Traces decided, by verdict and reason.
    pub decisions: Vec<Count>,
    /// Spans kept.
    pub kept_spans: u64,
    /// Traces that wait for their decision.
    pub undecided: usize,
    /// Decisions remembered in memory.
    pub remembered: usize,
    /// Memory of the traces and decisions held.
    pub bytes: usize,
    /// Decided early, because `num_traces` was reached.
    pub evicted: u64,
    /// Not sampled first, kept later.
    pub overturned: u64,
    /// Kept because of a link only.
    pub linked: u64,
    /// Spans that came after their trace was sampled: they followed it.
    pub late_sampled: u64,
    /// Spans that came after their trace was not sampled.
    pub late_not_sampled: u64,
    /// Linked traces left out beyond `max_traces`.
    pub links_left_out: u64,
    /// Links to traces beyond the look-back.
    pub beyond_look_back: u64,
    /// Policies that failed.
    pub failed_policies: u64,
    /// Traces that other nodes were asked about.
    pub asked_elsewhere: u64,
    /// Of these: decided without another node that did not answer.
    pub unanswered: u64,
    /// Kept because another node keeps a part.
    pub kept_elsewhere: u64,
}

/// Traces decided for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// How.
    pub verdict: Verdict,
    /// A policy's name, or `linked`, `no policy`, `too large`, `shutdown`.
    pub reason: String,
    /// How many.
    pub traces: u64,
}

/// An exporter in a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exporter {
    /// `pipeline/exporter`
    pub name: String,
    /// Spans or log records that wait to be sent or acknowledged, in the journal.
    pub waiting: u64,
    /// Sent and acknowledged.
    pub sent: u64,
    /// Refused for good by the backend.
    pub refused: u64,
    /// Attempts that failed and are made again.
    pub failed_attempts: u64,
    /// Records that could not be read back.
    pub gone: u64,
}

/// The nodes that share traces with this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tier {
    /// This node's name; `None`: it is not known which of them it is.
    pub us: Option<String>,
    /// How many there are, this one too.
    pub nodes: usize,
    /// Wishes of others that were taken.
    pub taken: u64,
    /// Of these: that they keep a part of a trace.
    pub taken_kept: u64,
    /// Traces that others asked about.
    pub answered: u64,
    /// Calls of others that were refused.
    pub refused: u64,
    /// The others, as far as something was for them.
    pub peers: Vec<Peer>,
}

/// Another node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Wishes that wait for it.
    pub waiting: usize,
    /// Wishes that it has taken.
    pub delivered: u64,
    /// Wishes that were given up.
    pub given_up: u64,
    /// Traces that it answered for.
    pub answered: u64,
    /// Traces that were decided without its answer.
    pub unanswered: u64,
}

/// A second of this.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) spans_in: f64,
    pub(crate) spans_kept: f64,
    pub(crate) decided: f64,
}

impl Sampler {
    /// Traces with this verdict.
    pub(crate) fn traces(&self, verdict: Verdict) -> u64 {
        self.decisions.iter().filter(|count| count.verdict == verdict).map(|count| count.traces).sum()
    }

    /// Traces with this verdict for this reason.
    pub(crate) fn because(&self, verdict: Verdict, reason: &str) -> u64 {
        let fits = |count: &&Count| count.verdict == verdict && count.reason == reason;
        self.decisions.iter().filter(fits).map(|count| count.traces).sum()
    }
}

impl Sampling {
    /// Over the last [`RATE_OVER`], or what there is of it.
    pub(crate) fn rates(&self) -> Rates {
        let Some(last) = self.history.last() else { return Rates::default() };
        let from = last.at.saturating_sub(RATE_OVER);
        self.history
            .iter()
            .find(|moment| moment.at >= from)
            .map_or_else(Rates::default, |first| last.since(first))
    }

    /// For programs.
    pub(crate) fn json(&self, now: UnixNanos) -> Json {
        let rates = self.rates();
        json!({
            "spansInPerSecond": rounded(rates.spans_in),
            "spansKeptPerSecond": rounded(rates.spans_kept),
            "tracesDecidedPerSecond": rounded(rates.decided),
            "spansIn": self.history.last().map(|moment| moment.spans_in),
            "lookBackSeconds": self.reach.map(|reach| now.0.saturating_sub(reach.since.0) / 1_000_000_000),
            "lookBackConfiguredSeconds": self.reach.map(|reach| reach.look_back.as_secs()),
            "lookBackBoundBy": self.reach.map(|reach| reach.bound.as_str()),
            "samplers": self.samplers.iter().map(Sampler::json).collect::<Vec<_>>(),
            "exporters": self.exporters.iter().map(Exporter::json).collect::<Vec<_>>(),
            "tier": self.tier.as_ref().map(Tier::json),
        })
    }
}

impl Bound {
    /// As in JSON.
    fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::LookBack => "look_back",
            Self::JournalSize => "journal_size",
        }
    }
}

impl Moment {
    /// What happened a second between two of them.
    pub(crate) fn since(&self, first: &Self) -> Rates {
        let seconds = self.at.saturating_sub(first.at).as_secs_f64();
        // Totals can fall behind for a moment, as they are read one by one.
        let rate = |now: u64, then: u64| {
            if seconds > 0.0 { now.saturating_sub(then) as f64 / seconds } else { 0.0 }
        };
        Rates {
            spans_in: rate(self.spans_in, first.spans_in),
            spans_kept: rate(self.spans_kept, first.spans_kept),
            decided: rate(self.decided, first.decided),
        }
    }
}

impl Sampler {
    fn json(&self) -> Json {
        let count = |count: &Count| json!({ "verdict": count.verdict.as_str(), "reason": count.reason, "traces": count.traces });
        json!({
            "pipeline": self.pipeline,
            "decisionWaitMillis": u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX),
            "numTraces": self.num_traces,
            "shards": self.shards,
            "policies": self.policies,
            "decisions": self.decisions.iter().map(count).collect::<Vec<_>>(),
            "keptSpans": self.kept_spans,
            "undecidedTraces": self.undecided,
            "rememberedDecisions": self.remembered,
            "memoryBytes": self.bytes,
            "evicted": self.evicted,
            "overturned": self.overturned,
            "linked": self.linked,
            "lateSpansOfSampled": self.late_sampled,
            "lateSpansOfNotSampled": self.late_not_sampled,
            "linksLeftOut": self.links_left_out,
            "linksBeyondLookBack": self.beyond_look_back,
            "failedPolicies": self.failed_policies,
            "askedElsewhere": self.asked_elsewhere,
            "unanswered": self.unanswered,
            "keptElsewhere": self.kept_elsewhere,
        })
    }
}

impl Exporter {
    fn json(&self) -> Json {
        json!({
            "name": self.name,
            "waiting": self.waiting,
            "sent": self.sent,
            "refused": self.refused,
            "failedAttempts": self.failed_attempts,
            "gone": self.gone,
        })
    }
}

impl Tier {
    fn json(&self) -> Json {
        let peer = |peer: &Peer| {
            json!({
                "name": peer.name,
                "waitingWishes": peer.waiting,
                "deliveredWishes": peer.delivered,
                "givenUpWishes": peer.given_up,
                "answeredTraces": peer.answered,
                "unansweredTraces": peer.unanswered,
            })
        };
        json!({
            "us": self.us,
            "nodes": self.nodes,
            "takenWishes": self.taken,
            "takenKept": self.taken_kept,
            "answeredTraces": self.answered,
            "refusedCalls": self.refused,
            "peers": self.peers.iter().map(peer).collect::<Vec<_>>(),
        })
    }
}

fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}
