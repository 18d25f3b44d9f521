//! A member of a consumer group, on one thread: polls, hands records over, commits, and takes and gives back partitions.
//!
//! It never waits while it polls: what cannot be taken now keeps its partition paused until it can.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, Message as _};
use tokio::runtime::Handle;

use super::Phase;
use super::book::Writer;
use super::hand_over::Taken;
use super::prepare::{NotReady, decisions_topic, input_topic, partitions, prepare};
use super::reader::Reader;
use super::rebalance::{Found, Rebalancing, Shared};
use super::standing::{Record, Stage};
use crate::configuration::KafkaReceiver;
use crate::export::SettingError;
use crate::export::kafka::client;
use crate::intake::origin::{Held, Place};
use crate::intake::{Entrance, Intake};
use crate::topology::Topics;

/// Between two looks at what may be committed.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// While nothing waits.
const POLL: Duration = Duration::from_millis(100);
/// While something does.
const POLL_AGAIN: Duration = Duration::from_millis(10);
/// Between two attempts to find the topics.
const PREPARE_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at how many partitions there are, where `metadata::refresh_interval` does not say; and how long one may take.
const COUNT_EVERY: Duration = Duration::from_secs(60);
const COUNT_LIMIT: Duration = Duration::from_secs(1);

/// How librdkafka is told to be a member.
pub(super) fn config(receiver: &KafkaReceiver) -> Result<ClientConfig, SettingError> {
    let mut config = client::config(&receiver.client)?;
    let millis = |time: Duration| time.as_millis().to_string();
    config
        .set("group.id", &receiver.group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", millis(receiver.session_timeout))
        .set("heartbeat.interval.ms", millis(receiver.heartbeat))
        .set("fetch.min.bytes", receiver.min_fetch_bytes.to_string())
        .set("fetch.max.bytes", receiver.max_fetch_bytes.max(receiver.max_partition_fetch_bytes).to_string())
        .set("max.partition.fetch.bytes", receiver.max_partition_fetch_bytes.to_string())
        .set("fetch.wait.max.ms", millis(receiver.max_fetch_wait))
        .set("queued.max.messages.kbytes", "65536")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        // Where a committed offset is older than the topic. Where there is none is decided here.
        .set("auto.offset.reset", "earliest");
    if receiver.max_fetch_bytes < 1_000_000 {
        config.set("message.max.bytes", receiver.max_fetch_bytes.max(1_000).to_string());
    }
    if let Some(instance) = &receiver.group_instance {
        config.set("group.instance.id", instance);
    }
    Ok(config)
}

/// The thread's own.
pub(super) struct Member {
    consumer: BaseConsumer<Rebalancing>,
    shared: Arc<Shared>,
    topics: Topics,
    committed_at: Instant,
    counted_at: Instant,
}

impl Member {
    pub(super) fn new(
        topics: Topics,
        entrance: Entrance,
        intake: Arc<Intake>,
        held: Held,
    ) -> Result<Self, SettingError> {
        let shared = Arc::new(Shared::new(&topics, entrance, intake, held));
        let consumer = config(&topics.receiver)?
            .create_with_context(Rebalancing(Arc::clone(&shared)))
            .map_err(|error| SettingError::new("brokers", error.to_string()))?;
        let now = Instant::now();
        Ok(Self { consumer, shared, topics, committed_at: now, counted_at: now })
    }

    /// Until it is over; then what may be committed is, and the partitions are given back.
    pub(super) fn run(mut self, phase: &Phase, runtime: &Handle) {
        let stops = || phase.is_stopped();
        if !self.begin(&stops, runtime) {
            return;
        }
        let names = self.shared.topics();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        while let Err(error) = self.consumer.subscribe(&names) {
            tracing::error!(receiver = self.shared.name(), %error, "cannot subscribe; it is tried again");
            if stops() {
                return;
            }
            std::thread::park_timeout(PREPARE_EVERY);
        }
        while !stops() {
            self.turn();
        }
        self.rest(phase);
        // Dropping the consumer revokes what it has, which commits and closes.
    }

    /// The book, where partitions are divided. False if it ends before that.
    fn begin(&self, stops: &dyn Fn() -> bool, runtime: &Handle) -> bool {
        let Some(group) = &self.shared.group else { return true };
        let receiver = &self.topics.receiver;
        let topic = decisions_topic(receiver);
        while !stops() {
            let begun =
                prepare(receiver, self.topics.look_back, PREPARE_EVERY * 5, runtime).and_then(|count| {
                    let writer = Arc::new(Writer::new(&receiver.client, &topic, group.pipeline(), count)?);
                    group.connect(Arc::<Writer>::clone(&writer));
                    let found = Found(Arc::clone(&self.shared));
                    let reader =
                        Reader::start(client::config(&receiver.client)?, &receiver.group, &topic, found)?;
                    self.shared.connect(writer, reader);
                    Ok(())
                });
            match begun {
                Ok(()) => return true,
                Err(NotReady::Yet(why)) => {
                    tracing::warn!(receiver = self.shared.name(), why, "nothing is received yet");
                }
                Err(NotReady::Ever(error)) => {
                    tracing::error!(receiver = self.shared.name(), %error, "nothing is received");
                }
            }
            std::thread::park_timeout(PREPARE_EVERY);
        }
        false
    }

    /// Nothing more is taken. It stays a member while what it has taken is delivered, or another would read that again.
    fn rest(&mut self, phase: &Phase) {
        let paused = self.consumer.assignment().and_then(|all| self.consumer.pause(&all));
        if let Err(error) = paused {
            tracing::debug!(receiver = self.shared.name(), %error, "what is read from now on is passed over");
        }
        while !phase.is_over() {
            self.commit_if_due();
            // What comes all the same was never begun, and so is not committed.
            drop(self.consumer.poll(POLL));
        }
    }

    fn commit_if_due(&mut self) {
        if self.committed_at.elapsed() >= COMMIT_EVERY {
            self.committed_at = Instant::now();
            self.commit();
        }
    }

    fn turn(&mut self) {
        let waits = self.work_off();
        self.commit_if_due();
        self.count_if_due();
        match self.consumer.poll(if waits { POLL_AGAIN } else { POLL }) {
            None => {}
            Some(Ok(message)) => {
                let place = Place {
                    topic: Arc::from(message.topic()),
                    partition: u32::try_from(message.partition()).unwrap_or_default(),
                };
                let record = Record {
                    offset: u64::try_from(message.offset()).unwrap_or_default(),
                    payload: message.payload().map(<[u8]>::to_vec),
                };
                if let Some(standing) = self.shared.places().get_mut(&place) {
                    standing.waiting.push_back(record);
                    self.shared.take_waiting(&place, standing);
                }
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => {
                self.shared.end_reached(u32::try_from(partition).unwrap_or_default());
            }
            Some(Err(error)) => {
                tracing::warn!(receiver = self.shared.name(), %error, "reading is tried again");
            }
        }
    }

    /// Everything that waited and need not any more; true if something still waits.
    fn work_off(&self) -> bool {
        let (mut pause, mut resume) = (TopicPartitionList::new(), TopicPartitionList::new());
        let mut rewind = Vec::new();
        let mut waits = false;
        for (place, standing) in self.shared.places().iter_mut() {
            let partition = i32::try_from(place.partition).unwrap_or_default();
            if let Some(offset) = standing.tracker.rewind() {
                standing.waiting.clear();
                standing.since = offset;
                rewind.push((place.clone(), offset));
            }
            self.shared.advance(place, standing);
            let taken = self.shared.take_waiting(place, standing);
            waits |= taken == Taken::Later || standing.stage != Stage::Live;
            if (taken == Taken::Later) != standing.paused {
                standing.paused = taken == Taken::Later;
                let list = if standing.paused { &mut pause } else { &mut resume };
                list.add_partition(&place.topic, partition);
            }
        }
        let moved = self.move_on(&pause, &resume, &rewind);
        if let Err(error) = moved {
            tracing::warn!(receiver = self.shared.name(), %error, "partitions could not be paused or resumed");
        }
        waits
    }

    fn move_on(
        &self,
        pause: &TopicPartitionList,
        resume: &TopicPartitionList,
        rewind: &[(Place, u64)],
    ) -> rdkafka::error::KafkaResult<()> {
        if pause.count() > 0 {
            self.consumer.pause(pause)?;
        }
        for (place, offset) in rewind {
            let partition = i32::try_from(place.partition).unwrap_or_default();
            let offset = Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
            self.consumer.seek(&place.topic, partition, offset, PREPARE_EVERY)?;
        }
        if resume.count() > 0 {
            self.consumer.resume(resume)?;
        }
        Ok(())
    }

    /// Traces fall to partitions by how many there are. What was agreed on with fewer is no longer right, and only a new start
    /// agrees anew.
    fn count_if_due(&mut self) {
        let every = self.topics.receiver.client.metadata_refresh.unwrap_or(COUNT_EVERY);
        let Some(known) = self.shared.partitions().filter(|_| self.counted_at.elapsed() >= every) else {
            return;
        };
        self.counted_at = Instant::now();
        let receiver = &self.topics.receiver;
        let (input, decisions) = (input_topic(receiver), decisions_topic(receiver));
        match partitions(self.consumer.fetch_metadata(Some(input), COUNT_LIMIT), input) {
            Ok(Some(found)) if found != known => tracing::error!(
                receiver = self.shared.name(),
                "{input} had {known} partitions and has {found}: what lies in new ones is not read, and links between traces are not \
                 all followed. Give {decisions} {found} partitions too, then restart every process of the group"
            ),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(receiver = self.shared.name(), %error, "partitions are counted later")
            }
        }
    }

    fn commit(&self) {
        self.shared.keep_book();
        let floor = self.shared.floor();
        let mut list = TopicPartitionList::new();
        for (place, standing) in self.shared.places().iter_mut() {
            standing.add_committable(place, floor, &mut list);
        }
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            tracing::warn!(receiver = self.shared.name(), %error, "offsets are committed later");
        }
    }
}
