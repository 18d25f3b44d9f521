//! A journal behaves like a list of records that only its consumers shorten.

use std::{path::Path, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{Durability, Full, Keys, RecordKind, sim::SimFs};

fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        cap_bytes: 256 << 10,
        group_wait: Duration::ZERO,
        ..Options::default()
    }
}

fn open(fs: &SimFs, options: Options) -> Journal {
    Journal::open(Arc::new(fs.clone()), Path::new("/j"), options).unwrap().0
}

fn record(length: usize) -> Record<Vec<u8>> {
    Record::new(RecordKind::Spans, 1, vec![7; length])
}

#[derive(Clone, Debug)]
enum Step {
    Append { length: usize, key: u8 },
    Release { share: u8 },
    Close,
    Kill,
    ReadFrom { share: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0_usize..6000, any::<u8>()).prop_map(|(length, key)| Step::Append { length, key: key % 16 }),
        2 => (0_usize..45_000, any::<u8>()).prop_map(|(length, key)| Step::Append { length, key: key % 16 }),
        2 => any::<u8>().prop_map(|share| Step::Release { share }),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        2 => any::<u8>().prop_map(|share| Step::ReadFrom { share }),
    ]
}

/// A journal, and the list it must behave like.
struct Model {
    fs: SimFs,
    options: Options,
    journal: Journal,
    consumer: Consumer,
    released: Option<Position>,
    records: Vec<OwnedRecord>,
    full: u64,
}

impl Model {
    fn new(durability: Durability) -> Self {
        let fs = SimFs::new(3);
        let options = Options { durability, verify: crate::Verify::Unsealed, ..options() };
        let journal = open(&fs, options.clone());
        let consumer = journal.consumer("store", None);
        Self { fs, options, journal, consumer, released: None, records: Vec::new(), full: 0 }
    }

    fn needed(&self) -> &[OwnedRecord] {
        let first = self.records.partition_point(|record| Some(record.position) <= self.released);
        &self.records[first..]
    }

    fn pick(&self, share: u8) -> Option<Position> {
        let index = self.records.len() * usize::from(share) / 256;
        self.records.get(index).map(|record| record.position)
    }

    fn append(&mut self, length: usize, key: u8) {
        let number = self.records.len() as u64;
        let mut record = Record::new(RecordKind::Logs, number, vec![number as u8; length]);
        record.pipeline = number as u16;
        // Now and then longer than what an index holds.
        let value = number.to_le_bytes().repeat(if number % 7 == 6 { 20 } else { 1 });
        record.keys = [([key; 16], &value[..])].into_iter().collect();
        let Record { kind, pipeline, arrived, payload, keys, .. } = record.clone();
        match self.journal.append_wait(record) {
            Ok(position) => {
                self.records.push(OwnedRecord { position, kind, pipeline, arrived, payload, keys })
            }
            Err(AppendError::Refused(Refused::Full(Full::Cap(consumer)))) => {
                assert_eq!(&*consumer, "store");
                self.full += 1;
                let pinned = self.journal.stats().pinned_bytes;
                assert!(
                    pinned + u64::from(self.options.segment_bytes) > self.options.cap_bytes,
                    "refused with {pinned} bytes pinned"
                );
                assert_eq!(self.journal.stats().refused_cap, self.full);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append { length, key } => self.append(length, key),
            Step::Release { share } => {
                if let Some(position) = self.pick(share) {
                    self.journal.release(&self.consumer, position);
                    self.released = self.released.max(Some(position));
                }
            }
            Step::Close | Step::Kill => {
                if matches!(step, Step::Close) {
                    self.journal.close().unwrap();
                }
                self.journal = open(&self.fs, self.options.clone());
                self.consumer = self.journal.consumer("store", self.released);
                self.full = 0;
            }
            Step::ReadFrom { share } => {
                let Some(position) = self.pick(share) else { return };
                let after: Vec<_> = self.journal.records_after(position).map(Result::unwrap).collect();
                let expected = self.needed().iter().filter(|record| record.position > position);
                assert!(expected.eq(after.iter().filter(|record| Some(record.position) > self.released)));
            }
        }
    }

    fn check(&self) {
        let all: Vec<_> = self.journal.records_from(Position(0)).map(Result::unwrap).collect();
        assert!(self.records.ends_with(&all), "what is readable is the end of what was appended");
        assert!(all.len() >= self.needed().len(), "a record that is needed is gone");
        for record in self.needed() {
            assert_eq!(&self.journal.read(record.position).unwrap(), record);
            let from = self.journal.records_from(record.position).next().unwrap().unwrap();
            assert_eq!(&from, record);
        }
        for key in (0..16).map(|key| [key; 16]) {
            let expected: Vec<_> = all
                .iter()
                .flat_map(|record| {
                    record.keys.iter().map(|(key, value)| (key, (record.position, value.to_vec())))
                })
                .filter(|(found, _)| *found == key)
                .map(|(_, hit)| hit)
                .collect();
            assert_eq!(self.journal.lookup(&key), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn it_behaves_like_a_list(steps in proptest::collection::vec(step(), 1..60), mode in 0..3) {
        let batch = Durability::Batch { window: Durability::DEFAULT_WINDOW };
        let mut model = Model::new([Durability::Sync, batch, Durability::None][mode as usize]);
        for step in &steps {
            model.step(step);
        }
        model.check();
    }
}

#[test]
fn the_largest_record_fits_and_one_byte_more_is_refused_for_good() {
    let fs = SimFs::new(1);
    let journal = open(&fs, options());
    let largest = journal.largest_record() as usize;
    let position = journal.append_wait(record(largest)).unwrap();
    assert_eq!(journal.read(position).unwrap().payload.len(), largest);
    let (bytes, limit) = (largest as u64 + 1, largest as u64);
    assert_eq!(
        journal.append(record(largest + 1), |_| unreachable!()),
        Err(Refused::TooLarge { bytes, limit })
    );
    assert_eq!(journal.stats().refused_too_large, 1);
    let mut keyed = record(largest - 40);
    keyed.keys = [([1; 16], &b""[..]), ([2; 16], &b""[..])].into_iter().collect();
    let refused = journal.append_wait(keyed);
    assert!(
        matches!(refused, Err(AppendError::Refused(Refused::TooLarge { .. }))),
        "its index does not fit beside it"
    );
    assert!(journal.append_wait(record(1)).is_ok(), "one record that is too large stops nothing");
}

#[test]
fn lz4_is_reserved() {
    let journal = open(&SimFs::new(1), options());
    let compressed = Record { codec: Codec::Lz4, ..record(1) };
    assert_eq!(journal.append(compressed, |_| unreachable!()), Err(Refused::CodecNotBuilt));
}

/// Fills the journal until it refuses; returns the last position.
fn fill(journal: &Journal) -> Position {
    loop {
        match journal.append_wait(record(30_000)) {
            Ok(_) => {}
            Err(AppendError::Refused(Refused::Full(_))) => return journal.stats().last.unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn what_lets_segments_go_finds_room_when_requests_do_not() {
    for disk_full in [false, true] {
        let fs = SimFs::new(1);
        let journal = open(&fs, Options { reserve_segments: 1, ..options() });
        let consumer = journal.consumer("store", None);
        if disk_full {
            let bytes: u64 =
                fs.files().iter().filter_map(|file| fs.bytes(file)).map(|file| file.len() as u64).sum();
            // Two segments beside the reserve.
            fs.set_capacity(Some(bytes + (128 << 10)));
        }
        let last = fill(&journal);
        assert!(journal.stats().file_bytes <= 256 << 10);
        let books = |bytes| journal.append_wait(Record::new(RecordKind::Decisions, 0, vec![7; bytes]));
        let decided = books(30_000).unwrap();
        assert!(journal.append_wait(record(100)).is_err(), "the reserve is not for requests");
        assert!(books(10_000).is_ok());
        journal.release(&consumer, last);
        // Requests come back once the reserve is whole again.
        let next = journal.append_wait(record(30_000)).unwrap();
        assert!(next > decided);
        assert_eq!(fill(&journal), journal.stats().last.unwrap());
        assert!(books(30_000).is_ok(), "and it is there for the next time");
    }
}

#[test]
fn what_lets_segments_go_may_exceed_the_cap_for_a_while() {
    let fs = SimFs::new(1);
    let journal = open(&fs, Options { reserve_segments: 1, ..options() });
    let consumer = journal.consumer("store", None);
    fill(&journal);
    let mut last = Position(0);
    // More than three segments of them.
    for _ in 0..8 {
        last = journal.append_wait(Record::new(RecordKind::Decisions, 0, vec![7; 30_000])).unwrap();
        assert!(journal.append_wait(record(100)).is_err(), "requests are within the cap");
    }
    assert!(journal.stats().file_bytes > 256 << 10, "a test of nothing");
    journal.release(&consumer, last);
    assert!(journal.stats().file_bytes <= 256 << 10);
    assert!(journal.append_wait(record(30_000)).is_ok());
}

#[test]
fn a_mark_waits_for_room_as_requests_do() {
    let journal = open(&SimFs::new(1), Options { reserve_segments: 1, ..options() });
    let _consumer = journal.consumer("store", None);
    fill(&journal);
    let append = |kind| journal.append_wait(Record::new(kind, 0, vec![7; 30_000]));
    for _ in 0..3 {
        let refused = append(RecordKind::Mark);
        assert!(matches!(refused, Err(AppendError::Refused(Refused::Full(Full::Cap(_))))), "{refused:?}");
    }
    assert!(append(RecordKind::Decisions).is_ok());
    assert!(append(RecordKind::Mark).is_err(), "beside decisions neither");
    assert_eq!(journal.stats().file_bytes, 256 << 10);
}

/// Senders that try again and again would else keep out what makes room for them.
#[test]
fn what_lets_segments_go_does_not_share_the_fate_of_a_request_in_its_group() {
    let full = SimFs::new(1);
    let first = open(&full, Options { reserve_segments: 1, ..options() });
    fill(&first);
    first.close().unwrap();
    drop(first);
    // The group is complete with the third.
    let one_group = Options { group_wait: Duration::from_secs(600), queue_records: 3, ..options() };
    let journal = open(&full, Options { reserve_segments: 1, ..one_group });
    let _consumer = journal.consumer("store", None);
    let (done, outcomes) = std::sync::mpsc::channel();
    for kind in [RecordKind::Spans, RecordKind::Decisions, RecordKind::Logs] {
        let done = done.clone();
        let record = Record::new(kind, 1, vec![7; 30_000]);
        journal.append(record, move |outcome| done.send((kind, outcome.is_ok())).unwrap()).unwrap();
    }
    let mut stored: Vec<_> = outcomes.iter().take(3).filter(|(_, stored)| *stored).collect();
    assert_eq!(stored.pop(), Some((RecordKind::Decisions, true)));
    assert!(stored.is_empty());
}

#[test]
fn restarts_of_a_full_journal_leave_it_no_larger_than_its_cap() {
    let fs = SimFs::new(1);
    let options = Options { reserve_segments: 1, look_back_bytes: 256 << 10, ..options() };
    let mut journal = open(&fs, options.clone());
    fill(&journal);
    for _ in 0..6 {
        // Each life needs the reserve for its books, and leaves it behind with a record in it.
        journal.append_wait(Record::new(RecordKind::Decisions, 0, vec![7; 100])).unwrap();
        drop(journal);
        journal = open(&fs, options.clone());
        assert!(journal.append_wait(record(100)).is_err(), "nothing was released");
    }
    assert!(journal.stats().file_bytes > 256 << 10, "a test of nothing");
    let consumer = journal.consumer("store", journal.stats().last);
    assert!(journal.stats().file_bytes <= 256 << 10);
    let files: u64 = fs.files().iter().filter_map(|file| fs.bytes(file)).map(|file| file.len() as u64).sum();
    assert!(files <= (256 + 8) << 10, "{files} bytes in files, the manifest included");
    let next = journal.append_wait(record(30_000)).unwrap();
    journal.release(&consumer, next);
    assert!(journal.append_wait(record(30_000)).is_ok());
}

#[test]
fn a_pinned_journal_refuses_at_its_cap_and_goes_on_after_a_release() {
    let fs = SimFs::new(1);
    let journal = open(&fs, Options { consumers: vec!["store".into(), "otlp".into()], ..options() });
    let last = fill(&journal);
    assert_eq!(journal.stats().file_bytes, 256 << 10);
    let store = journal.consumer("store", Some(last));
    let refused = journal.append_wait(record(30_000));
    let otlp: Arc<str> = "otlp".into();
    assert_eq!(
        refused,
        Err(AppendError::Refused(Refused::Full(Full::Cap(otlp)))),
        "a consumer was announced and is silent"
    );
    let otlp = journal.consumer("otlp", None);
    assert!(journal.append_wait(record(30_000)).is_err(), "it needs everything");
    journal.forget(&otlp);
    let next = journal.append_wait(record(30_000)).unwrap();
    assert!(next > last);
    journal.release(&store, next);
    let files = fs.files();
    for _ in 0..50 {
        let position = journal.append_wait(record(30_000)).unwrap();
        journal.release(&store, position);
    }
    assert_eq!(fs.files(), files, "released files are used again, not replaced");
    assert!(journal.stats().recycled >= 25);
    assert!(matches!(journal.read(last), Err(ReadError::Recycled(_))));
    assert!(matches!(journal.read(Position(u64::MAX)), Err(ReadError::Unknown(_))));
}

#[test]
fn without_look_back_one_file_goes_round_and_with_it_released_records_stay_readable() {
    for (look_back_bytes, files, readable) in [(0, 1, 1), (256 << 10, 4, 4)] {
        let fs = SimFs::new(1);
        let journal = open(&fs, Options { look_back_bytes, ..options() });
        let store = journal.consumer("store", None);
        for _ in 0..20 {
            let position = journal.append_wait(record(25_000)).unwrap();
            journal.release(&store, position);
        }
        let segments = fs.files().iter().filter(|path| path.to_string_lossy().contains("segment-")).count();
        assert_eq!(segments, files);
        assert!(journal.records_from(Position(0)).count() >= readable);
    }
}

#[test]
fn what_is_too_old_for_look_back_is_used_again_before_the_journal_grows() {
    let fs = SimFs::new(1);
    let journal = open(&fs, Options { look_back_bytes: 256 << 10, ..options() });
    let store = journal.consumer("store", None);
    let mut positions = Vec::new();
    for _ in 0..20 {
        let position = journal.append_wait(record(25_000)).unwrap();
        journal.release(&store, position);
        journal.expire(position);
        positions.push(position);
    }
    let segments = fs.files().iter().filter(|path| path.to_string_lossy().contains("segment-")).count();
    assert_eq!((segments, journal.stats().at_cap), (1, false));
    // What a consumer needs stays, however old.
    let pinning = journal.consumer("exporter", positions.last().copied());
    for _ in 0..4 {
        let position = journal.append_wait(record(25_000)).unwrap();
        journal.release(&store, position);
        journal.expire(position);
        positions.push(position);
    }
    for position in positions.iter().rev().take(4) {
        assert!(journal.read(*position).is_ok(), "{position}");
    }
    journal.release(&pinning, *positions.last().unwrap());
}

#[test]
fn a_full_disk_refuses_and_takes_more_once_there_is_space() {
    let fs = SimFs::new(1);
    fs.set_capacity(Some(200 << 10));
    let journal = open(&fs, options());
    let store = journal.consumer("store", None);
    let last = fill(&journal);
    let refused = journal.append_wait(record(30_000));
    assert!(
        matches!(&refused, Err(AppendError::Refused(Refused::Full(Full::Disk(why)))) if why.contains("segment-")),
        "{refused:?}"
    );
    assert!(journal.stats().refused_disk > 0);
    assert!(journal.stats().poisoned.is_none());
    fs.set_capacity(Some(300 << 10));
    assert!(journal.append_wait(record(30_000)).unwrap() > last);
    fs.set_capacity(Some(0));
    let last = fill(&journal);
    journal.release(&store, last);
    assert!(
        journal.append_wait(record(30_000)).unwrap() > last,
        "a release frees space on a disk that stays full"
    );
    drop(journal);
    let journal = open(&fs, options());
    assert!(journal.read(last).is_ok(), "a full disk is no reason not to open");
}

#[test]
fn a_write_without_space_loses_nothing_and_leaves_nothing() {
    let fs = SimFs::new(1);
    let journal = open(&fs, options());
    let first = journal.append_wait(record(100)).unwrap();
    fs.fail_write(0, std::io::ErrorKind::StorageFull);
    let refused = journal.append_wait(record(20_000));
    assert!(matches!(refused, Err(AppendError::Refused(Refused::Full(Full::Disk(_))))));
    let second = journal.append_wait(record(50)).unwrap();
    drop(journal);
    let journal = open(&fs, options());
    let all: Vec<_> = journal.records_from(Position(0)).map(|record| record.unwrap().position).collect();
    assert_eq!(all, [first, second]);
}

#[test]
fn a_reader_that_waits_at_the_end_goes_on_with_what_comes() {
    let fs = SimFs::new(1);
    let journal = open(&fs, Options { cap_bytes: 1 << 20, ..options() });
    let mut records = journal.records_from(Position(0));
    assert!(records.next().is_none());
    for n in 0..10 {
        let position = journal.append_wait(record(20_000)).unwrap();
        assert_eq!(records.next().unwrap().unwrap().position, position);
        assert!(records.next().is_none());
        if n == 5 {
            // Passing: the footer of the full segment and both headers of the next. Its first record finds no room.
            fs.fail_write(3, std::io::ErrorKind::StorageFull);
            assert!(journal.append_wait(record(40_000)).is_err());
            assert_eq!(journal.stats().segments, 4, "a segment without a record");
            assert!(records.next().is_none());
            let mut fresh = journal.records_from(Position(0));
            assert_eq!(fresh.by_ref().count(), n + 1);
            assert!(fresh.next().is_none(), "asked again at the end, nothing comes twice");
        }
    }
}

#[test]
fn options_out_of_range_say_what_is_allowed() {
    let error = |options| match Journal::open(Arc::new(SimFs::new(1)), Path::new("/j"), options) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    let said = error(Options { segment_bytes: 100, ..options() });
    assert!(said.contains("segment_bytes is 100") && said.contains("65536"), "{said}");
    let said = error(Options { cap_bytes: 65536, ..options() });
    assert!(said.contains("cap_bytes") && said.contains("two segments"), "{said}");
}

#[test]
fn appends_and_reads_from_many_threads_lose_and_mix_nothing() {
    let journal = open(&SimFs::new(1), Options { cap_bytes: 64 << 20, ..options() });
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let journal = journal.clone();
            scope.spawn(move || {
                for n in 0..100_usize {
                    let mut record = Record::new(RecordKind::Spans, 1, vec![thread; n * 10]);
                    record.keys = Keys::from_iter([([thread; 16], &[n as u8][..])]);
                    let position = journal.append_wait(record).unwrap();
                    assert_eq!(journal.read(position).unwrap().payload, vec![thread; n * 10]);
                }
            });
        }
    });
    for thread in 0..4 {
        assert_eq!(journal.lookup(&[thread; 16]).len(), 100);
    }
    assert_eq!(journal.records_from(Position(0)).count(), 400);
}

/// Fails at each of the writes around a change of segments: what is acknowledged afterwards is found after a kill.
#[test]
fn a_seal_that_finds_no_room_hides_nothing() {
    for seed in 0..200 {
        let (passing, length) = ((seed % 5) as u32, if seed % 10 < 5 { 10 } else { 30_000 });
        let fs = SimFs::new(seed);
        let journal = open(&fs, options());
        let mut keyed = record(30_000);
        keyed.keys = [([1; 16], &b"value"[..])].into_iter().collect();
        let mut stored = vec![journal.append_wait(keyed).unwrap()];
        fs.fail_write(passing, std::io::ErrorKind::StorageFull);
        for length in [30_000, length, 20] {
            stored.extend(journal.append_wait(record(length)));
        }
        let killed = open(&fs, options());
        let found: Vec<_> = killed.records_from(Position(0)).map(|found| found.unwrap().position).collect();
        assert_eq!(found.iter().filter(|found| stored.contains(found)).count(), stored.len(), "seed {seed}");
    }
}

#[test]
fn the_memory_of_one_segments_index_serves_the_next() {
    let options = Options { group_wait: Duration::ZERO, ..Options::default() };
    let (journal, _) = Journal::open(Arc::new(SimFs::new(1)), Path::new("/j"), options).unwrap();
    let mut record = Record::new(RecordKind::Spans, 0, vec![1; 100]);
    record.keys.push([7; 16], &[1]);
    journal.append_wait(record).unwrap();
    assert!(!journal.0.catalog.has_gathered());
    journal.close().unwrap();
    assert!(journal.0.catalog.has_gathered());
    assert_eq!(journal.lookup(&[7; 16]).len(), 1, "by the index on disk");
}
