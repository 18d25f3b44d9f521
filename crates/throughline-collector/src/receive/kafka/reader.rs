//! The other side of the book: partitions of the topic of decisions, each read to its end when this process takes it over, and
//! from then on for what others wish of it. One thread, one consumer that is in no group.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, Message as _};
use throughline_sampling::decision::Wish;

use super::entry::{Contents, Entry};
use crate::export::SettingError;
use crate::export::kafka::client::Events;

const POLL: Duration = Duration::from_millis(50);

/// What the reader has found.
pub(crate) trait Found: Send + 'static {
    /// The partition was read to its end.
    fn restored(&self, partition: u32, contents: Contents);
    /// Somebody wishes something of it since.
    fn wished(&self, partition: u32, wish: Wish);
}

/// The running thread.
pub(crate) struct Reader {
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Read(u32),
    Forget(u32),
}

impl Reader {
    pub(crate) fn start<F: Found>(
        mut config: ClientConfig,
        group: &str,
        topic: &str,
        found: F,
    ) -> Result<Self, SettingError> {
        config
            .set("group.id", format!("{group}-decisions"))
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest");
        let failed = |error: &dyn std::fmt::Display| SettingError::new("decisions_topic", error.to_string());
        let consumer: BaseConsumer<Events> =
            config.create_with_context(Events::of("decisions")).map_err(|error| failed(&error))?;
        let (commands, told) = channel();
        let topic = topic.to_owned();
        let reading = Reading { consumer, topic, found, restoring: BTreeMap::new() };
        let thread = thread::Builder::new().name("decisions".to_owned());
        let thread = thread.spawn(move || reading.run(&told)).map_err(|error: io::Error| failed(&error))?;
        Ok(Self { commands: Some(commands), thread: Some(thread) })
    }

    /// From its beginning.
    pub(crate) fn read(&self, partition: u32) {
        self.tell(Command::Read(partition));
    }

    pub(crate) fn forget(&self, partition: u32) {
        self.tell(Command::Forget(partition));
    }

    fn tell(&self, command: Command) {
        // The thread ends when this sender is dropped, not before.
        let _ = self.commands.as_ref().map(|commands| commands.send(command));
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that reads decisions panicked");
        }
    }
}

struct Reading<F> {
    consumer: BaseConsumer<Events>,
    topic: String,
    found: F,
    /// Partitions whose end has not been reached.
    restoring: BTreeMap<u32, Contents>,
}

impl<F: Found> Reading<F> {
    fn run(mut self, told: &Receiver<Command>) {
        loop {
            match told.try_recv() {
                Ok(command) => self.obey(&command),
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                Err(std::sync::mpsc::TryRecvError::Empty) => self.poll(),
            }
        }
    }

    fn obey(&mut self, command: &Command) {
        let (partition, reads) = match command {
            Command::Read(partition) => (*partition, true),
            Command::Forget(partition) => (*partition, false),
        };
        let mut list = TopicPartitionList::new();
        let number = i32::try_from(partition).unwrap_or_default();
        let done = if reads {
            self.restoring.insert(partition, Contents::default());
            list.add_partition_offset(&self.topic, number, Offset::Beginning)
                .and_then(|()| self.consumer.incremental_assign(&list))
        } else {
            self.restoring.remove(&partition);
            list.add_partition(&self.topic, number);
            self.consumer.incremental_unassign(&list)
        };
        if let Err(error) = done {
            tracing::error!(topic = self.topic, partition, %error, "decisions cannot be read");
        }
    }

    fn poll(&mut self) {
        match self.consumer.poll(POLL) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let partition = u32::try_from(partition).unwrap_or_default();
                if let Some(contents) = self.restoring.remove(&partition) {
                    self.found.restored(partition, contents);
                }
            }
            Some(Err(error)) => {
                tracing::warn!(topic = self.topic, %error, "reading decisions is tried again");
            }
            Some(Ok(record)) => {
                let partition = u32::try_from(record.partition()).unwrap_or_default();
                match Entry::decode(record.key().unwrap_or_default(), record.payload()) {
                    Ok(entry) => take(&mut self.restoring, &self.found, partition, entry),
                    Err(error) => {
                        let offset = record.offset();
                        tracing::error!(topic = self.topic, partition, offset, %error, "a record is passed over");
                    }
                }
            }
        }
    }
}

fn take<F: Found>(restoring: &mut BTreeMap<u32, Contents>, found: &F, partition: u32, entry: Option<Entry>) {
    match (restoring.get_mut(&partition), entry) {
        (Some(contents), Some(entry)) => contents.add(entry),
        (None, Some(Entry::Wish(wish))) => found.wished(partition, wish),
        // Decisions written since are this process's own.
        (None, Some(Entry::Decision(..))) | (_, None) => {}
    }
}
