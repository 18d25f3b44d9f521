//! What the journal may use again, and how far the exporters are: looked at a few times a second, on one thread.
//!
//! Released is what is below everything undecided, everything kept and not acknowledged by every exporter, everything not
//! in the store, and the last written checkpoint itself. The journal knows each of them by name, and says who holds it
//! when it is full.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use throughline_journal::{AppendError, Consumer, Full, Journal, Position, Record, RecordKind, Refused};

use crate::delivery::checkpoint::Checkpoint;
use crate::intake::wall_clock;
use crate::lines::Lines;
use crate::look_back::{self, Aged};

/// Between two looks. It bounds how long released space stays unused, and how much may be sent twice after a crash: a
/// checkpoint is written at each, if there is news.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What has become too old is looked for at every so many looks.
const LOOKS_AN_AGE: u32 = 5;

/// The consumer that every journal has: until it has spoken, nothing is used again.
pub(crate) const STORE: &str = "store";

/// The consumer that holds the last checkpoint.
const CHECKPOINT: &str = "the last checkpoint";

/// The books of a process.
pub(crate) struct Ledger {
    journal: Journal,
    consumers: BTreeMap<String, Consumer>,
    lines: Arc<Lines>,
    written: Mutex<Written>,
    aged: Mutex<Aged>,
    stop: Mutex<bool>,
    stopped: Condvar,
}

/// The last checkpoint, and where it stands.
#[derive(Default)]
struct Written {
    checkpoint: Option<Checkpoint>,
    position: Option<u64>,
}

/// The running thread; dropping it ends it.
pub(crate) struct Clerk {
    ledger: Arc<Ledger>,
    thread: Option<JoinHandle<()>>,
}

impl Ledger {
    /// `last` is the last checkpoint of the process before, and where it stands: it holds until there is another.
    pub(crate) fn new(journal: Journal, lines: Arc<Lines>, last: Option<(Checkpoint, u64)>) -> Arc<Self> {
        let mut names: Vec<String> = lines.claims().into_iter().map(|(name, _)| name).collect();
        if !lines.deliveries.is_empty() {
            names.push(CHECKPOINT.to_owned());
        }
        let register = |name: String| {
            let consumer = journal.consumer(&name, None);
            (name, consumer)
        };
        let consumers = names.into_iter().map(register).collect();
        let (checkpoint, position) = last.unzip();
        let (written, stop) = (Mutex::new(Written { checkpoint, position }), Mutex::new(false));
        let (aged, stopped) = (Mutex::default(), Condvar::new());
        Arc::new(Self { journal, consumers, lines, written, aged, stop, stopped })
    }

    pub(crate) fn start(self: &Arc<Self>) -> io::Result<Clerk> {
        let ledger = Arc::clone(self);
        let thread = thread::Builder::new().name("ledger".to_owned()).spawn(move || ledger.run())?;
        Ok(Clerk { ledger: Arc::clone(self), thread: Some(thread) })
    }

    fn run(&self) {
        let mut looks = 0_u32;
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stop {
            drop(stop);
            self.look();
            if looks.is_multiple_of(LOOKS_AN_AGE) {
                self.expire();
            }
            looks = looks.wrapping_add(1);
            stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self.stopped.wait_timeout_while(stop, LOOK_EVERY, |stop| !*stop);
            stop = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes how far the exporters are, then lets go of what they did not need before: of what they have done with since,
    /// nothing durable knows yet, and after a crash they ask for it again. Blocks until it is durable.
    pub(crate) fn look(&self) {
        let before = self.lines.claims();
        self.check_point();
        // Or of what is needed again since: a late span brings back what was done with.
        let after = self.lines.claims();
        let claims =
            before.into_iter().zip(after).map(|((name, before), (_, after))| (name, before.min(after)));
        self.release(claims.collect());
    }

    /// Lets go of what the process before had done with. First of all, as a full journal has no room for a checkpoint.
    pub(crate) fn resume(&self) {
        self.release(self.lines.claims());
    }

    /// Writes how far the exporters are, if that is news.
    fn check_point(&self) {
        let checkpoint = self.lines.checkpoint();
        if checkpoint.acknowledged.is_empty() {
            return;
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.checkpoint.as_ref() == Some(&checkpoint) {
            return;
        }
        let record = Record::new(RecordKind::ExporterAcknowledgement, wall_clock().0, checkpoint.encode());
        match self.journal.append_wait(record) {
            Ok(position) => {
                *written = Written { checkpoint: Some(checkpoint), position: Some(position.0) };
            }
            Err(error) => {
                // At its cap a journal makes room for it, and a queue that is full is not for long; on a full disk it cannot, and must
                // not stay full for its sake: the last one is given up with what it pins. After a crash the exporters send again what
                // the journal still holds; nothing is lost.
                if matches!(error, AppendError::Refused(Refused::Full(Full::Disk(_)))) {
                    written.position = None;
                }
                tracing::warn!(%error, "how far the exporters are could not be written down");
            }
        }
    }

    /// Tells the journal what is older than every sampler looks back, and everybody how far that is.
    fn expire(&self) {
        let longest = self.lines.samplers.iter().map(|sampler| sampler.look_back).max();
        if let Some(longest) = longest {
            let mut aged = self.aged.lock().unwrap_or_else(PoisonError::into_inner);
            let now = wall_clock();
            aged.expire(&self.journal, look_back::since(now, longest));
            self.lines.reaches(look_back::reach(&self.journal, longest, now));
        }
    }

    /// Lets the journal use again what nobody needs.
    fn release(&self, claims: Vec<(String, u64)>) {
        let checkpoint = self.written.lock().unwrap_or_else(PoisonError::into_inner).position;
        let oldest = claims.iter().map(|(_, from)| *from).min();
        let held = checkpoint.or(oldest).map(|position| (CHECKPOINT.to_owned(), position));
        for (name, from) in claims.into_iter().chain(held) {
            if let (Some(consumer), Some(through)) = (self.consumers.get(&name), from.checked_sub(1)) {
                self.journal.release(consumer, Position(through));
            }
        }
    }

    fn stop(&self) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stopped.notify_all();
    }
}

impl Clerk {
    /// Ends the thread and writes the last state. Blocks.
    pub(crate) fn close(mut self) {
        self.end();
        self.ledger.look();
    }

    fn end(&mut self) {
        self.ledger.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the ledger's thread panicked");
        }
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;

    use throughline_journal::Options;
    use throughline_journal::sim::SimFs;

    use super::*;
    use crate::delivery::tests::everything;
    use crate::topology::Wait;

    #[test]
    fn the_last_checkpoint_is_given_up_on_a_full_disk_and_not_for_a_full_queue() {
        let disk = SimFs::new(1);
        let options = Options {
            segment_bytes: 64 << 10,
            cap_bytes: 1 << 20,
            queue_records: 1,
            group_wait: Duration::ZERO,
            ..Options::default()
        };
        let (journal, _) = Journal::open(Arc::new(disk.clone()), Path::new("/journal"), options).unwrap();
        let delivery = everything(journal.clone(), Wait::Always(Duration::ZERO));
        let deliveries = vec![Arc::clone(&delivery)];
        let lines = Lines { samplers: Vec::new(), deliveries, keep: None, reach: Mutex::default() };
        let ledger = Ledger::new(journal.clone(), Arc::new(lines), None);
        let written = || ledger.written.lock().unwrap().position;
        ledger.look();
        let first = written().expect("a checkpoint");
        // The committer is busy, and what waits for it is all that may.
        let (busy, is_busy) = mpsc::channel();
        let (free, until_free) = mpsc::channel::<()>();
        let request = |bytes| Record::new(RecordKind::Spans, 0, vec![1; bytes]);
        let occupied = journal.append(request(1), move |_| {
            busy.send(()).unwrap();
            let _ = until_free.recv();
        });
        occupied.unwrap();
        is_busy.recv().unwrap();
        journal.append(request(1), |_| ()).unwrap();
        delivery.pass(7);
        ledger.look();
        assert_eq!(written(), Some(first));
        drop(free);
        disk.set_capacity(Some(0));
        let is_full = |outcome| matches!(outcome, Err(AppendError::Refused(Refused::Full(Full::Disk(_)))));
        while !is_full(journal.append_wait(request(30_000))) {}
        ledger.look();
        assert_eq!(written(), None);
    }
}
