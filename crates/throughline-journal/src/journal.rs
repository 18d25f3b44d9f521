//! The journal's handle: what everybody else calls. It refuses to be more than the front of writer, catalog and readers.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
};

use crate::{
    AppendError, Codec, JournalError, Keys, Options, OwnedRecord, Position, ReadError, Record, Recovery,
    Refused, Stats,
    catalog::Catalog,
    committer::{self, Queue},
    entry::Entry,
    fs::Fs,
    read::{self, Hit, Reader, Records},
    recovery::{self, Recovered},
    stats::Counters,
    writer::{self, Writer},
};

/// An open journal. Clones share it; the last one closes it.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

/// A consumer's claim: records after what it released are kept for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer(Arc<str>);

struct Inner {
    fs: Arc<dyn Fs>,
    /// Of this opening: a record that has it was written by this process.
    epoch: u32,
    segment_bytes: u32,
    catalog: Arc<Catalog>,
    counters: Arc<Counters>,
    queue: Arc<Queue>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Opens the journal in `dir`, which has one owner: a lock on the data folder is the caller's.
    ///
    /// Reads what is there (see [`crate::Verify`]), seals what a crash left open, and starts the committer's thread.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, options: Options) -> Result<(Self, Recovery), JournalError> {
        let options = options.checked()?;
        let Recovered { sealed, spare, numbering, recovery } = recovery::recover(fs.as_ref(), dir, &options)?;
        let catalog = Arc::new(Catalog::new(sealed, spare, &options));
        let (counters, queue) = (Arc::<Counters>::default(), Arc::new(Queue::new(&options)));
        let (shared, counted) = (Arc::clone(&catalog), Arc::clone(&counters));
        let mut writer = Writer::new(Arc::clone(&fs), dir.to_owned(), &options, numbering, shared, counted);
        writer.reserve();
        let (work, counted) = (Arc::clone(&queue), Arc::clone(&counters));
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let committer =
            thread.spawn(move || committer::run(&work, writer, &counted)).map_err(JournalError::Thread)?;
        let committer = Mutex::new(Some(committer));
        let (segment_bytes, epoch) = (options.segment_bytes, numbering.epoch);
        Ok((
            Self(Arc::new(Inner { fs, epoch, segment_bytes, catalog, counters, queue, committer })),
            recovery,
        ))
    }

    /// Hands a record over. `done` is called once, when the record is as durable as [`crate::Durability`] promises or
    /// when it is certain that it will not be: on the committer's thread, which everybody waits for, so it only passes
    /// the news on. A cap that is reached or a disk that is full is found by the committer and comes through `done`.
    pub fn append<P>(
        &self,
        record: Record<P>,
        done: impl FnOnce(Result<Position, AppendError>) + Send + 'static,
    ) -> Result<(), Refused>
    where
        P: AsRef<[u8]> + Send + 'static,
    {
        let offered = self.offer(record, Box::new(done));
        if let Err(why) = &offered {
            self.0.counters.refused(why);
        }
        offered
    }

    fn offer<P>(&self, record: Record<P>, done: crate::entry::Done) -> Result<(), Refused>
    where
        P: AsRef<[u8]> + Send + 'static,
    {
        if record.codec != Codec::None {
            return Err(Refused::CodecNotBuilt);
        }
        let bytes = (record.payload.as_ref().len() + record.keys.encoded().len()) as u64;
        let limit = writer::largest_record(self.0.segment_bytes, &record.keys);
        if bytes > limit {
            return Err(Refused::TooLarge { bytes, limit });
        }
        self.0.queue.offer(Entry::new(record, done))
    }

    /// Appends and waits. Blocks: not for an async thread.
    pub fn append_wait<P>(&self, record: Record<P>) -> Result<Position, AppendError>
    where
        P: AsRef<[u8]> + Send + 'static,
    {
        let (done, outcome) = mpsc::sync_channel(1);
        // Nobody listening is this function's own panic: nothing to tell.
        self.append(record, move |result| drop(done.send(result)))?;
        outcome.recv().unwrap_or_else(|_| Err(AppendError::Failed("the committer thread ended".into())))
    }

    /// Most bytes a record without keys may have. With keys it is less: payload, keys and their index must fit in a segment.
    #[must_use]
    pub fn largest_record(&self) -> u64 {
        writer::largest_record(self.0.segment_bytes, &Keys::default())
    }

    /// The record at `position`.
    pub fn read(&self, position: Position) -> Result<OwnedRecord, ReadError> {
        read::read(&self.0.catalog, position)
    }

    /// Reads records by position; holds so many bytes of them.
    #[must_use]
    pub fn reader(&self, holding: usize) -> Reader {
        Reader::new(Arc::clone(&self.0.catalog), self.0.epoch, holding)
    }

    /// Records in order, from the one at `position` or the first after it. `Position(0)` is the beginning.
    #[must_use]
    pub fn records_from(&self, position: Position) -> Records {
        Records::from(Arc::clone(&self.0.catalog), position)
    }

    /// Position and arrival of the first record at or after `position` whose header is sound. Reads little where
    /// `position` is that of a record, or where a segment begins.
    #[must_use]
    pub fn arrival_from(&self, position: Position) -> Option<(Position, u64)> {
        read::arrival_from(&self.0.catalog, position)
    }

    /// Records in order, from the first after the one at `position`: where a consumer goes on.
    #[must_use]
    pub fn records_after(&self, position: Position) -> Records {
        Records::after(Arc::clone(&self.0.catalog), position)
    }

    /// All pairs handed over with this key that are still readable, oldest first.
    #[must_use]
    pub fn lookup(&self, key: &[u8; 16]) -> Vec<Hit> {
        read::lookup(&self.0.catalog, key)
    }

    /// As [`Journal::lookup`], of records before `before` only: cheaper, as no later segment is asked.
    #[must_use]
    pub fn lookup_before(&self, key: &[u8; 16], before: Position) -> Vec<Hit> {
        read::lookup_before(&self.0.catalog, key, before)
    }

    /// Registers a consumer, which remembers by itself how far it is: `released` is the last record it needs no more.
    /// From now on nothing after that is recycled until it says so.
    #[must_use]
    pub fn consumer(&self, name: &str, released: Option<Position>) -> Consumer {
        let consumer = Consumer(Arc::from(name));
        self.moved(&consumer, released);
        consumer
    }

    /// The consumer needs nothing up to and including `up_to` any more. Never moves back.
    pub fn release(&self, consumer: &Consumer, up_to: Position) {
        self.moved(consumer, Some(up_to));
    }

    /// Nothing up to and including `up_to` has to stay for look-back's sake: once released, its segments are used again before
    /// the journal grows. Never moves back.
    pub fn expire(&self, up_to: Position) {
        self.0.catalog.expire(up_to);
    }

    /// The consumer is gone for good: it holds nothing back any more.
    pub fn forget(&self, consumer: &Consumer) {
        self.0.catalog.forget(&consumer.0);
    }

    fn moved(&self, consumer: &Consumer, released: Option<Position>) {
        for file in self.0.catalog.release(&consumer.0, released) {
            // Of a size no longer used. If it cannot be removed now, it comes back at the next open and goes then.
            let _ = self.0.fs.remove(&file.path);
        }
    }

    /// Figures at this moment.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let usage = self.0.catalog.usage();
        let (waiting_records, waiting_bytes, poisoned) = self.0.queue.waiting();
        Stats {
            waiting_records,
            waiting_bytes,
            poisoned,
            segments: usage.segments,
            file_bytes: usage.bytes,
            pinned_bytes: usage.pinned_bytes,
            first: usage.first,
            at_cap: usage.at_cap,
            last: usage.last,
            ..self.0.counters.snapshot()
        }
    }

    /// Accepts nothing more, writes what waits, syncs and seals. Reading still works afterwards.
    pub fn close(&self) -> Result<(), JournalError> {
        self.0.close();
        match self.0.queue.waiting().2 {
            Some(why) => Err(JournalError::Poisoned(why)),
            None => Ok(()),
        }
    }
}

impl Inner {
    fn close(&self) {
        self.queue.close();
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A `done` that drops the last handle runs on the committer's thread, which cannot wait for itself.
        if let Some(committer) =
            committer.filter(|thread| thread.thread().id() != std::thread::current().id())
        {
            // A panic there has poisoned the queue already.
            let _ = committer.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
