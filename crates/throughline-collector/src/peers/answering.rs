//! What this node does when a peer calls. What it acknowledges it has written down first: a kill after the answer loses
//! nothing, because a restart reads it again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use throughline_journal::{Journal, Record, RecordKind};
use throughline_otlp::TraceId;
use throughline_sampling::decision::{Heard, Held};
use tokio::sync::{mpsc, oneshot};

use super::Peers;
use super::calls::Instance;
use super::mark::Mark;
use super::partners::Partners;
use super::server::{Refusal, Refused};
use super::wire::{Answered, CallError, Hand, Holding, Holds, Keep, Wanted, Wished};
use crate::exposition::{Exposition, Kind, Labels};
use crate::intake::wall_clock;
use crate::lines::Lines;
use crate::picture::TierFigures;
use crate::sampler::{Answer, Sampler};

/// Answers calls.
pub(crate) struct Answering {
    lines: Arc<Lines>,
    journal: Journal,
    partners: Arc<Partners>,
    instance: Instance,
    tally: Arc<Tally>,
    /// To tell others of what it is told.
    peers: Weak<Peers>,
}

/// What has become of calls, since the start.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) refused: Refused,
    /// Wishes taken because of a link.
    taken_links: AtomicU64,
    /// Wishes taken that say what another node keeps.
    taken_kept: AtomicU64,
    /// Traces asked about, and answered for.
    asked: AtomicU64,
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// This process, which does not know that it is this node.
    Myself,
    Another,
}

impl Tally {
    /// What is counted here, without what is known of the nodes.
    pub(super) fn figures(&self) -> TierFigures {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let taken_kept = of(&self.taken_kept);
        TierFigures {
            taken: of(&self.taken_links) + taken_kept,
            taken_kept,
            answered: of(&self.asked),
            refused: self.refused.by_reason().iter().map(|(_, count)| count).sum(),
            ..TierFigures::default()
        }
    }

    /// What it says of itself at `/metrics`.
    pub(super) fn write(&self, page: &mut Exposition) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let help = "Wishes of peers that were taken and written down: because of a link, or that they keep a part of a trace.";
        if let Some(family) = page.family("throughline_peers_taken_wishes_total", Kind::Counter, help) {
            for (kind, count) in [("link", &self.taken_links), ("kept", &self.taken_kept)] {
                let mut labels = Labels::default();
                labels.add("kind", kind);
                family.sample("", &labels.finish(), of(count));
            }
        }
        let help = "Traces that peers asked about.";
        page.single("throughline_peers_answered_questions_total", Kind::Counter, help, of(&self.asked));
        let help = "Calls of peers that were refused.";
        if let Some(family) = page.family("throughline_peers_refused_calls_total", Kind::Counter, help) {
            for (reason, count) in self.refused.by_reason() {
                let mut labels = Labels::default();
                labels.add("reason", reason);
                family.sample("", &labels.finish(), count);
            }
        }
    }
}

impl Answering {
    pub(super) fn new(lines: Arc<Lines>, journal: Journal, peers: &Arc<Peers>) -> Arc<Self> {
        let (partners, instance) = (Arc::clone(&peers.partners), peers.instance.clone());
        let (tally, peers) = (Arc::clone(&peers.tally), Arc::downgrade(peers));
        Arc::new(Self { lines, journal, partners, instance, tally, peers })
    }

    pub(super) fn refused(&self) -> &Refused {
        &self.tally.refused
    }

    /// Who sent these headers.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Caller {
        if self.instance.calls(headers) { Caller::Myself } else { Caller::Another }
    }

    fn sampler(&self, pipeline: &str) -> Result<&Arc<Sampler>, Refusal> {
        let found = self.lines.samplers.iter().find(|sampler| sampler.pipeline == pipeline);
        found.ok_or_else(|| Refusal::Unknown(format!("no pipeline {pipeline:?} samples here")))
    }

    /// What is held here of traces. The caller holds a part of each, and is told when one is kept.
    pub(super) async fn holds(&self, call: Bytes, caller: Caller) -> Result<Vec<u8>, Refusal> {
        let Holds { pipeline, from, traces } = Holds::decode(&call).map_err(malformed)?;
        let sampler = self.sampler(&pipeline)?;
        if caller == Caller::Myself {
            // It asks what others hold: its own part counts already.
            let holdings = vec![Holding::default(); traces.len()];
            return Ok(Answered { plan: sampler.plan_mark(), holdings }.encode());
        }
        // Before the shards look: the caller is told of what they decide after that.
        let others = traces.iter().map(|trace| {
            let mut others = self.partners.of(*trace);
            self.partners.add(*trace, &from);
            others.retain(|other| **other != *from);
            others
        });
        let others: Vec<_> = others.collect();
        // Unbounded, and bounded: a message for a few hundred traces.
        let (sender, mut parts) = mpsc::unbounded_channel();
        // A caller that went away is told nothing.
        let answer: Answer = Arc::new(move |part| drop(sender.send(part)));
        sampler.holds(&traces, &answer);
        drop(answer);
        let mut known: HashMap<TraceId, Held> = HashMap::with_capacity(traces.len());
        while let Some(part) = parts.recv().await {
            known.extend(part);
        }
        let held = traces.iter().map(|trace| known.get(trace).cloned().unwrap_or_default());
        let holdings = held.zip(others).map(|(held, others)| Holding { held, others }).collect();
        self.tally.asked.fetch_add(traces.len() as u64, Ordering::Relaxed);
        Ok(Answered { plan: sampler.plan_mark(), holdings }.encode())
    }

    /// Wishes for traces of this node. Answers once they are durable and on their way to their shards.
    pub(super) async fn keep(&self, call: Bytes) -> Result<Vec<u8>, Refusal> {
        let keep = Keep::decode(&call).map_err(malformed)?;
        let sampler = Arc::clone(self.sampler(&keep.pipeline)?);
        if sampler.is_behind() {
            // What it acknowledges it must not refuse later.
            return Err(Refusal::Unavailable("too many wishes wait here".to_owned()));
        }
        let links = keep.wishes.iter().filter(|wished| wished.wish.is_link()).count() as u64;
        let kept = keep.wishes.len() as u64 - links;
        let mark = Mark::Wishes(keep);
        let mut record = Record::new(RecordKind::Mark, wall_clock().0, mark.encode());
        record.keys = mark.keys();
        let Mark::Wishes(Keep { wishes, .. }) = mark;
        let (done, outcome) = oneshot::channel();
        let peers = Weak::clone(&self.peers);
        let appended = self.journal.append(record, move |outcome| {
            if outcome.is_ok() {
                wishes.into_iter().for_each(|wished| hand_over(&sampler, peers.upgrade(), wished));
            }
            // A caller that went away calls again.
            let _ = done.send(outcome.map(|_| ()).map_err(|error| error.to_string()));
        });
        appended.map_err(|error| Refusal::Unavailable(error.to_string()))?;
        match outcome.await {
            Ok(Ok(())) => {
                self.tally.taken_links.fetch_add(links, Ordering::Relaxed);
                self.tally.taken_kept.fetch_add(kept, Ordering::Relaxed);
                Ok(Vec::new())
            }
            Ok(Err(why)) => Err(Refusal::Unavailable(why)),
            Err(_) => Err(Refusal::Unavailable("the backend is stopping".to_owned())),
        }
    }
}

fn hand_over(sampler: &Sampler, peers: Option<Arc<Peers>>, Wished { wish, age }: Wished) {
    let kept = match wish {
        Wanted::Link(wish) => return sampler.wish(wish, age),
        Wanted::Kept(kept) => kept,
    };
    if let Some(peers) = peers {
        if kept.hand == Hand::First {
            peers.relay(&sampler.pipeline, &kept);
        }
        peers.partners.add(kept.trace, &kept.by);
        if kept.wish().is_some() {
            peers.heard_of.add(&sampler.pipeline, kept.trace);
        }
    }
    match kept.wish() {
        Some(wish) => sampler.wish(wish, age),
        None => sampler.told(kept.trace, Heard::Kept(kept.reason, kept.hops)),
    }
}

fn malformed(error: CallError) -> Refusal {
    Refusal::Malformed(StatusCode::BAD_REQUEST, error.to_string())
}
