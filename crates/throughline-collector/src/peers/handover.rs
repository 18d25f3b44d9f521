//! Traces of which several nodes hold a part, because the ring has changed, or because a front could not reach the owner: whom
//! a shard's questions go to, and who is told that a part is kept.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use throughline_otlp::{TraceId, UnixNanos};
use throughline_sampling::decision::{Decision, Heard, Verdict, Wish};
use tokio::time::Instant;

use super::asking::{Asker, Inquiry, WAITING};
use super::outbox::Waiting;
use super::tier::{JOINING, Owner};
use super::wire::{Hand, Kept, Wanted, What};
use super::{Peers, host};
use crate::intake::wall_clock;
use crate::sampler::Sampler;
use crate::sampler::elsewhere::Elsewhere;
use crate::sampler::record::Decided;

/// So long after a change of the ring whoever owned a trace before is told that it is kept, whether or not it is known to hold a
/// part. After that everybody has asked about what was under way.
const SETTLED: Duration = Duration::from_secs(300);

impl Peers {
    /// Rings of before count as long as a trace that came then may be brought back.
    fn since(&self) -> UnixNanos {
        let look_back = u64::try_from(self.settings.look_back.as_nanos()).unwrap_or(u64::MAX);
        UnixNanos(wall_clock().0.saturating_sub(look_back))
    }

    /// Other nodes that may hold a part of a trace: those that own it or have owned it since then, and those that have asked or
    /// answered so.
    fn holders(&self, trace: TraceId, since: UnixNanos, joining: usize) -> Vec<Arc<str>> {
        let mut holders = self.tier().holders(trace, since, joining);
        for partner in self.partners.of(trace) {
            if !holders.contains(&partner) {
                holders.push(partner);
            }
        }
        let us = self.name();
        holders.retain(|holder| us.as_ref() != Some(holder));
        holders
    }

    /// A peer says that these may hold a part of a trace as well: they are asked too.
    pub(super) fn named(&self, inquiry: &Arc<Inquiry>, others: &[Arc<str>]) {
        let us = self.name();
        for other in others.iter().filter(|other| us.as_ref() != Some(other) && host(other).is_some()) {
            self.partners.add(inquiry.trace(), other);
            // What was not remembered, because it is one name too many, is not called either.
            if let Some(known) = self.partners.of(inquiry.trace()).into_iter().find(|known| known == other) {
                self.question(&known, inquiry);
            }
        }
    }

    fn question(&self, node: &Arc<str>, inquiry: &Arc<Inquiry>) {
        if inquiry.asks(node) {
            self.with_peer(node, |peer| peer.ask(inquiry));
        }
    }

    /// Asks whoever may hold a part; as soon as it is known who there is.
    pub(super) fn inquire(&self, inquiry: &Arc<Inquiry>) {
        if self.tier().members().is_empty() {
            let mut unasked = self.unasked.lock().unwrap_or_else(PoisonError::into_inner);
            if unasked.len() < WAITING {
                unasked.push(Arc::clone(inquiry));
            }
            return;
        }
        let holders = self.holders(inquiry.trace(), self.since(), JOINING);
        holders.iter().for_each(|node| self.question(node, inquiry));
    }

    fn tell_holders(&self, pipeline: &str, decision: &Decision) {
        let settled = u64::try_from(SETTLED.as_nanos()).unwrap_or(u64::MAX);
        // Whoever else was asked and holds a part is known by now.
        let nodes = self.holders(decision.trace, UnixNanos(wall_clock().0.saturating_sub(settled)), 1);
        let what = if decision.promised().is_some() { What::Promise } else { What::Spans };
        let repeats = what == What::Promise && self.heard_of.take(pipeline, decision.trace);
        if nodes.is_empty() || repeats {
            return;
        }
        let kept = Kept {
            trace: decision.trace,
            reason: decision.reason.clone(),
            hops: decision.hops,
            by: self.name().unwrap_or_else(|| Arc::from("")),
            what,
            hand: Hand::First,
        };
        self.tell(pipeline, &nodes, &kept);
    }

    /// Tells those who have asked about a trace what this node has been told: who keeps it may not know of them.
    pub(super) fn relay(&self, pipeline: &str, kept: &Kept) {
        let us = self.name();
        let mut others = self.partners.of(kept.trace);
        others.retain(|other| *other != kept.by && us.as_ref() != Some(other));
        self.tell(pipeline, &others, &Kept { hand: Hand::Second, ..kept.clone() });
    }

    fn tell(&self, pipeline: &str, nodes: &[Arc<str>], kept: &Kept) {
        for node in nodes {
            let (pipeline, wish) = (Arc::from(pipeline), Wanted::Kept(kept.clone()));
            self.with_peer(node, |peer| peer.tell(Waiting { pipeline, wish, since: Instant::now() }));
        }
    }
}

impl Elsewhere for Peers {
    fn take(&self, pipeline: &str, wish: Wish) -> Option<Wish> {
        if matches!(self.tier().owner(wish.trace()), Owner::Us(_)) {
            return Some(wish);
        }
        let (pipeline, wish) = (Arc::from(pipeline), Wanted::Link(wish));
        self.queue(Waiting { pipeline, wish, since: Instant::now() });
        None
    }

    fn holds_before(&self, trace: TraceId) -> Option<UnixNanos> {
        match self.partners.any(trace) {
            true => Some(UnixNanos(u64::MAX)),
            false => self.tier().elsewhere(trace, self.since()),
        }
    }

    fn ask(&self, sampler: &Arc<Sampler>, traces: Vec<TraceId>) {
        let asker: Arc<dyn Asker> = Arc::clone(sampler) as _;
        for trace in traces {
            self.inquire(&Inquiry::new(&asker, trace));
        }
    }

    fn decided(&self, _: u64, decided: &Decided) {
        let news = |it: &&Decision| it.verdict == Verdict::Sampled && !it.is_hearsay();
        decided
            .decisions
            .iter()
            .filter(news)
            .for_each(|decision| self.tell_holders(&decided.pipeline, decision));
    }
}

impl Asker for Sampler {
    fn pipeline(&self) -> &str {
        &self.pipeline
    }

    fn plan_mark(&self) -> u64 {
        self.plan_mark()
    }

    fn told(&self, trace: TraceId, heard: Heard) {
        self.told(trace, heard);
    }
}
