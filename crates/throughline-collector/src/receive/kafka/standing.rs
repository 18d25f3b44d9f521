//! Where this process stands with one partition: what is history and what arrives, what waits, and how far all of that is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use throughline_otlp::Signal;
use throughline_sampling::decision::Wish;

use super::entry::Contents;
use super::tracker::Tracker;
use crate::configuration::Encoding;
use crate::intake::origin::{Place, Stretch};

/// A record as it was read.
pub(super) struct Record {
    pub(super) offset: u64,
    /// `None`: it was taken back.
    pub(super) payload: Option<Vec<u8>>,
}

/// What a topic's records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reads {
    pub(super) signal: Signal,
    pub(super) encoding: Encoding,
}

/// How far a partition is towards being this process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Records before the committed offset are read, for late spans and links.
    History,
    /// They have been read. What was decided about the partition is still being read.
    Opening,
    /// Records arrive.
    Live,
}

/// One partition.
pub(super) struct Standing {
    pub(super) reads: Reads,
    pub(super) stage: Stage,
    /// The first offset that arrives; what is before is history.
    pub(super) begins: u64,
    pub(super) committed: u64,
    pub(super) tracker: Arc<Tracker>,
    /// Records of history on their way into the journal.
    pub(super) history: Arc<AtomicUsize>,
    /// What the journal holds of it.
    pub(super) stretch: Stretch,
    /// Everything read before this offset has been dealt with: behind the record journalled last, or where reading began.
    pub(super) since: u64,
    /// Read, and not taken yet: the partition is paused meanwhile.
    pub(super) waiting: VecDeque<Record>,
    pub(super) paused: bool,
    /// What was decided about it, once that has been read.
    pub(super) contents: Option<Contents>,
    /// What others wished of it since.
    pub(super) wishes: Vec<Wish>,
}

impl Standing {
    /// A partition whose records arrive from `begins` on.
    pub(super) fn new(reads: Reads, begins: u64, stage: Stage) -> Self {
        Self {
            reads,
            stage,
            begins,
            committed: begins,
            tracker: Arc::new(Tracker::starting_at(begins)),
            history: Arc::default(),
            stretch: Stretch::default(),
            since: begins,
            waiting: VecDeque::new(),
            paused: false,
            contents: None,
            wishes: Vec::new(),
        }
    }

    /// Adds to `list` what may be committed of it, when nothing below position `floor` of the journal is needed, if that is news.
    pub(super) fn add_committable(&mut self, place: &Place, floor: u64, list: &mut TopicPartitionList) {
        let committable = self.tracker.committable(floor);
        if committable <= self.committed {
            return;
        }
        self.committed = committable;
        let offset = Offset::Offset(i64::try_from(committable).unwrap_or(i64::MAX));
        let partition = i32::try_from(place.partition).unwrap_or_default();
        if let Err(error) = list.add_partition_offset(&place.topic, partition, offset) {
            tracing::error!(topic = %place.topic, partition, %error, "an offset cannot be committed");
        }
    }

    /// The journal takes a record of it.
    pub(super) fn journalled(&mut self, offset: u64) {
        if self.stretch.to == self.stretch.from {
            self.stretch.from = self.since.min(offset);
        }
        self.since = offset.saturating_add(1);
        self.stretch.to = self.stretch.to.max(offset.saturating_add(1));
    }

    /// Whether the journal has this record already.
    pub(super) fn holds(&self, offset: u64) -> bool {
        (self.stretch.from..self.stretch.to).contains(&offset)
    }
}
