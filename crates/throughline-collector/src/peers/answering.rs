//! What this node does when a peer calls. What it acknowledges it has written down first: a kill after the answer loses
//! nothing, because a restart reads it again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::StatusCode;
use throughline_journal::{Journal, Record, RecordKind};
use throughline_otlp::TraceId;
use throughline_sampling::decision::{Heard, Held};
use tokio::sync::{mpsc, oneshot};

use super::Peers;
use super::mark::Mark;
use super::partners::Partners;
use super::server::{Refusal, Refused};
use super::wire::{Answered, CallError, Hand, Holding, Holds, Keep, Wanted, Wished};
use crate::intake::wall_clock;
use crate::lines::Lines;
use crate::sampler::{Answer, Sampler};

/// Answers calls.
pub(crate) struct Answering {
    lines: Arc<Lines>,
    journal: Journal,
    refused: Refused,
    partners: Arc<Partners>,
    /// To tell others of what it is told.
    peers: Weak<Peers>,
    /// Wishes taken.
    taken: AtomicU64,
    /// Traces asked about, and answered for.
    asked: AtomicU64,
}

impl Answering {
    pub(super) fn new(lines: Arc<Lines>, journal: Journal, peers: &Arc<Peers>) -> Arc<Self> {
        let (partners, peers) = (Arc::clone(&peers.partners), Arc::downgrade(peers));
        let (taken, asked) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { lines, journal, refused: Refused::default(), partners, peers, taken, asked })
    }

    pub(super) fn refused(&self) -> &Refused {
        &self.refused
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn sampler(&self, pipeline: &str) -> Result<&Arc<Sampler>, Refusal> {
        let found = self.lines.samplers.iter().find(|sampler| sampler.pipeline == pipeline);
        found.ok_or_else(|| Refusal::Unknown(format!("no pipeline {pipeline:?} samples here")))
    }

    /// What is held here of traces. The caller holds a part of each, and is told when one is kept.
    pub(super) async fn holds(&self, call: Bytes) -> Result<Vec<u8>, Refusal> {
        let Holds { pipeline, from, traces } = Holds::decode(&call).map_err(malformed)?;
        let sampler = self.sampler(&pipeline)?;
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
        self.asked.fetch_add(traces.len() as u64, Ordering::Relaxed);
        Ok(Answered { plan: sampler.plan_mark(), holdings }.encode())
    }

    /// Wishes for traces of this node. Answers once they are durable and on their way to their shards.
    pub(super) async fn keep(&self, call: Bytes) -> Result<Vec<u8>, Refusal> {
        let keep = Keep::decode(&call).map_err(malformed)?;
        let sampler = Arc::clone(self.sampler(&keep.pipeline)?);
        let count = keep.wishes.len() as u64;
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
                self.taken.fetch_add(count, Ordering::Relaxed);
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
            peers.heard_of.add(kept.trace);
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
