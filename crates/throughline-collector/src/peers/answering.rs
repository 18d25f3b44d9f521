//! What this node does when a peer calls. What it acknowledges it has written down first: a kill after the answer loses
//! nothing, because a restart reads it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use throughline_journal::{Journal, Record, RecordKind};
use tokio::sync::oneshot;

use super::mark::Mark;
use super::server::{Refusal, Refused};
use super::wire::{CallError, Keep};
use crate::intake::wall_clock;
use crate::lines::Lines;
use crate::sampler::Sampler;
use http::StatusCode;

/// Answers calls.
pub(crate) struct Answering {
    lines: Arc<Lines>,
    journal: Journal,
    refused: Refused,
    /// Wishes taken.
    taken: AtomicU64,
}

impl Answering {
    pub(super) fn new(lines: Arc<Lines>, journal: Journal) -> Arc<Self> {
        Arc::new(Self { lines, journal, refused: Refused::default(), taken: AtomicU64::new(0) })
    }

    pub(super) fn refused(&self) -> &Refused {
        &self.refused
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    fn sampler(&self, pipeline: &str) -> Result<&Arc<Sampler>, Refusal> {
        let found = self.lines.samplers.iter().find(|sampler| sampler.pipeline == pipeline);
        found.ok_or_else(|| Refusal::Unknown(format!("no pipeline {pipeline:?} samples here")))
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
        let appended = self.journal.append(record, move |outcome| {
            if outcome.is_ok() {
                wishes.iter().for_each(|wished| sampler.wish(wished.wish, wished.age));
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

fn malformed(error: CallError) -> Refusal {
    Refusal::Malformed(StatusCode::BAD_REQUEST, error.to_string())
}
