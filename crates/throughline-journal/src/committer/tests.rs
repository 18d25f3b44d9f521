//! One sync serves a group, a full queue refuses, a batch is synced in time, a failure is final.

use std::{
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use crate::{
    AppendError, Durability, Full, Journal, JournalError, Options, Record, RecordKind, Refused, sim::SimFs,
};

const FOREVER: Duration = Duration::from_secs(600);

fn open(fs: &SimFs, options: Options) -> Journal {
    Journal::open(std::sync::Arc::new(fs.clone()), Path::new("/j"), options).unwrap().0
}

fn options() -> Options {
    Options { segment_bytes: 64 << 10, cap_bytes: 1 << 20, group_wait: Duration::ZERO, ..Options::default() }
}

fn record(length: usize) -> Record<Vec<u8>> {
    Record::new(RecordKind::Spans, 1, vec![7; length])
}

#[test]
fn sparse_records_wait_for_company_and_share_one_sync() {
    let fs = SimFs::new(1);
    // The wait would be endless; it ends because the queue has all it takes.
    let journal = open(&fs, Options { group_wait: FOREVER, queue_records: 5, ..options() });
    let (done, outcomes) = mpsc::channel();
    for _ in 0..5 {
        let done = done.clone();
        journal.append(record(10), move |outcome| done.send(outcome).unwrap()).unwrap();
    }
    for _ in 0..5 {
        outcomes.recv().unwrap().unwrap();
    }
    let stats = journal.stats();
    assert_eq!((stats.records, stats.groups, stats.syncs), (5, 1, 1));
}

/// Keeps the committer busy inside a `done` until the returned sender is dropped.
fn occupy(journal: &Journal) -> mpsc::Sender<()> {
    let (busy, is_busy) = mpsc::channel();
    let (free, until_free) = mpsc::channel::<()>();
    journal
        .append(record(1), move |_| {
            busy.send(()).unwrap();
            let _ = until_free.recv();
        })
        .unwrap();
    is_busy.recv().unwrap();
    free
}

#[test]
fn what_gathers_during_a_sync_is_one_group() {
    let fs = SimFs::new(1);
    let journal = open(&fs, options());
    let free = occupy(&journal);
    let (done, outcomes) = mpsc::channel();
    for _ in 0..20 {
        let done = done.clone();
        journal.append(record(10), move |outcome| done.send(outcome).unwrap()).unwrap();
    }
    drop(free);
    for _ in 0..20 {
        outcomes.recv().unwrap().unwrap();
    }
    let stats = journal.stats();
    assert_eq!((stats.records, stats.groups), (21, 2));
}

#[test]
fn a_full_queue_refuses_and_counts_and_takes_more_once_there_is_room() {
    for (limits, fitting) in [
        (Options { queue_records: 3, ..options() }, 3),
        (Options { queue_bytes: 250, ..options() }, 2),
        // An empty queue takes one record of any size.
        (Options { queue_bytes: 10, ..options() }, 1),
    ] {
        let journal = open(&SimFs::new(1), limits);
        let free = occupy(&journal);
        for _ in 0..fitting {
            journal.append(record(100), |outcome| assert!(outcome.is_ok())).unwrap();
        }
        assert_eq!(journal.append(record(100), |_| unreachable!()), Err(Refused::Full(Full::Queue)));
        let stats = journal.stats();
        assert_eq!(
            (stats.refused_queue, stats.waiting_records, stats.waiting_bytes),
            (1, fitting, 100 * fitting)
        );
        drop(free);
        let later = loop {
            match journal.append_wait(record(100)) {
                Err(AppendError::Refused(Refused::Full(Full::Queue))) => std::thread::yield_now(),
                outcome => break outcome,
            }
        };
        later.unwrap();
    }
}

#[test]
fn a_batch_is_acknowledged_before_and_synced_after_its_window() {
    let fs = SimFs::new(1);
    let journal = open(&fs, Options { durability: Durability::Batch { window: FOREVER }, ..options() });
    journal.append_wait(record(10)).unwrap();
    assert_eq!(journal.stats().syncs, 0, "acknowledged without a sync");
    drop(journal);
    let window = Duration::from_millis(1);
    let journal = open(&fs, Options { durability: Durability::Batch { window }, ..options() });
    journal.append_wait(record(10)).unwrap();
    let given_up = Instant::now() + Duration::from_secs(60);
    while journal.stats().syncs == 0 {
        assert!(Instant::now() < given_up, "nothing else came, and the batch was never synced");
        std::thread::yield_now();
    }
}

#[test]
fn none_syncs_when_a_segment_is_sealed() {
    let journal = open(&SimFs::new(1), Options { durability: Durability::None, ..options() });
    journal.append_wait(record(40_000)).unwrap();
    assert_eq!(journal.stats().syncs, 0);
    journal.append_wait(record(40_000)).unwrap();
    assert_eq!((journal.stats().syncs, journal.stats().sealed), (1, 1));
}

/// What was acknowledged stays, the record at hand fails, everything later is refused, and a restart goes on.
fn check_poisoned(fail: impl Fn(&SimFs), said: &str) {
    let fs = SimFs::new(1);
    let journal = open(&fs, options());
    let kept = journal.append_wait(record(10)).unwrap();
    fail(&fs);
    let failed = journal.append_wait(record(11));
    assert!(matches!(&failed, Err(AppendError::Failed(why)) if why.contains(said)), "{failed:?}");
    let refused = loop {
        // The committer tells first and closes the queue next.
        match journal.append_wait(record(12)) {
            Err(AppendError::Failed(_)) => {}
            other => break other,
        }
    };
    assert!(
        matches!(&refused, Err(AppendError::Refused(Refused::Poisoned(why))) if why.contains(said)),
        "{refused:?}"
    );
    assert!(journal.stats().poisoned.is_some_and(|why| why.contains(said)));
    assert!(journal.stats().failed >= 2);
    assert_eq!(journal.read(kept).unwrap().payload, [7; 10]);
    assert!(matches!(journal.close(), Err(JournalError::Poisoned(_))));
    let journal = open(&fs, options());
    assert_eq!(journal.read(kept).unwrap().payload, [7; 10]);
    assert!(journal.append_wait(record(10)).unwrap() > kept);
}

#[test]
fn a_failed_sync_is_final() {
    check_poisoned(|fs| fs.fail_syncs(1), "cannot sync /j/segment-00000000.tlj: simulated");
}

#[test]
fn a_failed_write_is_final() {
    check_poisoned(|fs| fs.fail_write(0, std::io::ErrorKind::Other), "cannot write /j/segment-00000000.tlj");
}

#[test]
fn a_callback_that_panics_leaves_nobody_waiting() {
    let journal = open(&SimFs::new(1), options());
    journal.append(record(1), |_| panic!("a caller's mistake")).unwrap();
    let outcome = loop {
        match journal.append_wait(record(1)) {
            Ok(_) => std::thread::yield_now(),
            Err(error) => break error,
        }
    };
    assert!(!outcome.to_string().is_empty());
    assert!(journal.close().is_err());
}

#[test]
fn closing_writes_what_waits_and_refuses_what_comes() {
    let fs = SimFs::new(1);
    let journal = open(&fs, Options { group_wait: FOREVER, ..options() });
    let (done, outcome) = mpsc::channel();
    journal.append(record(10), move |result| done.send(result).unwrap()).unwrap();
    journal.close().unwrap();
    let position = outcome.recv().unwrap().unwrap();
    assert_eq!(journal.append(record(10), |_| unreachable!()), Err(Refused::Closed));
    assert_eq!(journal.read(position).unwrap().payload, [7; 10], "reading goes on after closing");
}

#[test]
fn the_last_handle_may_be_dropped_by_a_callback() {
    let journal = open(&SimFs::new(1), options());
    let (done, dropped) = mpsc::channel();
    let inner = journal.clone();
    let (go, may_go) = mpsc::channel::<()>();
    journal
        .append(record(1), move |_| {
            let _ = may_go.recv();
            drop(inner);
            done.send(()).unwrap();
        })
        .unwrap();
    drop(journal);
    drop(go);
    dropped.recv().unwrap();
}
