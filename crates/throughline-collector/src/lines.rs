//! Every pipeline of the process: which receiver's requests go to which sampler, exporter and store. Data flows one way:
//! a durable request comes in here, decisions come out of the samplers straight into their outlets.
//!
//! Nothing is copied per pipeline: a request is one record of the journal, and each pipeline remembers its position.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use throughline_journal::{Keys, OwnedRecord, RecordKind};
use throughline_otlp::{Counts, Signal, UnixNanos, WireError, check, count_items};
use throughline_sampling::Shard;
use throughline_sampling::decision::Heard;
use throughline_sampling::facts::Now;
use throughline_sampling::shard::Restored;

use crate::delivery::Delivery;
use crate::delivery::checkpoint::Checkpoint;
use crate::delivery::queue::Unit;
use crate::delivery::read_back::Source;
use crate::intake::origin::{Held, Origin, Role};
use crate::keep::Keep;
use crate::look_back::Reach;
use crate::outlet::Outlet;
use crate::peers::{Keep as Wishes, Mark, Wanted, Wished};
use crate::pipeline::{Content, Durable};
use crate::sampler::group::Group;
use crate::sampler::record::Decided;
use crate::sampler::{Parts, Sampler, keys};

/// All pipelines.
pub(crate) struct Lines {
    pub(crate) samplers: Vec<Arc<Sampler>>,
    pub(crate) deliveries: Vec<Arc<Delivery>>,
    /// `None`: nothing is stored here.
    pub(crate) keep: Option<Arc<Keep>>,
    /// How far back late spans and links reach.
    pub(crate) reach: Mutex<Option<Reach>>,
}

/// What the samplers found in a request, before it is durable.
#[derive(Default)]
pub(crate) struct Scanned {
    pub(crate) keys: Keys,
    /// The partition it came from, if it came from one.
    pub(crate) partition: Option<u32>,
    /// Which sampler, and each shard's part.
    parts: Vec<(usize, Parts)>,
}

impl Scanned {
    /// Of a request that no sampler asks about.
    pub(crate) fn of_keys(keys: Keys) -> Self {
        Self { keys, ..Self::default() }
    }
}

impl Lines {
    /// Whether a receiver's requests of this signal go anywhere.
    pub(crate) fn wants(&self, intake: u16, signal: Signal) -> bool {
        if signal == Signal::Metrics {
            return true;
        }
        let stored = self.keep.as_ref().is_some_and(|keep| keep.feeds().take(intake, signal));
        let sampled = signal == Signal::Traces && self.sampling(intake).next().is_some();
        stored || sampled || self.deliveries.iter().any(|delivery| takes(delivery, intake, signal))
    }

    /// Whether the samplers behind a receiver can take more now.
    pub(crate) fn have_room(&self, intake: u16) -> bool {
        self.sampling(intake).all(|(_, sampler)| sampler.has_room())
    }

    /// Checks a request of spans; if one sampler alone is behind this receiver, asks what its policies want to know in the
    /// same reading.
    pub(crate) fn check(&self, intake: u16, request: &[u8]) -> Result<(Counts, Option<Scanned>), WireError> {
        let mut sampling = self.sampling(intake);
        let (Some((at, sampler)), None) = (sampling.next(), sampling.next()) else {
            return Ok((check(Signal::Traces, request)?, None));
        };
        let (counts, survey) = sampler.check(request)?;
        let keys = keys::of_survey(&survey);
        let parts = vec![(at, sampler.split(survey.facts))];
        Ok((counts, Some(Scanned { keys, partition: None, parts })))
    }

    /// Asks of a request of spans what the policies want to know. Nothing is asked if no sampler is behind this receiver.
    pub(crate) fn scan(&self, intake: u16, request: &[u8]) -> Result<Scanned, WireError> {
        let mut scanned = Scanned::default();
        for (at, sampler) in self.sampling(intake) {
            let survey = sampler.survey(request)?;
            let keys = keys::of_survey(&survey);
            // A sampler that follows links asks for more of them than one that does not.
            if keys.len() > scanned.keys.len() {
                scanned.keys = keys;
            }
            scanned.parts.push((at, sampler.split(survey.facts)));
        }
        Ok(scanned)
    }

    fn sampling(&self, intake: u16) -> impl Iterator<Item = (usize, &Arc<Sampler>)> {
        self.samplers.iter().enumerate().filter(move |(_, sampler)| sampler.intakes.contains(&intake))
    }

    /// A request is durable. Called by the journal's thread, in order of position.
    pub(crate) fn durable(&self, intake: u16, items: u64, request: Durable, scanned: Scanned) {
        let (position, signal) = (request.position, request.signal);
        let mut parts = scanned.parts.into_iter().peekable();
        for (at, sampler) in self.samplers.iter().enumerate() {
            match parts.next_if(|(of, _)| *of == at) {
                Some((_, parts)) => sampler.arrived_from(scanned.partition, position, parts),
                None => sampler.passed(position),
            }
        }
        for delivery in &self.deliveries {
            if takes(delivery, intake, signal) {
                let unit = Unit { position, needs_from: position, items };
                match &request.content {
                    Content::Here(bytes) => delivery.push_whole(unit, bytes),
                    Content::InJournal => delivery.push(unit),
                }
            } else {
                delivery.pass(position);
            }
        }
        if let Some(keep) = &self.keep {
            if keep.feeds().take(intake, signal) { keep.durable(request) } else { keep.pass(position) }
        }
    }

    /// A record that is for nobody: noted, so that the journal is not held for its sake.
    pub(crate) fn pass(&self, position: u64) {
        self.samplers.iter().for_each(|sampler| sampler.passed(position));
        self.deliveries.iter().for_each(|delivery| delivery.pass(position));
        self.keep.iter().for_each(|keep| keep.pass(position));
    }

    /// The lowest position of which something that came through this receiver is undecided or undelivered. Samplers are asked
    /// first: what they let go of, an outlet holds by then.
    pub(crate) fn floor(&self, intake: u16) -> u64 {
        let undecided =
            self.sampling(intake).map(|(_, sampler)| sampler.needs_from()).fold(u64::MAX, u64::min);
        let kept = self.sampling(intake).flat_map(|(_, sampler)| sampler.outlets()).map(Outlet::needs_from);
        let takes_any = |delivery: &&Arc<Delivery>| {
            takes(delivery, intake, Signal::Traces) || takes(delivery, intake, Signal::Logs)
        };
        let sent = self.deliveries.iter().filter(takes_any).map(|delivery| delivery.progress().1);
        let stores = |keep: &&Arc<Keep>| {
            keep.feeds().take(intake, Signal::Traces) || keep.feeds().take(intake, Signal::Logs)
        };
        let stored = self.keep.iter().filter(stores).map(|keep| keep.needs_from());
        kept.chain(sent).chain(stored).fold(undecided, u64::min)
    }

    /// The samplers of partitions behind a receiver.
    pub(crate) fn group(&self, intake: u16) -> Option<&Arc<Group>> {
        self.sampling(intake).find_map(|(_, sampler)| sampler.group())
    }

    /// Who needs what of the journal: a name, and the lowest position that must stay readable for its sake. An outlet never
    /// claims less than the samplers do, which are asked first: what they let go of, it holds by then.
    pub(crate) fn claims(&self) -> Vec<(String, u64)> {
        let sampling =
            |sampler: &Arc<Sampler>| (format!("sampling of {}", sampler.pipeline), sampler.needs_from());
        let mut claims: Vec<(String, u64)> = self.samplers.iter().map(sampling).collect();
        let undecided = claims.iter().map(|(_, from)| *from).fold(u64::MAX, u64::min);
        let stored = self.keep.as_ref().map_or(u64::MAX, |keep| keep.needs_from());
        claims.push(("store".to_owned(), stored.min(undecided)));
        let delivering = |delivery: &Arc<Delivery>| {
            (format!("exporter {}", delivery.name()), delivery.progress().1.min(undecided))
        };
        claims.extend(self.deliveries.iter().map(delivering));
        claims
    }

    /// How far every exporter is.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        let of = |delivery: &Arc<Delivery>| (delivery.name().to_owned(), delivery.progress().0);
        Checkpoint { acknowledged: self.deliveries.iter().map(of).collect() }
    }

    /// Nothing up to this position is news to anybody: who has nothing to do with its records does not hold them. Without
    /// this a full journal would stay full after a restart, as nothing new could come to tell them.
    pub(crate) fn heard_to(&self, position: u64) {
        self.deliveries.iter().for_each(|delivery| delivery.pass(position));
        self.keep.iter().for_each(|keep| keep.pass(position));
    }

    /// Tells everybody of a record that was in the journal at start, in order of position, before anything new comes.
    pub(crate) fn restore(&self, now: Now, record: &OwnedRecord, shards: &mut [Vec<Shard>], held: &mut Held) {
        let (position, intake) = (record.position.0, record.pipeline);
        if let Some(origin) = Origin::of(&record.keys) {
            let role = origin.role;
            held.note(intake, origin, position);
            // What is undecided of a partition comes again, to whoever has it now.
            if role == Role::History || self.group(intake).is_some() {
                return;
            }
        }
        match record.kind {
            RecordKind::Spans => {
                self.restore_spans(now, record, shards);
                self.restore_request(position, intake, Signal::Traces, &record.payload);
            }
            RecordKind::Logs => {
                self.restore_request(position, intake, Signal::Logs, &record.payload);
            }
            RecordKind::Decisions => self.restore_decisions(now, record, shards),
            RecordKind::Mark => self.restore_mark(now, record, shards),
            RecordKind::ExporterAcknowledgement => {}
        }
    }

    fn restore_spans(&self, now: Now, record: &OwnedRecord, shards: &mut [Vec<Shard>]) {
        for (at, sampler) in self.sampling(record.pipeline) {
            // What cannot be scanned any more was reported when it was read.
            let facts = sampler.scan(&record.payload).unwrap_or_default();
            let (position, arrived) = (record.position.0, UnixNanos(record.arrived));
            for (shard, facts) in shards.get_mut(at).into_iter().flatten().zip(sampler.split(facts).0) {
                shard.restore(now, &Restored::Arrival { position, arrived, facts });
            }
        }
    }

    fn restore_request(&self, position: u64, intake: u16, signal: Signal, request: &[u8]) {
        let mut taking = self.deliveries.iter().filter(|it| takes(it, intake, signal)).peekable();
        // What cannot be read any more was reported when it was.
        let items = taking.peek().map_or(1, |_| count_items(request).unwrap_or(1).max(1));
        let unit = Unit { position, needs_from: position, items: items as u64 };
        taking.for_each(|delivery| delivery.push(unit));
        if let Some(keep) = self.keep.as_ref().filter(|keep| keep.feeds().take(intake, signal)) {
            keep.restored(unit);
        }
    }

    /// What a peer was promised in an earlier life.
    fn restore_mark(&self, now: Now, record: &OwnedRecord, shards: &mut [Vec<Shard>]) {
        let Wishes { pipeline, wishes } = match Mark::decode(&record.payload) {
            Ok(Some(Mark::Wishes(keep))) => keep,
            Ok(None) => return,
            Err(error) => {
                let position = record.position.0;
                return tracing::error!(position, %error, "wishes of a peer cannot be read");
            }
        };
        let named = |sampler: &&Arc<Sampler>| sampler.pipeline == pipeline;
        let Some((at, sampler)) = self.samplers.iter().enumerate().find(|(_, it)| named(it)) else { return };
        for Wished { wish, age } in wishes {
            let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
            let wall = UnixNanos(record.arrived.saturating_sub(age));
            let shard = shards.get_mut(at).and_then(|shards| shards.get_mut(sampler.owner(wish.trace())));
            let young = |look_back: Duration| now.wall.since(wall) <= look_back.as_nanos() as i128;
            let Some(shard) = shard.filter(|_| young(sampler.look_back)) else { continue };
            let linked = match wish {
                Wanted::Link(wish) => Some(wish),
                Wanted::Kept(kept) if kept.wish().is_some() => kept.wish(),
                Wanted::Kept(kept) => {
                    shard.told(kept.trace, Heard::Kept(kept.reason, kept.hops));
                    None
                }
            };
            if let Some(wish) = linked.filter(|_| sampler.look_back().is_some_and(young)) {
                shard.restore_wish(wall, wish);
            }
        }
    }

    fn restore_decisions(&self, now: Now, record: &OwnedRecord, shards: &mut [Vec<Shard>]) {
        let position = record.position.0;
        let decided = match Decided::decode(&record.payload) {
            Ok(decided) => decided,
            Err(error) => {
                return tracing::error!(position, %error, "decisions cannot be read and are made again");
            }
        };
        let named = |sampler: &&Arc<Sampler>| sampler.pipeline == decided.pipeline;
        // A pipeline that is no longer configured: nobody waits for its decisions.
        let Some((at, sampler)) = self.samplers.iter().enumerate().find(|(_, sampler)| named(sampler)) else {
            return;
        };
        let unit = Unit {
            position,
            needs_from: decided.needs_from().unwrap_or(position).min(position),
            items: decided.spans(),
        };
        sampler.outlets().iter().for_each(|outlet| outlet.restored(unit));
        for decision in decided.decisions {
            let shard = shards.get_mut(at).and_then(|shards| shards.get_mut(sampler.owner(decision.trace)));
            if let Some(shard) = shard {
                shard.restore(now, &Restored::Decision(decision));
            }
        }
    }
}

impl Outlet {
    fn restored(&self, unit: Unit) {
        match self {
            Self::Exporter(delivery) => delivery.push(unit),
            Self::Store(keep) if unit.items > 0 => keep.restored(unit),
            Self::Store(_) => {}
        }
    }
}

/// Whether every request of this signal from this receiver is this exporter's.
fn takes(delivery: &Delivery, intake: u16, signal: Signal) -> bool {
    matches!(delivery.source(), Source::Everything(of, intakes) if *of == signal && intakes.contains(&intake))
}
