//! The journal's main promise, over thousands of seeds: power is cut anywhere (in a write, a sync, a rename, in recovery itself),
//! arbitrary parts of what was not synced survive, and everything acknowledged under `sync` is still there. The same runs
//! under `none` lose records, which shows that the simulation can tell the difference.
//!
//! `THROUGHLINE_SIM_SEEDS` sets the number of seeds, `THROUGHLINE_SIM_SEED` runs a single one.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Random, SimFs, Tear};
use crate::{
    AppendError, Durability, JournalError, Keys, Loss, Options, Position, ReadError, Record, RecordKind,
    catalog::Catalog,
    entry::Entry,
    read::{Records, lookup, read},
    recovery::{Recovered, Recovery, recover},
    writer::Writer,
};

const WINDOW: Duration = Duration::from_millis(100);
const BATCH: Durability = Durability::Batch { window: WINDOW };

type Outcomes = Arc<Mutex<Vec<(u64, Result<Position, AppendError>)>>>;

/// One journal's life over several crashes, and what must be true of it.
struct World {
    seed: u64,
    random: Random,
    fs: SimFs,
    options: Options,
    now: Duration,
    /// Payloads of everything ever handed over, by id.
    handed: Vec<Vec<u8>>,
    /// Acknowledged and not released: id and time.
    owed: BTreeMap<Position, (u64, Duration)>,
    released: Option<Position>,
    /// No position up to here may be given out again.
    used: Position,
    /// The segment written last: all that `none` may lose.
    open_segment: u32,
    lost: u64,
    figures: Figures,
}

#[derive(Default, Debug)]
struct Figures {
    acknowledged: u64,
    power_losses: u64,
    torn: u64,
    holes: u64,
    headers_rebuilt: u64,
}

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    PowerLoss,
    Killed,
    Closed,
}

/// Says which seed failed.
struct Announce(u64);

impl Drop for Announce {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("power loss simulation failed: THROUGHLINE_SIM_SEED={}", self.0);
        }
    }
}

impl World {
    fn new(seed: u64, durability: Durability) -> Self {
        let mut random = Random::new(seed);
        let fs = SimFs::new(random.next());
        if random.chance(30) {
            fs.shorten_writes();
        }
        let cap_bytes = (64 << 10) * (2 + random.below(6));
        if random.chance(20) {
            fs.set_capacity(Some(cap_bytes - 1));
        }
        let options = Options {
            segment_bytes: 64 << 10,
            cap_bytes,
            look_back_bytes: if random.chance(30) { cap_bytes } else { 0 },
            durability,
            consumers: vec!["store".to_owned()],
            ..Options::default()
        };
        Self {
            seed,
            random,
            fs,
            options,
            now: Duration::ZERO,
            handed: Vec::new(),
            owed: BTreeMap::new(),
            released: None,
            used: Position(0),
            open_segment: 0,
            lost: 0,
            figures: Figures::default(),
        }
    }

    fn run(mut self) -> (u64, Figures) {
        let _announce = Announce(self.seed);
        let mut before = End::Closed;
        for _ in 0..2 + self.random.below(3) {
            let recovered = self.recover(&mut before);
            before = self.live(recovered, before);
        }
        (self.lost, self.figures)
    }

    /// Recovers; the power may go again while it does.
    fn recover(&mut self, before: &mut End) -> Recovered {
        self.fs.heal_writes();
        loop {
            if *before == End::PowerLoss {
                let tear = if self.random.chance(50) { Tear::Sectors } else { Tear::Bytes };
                self.fs = self.fs.restart(tear);
                self.figures.power_losses += 1;
            }
            if self.random.chance(15) {
                self.fs.cut_power_after(1 + self.random.below(12));
            }
            match recover(&self.fs, Path::new("/j"), &self.options) {
                Ok(recovered) if !self.fs.is_off() => return recovered,
                Ok(_) => {}
                Err(JournalError::Io { .. }) if self.fs.is_off() => {}
                Err(error) => panic!("recovery refused to open: {error}"),
            }
            *before = End::PowerLoss;
        }
    }

    /// What recovery found; a power loss is never taken for a damaged disk.
    fn tally(&mut self, recovery: &Recovery) {
        for quarantined in &recovery.quarantined {
            assert_eq!(quarantined.loss, Loss::Unsynced, "a damaged disk? {quarantined:?}");
        }
        self.figures.torn += recovery.torn.len() as u64;
        self.figures.holes += recovery.quarantined.len() as u64;
        self.figures.headers_rebuilt += recovery.headers_rebuilt as u64;
    }

    fn live(&mut self, recovered: Recovered, before: End) -> End {
        let Recovered { sealed, spare, numbering, recovery } = recovered;
        self.tally(&recovery);
        let catalog = Arc::new(Catalog::new(sealed, spare, &self.options));
        let shared = (Arc::clone(&catalog), Arc::default());
        let mut writer =
            Writer::new(Arc::new(self.fs.clone()), "/j".into(), &self.options, numbering, shared.0, shared.1);
        self.check_after(&catalog, before);
        let end = match self.random.below(4) {
            0 => End::Killed,
            1 => End::Closed,
            _ => End::PowerLoss,
        };
        if end == End::PowerLoss {
            self.fs.cut_power_after(1 + self.random.below(150));
        }
        let store = Arc::from("store");
        let _ = catalog.release(&store, self.released);
        for _ in 0..self.random.below(40) {
            if !self.step(&catalog, &mut writer) {
                return self.off();
            }
        }
        if end == End::Closed && writer.close(self.now).is_err() {
            return self.off();
        }
        if end == End::PowerLoss {
            self.fs.cut_power();
        } else {
            self.check_live(&catalog);
        }
        end
    }

    fn off(&self) -> End {
        assert!(self.fs.is_off(), "the journal was poisoned though the power was on");
        End::PowerLoss
    }

    /// One group. False once the writer is poisoned.
    fn step(&mut self, catalog: &Catalog, writer: &mut Writer) -> bool {
        if self.random.chance(3) {
            let passing = self.random.below(4) as u32;
            self.fs.fail_write(passing, std::io::ErrorKind::StorageFull);
        }
        self.now += Duration::from_millis(self.random.below(60));
        if let Some(due) = writer.sync_due().filter(|due| *due <= self.now)
            && let Err(_) = writer.sync()
        {
            self.now = due;
            return false;
        }
        let outcomes = Outcomes::default();
        let group = (0..1 + self.random.below(4)).map(|_| self.entry(&outcomes)).collect();
        let result = writer.commit(group, self.now);
        for (id, outcome) in std::mem::take(&mut *outcomes.lock().unwrap()) {
            if let Ok(position) = outcome {
                assert!(position > self.used, "{position} was used before");
                self.used = position;
                self.open_segment = position.sequence();
                self.figures.acknowledged += 1;
                self.owed.insert(position, (id, self.now));
            }
        }
        if self.random.chance(15) {
            self.release(catalog);
        }
        // A segment that cannot be created is a refusal, also when the power is what is missing.
        result.is_ok() && !self.fs.is_off()
    }

    fn entry(&mut self, outcomes: &Outcomes) -> Entry {
        let id = self.handed.len() as u64;
        let length = match self.random.below(10) {
            0..5 => self.random.below(200),
            5..9 => self.random.below(4000),
            _ => self.random.below(30_000),
        };
        let mut payload = id.to_le_bytes().to_vec();
        payload.extend(self.random.bytes(length as usize));
        self.handed.push(payload.clone());
        let mut record = Record::new(RecordKind::Spans, id, payload);
        record.keys = keys(id);
        let outcomes = Arc::clone(outcomes);
        Entry::new(record, Box::new(move |outcome| outcomes.lock().unwrap().push((id, outcome))))
    }

    fn release(&mut self, catalog: &Catalog) {
        let ahead = self.random.below(self.owed.len() as u64 + 1) as usize;
        let Some(position) = self.owed.keys().nth(ahead).copied() else { return };
        self.released = Some(position);
        self.owed.retain(|owed, _| *owed > position);
        let _ = catalog.release(&Arc::from("store"), Some(position));
    }

    /// What is readable: every record is one that was handed over, and can be read and looked up by itself.
    fn readable(&mut self, catalog: &Arc<Catalog>) -> BTreeMap<Position, u64> {
        let mut found = BTreeMap::new();
        for record in Records::from(Arc::clone(catalog), Position(0)) {
            let record = match record {
                Ok(record) => record,
                Err(ReadError::Damaged { .. }) => continue,
                Err(error) => panic!("{error}"),
            };
            let id = record.arrived;
            assert_eq!(record.payload, self.handed[id as usize], "a record came back with other bytes");
            assert_eq!(read(catalog, record.position).unwrap(), record);
            for (key, value) in record.keys.iter() {
                let hit = (record.position, value.to_vec());
                assert!(lookup(catalog, &key).contains(&hit), "the index does not find {}", record.position);
            }
            found.insert(record.position, id);
        }
        found
    }

    fn check_live(&mut self, catalog: &Arc<Catalog>) {
        let found = self.readable(catalog);
        for (position, (id, _)) in &self.owed {
            assert_eq!(found.get(position), Some(id), "{position} is not readable while the journal runs");
        }
    }

    fn check_after(&mut self, catalog: &Arc<Catalog>, before: End) {
        let found = self.readable(catalog);
        self.used = self.used.max(found.keys().next_back().copied().unwrap_or(Position(0)));
        let here: BTreeSet<_> = found.iter().map(|(position, id)| (*position, *id)).collect();
        let missing: Vec<_> = self
            .owed
            .iter()
            .map(|(p, (id, at))| (*p, *id, *at))
            .filter(|(p, id, _)| !here.contains(&(*p, *id)))
            .collect();
        for (position, _, acknowledged) in missing {
            assert_eq!(before, End::PowerLoss, "{position} was lost without a power loss");
            match self.options.durability {
                Durability::Sync => {}
                Durability::Batch { window } => {
                    let age = self.now.saturating_sub(acknowledged);
                    assert!(age <= window, "{position} was lost {age:?} after it was acknowledged");
                }
                Durability::None => {
                    assert_eq!(
                        position.sequence(),
                        self.open_segment,
                        "{position} was lost from a sealed segment"
                    );
                }
            }
            self.lost += 1;
            self.owed.remove(&position);
        }
    }
}

fn keys(id: u64) -> Keys {
    let key = |n: u64| (u128::from(n) * 0x9e37_79b9_7f4a_7c15).to_be_bytes();
    [(key(id), &id.to_le_bytes()[..]), (key(id / 3), b"shared")]
        .into_iter()
        .take(1 + id as usize % 2)
        .collect()
}

/// Runs all seeds, or as many of them as `share` says; returns acknowledged records lost, over all of them.
fn lost(durability: Durability, share: u64) -> (u64, Figures) {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match number("THROUGHLINE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("THROUGHLINE_SIM_SEEDS").unwrap_or(2_000) / share,
    };
    let mut lost = 0;
    let mut sum = Figures::default();
    for seed in seeds {
        let (of_this, figures) = World::new(seed, durability).run();
        assert!(
            of_this == 0 || durability != Durability::Sync,
            "seed {seed} lost {of_this} acknowledged records"
        );
        lost += of_this;
        sum.acknowledged += figures.acknowledged;
        sum.power_losses += figures.power_losses;
        sum.torn += figures.torn;
        sum.holes += figures.holes;
        sum.headers_rebuilt += figures.headers_rebuilt;
    }
    println!("{durability:?}: {lost} acknowledged records lost; {sum:?}");
    (lost, sum)
}

#[test]
fn sync_loses_nothing_that_was_acknowledged() {
    let (lost, figures) = lost(Durability::Sync, 1);
    assert_eq!(lost, 0);
    if std::env::var("THROUGHLINE_SIM_SEED").is_err() {
        // The simulation would prove nothing if these never happened.
        assert!(figures.torn > 0 && figures.holes > 0, "{figures:?}");
    }
}

#[test]
fn none_loses_records_and_the_simulation_sees_it() {
    assert!(lost(Durability::None, 4).0 > 0);
}

/// That no loss is older than the window is asserted for each record.
#[test]
fn batch_loses_no_more_than_its_window() {
    assert!(lost(BATCH, 4).0 > 0);
}
