//! What is live in the tests: nothing that samples, or a sampler with made-up decisions and figures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use throughline_otlp::{TraceId, UnixNanos};
use throughline_query::{
    Again, Arrival, Bound, Count, Decision, Exporter, Live, Moment, Peer, Reach, Reason, Sampler, Samples,
    Sampling, Tier, Trigger, Verdict,
};
use tokio::sync::broadcast;

use super::{BATCH, NOW, trace_id};

/// A policy whose name is not to be trusted.
const HOSTILE: &str = "<b>\u{1b}[2J";

pub(crate) struct Alive {
    pub(super) arrivals: broadcast::Sender<Arc<Arrival>>,
    pub(super) decisions: BTreeMap<TraceId, Decision>,
    pub(super) sampling: Option<Sampling>,
    /// How often the figures were asked for: one more trace is undecided each time.
    pub(super) asked: AtomicUsize,
}

impl Live for Alive {
    fn arrivals(&self) -> broadcast::Receiver<Arc<Arrival>> {
        self.arrivals.subscribe()
    }

    fn metrics(&self) -> Option<String> {
        Some("# TYPE up gauge\nup 1\n".to_owned())
    }

    fn readiness(&self) -> Result<(), String> {
        Ok(())
    }

    fn decisions(&self, trace: TraceId) -> Vec<Decision> {
        self.decisions.get(&trace).cloned().into_iter().collect()
    }

    fn sampling(&self) -> Option<Sampling> {
        let mut sampling = self.sampling.clone()?;
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        sampling.samplers.iter_mut().for_each(|sampler| sampler.undecided += asked);
        Some(sampling)
    }

    fn samples(&self) -> Samples {
        if self.sampling.is_some() { Samples::Traces } else { Samples::Nothing }
    }
}

/// The id of a made-up trace.
fn id(number: u64) -> TraceId {
    TraceId::from_hex(&trace_id(number)).unwrap()
}

/// Decisions on traces that the store has (3, 1 and the batch) and on some that it has not.
pub(super) fn decisions() -> BTreeMap<TraceId, Decision> {
    let decision = |verdict, reason: Option<Reason>, trigger, again| Decision {
        pipeline: "traces".to_owned(),
        verdict,
        reason,
        trigger,
        hops: None,
        left_out: 0,
        wait: Duration::from_secs(30),
        again,
    };
    let policy = |name: &str| Some(Reason::Policy(name.to_owned()));
    let kept = |reason, trigger| decision(Verdict::Sampled, reason, Some(trigger), Again::LateSpanOrLink);
    let not = |reason, trigger, again| decision(Verdict::NotSampled, Some(reason), Some(trigger), again);
    let linked = kept(Some(Reason::LinkedFrom(id(BATCH))), Trigger::Link);
    BTreeMap::from([
        (id(3), kept(policy("slow-traces"), Trigger::Wait)),
        (id(1), Decision { hops: Some(1), ..linked }),
        (id(BATCH), Decision { hops: Some(0), left_out: 2, ..kept(policy(HOSTILE), Trigger::Late) }),
        (id(50), not(Reason::NoPolicy, Trigger::Wait, Again::LateSpanOrLink)),
        (id(51), decision(Verdict::Dropped, policy("healthz"), Some(Trigger::Root), Again::LateSpan)),
        (id(52), decision(Verdict::Undecided, None, None, Again::LateSpan)),
        (id(53), not(Reason::TooLarge, Trigger::Size, Again::Nothing)),
        (id(54), kept(policy("errors"), Trigger::Evicted)),
    ])
}

/// A minute of a pipeline that keeps about a tenth.
pub(super) fn sampling() -> Sampling {
    let exporter = |name: &str, waiting, refused| Exporter {
        name: name.to_owned(),
        waiting,
        sent: 46_000,
        refused,
        ..Exporter::default()
    };
    let moment = |second: u64| Moment {
        at: Duration::from_secs(second),
        spans_in: second * 8_000 + second * second % 97 * 20,
        spans_kept: second * 800,
        decided: second * 1_000,
    };
    Sampling {
        samplers: vec![sampler()],
        exporters: vec![exporter("traces/otlphttp/tempo", 2_000, 0), exporter("traces/otlp/archive", 0, 3)],
        reach: Some(Reach {
            since: UnixNanos(NOW - 52 * 60_000_000_000),
            look_back: Duration::from_secs(3600),
            bound: Bound::JournalSize,
        }),
        tier: Some(tier()),
        history: (0..=60).map(moment).collect(),
    }
}

fn sampler() -> Sampler {
    let count = |verdict, reason: &str, traces| Count { verdict, reason: reason.to_owned(), traces };
    Sampler {
        pipeline: "traces".to_owned(),
        wait: Duration::from_secs(30),
        num_traces: 50_000,
        shards: 2,
        policies: ["errors", "slow-traces", HOSTILE, "baseline"].map(str::to_owned).to_vec(),
        decisions: vec![
            count(Verdict::Sampled, "errors", 1_200),
            count(Verdict::Sampled, "slow-traces", 310),
            count(Verdict::Sampled, "baseline", 2_940),
            count(Verdict::Sampled, "linked", 44),
            count(Verdict::Dropped, HOSTILE, 17),
            count(Verdict::NotSampled, "no policy", 55_489),
        ],
        kept_spans: 48_000,
        undecided: 30_012,
        remembered: 42_100,
        bytes: 9_437_184,
        overturned: 12,
        linked: 44,
        late_sampled: 310,
        links_left_out: 2,
        asked_elsewhere: 61,
        unanswered: 7,
        kept_elsewhere: 5,
        ..Sampler::default()
    }
}

fn tier() -> Tier {
    let peer = |name: &str, given_up, unanswered| Peer {
        name: name.to_owned(),
        waiting: 1_234,
        delivered: 44,
        given_up,
        answered: 54,
        unanswered,
    };
    Tier {
        us: Some("a:4317".to_owned()),
        nodes: 3,
        taken: 40,
        taken_kept: 31,
        answered: 58,
        refused: 2,
        peers: vec![peer("b:4317", 0, 0), peer(HOSTILE, 9, 7)],
    }
}
