//! What the queries ask of the running backend, in their own words: arrivals, health, metrics, and what the samplers decide and
//! do. The only place where both are known.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use throughline_collector::{
    ExporterFigures, Held, Links, PeerFigures, Picture, Probe, SamplerFigures, Standing, TierFigures,
};
use throughline_otlp::TraceId;
use throughline_query::{
    Again, Arrival, Bound, Count, Decision, Exporter, Live, Moment, Peer, Reach, Reason, Sampler, Samples,
    Sampling, Tier, Trigger, Verdict,
};
use throughline_sampling::decision;
use tokio::sync::broadcast;
use tokio::time::{Instant, MissedTickBehavior};

/// Between two looks at the totals.
const BEAT: Duration = Duration::from_secs(1);
/// So many are kept: two minutes.
const MOMENTS: usize = 121;

/// The backend, as the queries see it.
pub(crate) struct Wired {
    pub(crate) probe: Probe,
    pub(crate) arrived: broadcast::Sender<Arc<Arrival>>,
    pub(crate) metrics: Metrics,
    pub(crate) pulse: Arc<Pulse>,
}

/// `service::telemetry::metrics::level`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metrics {
    /// They are served.
    Served,
    /// `none`
    Off,
}

/// The samplers' totals in the last two minutes.
pub(crate) struct Pulse {
    begun: Instant,
    moments: Mutex<VecDeque<Moment>>,
}

impl Live for Wired {
    fn arrivals(&self) -> broadcast::Receiver<Arc<Arrival>> {
        self.arrived.subscribe()
    }

    fn metrics(&self) -> Option<String> {
        (self.metrics == Metrics::Served).then(|| self.probe.metrics())
    }

    fn readiness(&self) -> Result<(), String> {
        self.probe.readiness()
    }

    fn decisions(&self, trace: TraceId) -> Vec<Decision> {
        self.probe.standings(trace).into_iter().map(decided).collect()
    }

    fn sampling(&self) -> Option<Sampling> {
        let Picture { samplers, exporters, tier: of_tier, .. } =
            Some(self.probe.picture()).filter(|it| !it.samplers.is_empty())?;
        Some(Sampling {
            samplers: samplers.into_iter().map(sampler).collect(),
            exporters: exporters.into_iter().map(exporter).collect(),
            tier: of_tier.map(tier),
            reach: self.probe.reach().map(reach),
            history: self.pulse.moments(),
        })
    }

    fn samples(&self) -> Samples {
        if self.probe.picture().samplers.is_empty() { Samples::Nothing } else { Samples::Traces }
    }
}

impl Pulse {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { begun: Instant::now(), moments: Mutex::default() })
    }

    /// Looks at the totals once a second, for ever; at once if nothing samples, since that does not change.
    pub(crate) async fn beat(self: Arc<Self>, probe: Probe) {
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let picture = probe.picture();
            if picture.samplers.is_empty() {
                return;
            }
            self.note(&picture);
        }
    }

    fn note(&self, picture: &Picture) {
        let decided =
            |sampler: &SamplerFigures| sampler.decisions.iter().map(|(_, _, count)| count).sum::<u64>();
        let moment = Moment {
            at: self.begun.elapsed(),
            spans_in: picture.accepted_spans,
            spans_kept: picture.samplers.iter().map(|sampler| sampler.kept_spans).sum(),
            decided: picture.samplers.iter().map(decided).sum(),
        };
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        if moments.len() == MOMENTS {
            moments.pop_front();
        }
        moments.push_back(moment);
    }

    fn moments(&self) -> Vec<Moment> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

fn decided(standing: Standing) -> Decision {
    let Standing { pipeline, decision, wait, spans, links } = standing;
    let again = match (spans, links) {
        (Held::Gone, _) => Again::Nothing,
        (Held::Yes, Links::Ignored) => Again::LateSpan,
        (Held::Yes, Links::Followed) => Again::LateSpanOrLink,
    };
    let verdict = Verdict::Undecided;
    let (reason, trigger, hops, left_out) = (None, None, None, 0);
    let undecided = Decision { pipeline, verdict, reason, trigger, hops, left_out, wait, again };
    let Some(decision) = decision else { return undecided };
    Decision {
        verdict: match decision.verdict {
            decision::Verdict::NotSampled => Verdict::NotSampled,
            decision::Verdict::Sampled => Verdict::Sampled,
            decision::Verdict::Dropped => Verdict::Dropped,
        },
        reason: Some(reason_of(decision.reason)),
        trigger: Some(trigger_of(decision.trigger)),
        hops: decision.hops,
        left_out: decision.left_out,
        ..undecided
    }
}

fn reason_of(reason: decision::Reason) -> Reason {
    match reason {
        decision::Reason::Policy(name) => Reason::Policy(name.to_string()),
        decision::Reason::NoPolicy => Reason::NoPolicy,
        decision::Reason::LinkedFrom(trace) => Reason::LinkedFrom(trace),
        decision::Reason::TooLarge => Reason::TooLarge,
        decision::Reason::Shutdown => Reason::Shutdown,
    }
}

fn trigger_of(trigger: decision::Trigger) -> Trigger {
    match trigger {
        decision::Trigger::Wait => Trigger::Wait,
        decision::Trigger::Root => Trigger::Root,
        decision::Trigger::Ingest => Trigger::Ingest,
        decision::Trigger::Size => Trigger::Size,
        decision::Trigger::Evicted => Trigger::Evicted,
        decision::Trigger::Late => Trigger::Late,
        decision::Trigger::Link => Trigger::Link,
        decision::Trigger::Promise => Trigger::Promise,
        decision::Trigger::Peer => Trigger::Peer,
        decision::Trigger::Shutdown => Trigger::Shutdown,
    }
}

fn sampler(figures: SamplerFigures) -> Sampler {
    let SamplerFigures { pipeline, wait, num_traces, shards, policies, decisions, kept_spans, stats } =
        figures;
    let count = |(verdict, reason, traces): (&str, String, u64)| {
        let verdict = match verdict {
            "sampled" => Verdict::Sampled,
            "dropped" => Verdict::Dropped,
            _ => Verdict::NotSampled,
        };
        Count { verdict, reason, traces }
    };
    Sampler {
        pipeline,
        wait,
        num_traces,
        shards,
        policies,
        decisions: decisions.into_iter().map(count).collect(),
        kept_spans,
        undecided: stats.undecided,
        remembered: stats.decided + stats.remembered_sampled + stats.remembered_not_sampled,
        bytes: stats.bytes,
        evicted: stats.evicted,
        overturned: stats.overturned,
        linked: stats.linked,
        late_sampled: stats.late_sampled,
        late_not_sampled: stats.late_not_sampled,
        links_left_out: stats.links_left_out,
        beyond_look_back: stats.beyond_look_back,
        failed_policies: stats.failed_policies,
        asked_elsewhere: stats.asked_elsewhere,
        unanswered: stats.unanswered,
        kept_elsewhere: stats.kept_elsewhere,
    }
}

fn reach(reach: throughline_collector::Reach) -> Reach {
    let throughline_collector::Reach { since, look_back, bound } = reach;
    let bound = match bound {
        throughline_collector::Bound::Nothing => Bound::Nothing,
        throughline_collector::Bound::LookBack => Bound::LookBack,
        throughline_collector::Bound::JournalSize => Bound::JournalSize,
    };
    Reach { since, look_back, bound }
}

fn exporter(figures: ExporterFigures) -> Exporter {
    let ExporterFigures { name, waiting_items: waiting, sent, refused, failed_attempts, gone, .. } = figures;
    Exporter { name, waiting, sent, refused, failed_attempts, gone }
}

fn tier(figures: TierFigures) -> Tier {
    let TierFigures { us, nodes, taken, taken_kept, answered, refused, peers } = figures;
    let peer = |figures: PeerFigures| {
        let PeerFigures { name, waiting, delivered, given_up, answered, unanswered } = figures;
        Peer { name, waiting, delivered, given_up, answered, unanswered }
    };
    Tier { us, nodes, taken, taken_kept, answered, refused, peers: peers.into_iter().map(peer).collect() }
}
