//! What the consumer's thread, the reader of decisions and librdkafka's rebalancing share: where every partition stands. And
//! what happens when one is assigned or revoked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::base_consumer::BaseConsumer;
use rdkafka::consumer::{CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use throughline_otlp::Signal;
use throughline_sampling::decision::Wish;

use super::book::Writer;
use super::entry::Contents;
use super::reader::{self, Reader};
use super::standing::{Reads, Stage, Standing};
use crate::configuration::InitialOffset;
use crate::export::kafka::client;
use crate::intake::origin::{Held, Place, Stretch};
use crate::intake::{Entrance, Intake, wall_clock};
use crate::sampler::Stop;
use crate::sampler::group::Group;
use crate::topology::Topics;

/// How long brokers may take to answer while partitions change hands.
const ASKING: Duration = Duration::from_secs(10);
/// How long decisions may take into their topic when a partition is given back.
const FLUSHING: Duration = Duration::from_secs(5);

/// What is shared.
pub(super) struct Shared {
    pub(super) entrance: Entrance,
    pub(super) intake: Arc<Intake>,
    /// Where partitions are divided among processes.
    pub(super) group: Option<Arc<Group>>,
    pub(super) skipped: AtomicU64,
    reads: BTreeMap<String, Reads>,
    initial: InitialOffset,
    look_back: Duration,
    places: Mutex<BTreeMap<Place, Standing>>,
    held: Mutex<Held>,
    /// What was journalled of partitions that were given back.
    stretches: Mutex<BTreeMap<Place, Stretch>>,
    book: OnceLock<(Arc<Writer>, Reader)>,
}

impl Shared {
    pub(super) fn new(topics: &Topics, entrance: Entrance, intake: Arc<Intake>, held: Held) -> Self {
        let group = intake.lines().group(entrance.number).cloned();
        let mut reads = BTreeMap::new();
        for signal in &topics.signals {
            let of = match signal {
                Signal::Traces => &topics.receiver.traces,
                Signal::Logs => &topics.receiver.logs,
                Signal::Metrics => &topics.receiver.metrics,
            };
            let each = Reads { signal: *signal, encoding: of.encoding };
            reads.extend(of.names.iter().map(|name| (name.clone(), each)));
        }
        Self {
            entrance,
            intake,
            group,
            skipped: AtomicU64::new(0),
            reads,
            initial: topics.receiver.initial_offset,
            look_back: topics.look_back,
            places: Mutex::default(),
            held: Mutex::new(held),
            stretches: Mutex::default(),
            book: OnceLock::new(),
        }
    }

    pub(super) fn connect(&self, writer: Arc<Writer>, reader: Reader) {
        // Only its own thread does, once.
        let _ = self.book.set((writer, reader));
    }

    /// How many partitions were agreed on, where they are divided among processes.
    pub(super) fn partitions(&self) -> Option<u32> {
        self.book.get().map(|(writer, _)| writer.partitions())
    }

    pub(super) fn name(&self) -> &str {
        self.entrance.counters.names().0
    }

    pub(super) fn topics(&self) -> Vec<String> {
        self.reads.keys().cloned().collect()
    }

    pub(super) fn places(&self) -> MutexGuard<'_, BTreeMap<Place, Standing>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lowest position of the journal that is needed for what came from here.
    pub(super) fn floor(&self) -> u64 {
        self.intake.lines().floor(self.entrance.number)
    }

    /// What did not arrive in the book, and what has been delivered since.
    pub(super) fn keep_book(&self) {
        self.group.iter().for_each(|group| group.note_delivered());
        self.book.get().into_iter().for_each(|(writer, _)| writer.write_again());
    }

    /// A partition has been read to its end: there is no more history.
    pub(super) fn end_reached(&self, partition: u32) {
        for (place, standing) in self.places().iter_mut() {
            if place.partition == partition && standing.stage == Stage::History && standing.waiting.is_empty()
            {
                standing.stage = Stage::Opening;
            }
        }
    }

    /// Opens a partition that has everything it needs for that, and hands on what others wish of it.
    pub(super) fn advance(&self, place: &Place, standing: &mut Standing) {
        let Some(group) = &self.group else { return };
        if standing.stage == Stage::Opening
            && standing.history.load(Ordering::Acquire) == 0
            && let Some(contents) = standing.contents.take()
        {
            let (decisions, wishes) = contents.restored();
            let (receiver, partition) = (self.name(), place.partition);
            tracing::info!(
                receiver,
                partition,
                decisions = decisions.len(),
                wishes = wishes.len(),
                "a partition is ours"
            );
            match group.open(partition, decisions, wishes) {
                Ok(()) => standing.stage = Stage::Live,
                Err(error) => {
                    tracing::error!(receiver, partition, %error, "a partition's sampler cannot start")
                }
            }
        }
        if standing.stage == Stage::Live {
            for wish in standing.wishes.drain(..) {
                group.wish(place.partition, wish);
            }
        }
    }

    fn assigned(
        &self,
        consumer: &BaseConsumer<Rebalancing>,
        list: &TopicPartitionList,
    ) -> TopicPartitionList {
        if list.count() == 0 {
            return TopicPartitionList::new();
        }
        let committed = offsets(consumer.committed_offsets(list.clone(), ASKING), "what is committed");
        let since = self.group.as_ref().map(|_| self.looked_back(consumer, list)).unwrap_or_default();
        let mut starts = TopicPartitionList::new();
        let mut first = TopicPartitionList::new();
        for element in list.elements() {
            let place = place(element.topic(), element.partition());
            let Some(reads) = self.reads.get(element.topic()).copied() else { continue };
            let begins = match committed.get(&place) {
                Some(offset) => *offset,
                None => {
                    let begins = self.initial_offset(consumer, &place);
                    // Else a restart before the first commit would begin somewhere else.
                    add(&mut first, &place, begins);
                    begins
                }
            };
            let (standing, start) = self.standing(&place, reads, begins, since.get(&place).copied());
            add(&mut starts, &place, start);
            self.places().insert(place.clone(), standing);
            self.read_decisions(&place);
        }
        if first.count() > 0
            && let Err(error) = consumer.commit(&first, CommitMode::Async)
        {
            tracing::warn!(receiver = self.name(), %error, "where the group begins is not committed");
        }
        starts
    }

    /// Reads what was decided about a partition, unless it is newer than what was agreed on.
    fn read_decisions(&self, place: &Place) {
        let Some((writer, reader)) = self.book.get() else { return };
        if place.partition < writer.partitions() {
            return reader.read(place.partition);
        }
        let (receiver, topic, partition) = (self.name(), &*place.topic, place.partition);
        tracing::error!(receiver, topic, partition, "a partition is new and not read before a restart");
    }

    /// Where a partition stands that was just assigned, and where reading begins.
    fn standing(&self, place: &Place, reads: Reads, begins: u64, since: Option<u64>) -> (Standing, u64) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take(self.entrance.number, place);
        let mut standing = Standing::new(reads, begins, Stage::Live);
        if self.group.is_none() {
            // What the journal has is delivered from there.
            if (held.from..held.to).contains(&begins) {
                let arrivals: BTreeMap<u64, u64> =
                    held.arrivals.iter().copied().filter(|(offset, _)| *offset >= begins).collect();
                arrivals
                    .into_iter()
                    .for_each(|(offset, position)| standing.tracker.restored(offset, position));
                standing.since = held.to;
                return (standing, held.to);
            }
            return (standing, begins);
        }
        let known =
            self.stretches.lock().unwrap_or_else(PoisonError::into_inner).remove(place).unwrap_or(held);
        let since = since.unwrap_or(begins).min(begins);
        let mut start = since;
        if (known.from..=known.to).contains(&since) && known.to > known.from {
            start = known.to.min(begins);
            standing.stretch = Stretch { arrivals: Vec::new(), ..known };
        }
        standing.since = start;
        standing.stage = if start < begins { Stage::History } else { Stage::Opening };
        (standing, start)
    }

    /// Where each partition was when the look-back began.
    fn looked_back(
        &self,
        consumer: &BaseConsumer<Rebalancing>,
        list: &TopicPartitionList,
    ) -> BTreeMap<Place, u64> {
        let millis = wall_clock().0 / 1_000_000;
        let look_back = u64::try_from(self.look_back.as_millis()).unwrap_or(u64::MAX);
        let since = i64::try_from(millis.saturating_sub(look_back)).unwrap_or_default();
        let mut times = list.clone();
        if let Err(error) = times.set_all_offsets(Offset::Offset(since)) {
            tracing::warn!(receiver = self.name(), %error, "the look-back is not read");
            return BTreeMap::new();
        }
        offsets(consumer.offsets_for_times(times, ASKING), "the look-back")
    }

    fn initial_offset(&self, consumer: &BaseConsumer<Rebalancing>, place: &Place) -> u64 {
        let partition = i32::try_from(place.partition).unwrap_or_default();
        match consumer.fetch_watermarks(&place.topic, partition, ASKING) {
            Ok((low, high)) => {
                let offset = if self.initial == InitialOffset::Earliest { low } else { high };
                u64::try_from(offset).unwrap_or_default()
            }
            Err(error) => {
                tracing::error!(topic = %place.topic, partition, %error, "where to begin is not known; from the beginning");
                0
            }
        }
    }

    /// What was decided goes out all the same; what is undecided is the next owner's.
    fn revoked(&self, consumer: &BaseConsumer<Rebalancing>, list: &TopicPartitionList) {
        let gone: Vec<Place> =
            list.elements().iter().map(|element| place(element.topic(), element.partition())).collect();
        let mut needed = u64::MAX;
        if let Some((writer, reader)) = self.book.get() {
            let known = gone.iter().filter(|place| place.partition < writer.partitions());
            known.for_each(|place| reader.forget(place.partition));
            for place in &gone {
                let closed = self.group.as_ref().and_then(|group| group.close(place.partition, Stop::Resume));
                needed = needed.min(closed.unwrap_or(u64::MAX));
            }
            writer.flush(FLUSHING);
        }
        let floor = self.floor().min(needed);
        let mut commit = TopicPartitionList::new();
        for place in &gone {
            let Some(mut standing) = self.places().remove(place) else { continue };
            standing.add_committable(place, floor, &mut commit);
            let stretch = standing.stretch;
            self.stretches.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone(), stretch);
        }
        if commit.count() > 0
            && !consumer.assignment_lost()
            && let Err(error) = consumer.commit(&commit, CommitMode::Sync)
        {
            tracing::warn!(receiver = self.name(), %error, "offsets of revoked partitions are not committed");
        }
    }
}

/// The offsets of an answer; partitions without one are left out.
fn offsets(answer: KafkaResult<TopicPartitionList>, what: &str) -> BTreeMap<Place, u64> {
    let list = match answer {
        Ok(list) => list,
        Err(error) => {
            tracing::error!(%error, "{what} cannot be asked for");
            return BTreeMap::new();
        }
    };
    let known = |offset: Offset| match offset {
        Offset::Offset(offset) => u64::try_from(offset).ok(),
        _ => None,
    };
    let elements = list.elements();
    let of = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        known(element.offset()).map(|offset| (place(element.topic(), element.partition()), offset))
    };
    elements.iter().filter_map(of).collect()
}

fn place(topic: &str, partition: i32) -> Place {
    Place { topic: Arc::from(topic), partition: u32::try_from(partition).unwrap_or_default() }
}

fn add(list: &mut TopicPartitionList, place: &Place, offset: u64) {
    let partition = i32::try_from(place.partition).unwrap_or_default();
    let offset = Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
    if let Err(error) = list.add_partition_offset(&place.topic, partition, offset) {
        tracing::error!(topic = %place.topic, partition, %error, "an offset is not used");
    }
}

/// What the reader of decisions finds goes where the partition stands.
pub(super) struct Found(pub(super) Arc<Shared>);

impl Found {
    fn with(&self, partition: u32, work: impl FnOnce(&mut Standing)) {
        let mut places = self.0.places();
        if let Some((_, standing)) = places.iter_mut().find(|(place, _)| place.partition == partition) {
            work(standing);
        }
    }
}

impl reader::Found for Found {
    fn restored(&self, partition: u32, contents: Contents) {
        self.with(partition, |standing| standing.contents = Some(contents));
    }

    fn wished(&self, partition: u32, wish: Wish) {
        self.with(partition, |standing| standing.wishes.push(wish));
    }
}

/// librdkafka's side of it.
pub(super) struct Rebalancing(pub(super) Arc<Shared>);

impl ClientContext for Rebalancing {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log("receiver", level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::report("receiver", &error, reason);
    }
}

impl ConsumerContext for Rebalancing {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let cooperates = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let done = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let starts = self.0.assigned(consumer, list);
            if cooperates { consumer.incremental_assign(&starts) } else { consumer.assign(&starts) }
        } else {
            self.0.revoked(consumer, list);
            if cooperates { consumer.incremental_unassign(list) } else { consumer.unassign() }
        };
        if let Err(error) = done {
            tracing::error!(receiver = self.0.name(), %error, "partitions could not change hands");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(receiver = self.0.name(), %error, "a commit failed; the next one covers it");
        }
    }
}
