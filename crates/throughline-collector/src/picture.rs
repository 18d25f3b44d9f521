//! What the running pipelines hold and have done, as plain figures for whoever shows them, and what is known of one trace.
//! Owns nothing: it asks the samplers, the exporters and the journal.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use throughline_journal::{Position, RecordKind};
use throughline_otlp::TraceId;
use throughline_sampling::decision::Decision;
use throughline_sampling::shard::Stats;

use crate::delivery::Delivery;
use crate::lines::Lines;
use crate::look_back::Reach;
use crate::sampler::history::JournalHistory;
use crate::sampler::keys::Entry;
use crate::sampler::{Figures, Sampler};

/// What a pipeline that samples knows of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which pipeline.
    pub pipeline: String,
    /// The last decision; `None`: its spans are here and wait for one.
    pub decision: Option<Decision>,
    /// `decision_wait`
    pub wait: Duration,
    /// Whether the journal still holds spans of it: what is gone cannot be brought back.
    pub spans: Held,
    /// Whether linked traces are kept too.
    pub links: Links,
}

/// Whether the journal holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It does.
    Yes,
    /// Not any more.
    Gone,
}

/// Whether a pipeline has a policy `linked_traces`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// It has.
    Followed,
    /// It has none.
    Ignored,
}

/// Figures of all pipelines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Spans accepted by all receivers.
    pub accepted_spans: u64,
    /// Of each pipeline that samples.
    pub samplers: Vec<SamplerFigures>,
    /// Of each exporter in each pipeline.
    pub exporters: Vec<ExporterFigures>,
    /// Of the nodes of the tier; `None`: this node is alone.
    pub tier: Option<TierFigures>,
}

/// Figures of a node that shares its traces with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TierFigures {
    /// This node's name; `None`: it is not known which of the nodes it is.
    pub us: Option<String>,
    /// Nodes on the ring, this one too.
    pub nodes: usize,
    /// Wishes of others that were taken and written down.
    pub taken: u64,
    /// Of these: that they keep a part of a trace.
    pub taken_kept: u64,
    /// Traces that others asked about.
    pub answered: u64,
    /// Calls of others that were refused.
    pub refused: u64,
    /// Of each node that something was for within look-back.
    pub peers: Vec<PeerFigures>,
}

/// Figures of another node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerFigures {
    /// Its name on the ring.
    pub name: String,
    /// Wishes that wait for it.
    pub waiting: usize,
    /// Wishes that it has taken.
    pub delivered: u64,
    /// Wishes that were given up.
    pub given_up: u64,
    /// Traces that it was asked about, and answered for.
    pub answered: u64,
    /// Traces that it was asked about, and were decided without it.
    pub unanswered: u64,
}

/// Figures of one pipeline that samples, its shards together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SamplerFigures {
    /// Which pipeline.
    pub pipeline: String,
    /// `decision_wait`
    pub wait: Duration,
    /// `num_traces`
    pub num_traces: usize,
    /// How many shards decide.
    pub shards: usize,
    /// Names of the policies, in order.
    pub policies: Vec<String>,
    /// Traces by verdict (`sampled`, `not_sampled`, `dropped`) and reason (a policy, `linked`, `no policy`, …), sorted.
    pub decisions: Vec<(&'static str, String, u64)>,
    /// Spans kept.
    pub kept_spans: u64,
    /// Held and done, summed over the shards.
    pub stats: Stats,
}

/// Figures of an exporter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExporterFigures {
    /// `pipeline/exporter`
    pub name: String,
    /// Records of the journal that wait to be sent or acknowledged.
    pub waiting_records: usize,
    /// What they stand for: spans or log records.
    pub waiting_items: u64,
    /// Items sent and acknowledged.
    pub sent: u64,
    /// Items refused for good.
    pub refused: u64,
    /// Attempts that failed and are made again.
    pub failed_attempts: u64,
    /// Records that could not be read back.
    pub gone: u64,
}

impl Lines {
    /// What each pipeline that samples knows of a trace; those that know nothing are left out. Reads the journal.
    pub(crate) fn standings(&self, trace: TraceId) -> Vec<Standing> {
        self.samplers.iter().filter_map(|sampler| standing(sampler, trace)).collect()
    }

    pub(crate) fn picture(&self, accepted_spans: u64) -> Picture {
        Picture {
            accepted_spans,
            samplers: self.samplers.iter().map(|sampler| sampler_figures(sampler)).collect(),
            exporters: self.deliveries.iter().map(|delivery| exporter_figures(delivery)).collect(),
            tier: None,
        }
    }

    /// How far back late spans and links reach, as it was a second ago at most; `None` if nothing samples, or nothing has come.
    pub(crate) fn reach(&self) -> Option<Reach> {
        *self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It reaches so far from now on.
    pub(crate) fn reaches(&self, reach: Option<Reach>) {
        *self.reach.lock().unwrap_or_else(PoisonError::into_inner) = reach;
    }
}

fn standing(sampler: &Sampler, trace: TraceId) -> Option<Standing> {
    let history = sampler.history();
    let decision = history.last_decision(trace);
    let spans = held(&history, trace);
    if decision.is_none() && spans == Held::Gone {
        return None;
    }
    let links = if history.plan.links().is_some() { Links::Followed } else { Links::Ignored };
    let wait = history.plan.settings().decision_wait;
    Some(Standing { pipeline: sampler.pipeline.clone(), decision, wait, spans, links })
}

fn held(history: &JournalHistory<'_>, trace: TraceId) -> Held {
    let hits = history.journal.lookup(&trace.bytes());
    let holds = |position: Position| {
        let record = history.record(position, RecordKind::Spans);
        record.is_some_and(|it| history.intakes.contains(&it.pipeline))
    };
    let mut positions = hits.iter().filter(|(_, value)| Entry::read(value) == Some(Entry::Holds));
    if positions.any(|(position, _)| holds(*position)) { Held::Yes } else { Held::Gone }
}

pub(crate) fn sampler_figures(sampler: &Sampler) -> SamplerFigures {
    let history = sampler.history();
    let settings = history.plan.settings();
    let shards = sampler.figures();
    let mut figures = SamplerFigures {
        pipeline: sampler.pipeline.clone(),
        wait: settings.decision_wait,
        num_traces: settings.num_traces.get(),
        shards: shards.len(),
        policies: history.plan.policies().map(str::to_owned).collect(),
        ..SamplerFigures::default()
    };
    for shard in &shards {
        figures.add(shard);
    }
    figures.decisions.sort();
    figures
}

impl SamplerFigures {
    fn add(&mut self, shard: &Figures) {
        self.kept_spans += shard.kept_spans;
        for ((verdict, reason), count) in &shard.decisions {
            let same = |it: &&mut (&'static str, String, u64)| it.0 == *verdict && it.1 == *reason;
            match self.decisions.iter_mut().find(same) {
                Some(known) => known.2 += count,
                None => self.decisions.push((verdict, reason.clone(), *count)),
            }
        }
        self.stats += shard.stats;
    }
}

pub(crate) fn exporter_figures(delivery: &Delivery) -> ExporterFigures {
    let (waiting_records, waiting_items) = delivery.backlog();
    let counts = delivery.counts();
    ExporterFigures {
        name: delivery.name().to_owned(),
        waiting_records,
        waiting_items,
        sent: counts.sent.load(Ordering::Relaxed),
        refused: counts.refused.load(Ordering::Relaxed),
        failed_attempts: counts.failed_attempts.load(Ordering::Relaxed),
        gone: counts.gone.load(Ordering::Relaxed),
    }
}
