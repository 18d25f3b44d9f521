//! The queue before the writer and the one thread that empties it. It refuses what the queue has no room for, and
//! everything once a write or a sync has failed.
//!
//! This is the only place with a clock: a condition variable's timeout says when a lonely record has waited long enough
//! for company, and when a batch's window ends. Both are promises about real time that no caller could keep for us.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{Durability, Full, Options, Refused, entry::Entry, stats::Counters, writer::Writer};

/// Appends that wait for the committer. Bounded by records and bytes; what was taken and is being written comes on top.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    most_bytes: usize,
    most_records: usize,
    group_wait: Duration,
}

struct Waiting {
    entries: Vec<Entry>,
    bytes: u64,
    state: State,
}

#[derive(Clone)]
enum State {
    Running,
    Closing,
    Poisoned(Arc<str>),
}

/// What the committer does next.
enum Work {
    Commit(Vec<Entry>),
    /// The time it asked for has come.
    Due,
    Close,
}

impl Queue {
    pub(crate) fn new(options: &Options) -> Self {
        // Only an acknowledgement that waits for a sync gains from company.
        let group_wait = match options.durability {
            Durability::Sync => options.group_wait,
            Durability::Batch { .. } | Durability::None => Duration::ZERO,
        };
        Self {
            waiting: Mutex::new(Waiting { entries: Vec::new(), bytes: 0, state: State::Running }),
            changed: Condvar::new(),
            most_bytes: options.queue_bytes,
            most_records: options.queue_records.max(1),
            group_wait,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an append, if there is room. An empty queue takes one of any size: else it could never be stored.
    pub(crate) fn offer(&self, entry: Entry) -> Result<(), Refused> {
        let mut waiting = self.lock();
        match &waiting.state {
            State::Running => {}
            State::Closing => return Err(Refused::Closed),
            State::Poisoned(why) => return Err(Refused::Poisoned(Arc::clone(why))),
        }
        let bytes = waiting.bytes + entry.bytes();
        if waiting.entries.len() >= self.most_records
            || (bytes > self.most_bytes as u64 && !waiting.entries.is_empty())
        {
            return Err(Refused::Full(Full::Queue));
        }
        waiting.bytes = bytes;
        waiting.entries.push(entry);
        self.changed.notify_all();
        Ok(())
    }

    /// Accepts nothing more; what waits is still written.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        if matches!(waiting.state, State::Running) {
            waiting.state = State::Closing;
        }
        self.changed.notify_all();
    }

    /// Accepts nothing more, and what waits fails.
    fn poison(&self, why: &Arc<str>, counters: &Counters) {
        let mut waiting = self.lock();
        waiting.state = State::Poisoned(Arc::clone(why));
        waiting.bytes = 0;
        let entries = std::mem::take(&mut waiting.entries);
        drop(waiting);
        counters.failed.add(entries.len() as u64);
        entries.into_iter().for_each(|entry| entry.fail(why));
    }

    /// Records and bytes that wait, and why nothing more is accepted.
    pub(crate) fn waiting(&self) -> (u64, u64, Option<Arc<str>>) {
        let waiting = self.lock();
        let poisoned = match &waiting.state {
            State::Poisoned(why) => Some(Arc::clone(why)),
            State::Running | State::Closing => None,
        };
        (waiting.entries.len() as u64, waiting.bytes, poisoned)
    }

    /// Waits for the next group. What gathered while the last group was synced is one and goes at once; a record that
    /// comes to an empty queue is a sparse one and waits for company.
    fn take(&self, due: Option<Duration>) -> Work {
        let mut waiting = self.lock();
        if waiting.is_idle() {
            waiting = match due {
                None => self
                    .changed
                    .wait_while(waiting, |waiting| waiting.is_idle())
                    .unwrap_or_else(PoisonError::into_inner),
                Some(due) => self.wait(waiting, due, |waiting| waiting.is_idle()),
            };
            if waiting.is_idle() {
                return Work::Due;
            }
            let room = (self.most_bytes / 2) as u64;
            let sparse = |waiting: &Waiting| {
                matches!(waiting.state, State::Running)
                    && waiting.bytes < room
                    && waiting.entries.len() < self.most_records
            };
            waiting = self.wait(waiting, self.group_wait, sparse);
        }
        if waiting.entries.is_empty() {
            return Work::Close;
        }
        waiting.bytes = 0;
        Work::Commit(std::mem::take(&mut waiting.entries))
    }

    fn wait<'a>(
        &'a self,
        waiting: MutexGuard<'a, Waiting>,
        most: Duration,
        still: impl Fn(&Waiting) -> bool,
    ) -> MutexGuard<'a, Waiting> {
        let waited = self.changed.wait_timeout_while(waiting, most, |waiting| still(waiting));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Waiting {
    fn is_idle(&self) -> bool {
        self.entries.is_empty() && matches!(self.state, State::Running)
    }
}

/// Empties the queue until it is closed or the journal is poisoned. The body of the committer's thread.
pub(crate) fn run(queue: &Arc<Queue>, writer: Writer, counters: &Arc<Counters>) {
    // If a caller's `done` panics, this thread ends: nobody may wait for it in vain.
    let _guard = Guard { queue: Arc::clone(queue), counters: Arc::clone(counters) };
    if let Err(why) = serve(queue, writer) {
        queue.poison(&why, counters);
    }
}

fn serve(queue: &Queue, mut writer: Writer) -> Result<(), Arc<str>> {
    let begun = Instant::now();
    loop {
        let due = writer.sync_due().map(|due| due.saturating_sub(begun.elapsed()));
        match queue.take(due) {
            Work::Commit(entries) => writer.commit(entries, begun.elapsed())?,
            Work::Due => {}
            Work::Close => return writer.close(begun.elapsed()),
        }
        if writer.sync_due().is_some_and(|due| due <= begun.elapsed()) {
            writer.sync()?;
        }
    }
}

struct Guard {
    queue: Arc<Queue>,
    counters: Arc<Counters>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.queue
                .poison(&Arc::from("the committer thread panicked in an append's callback"), &self.counters);
        }
    }
}

#[cfg(test)]
mod tests;
